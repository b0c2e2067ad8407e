package gateway

import (
	"slices"

	"github.com/tidegate/tidegate/epoll"
)

// A device that is sent more than limits.deliver_rate is treated as one that does not read: QoS 0 is dropped, QoS 1 and 2 wait in its queue, and what is read from
// the log or from retained messages waits there. There is state only on loops that have a listener with the limit.

// outPace is what a loop remembers of one connection.
type outPace struct {
	sent  cell
	waits bool // in outflow.waits
}

// outflow has the pace of what every connection of a loop is sent. Owned by one loop; nil: nobody has the limit.
type outflow struct {
	rates []rate // by listener
	of    epoll.Chunks[outPace]
	waits rests // until they may be sent more
}

// newOutflow returns nil when no listener and no tenant has the limit.
func newOutflow(all []Bounds, tenants *tenants) *outflow {
	x := &outflow{}
	needed := tenants != nil && slices.ContainsFunc(tenants.all, func(t *tenant) bool { return t.deliver.limits() })
	for i := range all {
		r := bursts(all[i].DeliverRate, all[i].RateBurst)
		x.rates, needed = append(x.rates, r), needed || r.limits()
	}
	if !needed {
		return nil
	}
	return x
}

// begin forgets the connection that had the slot before.
func (x *outflow) begin(c *epoll.Conn) {
	if x != nil {
		*x.of.At(c.Slot()) = outPace{}
	}
}

// rate is what a connection may be sent.
func (x *outflow) rate(c *epoll.Conn) *rate {
	if c.Listener() < 0 || !x.rates[c.Listener()].limits() {
		return nil
	}
	return &x.rates[c.Listener()]
}

// outBounds is what bounds what a connection is sent: its own rate, and its tenant; nil: neither.
func (s *shard) outBounds(c *epoll.Conn) (own *rate, of *tenant) {
	if of = s.devices.At(c.Slot()).tenant(); of != nil && !of.deliver.limits() {
		of = nil
	}
	return s.outflow.rate(c), of
}

// delivers counts a message to a device.
func (s *shard) delivers(c *epoll.Conn, now int64) {
	own, of := s.outBounds(c)
	if own != nil {
		s.outflow.of.At(c.Slot()).sent.charge(now, own, 1)
	}
	if of != nil {
		of.delivered.charge(now, &of.deliver, 1)
	}
}

// measured tells that what a device is sent is bounded. Then only proceed sends what waits, as it knows how much that may be, and it is called once there is
// something: what else happens to the session is told that the connection is congested.
func (s *shard) measured(c *epoll.Conn) bool {
	if s.outflow == nil {
		return false
	}
	own, of := s.outBounds(c)
	return own != nil || of != nil
}

// mayDeliver is how many messages a device may be sent now, beside the one that slowed has no objection to; 0: any number.
func (s *shard) mayDeliver(c *epoll.Conn, now int64) (n int) {
	own, of := s.outBounds(c)
	if own != nil {
		n = own.room(s.outflow.of.At(c.Slot()).sent, now)
	}
	if of != nil {
		if room := of.deliver.room(cell(of.delivered.at.Load()), now); n == 0 || room < n {
			n = room
		}
	}
	return n
}

// room is how many events of a cell may come at once, and one.
func (r *rate) room(x cell, now int64) int {
	used := max(0, int64(x)-now)
	return 1 + int(max(0, r.slack-used)/max(1, r.cost(1)))
}

// slowed tells that a device may be sent no more messages for now. When it may, its queue goes on by itself.
func (s *shard) slowed(c *epoll.Conn) bool {
	x := s.outflow
	if x == nil {
		return false
	}
	own, of := s.outBounds(c)
	p, now := x.of.At(c.Slot()), s.loop.Now()
	var wait int64
	if own != nil {
		wait = p.sent.charge(now, own, 0)
	}
	if of != nil {
		wait = max(wait, of.delivered.charge(now, &of.deliver, 0))
	}
	if wait > 0 && !p.waits {
		p.waits = true
		s.count.slowed++
		if of != nil {
			of.refused[tenantDeliver].Add(1)
		}
		x.waits.add(c.Handle(), now, now+wait)
	}
	return wait > 0
}

// endSlowed goes on with the queues of devices that may be sent more.
func (s *shard) endSlowed() {
	s.outflow.waits.due(s.loop.Now(), func(h epoll.Handle) {
		c := s.loop.Conn(h)
		if c == nil || c.Closing() {
			return
		}
		s.outflow.of.At(c.Slot()).waits = false
		if d := s.devices.At(c.Slot()); d.sess != nil && d.state == stateLive {
			s.proceed(c, d)
		}
	})
}

// alarm is when endSlowed has something to do, or another alarm if that is earlier; 0: never.
func (x *outflow) alarm(other int64) int64 {
	if x == nil {
		return other
	}
	return x.waits.alarm(other)
}
