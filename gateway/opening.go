package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// A CONNECT for a persistent session first makes its record in NATS this gateway's, by compare-and-set, and is answered then. So
// of two gateways that are asked at once one has the session, and both know which. CONNECT itself stays unread meanwhile.

// opening is a CONNECT that waits for its record, and the record once it is there.
type opening struct {
	of         epoll.Handle // the connection
	id         []byte
	generation uint64
	phase      openingPhase
	durable    bool   // else there is no record to wait for, only those before
	lined      bool   // it has waited for its turn
	known      uint64 // revision of the record as a session here has it, 0: none
	adopts     bool   // nobody connects: the session's gateway died
	waited     bool   // for another gateway to write the record
	clean      bool   // clean start: what the record said does not count
	err        error

	revision uint64   // of the record that is ours now
	before   uint64   // of the record that was there, 0: none
	value    []byte   // its session, without the head
	open     bool     // a gateway took the session over and did not write the record since
	user     string   // who connects, as far as that is proved
	guarded  bool     // the record may be another's
	owner    string   // whose session it was
	received []uint16 // packet ids of QoS 2 messages of the device that the log has and the record may not know
}

// openingPhase is how far an opening is.
type openingPhase uint8

const (
	openingWaits  openingPhase = iota // for its turn
	openingBegins                     // its record is being claimed
	openingHere                       // CONNECT is about to be answered
)

// errOlder says that a newer connection has the client id.
var errOlder = errors.New("a newer connection has this client id")

// openTries is how often a record is claimed when other gateways write it at the same time, openPauseMax the longest pause before a try.
const (
	openTries    = 40
	openPauseMax = 20 * time.Millisecond
)

// openingsMax is how many CONNECTs of a loop read and claim records at a time. The others wait for their turn, in order; a connection that has ended by
// then costs NATS nothing.
const openingsMax = 512

// openSec is how long a CONNECT waits for its record.
const openSec = 8

// opens returns the record of a session once it is here, nil for a session that is none; until then, and until CONNECTs of the same client
// id that came before are answered, CONNECT waits. false: it waits, or the connection was refused.
func (s *shard) opens(c *epoll.Conn, d *device, q *mqtt.Connect, durable bool) (o *opening, ok bool) {
	h := c.Handle()
	if o = s.openings[h]; o != nil {
		s.endTurn(o)
		switch {
		case !o.durable:
			return nil, true
		case errors.Is(o.err, errOtherUser):
			s.turnDown(c, d, refusedOwner)
			return nil, false
		case o.err == nil:
			return o, true
		case errors.Is(o.err, errOlder):
			s.close(c, d, reasonTakenOver)
		default:
			s.refuse(c, d, refusedUnavailable.code(), refusedUnavailable.text())
		}
		return nil, false
	}
	if !durable && s.turns[string(q.ClientID)] == nil {
		return nil, true
	}
	o = &opening{of: h, generation: s.gw.generation(), durable: durable, clean: q.CleanStart, id: bytes.Clone(q.ClientID), guarded: s.guards(), user: d.owner()}
	s.openings[h] = o
	if x := s.gw.claims; x != nil && durable && !o.guarded {
		x.add(string(o.id), o.generation, o.clean) // who has it now may write down the last of it
	}
	d.awaits, d.lastSec = true, s.loop.NowSec() // it is read further, so that its end is seen
	s.arm(c, d)
	if o.lined = !s.lineUp(o); !o.lined {
		o.phase = openingBegins
		s.begin(o)
	}
	return nil, false
}

// opened goes on with a CONNECT whose record is there.
func (s *shard) opened(o *opening) {
	o.phase = openingHere
	if !s.awaited(o) {
		s.endTurn(o)
		s.keepClaim(o)
		return
	}
	c := s.loop.Conn(o.of)
	d := s.devices.At(c.Slot())
	d.awaits = false
	if d.loggingIn() {
		s.reconnect(c, d)
	}
	if !c.Closing() {
		c.ResumeRead()
		s.arm(c, d)
	}
}

// giveUpOpening refuses a CONNECT whose record does not come.
func (s *shard) giveUpOpening(c *epoll.Conn, d *device) {
	d.awaits = false
	if d.inquiry() != nil {
		s.turnDown(c, d, refusedAuthUnavailable)
		return
	}
	s.refuse(c, d, refusedUnavailable.code(), refusedUnavailable.text())
}

// assigned is the client id that a CONNECT without one was given before it began to wait; nil: none.
func (s *shard) assigned(c *epoll.Conn) []byte {
	if o := s.openings[c.Handle()]; o != nil {
		return o.id
	}
	return nil
}

// openRecord reads the record of a client id and makes it ours; done is called when o says how that ended. Any goroutine.
func (g *Gateway) openRecord(o *opening, tries int, done func()) {
	g.bus.LoadSession(o.id, func(r bus.SessionRecord, err error) {
		if err == nil && tries == 0 {
			err = bus.ErrFenced
		}
		if err != nil {
			o.err = err
			done()
			return
		}
		head, value := cutRecord(r.Value)
		generation, flags := head.generation, head.flags
		o.owner = head.user
		if o.adopts {
			if !isLost(generation, o.generation, value) {
				o.err = errNotLost
				done()
				return
			}
			o.before, o.value = r.Revision, value
			g.claimRecord(o, flags, tries, done)
			return
		}
		if o.guarded && !mayOwn(o.user, o.owner) {
			o.err = errOtherUser
			done()
			return
		}
		if x := g.claims; o.guarded && x != nil && tries == openTries && !o.waited {
			x.add(string(o.id), o.generation, o.clean) // not before: it would close the connection of another user
		}
		if generation > o.generation && (tries < openTries || o.lined) {
			o.err = errOlder // it was claimed while we tried or waited: by a connection that came after ours
			done()
			return
		}
		if generation > o.generation {
			g.passed(generation) // clocks differ
			o.generation = g.generation()
		}
		if r.Revision != o.known && g.mayBeHandedOver(o, flags, value) {
			o.waited = true
			time.AfterFunc(handoverTime, func() { g.openRecord(o, tries, done) })
			return
		}
		o.before, o.value = r.Revision, value
		if o.clean {
			o.value = nil
		}
		g.claimRecord(o, flags, tries, done)
	})
}

// handoverTime is how long a CONNECT waits for the gateway that seems to have the session to write down the last of it. Without it, what the
// device had in the last seconds is repeated.
const handoverTime = 50 * time.Millisecond

// mayBeHandedOver tells whether another gateway may be about to write a record.
func (g *Gateway) mayBeHandedOver(o *opening, flags byte, value []byte) bool {
	if o.waited || o.clean || len(value) == 0 || g.claims == nil || g.claims.alone.Load() {
		return false
	}
	info, err := session.ReadRecord(value)
	return err == nil && (flags&recordOpen != 0 || !info.Away)
}

// passed moves our clock on to a generation that was given elsewhere.
func (g *Gateway) passed(generation uint64) {
	clock := &g.durable.clock
	if g.claims != nil {
		clock = &g.claims.clock
	}
	for last := clock.Load(); generation > last && !clock.CompareAndSwap(last, generation); last = clock.Load() {
	}
}

// claimRecord writes our generation into the record.
func (g *Gateway) claimRecord(o *opening, flags byte, tries int, done func()) {
	owner := o.owner
	if o.guarded && o.user != "" {
		owner = o.user
	}
	mark := byte(recordOpen)
	if o.adopts {
		mark |= recordAdopted
	}
	value := append(appendHead(nil, o.generation, mark, owner), o.value...)
	g.bus.SaveSession(o.id, value, o.before, 0, func(revision uint64, err error) {
		switch {
		case errors.Is(err, bus.ErrFenced):
			tryAgain(tries, func() { g.openRecord(o, tries-1, done) })
			return
		case err != nil:
			o.err = err
			done()
			return
		}
		o.revision = revision
		g.recall(o, flags, done)
	})
}

// recall finds out what the record does not know, as no gateway closed it in order: which QoS 2 messages of the device were stored
// since.
func (g *Gateway) recall(o *opening, flags byte, done func()) {
	info, err := session.ReadRecord(o.value)
	o.open = flags&recordOpen != 0
	if len(o.value) == 0 || err != nil || info.Clean && !o.open {
		done()
		return
	}
	g.bus.ReceivedQoS2(o.id, info.LogPos, func(ids []uint16, upTo uint64, err error) {
		if o.received, o.err = ids, err; err == nil {
			g.durable.reached(uint16(inLog), upTo)
		}
		done()
	})
}

// cutRecord takes the head off a record.
func cutRecord(value []byte) (h head, rest []byte) {
	if len(value) < recordHead {
		return head{}, nil
	}
	h.generation, h.flags, rest = binary.BigEndian.Uint64(value), value[8]&^recordOwned, value[recordHead:]
	if value[8]&recordOwned != 0 && len(rest) >= 2 {
		n := min(int(binary.BigEndian.Uint16(rest)), len(rest)-2)
		h.user, rest = string(rest[2:2+n]), rest[2+n:]
	}
	return h, append([]byte(nil), rest...)
}

// head is what gateways say of a session in its record.
type head struct {
	generation uint64
	flags      byte
	user       string
}

// openSession opens the session of a device: a new one, one that is here, or from its record.
func (s *shard) openSession(c *epoll.Conn, in *session.Connect, o *opening) (sess *session.Session, present bool) {
	now, owner := s.loop.NowSec(), uint64(c.Handle())
	old := s.table.Get(in.ClientID)
	var k *keeper
	wasAway := false
	if old != nil {
		k, wasAway = keeperOf(old), old.Owner() == 0
	}
	if o == nil {
		if k == nil && s.gw.durable.keepsSessions() {
			s.gw.bus.DropSessionIfThere(bytes.Clone(in.ClientID), s.gw.generation())
		}
		return s.table.Open(now, in, owner, &s.out)
	}
	switch {
	case o.value == nil, k != nil && k.revision == o.before: // nobody else has had it since
		sess, present = s.table.Open(now, in, owner, &s.out)
	default:
		var err error
		sess, present, err = s.table.Restore(now, in, session.Kept{
			Record: o.value, WallSec: wallSec(), Received: o.received, Open: o.open, LogAt: s.gw.durable.at(uint16(inLog)),
		}, owner, &s.out)
		if err != nil {
			s.gw.log.Warn().Err(err).Str("client", string(o.id)).Msg("the record of a session cannot be read; it begins anew")
			sess, present = s.table.Open(now, in, owner, &s.out)
		}
	}
	if sess == nil {
		return nil, false
	}
	if k == nil || sess != old {
		k = &keeper{sess: sess}
		sess.Keep(k)
	}
	if sess == old && wasAway {
		s.feeds(plainCount(sess))
	}
	k.revision, k.generation, k.read, k.savedAt = o.revision, o.generation, 0, now
	k.logPos = sess.LogPos()
	k.moving, k.fenced, k.adopted = false, false, false // whatever a claim before this connect wanted: it is here again
	if !present {
		s.beginAt(sess)
	}
	return sess, present
}

// beginAt has a new session begin where the streams are now.
func (s *shard) beginAt(sess *session.Session) {
	for stream := range s.gw.durable.logAt {
		sess.SeenUpTo(uint16(stream), s.gw.durable.at(uint16(stream)))
	}
}

// refill reads the QoS 2 messages that were sent to a device before its session was restored, and are to be sent again.
func (s *shard) refill(k *keeper) {
	k.sess.EachRefill(func(stream uint16, seq uint64) bool {
		s.readRefill(k, stream, seq)
		return true
	})
}

func (s *shard) readRefill(k *keeper, stream uint16, seq uint64) {
	s.gw.bus.ReplayLog(bus.ReplayRead{Stream: stream, After: seq - 1, Filters: [][]byte{[]byte("#")}, Count: 1, Bytes: 1}, func(run []bus.Inbound, _ uint64, err error) {
		b := s.gw.downPool.take()
		if err == nil && len(run) > 0 && run[0].Seq == seq {
			s.gw.addLogged(b, &run[0])
		}
		b.refs.Store(1)
		s.doSoon(func(s *shard) {
			defer b.release()
			switch {
			case keeperOf(k.sess) != k:
			case err != nil:
				s.later = append(s.later, func() { s.readRefill(k, stream, seq) })
			case len(b.msgs) == 0:
				s.stepKept(k, &session.Event{Kind: session.Refill, Stream: stream, Seq: seq})
			default:
				b.logged(0, &s.routed)
				s.stepKept(k, &session.Event{Kind: session.Refill, Stream: stream, Seq: seq, Msg: &s.routed, Retain: s.routed.Retain})
			}
		})
	})
}
