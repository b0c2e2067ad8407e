package gateway

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tidegate/tidegate/epoll"
)

// CONNECTs of one client id have their turns, one after the other, in the order they came: the next one claims the record of the
// session when the one before has its answer, so that it takes over from that one rather than fights with it for the record. Who comes when nobody
// else is there has its turn at once. Between gateways there are no turns, and who loses the record tries again.

// turnsMax is how many CONNECTs of one client id wait at a time. Beyond that the one that has waited longest is closed as taken over, as it
// would be by the next one in any case.
const turnsMax = 256

// lineUp puts a CONNECT behind those of its client id; true: it is its turn now.
func (s *shard) lineUp(o *opening) bool {
	id := string(o.id)
	line := append(s.turns[id], o)
	s.turns[id] = line
	if len(line) > turnsMax+1 {
		if c := s.loop.Conn(line[1].of); c != nil && !c.Closing() {
			s.close(c, s.devices.At(c.Slot()), reasonTakenOver)
		}
		s.leaveLine(line[1])
	}
	return len(line) == 1
}

// endTurn lets the next CONNECT of a client id have its turn, once what this one set off is under way to NATS.
func (s *shard) endTurn(o *opening) {
	delete(s.openings, o.of)
	id := string(o.id)
	line := s.turns[id]
	if len(line) == 0 || line[0] != o {
		return
	}
	if len(line) == 1 {
		delete(s.turns, id)
		return
	}
	line[0] = nil
	line = line[1:]
	s.turns[id] = line
	next := line[0]
	next.phase = openingBegins
	if o.generation > next.generation {
		next.generation = s.gw.generation() // clocks differed; it came later all the same
	}
	s.doSoon(func(s *shard) { s.begin(next) })
}

// leaveLine forgets a CONNECT that waits for its turn.
func (s *shard) leaveLine(o *opening) {
	delete(s.openings, o.of)
	id := string(o.id)
	s.turns[id] = slices.DeleteFunc(s.turns[id], func(other *opening) bool { return other == o })
}

// forgetOpening ends what is here of the CONNECT of a connection that ends. What is under way in NATS comes to its end first.
func (s *shard) forgetOpening(c *epoll.Conn) {
	switch o := s.openings[c.Handle()]; {
	case o == nil:
	case o.phase == openingWaits:
		s.leaveLine(o)
	case o.phase == openingHere:
		s.endTurn(o)
		s.keepClaim(o)
	}
}

// begin claims the record of the session of a CONNECT, after a write of it that is under way here.
func (s *shard) begin(o *opening) {
	if !o.durable || !s.awaited(o) {
		s.opened(o)
		return
	}
	if _, ends := s.drops[string(o.id)]; ends {
		s.drops[string(o.id)] = o // it must not find what has ended
		return
	}
	if sess := s.table.Get(o.id); sess != nil {
		if k := keeperOf(sess); k != nil {
			if k.saving {
				k.next = o
				return
			}
			o.known = k.revision
		}
	}
	s.ask(o)
}

// ask has the record of a CONNECT read and claimed, when its turn among all of the loop comes.
func (s *shard) ask(o *opening) {
	if s.openingNow == openingsMax {
		s.openLater = append(s.openLater, o)
		return
	}
	s.openingNow++
	s.gw.openRecord(o, openTries, func() {
		s.doSoon(func(s *shard) {
			s.openingNow--
			s.askNext()
			s.opened(o)
		})
	})
}

// askNext goes on with those that wait, and forgets those that nobody waits for any more.
func (s *shard) askNext() {
	for len(s.openLater) > 0 && s.openingNow < openingsMax {
		o := s.openLater[0]
		s.openLater = s.openLater[1:]
		if s.awaited(o) {
			s.ask(o)
			continue
		}
		s.count.openingsForgone++
		s.opened(o)
	}
}

// awaited tells whether the connection of a CONNECT is still there for it.
func (s *shard) awaited(o *opening) bool {
	c := s.loop.Conn(o.of)
	return c != nil && !c.Closing() && s.devices.At(c.Slot()).awaits
}

// beginNext is for a CONNECT that waited for a write of the record.
func (s *shard) beginNext(k *keeper) {
	if o := k.next; o != nil && !k.saving {
		k.next = nil
		s.begin(o)
	}
}

// keepClaim gives the record that a CONNECT claimed, whose connection has ended, to the session that is here. Else what the record has is
// taken up, as nobody else will, and a record of nothing goes.
func (s *shard) keepClaim(o *opening) {
	if o.err != nil || o.revision == 0 {
		return
	}
	switch sess := s.table.Get(o.id); {
	case sess != nil:
		if k := keeperOf(sess); k != nil && k.revision == o.before {
			k.revision, k.generation = o.revision, o.generation
			s.save(k, nil)
		}
	case len(o.value) == 0:
		s.gw.bus.DropSession(o.id, o.revision, nil)
	default:
		s.adoptSession(o)
	}
}

// tryAgain calls f after a pause that is random, so that gateways that want one record do not meet again, and longer from try to try.
func tryAgain(tries int, f func()) {
	longest := min(openPauseMax, time.Duration(1+openTries-tries)*time.Millisecond)
	time.AfterFunc(rand.N(longest), f)
}
