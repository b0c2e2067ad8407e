package gateway

import "github.com/tidegate/tidegate/epoll"

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

// newOutflow returns nil when no listener has the limit.
func newOutflow(all []Bounds) *outflow {
	x := &outflow{}
	needed := false
	for i := range all {
		r := rate{}
		if n := all[i].DeliverRate; n > 0 {
			r, needed = lastingRate(n, all[i].RateBurst.Nanoseconds()), true
		}
		x.rates = append(x.rates, r)
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

// delivers counts a message to a device.
func (x *outflow) delivers(c *epoll.Conn, now int64) {
	if r := x.rate(c); r != nil {
		x.of.At(c.Slot()).sent.charge(now, r, 1)
	}
}

// measured tells that what a device is sent is bounded. Then only proceed sends what waits, as it knows how much that may be, and it is called once there is
// something: what else happens to the session is told that the connection is congested.
func (s *shard) measured(c *epoll.Conn) bool { return s.outflow != nil && s.outflow.rate(c) != nil }

// allows is how many messages a device may be sent now, beside the one that slowed has no objection to; 0: any number.
func (x *outflow) allows(c *epoll.Conn, now int64) int {
	r := x.rate(c)
	if r == nil {
		return 0
	}
	used := max(0, int64(x.of.At(c.Slot()).sent)-now)
	return 1 + int(max(0, r.slack-used)/max(1, r.cost(1)))
}

// slowed tells that a device may be sent no more messages for now. When it may, its queue goes on by itself.
func (s *shard) slowed(c *epoll.Conn) bool {
	x := s.outflow
	if x == nil {
		return false
	}
	r := x.rate(c)
	if r == nil {
		return false
	}
	p, now := x.of.At(c.Slot()), s.loop.Now()
	wait := p.sent.charge(now, r, 0)
	if wait > 0 && !p.waits {
		p.waits = true
		s.count.slowed++
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
