package epoll

import (
	"bytes"
	"fmt"
	"net/netip"
)

// Moved is a connection between two loops. Whoever holds it owns the descriptor and the bytes.
type Moved struct {
	FD       int
	Unread   []byte // came in, not yet consumed
	Unsent   []byte // to go out first
	Peer     netip.AddrPort
	Listener int
	tls      *sealed // of a secured connection
}

// sealed is what TLS adds to a connection between two loops.
type sealed struct {
	secure
	raw, out []byte // ciphertext: unread, unsent
}

// Detach takes the connection out of this loop, without OnClose, for another loop to Adopt. Within the connection's
// OnData, Unread is a copy of all that OnData was given, and what OnData returns does not matter: the caller cuts off
// what it has consumed (m.Unread = m.Unread[n:]). The deadline and a pause do not travel. The handle finds nothing
// from now on, and c is good until the end of the tick. Not for a connection that is closing, still dialling or in its TLS handshake.
func (c *Conn) Detach() Moved {
	l := c.use()
	if c.is(isEnded|isFinishing|isConnecting) || l.shaking(c) {
		panic(fmt.Sprintf("epoll: Detach of slot %d, which is closing, dialling or in a TLS handshake (flags %#x)", c.slot, c.flags))
	}
	m := Moved{FD: int(c.fd), Peer: c.Peer(), Listener: c.Listener()}
	switch {
	case l.showing == c.slot:
		m.Unread = bytes.Clone(l.shown)
	case c.tail != 0:
		m.Unread = bytes.Clone(l.bufs.at(c.tail).bytes())
	}
	if c.batch != 0 {
		m.Unsent = bytes.Clone(l.bufs.at(c.batch).bytes())
	}
	if c.is(isTLS) {
		m.tls = l.unsecure(c)
	}
	if err := l.poll.remove(m.FD); err != nil {
		panic(fmt.Sprintf("epoll: remove descriptor %d of slot %d: %v", c.fd, c.slot, err))
	}
	l.end(c, CauseNone)
	c.flags |= isDetached
	c.fd = -1
	l.stats.Detaches++
	return m
}

// Adopt takes a connection over. Its unread bytes are offered to OnData later in the same tick, its unsent ones are
// written at the end of it. OnOpen is not called. On an error the descriptor stays the caller's. Before Run or on the
// loop.
func (l *Loop) Adopt(m Moved) (*Conn, error) {
	l.checkOwner()
	if l.stopped {
		return nil, ErrStopped
	}
	c := l.take(int32(m.FD), int16(m.Listener))
	c.setPeer(m.Peer)
	if err := l.poll.add(m.FD, c.interest(), int32(c.slot), c.generation); err != nil {
		l.release(c)
		return nil, fmt.Errorf("adopt: epoll_ctl: %w", err)
	}
	l.stats.Adopts++
	if m.tls != nil {
		l.resecure(c, m.tls)
	}
	if len(m.Unread) > 0 {
		l.setTail(c, m.Unread)
		c.ResumeRead()
	}
	if len(m.Unsent) > 0 {
		c.End(append(c.Begin(), m.Unsent...))
	}
	return c, nil
}
