package epoll

import "math"

// wheel is 256 lists of connections, one per second to come. It is lazy: the owner moves a deadline later with one
// store, and the connection stays in its list; when that second comes we look at the deadline again and link the
// connection further on. So a keep-alive that is renewed by every packet costs list work once per period. Deadlines
// beyond the wheel are looked at every 255 seconds. Owned by one loop.
type wheel struct {
	doneSec uint32 // seconds up to this one are done
	heads   [wheelLen]uint32
}

const (
	wheelLen = 256
	never    = math.MaxUint32
)

// Arm sets the second of the NowSec clock from which on OnTimeout may be called; it comes once, within a second of
// that. 0 disarms.
func (c *Conn) Arm(deadlineSec uint32) {
	l := c.use()
	if c.Closing() {
		return
	}
	c.deadlineSec = deadlineSec
	if deadlineSec != 0 {
		l.link(c)
	}
}

// due is the second at which something has to be done about the connection.
func (l *Loop) due(c *Conn) uint32 {
	due := uint32(never)
	if c.deadlineSec != 0 {
		due = c.deadlineSec
	}
	if c.is(isBlocked) && !c.is(isFinishing) {
		due = min(due, l.stallsAt(c))
	}
	return due
}

func (l *Loop) stallsAt(c *Conn) uint32 { return c.movedSec + l.o.StallSec + 1 }

// link makes sure that the wheel looks at the connection no later than it is due.
func (l *Loop) link(c *Conn) {
	at := max(l.due(c), l.wheel.doneSec+1)
	at = min(at, l.wheel.doneSec+wheelLen-1)
	if c.is(isLinked) {
		if c.linkedSec <= at {
			return
		}
		l.unlink(c)
	}
	head := &l.wheel.heads[at%wheelLen]
	c.flags |= isLinked
	c.linkedSec = at
	c.prev, c.next = 0, *head
	if *head != 0 {
		l.at(*head).prev = c.slot
	}
	*head = c.slot
}

func (l *Loop) unlink(c *Conn) {
	if !c.is(isLinked) {
		return
	}
	c.flags &^= isLinked
	if c.prev != 0 {
		l.at(c.prev).next = c.next
	} else {
		l.wheel.heads[c.linkedSec%wheelLen] = c.next
	}
	if c.next != 0 {
		l.at(c.next).prev = c.prev
	}
}

// runTimers does every second up to now. When the loop has not run for a while (the machine slept, the process was
// stopped), deadlines have passed whose pings wait in the sockets; so as long as waits return full, timers yield for
// as many ticks as it takes to read every connection once. n is the number of events of this tick.
func (l *Loop) runTimers(n int) {
	if l.nowSec > secOf(l.sinceS)+1 {
		l.catchUp = l.live/eventsMax + 1
	}
	if l.catchUp > 0 && n == eventsMax {
		l.catchUp--
		return
	}
	l.catchUp = 0
	w := &l.wheel
	for w.doneSec < l.nowSec {
		w.doneSec++
		head := &w.heads[w.doneSec%wheelLen]
		// What is linked from here on goes to later seconds, so this list only gets shorter.
		for *head != 0 {
			c := l.at(*head)
			l.unlink(c)
			l.expire(c)
		}
	}
	l.resumeListeners()
}

// expire does what is due for a connection, or links it further on.
func (l *Loop) expire(c *Conn) {
	switch {
	case c.is(isEnded):
		return
	case c.is(isFinishing) && c.deadlineSec <= l.nowSec:
		if c.is(isShut) {
			l.end(c, CauseClosed)
		} else {
			l.end(c, CauseStalled)
		}
		return
	case c.is(isBlocked) && !c.is(isFinishing) && l.stallsAt(c) <= l.nowSec:
		l.end(c, CauseStalled)
		return
	case c.deadlineSec != 0 && c.deadlineSec <= l.nowSec:
		c.deadlineSec = 0
		l.h.OnTimeout(c)
	}
	if !c.is(isEnded) && l.due(c) != never {
		l.link(c)
	}
}
