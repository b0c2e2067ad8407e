package gateway

import (
	"syscall"

	"github.com/tidegate/tidegate/epoll"
)

// move is a connection leaving for its home shard.
type move struct {
	h    epoll.Handle // still ours until it is detached
	to   *shard
	gone *arrival // detached, but the new home had no room yet
}

// arrival is a connection between two shards.
type arrival struct {
	conn epoll.Moved
	d    device
}

// sendHome has the connection moved to its home at the end of the tick, with its unread bytes: CONNECT is only peeked
// at, so it travels along and is handled once, at home.
func (s *shard) sendHome(c *epoll.Conn, d *device, to *shard) {
	d.state = stateMoving
	c.PauseRead()
	s.moving = append(s.moving, move{h: c.Handle(), to: to})
}

// moveHome hands over the connections that are to move. What the new home has no room for waits for the next tick.
func (s *shard) moveHome() {
	waiting := s.moving[:0]
	for _, m := range s.moving {
		if m.gone == nil {
			c := s.loop.Conn(m.h)
			if c == nil || c.Closing() {
				continue
			}
			d := s.devices.At(c.Slot())
			m.gone = &arrival{d: *d}
			*d = device{state: stateDraining}
			m.gone.conn = c.Detach()
			s.count.movedOut++
		}
		a := m.gone
		if !m.to.do(func(to *shard) { to.arrive(a) }) {
			waiting = append(waiting, m)
		}
	}
	clear(s.moving[len(waiting):])
	s.moving = waiting
}

// arrive takes in a connection that another shard sent home.
func (s *shard) arrive(a *arrival) {
	c, err := s.loop.Adopt(a.conn)
	if err != nil {
		s.count.closed[reasonServer]++
		a.d.giveTenantPlace()
		s.gw.leave(a.conn.Listener, s.gw.answerable(a.conn.Listener, a.conn.Peer, a.d.who()), s.loop.Now())
		_ = syscall.Close(a.conn.FD) // ours until it is adopted
		return
	}
	d := s.devices.At(c.Slot())
	*d = a.d
	d.state = stateOpening
	if s.pacer != nil {
		s.pacer.begin(c, s.loop.NowSec())
	}
	s.outflow.begin(c)
	s.arm(c, d)
	switch { // nobody looked at it on the way
	case s.recalled(c):
		s.close(c, d, reasonRevoked)
	case s.gw.bannedAddress(s.gw.answerable(c.Listener(), c.Peer(), d.who())):
		s.close(c, d, reasonBanned)
	case d.loggingIn():
		s.reconnect(c, d)
	case d.wire == wirePlain:
		s.openPlain(c, d)
	}
}
