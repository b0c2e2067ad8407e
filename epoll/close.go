package epoll

import "golang.org/x/sys/unix"

// Close ends the connection now; unread and unsent bytes are discarded. OnClose(CauseClosed) follows at the end of
// the tick, and then the slot is freed.
func (c *Conn) Close() {
	l := c.use()
	l.end(c, CauseClosed)
}

// Finish ends the connection gracefully: no more OnData, OnDrained or OnTimeout; what is in the batch is written,
// then close_notify if it is secured, then our FIN; input is read and discarded until the peer's FIN, because closing a socket with unread bytes sends a
// RST that can overtake the goodbye. A peer that goes on sending is not read any more after discardsMax reads. If that takes longer than lingerSec, rounded up by at most two seconds, the
// connection is closed. OnClose gets CauseClosed when the goodbye was written, otherwise CauseStalled or
// CausePeerReset.
func (c *Conn) Finish(lingerSec uint32) {
	l := c.use()
	switch {
	case c.Closing():
		return
	case c.is(isConnecting), l.shaking(c):
		l.end(c, CauseClosed)
		return
	}
	l.finish(c, lingerSec)
}

func (l *Loop) finish(c *Conn, lingerSec uint32) {
	c.flags = c.flags&^isPaused | isFinishing
	c.discards = 0
	c.deadlineSec = l.nowSec + lingerSec + 1
	l.link(c)
	if c.is(isMuted) {
		c.flags &^= isMuted
		l.rearm(c)
	}
	if l.showing != c.slot {
		l.bufs.drop(&c.tail)
	}
	l.soil(c)
}

// shut sends our FIN after the last byte of the goodbye.
func (l *Loop) shut(c *Conn) {
	if c.is(isShut) {
		return
	}
	c.flags |= isShut
	// A failure means the connection is gone, which the next read finds.
	_ = unix.Shutdown(int(c.fd), unix.SHUT_WR)
	if c.is(isEOF) {
		l.end(c, CauseClosed)
	}
}

// discardsMax is how many reads of a finishing connection are forgotten. What the peer had on its way is less; one that goes on
// sending then does so into a full socket until the linger is over.
const discardsMax = 8

// discard reads a finishing connection once and forgets what it reads.
func (l *Loop) discard(c *Conn) {
	n, errno := recv(c.fd, l.rbuf)
	l.stats.Reads++
	switch {
	case n > 0:
		l.stats.ReadBytes += uint64(n)
		if c.discards++; c.discards == discardsMax {
			c.flags |= isMuted
			l.rearm(c)
		}
	case errno == unix.EAGAIN || errno == unix.EINTR:
	case c.is(isShut):
		l.end(c, CauseClosed)
	case errno != 0:
		l.end(c, CausePeerReset)
	default:
		// The peer has said all but may still listen. EPOLLIN would report its FIN for ever.
		c.flags |= isEOF | isMuted
		l.rearm(c)
	}
}

// end puts the connection on the list to be freed at the end of the tick, with the first cause that came.
func (l *Loop) end(c *Conn, why Cause) {
	if c.is(isEnded) || !c.is(isLive) {
		return
	}
	c.flags |= isEnded
	if c.cause == CauseNone {
		c.cause = why
	}
	l.ended = append(l.ended, c.slot)
}

// reap tells the owner what has ended, and frees it. OnClose may end other connections, which are told in the same
// round; what it makes the owner send or hand on belongs to the next tick, which follows at once.
func (l *Loop) reap() {
	for i := 0; i < len(l.ended); i++ {
		c := l.at(l.ended[i])
		if !c.is(isDetached) {
			l.again = true
			l.stats.Closes[c.cause]++
			l.h.OnClose(c, c.cause)
			if l.shaking(c) {
				l.secure(c).shake.leave()
			}
			unix.Close(int(c.fd))
		}
		l.release(c)
	}
	l.ended = l.ended[:0]
}
