package gateway

import (
	"cmp"
	"math"
	"math/rand/v2"

	"github.com/tidegate/tidegate/epoll"
)

// Devices are held to the rates of their listener, their tenant and their address by not being read: what is too much stays with them, in TCP's buffers, and nothing is lost. There
// is state only on loops that have a listener with such a limit; elsewhere it is a nil check for each packet.

// paceLimits are the rates of a listener's devices. Read-only.
type paceLimits struct {
	packets, bytes rate
	closes         bool   // who is too fast is closed instead
	lastsSec       uint32 // the longest life of a connection; 0: no bound
}

func newPaceLimits(b *Bounds) paceLimits {
	slack := b.RateBurst.Nanoseconds()
	return paceLimits{
		packets: lastingRate(b.PacketRate, slack), bytes: lastingRate(b.ByteRate, slack),
		closes: b.RatePolicy == rateDisconnect, lastsSec: uint32(b.ConnectionTime.Seconds()),
	}
}

// What is done about devices that are too fast.
const (
	ratePause      = "pause"
	rateDisconnect = "disconnect"
)

// pace is what a loop remembers of one connection: 40 bytes.
type pace struct {
	packets, bytes cell
	restsUntil     int64  // it is not read before; 0: it is
	endsSec        uint32 // when it has lived long enough; 0: never
	placed         bool   // from is known
	from           *crowd // nil: what comes from its address has no bound
}

// pacer has the pace of every connection of a loop. Owned by one loop.
type pacer struct {
	limits []paceLimits // by listener
	crowds bool         // tenants or addresses have rates
	of     epoll.Chunks[pace]
}

// newPacer returns nil when no listener has a limit that needs one.
func newPacer(g *Gateway) *pacer {
	all := g.bounds
	p := &pacer{crowds: g.tenants.paced() || g.addresses != nil && g.addresses.sends.limits()}
	needed := p.crowds
	for i := range all {
		l := newPaceLimits(&all[i])
		needed = needed || l.packets.limits() || l.bytes.limits() || l.lastsSec > 0
		p.limits = append(p.limits, l)
	}
	if !needed {
		return nil
	}
	return p
}

// begin forgets the connection that had the slot before. Lives end up to a tenth early, each by another time, so that those who came together do not
// come back together.
func (p *pacer) begin(c *epoll.Conn, nowSec uint32) {
	x := p.of.At(c.Slot())
	*x = pace{}
	if c.Listener() >= 0 {
		if lasts := p.limits[c.Listener()].lastsSec; lasts > 0 {
			x.endsSec = nowSec + lasts - rand.Uint32N(lasts/lifeSpread+1)
		}
	}
}

const lifeSpread = 10

// filtersPerPacket is how many filters of a SUBSCRIBE or UNSUBSCRIBE count as a packet: each is looked for, answered and perhaps entered, so
// that 256 of them take as long as so many other packets.
const filtersPerPacket = 16

// paced counts a packet of a live device, which has n bytes, and closes it or has it rest when it was too fast.
func (s *shard) paced(c *epoll.Conn, d *device, n int) {
	limits := &s.pacer.limits[c.Listener()]
	packets := 1 + s.filtersAsked/filtersPerPacket
	s.filtersAsked = 0
	if d.state != stateLive {
		return
	}
	x, now := s.pacer.of.At(c.Slot()), s.loop.Now()
	var wait int64
	if limits.packets.limits() {
		wait = x.packets.charge(now, &limits.packets, packets)
	}
	if limits.bytes.limits() {
		wait = max(wait, x.bytes.charge(now, &limits.bytes, n))
	}
	if wait > 0 && limits.closes {
		s.close(c, d, reasonRate)
		return
	}
	if s.pacer.crowds {
		wait = max(wait, s.chargeCrowds(c, d, x, now, packets, n))
	}
	if wait > 0 {
		s.rest(c, x, now+wait)
	}
}

// rest leaves a connection unread until a time.
func (s *shard) rest(c *epoll.Conn, x *pace, until int64) {
	c.PauseRead()
	if x.restsUntil == 0 {
		s.count.rests++
		s.pauses.add(c.Handle(), s.loop.Now(), until)
	}
	x.restsUntil = until
}

// rested tells that a connection is not to be read yet, whoever has resumed it.
func (s *shard) rested(c *epoll.Conn) bool {
	if s.pacer.of.At(c.Slot()).restsUntil == 0 {
		return false
	}
	c.PauseRead()
	return true
}

// endRests reads the connections again that have rested.
func (s *shard) endRests() {
	now := s.loop.Now()
	s.pauses.due(now, func(h epoll.Handle) {
		c := s.loop.Conn(h)
		if c == nil || c.Closing() {
			return
		}
		if s.pacer != nil {
			x := s.pacer.of.At(c.Slot())
			if x.restsUntil > now {
				s.pauses.add(h, now, x.restsUntil)
				return
			}
			x.restsUntil = 0
		}
		d := s.devices.At(c.Slot())
		if d.state == stateLive {
			d.lastSec = s.loop.NowSec() // we did not listen meanwhile
		}
		if d.partialSec != 0 {
			d.partialSec = s.loop.NowSec()
		}
		if !d.paused {
			c.ResumeRead()
		}
	})
}

// before is the earlier of a deadline and the end of a connection's life.
func (s *shard) before(c *epoll.Conn, at uint32) uint32 {
	if s.pacer == nil {
		return at
	}
	ends := s.pacer.of.At(c.Slot()).endsSec
	if ends == 0 || at != 0 && at < ends {
		return at
	}
	return ends
}

// outlived tells whether a connection has lived for as long as it may.
func (s *shard) outlived(c *epoll.Conn, d *device) bool {
	if s.pacer == nil || d.state != stateLive {
		return false
	}
	ends := s.pacer.of.At(c.Slot()).endsSec
	return ends != 0 && s.loop.NowSec() >= ends
}

// rests are connections by the time at which they are read again, in slots of restNanos. One that rests for longer than there are slots is looked at
// when they are through. Owned by one loop.
type rests struct {
	slots [restSlots][]rest
	spare []rest
	at    int64 // the slots before this one are done
	n     int
}

// rest is one of them.
type rest struct {
	h     epoll.Handle
	until int64
}

const (
	restNanos = 4_000_000
	restSlots = 256
)

// add notes a connection.
func (r *rests) add(h epoll.Handle, now, until int64) {
	if r.n == 0 {
		r.at = now / restNanos
	}
	slot := min(max(r.at+1, (until+restNanos-1)/restNanos), r.at+restSlots-1)
	list := &r.slots[slot%restSlots]
	*list = append(*list, rest{h, until})
	r.n++
}

// due calls f with those whose time has come.
func (r *rests) due(now int64, f func(h epoll.Handle)) {
	for r.n > 0 && r.at < now/restNanos {
		r.at++
		list := &r.slots[r.at%restSlots]
		if len(*list) == 0 {
			continue
		}
		gone := *list
		*list, r.n = r.spare[:0], r.n-len(gone)
		for _, e := range gone {
			if e.until > now {
				r.add(e.h, now, e.until)
				continue
			}
			f(e.h) // may add it again
		}
		r.spare = gone[:0]
	}
}

// alarm is when due has something to do, or another alarm if that is earlier; 0: never.
func (r *rests) alarm(other int64) int64 {
	if r.n == 0 {
		return other
	}
	for slot := r.at + 1; ; slot++ {
		if len(r.slots[slot%restSlots]) > 0 {
			return min(slot*restNanos, cmp.Or(other, math.MaxInt64))
		}
	}
}
