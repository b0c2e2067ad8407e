package bus

import (
	"errors"
	"hash/maphash"
	"time"

	"github.com/nats-io/nats.go"
)

// A round puts messages of one stream on a wire, and ends when it is known what became of them, or when that will not be known.
//
// Streams that allow it (the log) get the group as one fast batch of JetStream (ADR-50): the server stores the messages in order, stops at the first that is
// missing, and answers once, with the number it has. What it has not goes again in the next round, before anything else. Other streams answer each message;
// there a message that fails while later ones are stored would come behind them when it goes again, so a round has at most one message of a
// publisher, which keeps the order of each whatever happens.
//
// An answer that is missing says nothing. The messages go again with the same ids (Nats-Msg-Id), and the stream drops what it has already.
// One trap: to a batch that consists of nothing but such repetitions the leader of a cluster answers at once, with sequence 0, although the
// first copies may still wait for the other servers, and be lost with the leader. Such an answer is not believed; those messages go
// singly, and then JetStream tells an accepted copy from one under way.
type round struct {
	active  bool
	number  uint64
	wire    *wire
	stream  uint16
	fast    bool
	sent    []int32     // slots, in the order of their numbers in the round, which begin with 1
	codes   []roundCode // of these
	open    int         // of these, how many have no answer
	over    bool
	silent  bool // ended for want of an answer
	doubled bool // the whole group was there already, perhaps
	end     time.Time
}

// roundCode is what is known of one message of a round.
type roundCode uint8

const (
	roundOpen roundCode = iota
	roundStored
	roundFull
	roundRefused
	roundAgain
)

// roundGrace is how long a round with an error waits for answers about its other messages.
const roundGrace = 250 * time.Millisecond

// waits tells whether a round is under way, and how long it may go on. broken: its stream can't write.
func (r *round) waits(now time.Time, broken bool) (bool, time.Duration) {
	if !r.active || r.over {
		return r.active, 0
	}
	select {
	case <-r.wire.gone:
		return true, 0
	default:
	}
	if broken {
		return true, 0
	}
	wait := r.end.Sub(now)
	r.silent = wait <= 0 && r.open == len(r.codes)
	return true, max(wait, 0)
}

// beginRound puts the next messages on the wire, those that it does not refuse. false: there is no wire, or not the stream of the first message.
func (s *Storer) beginRound() bool {
	w := s.bus.uplink.now.Load()
	if w == nil || w.nc.IsClosed() || !s.listen(w) {
		return false
	}
	stream, mode, ok := s.nextStream()
	if !ok {
		return true
	}
	if mode == streamUnknown {
		return false
	}
	if mode == streamBroken {
		s.refuseBroken(stream)
		return true
	}
	limit := len(s.slots)
	if s.singles > 0 {
		limit = 1
	}
	s.number++
	out := &s.send
	out.begin(s, w, stream, mode == streamBatches, s.number)
	var publishers [16]uint64 // a set of hashes; two publishers taken for one only means that one waits
	for k := range s.slots {
		sl := &s.slots[k]
		if sl.settled || (sl.known && sl.stream != stream) {
			continue
		}
		if len(out.sent) == limit || len(out.out) >= storeBytesMax {
			break
		}
		out.load(sl)
		if sl.stream != stream {
			continue
		}
		h := maphash.Bytes(hashSeed, out.message.ClientID) % 1024
		if mode == streamSingles && publishers[h/64]&(1<<(h%64)) != 0 {
			continue
		}
		if !out.add(k) {
			s.refuse(sl)
			continue
		}
		publishers[h/64] |= 1 << (h % 64)
	}
	if len(out.sent) == 0 {
		return true
	}
	r := &s.round
	codes := append(r.codes[:0], make([]roundCode, len(out.sent))...)
	*r = round{
		active: true, number: s.number, wire: w, stream: stream, fast: mode == streamBatches,
		sent: out.sent, codes: codes, open: len(codes), end: time.Now().Add(s.limit),
	}
	out.write()
	return true
}

var hashSeed = maphash.MakeSeed()

// nextStream finds the stream of the first message that waits. false: none does.
func (s *Storer) nextStream() (stream uint16, mode uint32, ok bool) {
	d := s.bus.durable
	for k := range s.slots {
		sl := &s.slots[k]
		if sl.settled {
			continue
		}
		if !sl.known {
			s.send.of(s)
			s.send.load(sl)
		}
		if int(sl.stream) >= len(d.took) {
			s.refuse(sl)
			continue
		}
		return sl.stream, d.took[sl.stream].mode.Load(), true
	}
	return 0, streamUnknown, false
}

// refuseBroken refuses what waits for a stream that can't write, at least the first message.
func (s *Storer) refuseBroken(stream uint16) {
	for k := range s.slots {
		if sl := &s.slots[k]; !sl.settled && sl.known && sl.stream == stream {
			sl.settled, sl.code = true, StoreFull
			s.bus.count.storeFull.Add(1)
		}
	}
}

func (s *Storer) refuse(sl *slot) {
	sl.settled, sl.code = true, StoreRefused
	s.bus.count.storeRefused.Add(1)
}

// endRound takes over what the round has found out.
func (s *Storer) endRound() {
	r := s.round
	s.round = round{codes: r.codes} // answers that come now are for nobody
	var stored, bytes, full, refused uint64
	again := 0
	for k, c := range r.codes {
		sl := &s.slots[r.sent[k]]
		switch c {
		case roundStored:
			stored++
			bytes += uint64(sl.bytes)
			sl.settled, sl.code = true, StoreOK
		case roundFull:
			full++
			sl.settled, sl.code = true, StoreFull
		case roundRefused:
			refused++
			sl.settled, sl.code = true, StoreRefused
		default:
			again++
		}
	}
	c := &s.bus.count
	c.stored.Add(stored)
	c.storedBytes.Add(bytes)
	c.storeFull.Add(full)
	c.storeRefused.Add(refused)
	c.storeRetries.Add(uint64(again))
	if stored > 0 {
		c.storeGroups.Add(1)
		s.strikes = 0
	}
	if s.singles > 0 {
		s.singles -= len(r.codes) - again
	}
	if r.doubled {
		s.singles = again
	}
	s.pace(&r, again)
}

// pace says when the next round may begin and how long it may take.
func (s *Storer) pace(r *round, again int) {
	if again < len(r.codes) {
		s.limit, s.pause = s.limitMin(), 0
		return
	}
	broken := false
	select {
	case <-r.wire.gone:
		broken = true
	default:
	}
	switch {
	case broken:
		s.strike(r)
		return
	case r.doubled:
		return
	case r.silent:
		s.limit = min(2*s.limit, max(storeLimitMax, s.limitMin()))
		s.bus.leaveMute(r.wire)
	default:
		s.pause = min(max(2*s.pause, storeRestMin), storeRestMax)
		s.rest = s.pause
	}
	s.bus.durable.doubt()
}

// leaveMute ends a wire whose server says nothing at all, if there are others to go to: nats.go would find out after half a minute.
func (b *Bus) leaveMute(w *wire) {
	if len(w.nc.Servers()) < 2 || !errors.Is(w.flush(storeLimit), nats.ErrTimeout) {
		return
	}
	w.kill()
	if other := b.echo.now.Load(); other != nil && other.url == w.url {
		other.kill()
	}
}

// strike counts a wire that broke under a round. Some messages make the server end the connection instead of refusing them (see sender); when
// wires break in succession, the group goes singly, and a message that was alone twice when a server ended its wire with an error, is refused.
func (s *Storer) strike(r *round) {
	if s.strikes++; s.strikes < carefulAfter {
		return
	}
	s.singles = max(s.singles, len(r.sent))
	if len(r.sent) != 1 || !r.wire.refused() {
		return
	}
	if sl := &s.slots[r.sent[0]]; sl.suspect {
		s.refuse(sl)
		s.singles--
		s.strikes = 0
	} else {
		sl.suspect = true
	}
}
