package epoll

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Begin lends the connection's batch to append to; End takes it back. The slice may begin with bytes of before, some
// even written already: append only, and ask Unsent for how much is waiting. Nothing else may be called on the
// connection between the two.
func (c *Conn) Begin() []byte {
	l := c.use()
	if c.Closing() {
		return l.sink[:0]
	}
	if c.batch == 0 {
		c.batch = l.bufs.lend(kindBatch, 0)
	}
	l.soil(c)
	b := l.bufs.at(c.batch)
	if b.end > len(b.mem)/2 {
		// Grown here, it comes from the free lists; grown by append, it would be garbage at the end of the tick:
		// 35 kB per message to 100 devices in bursts of 100, now none (BenchmarkQoS0 in gateway).
		l.bufs.enlarge(b)
	}
	return b.mem[:b.end]
}

// End takes back what Begin lent, with what was appended. It is written at the end of the tick, or at once if more
// than Options.FlushBytes are waiting and the socket takes them. On a closing connection it goes nowhere.
func (c *Conn) End(dst []byte) {
	l := c.use()
	if c.Closing() {
		return
	}
	if c.batch == 0 {
		panic(fmt.Sprintf("epoll: End without Begin on slot %d", c.slot))
	}
	b := l.bufs.at(c.batch)
	if len(dst) < b.off {
		panic(fmt.Sprintf("epoll: End of slot %d with %d bytes, of which %d are already written", c.slot, len(dst), b.off))
	}
	b.end = len(dst)
	if unsafe.SliceData(dst) != unsafe.SliceData(b.mem) {
		l.bufs.replace(b, dst)
	}
	if b.len() > l.o.FlushBytes && !c.is(isBlocked|isConnecting) {
		l.write(c)
	}
}

// Unsent is how many bytes wait to be written; what the socket has refused of a secured connection counts as ciphertext.
func (c *Conn) Unsent() int {
	n := 0
	if c.batch != 0 {
		n = c.use().bufs.at(c.batch).len()
	}
	if c.is(isTLS) {
		l := c.use()
		if out := l.secure(c).out; out != 0 {
			n += l.bufs.at(out).len()
		}
	}
	return n
}

// soil puts the connection on the list for the flush.
func (l *Loop) soil(c *Conn) {
	if !c.is(isDirty) {
		c.flags |= isDirty
		l.dirty = append(l.dirty, c.slot)
	}
}

// flush writes every connection that got bytes in this tick, once.
func (l *Loop) flush() {
	for _, slot := range l.dirty {
		c := l.at(slot)
		c.flags &^= isDirty
		if c.is(isEnded|isBlocked|isConnecting) || !l.write(c) {
			continue
		}
		if c.is(isFinishing) {
			l.shut(c)
		}
	}
	l.dirty = l.dirty[:0]
}

// write sends what waits to be written as far as the socket takes it, and tells whether that was all.
func (l *Loop) write(c *Conn) (all bool) {
	if c.is(isTLS) {
		return l.writeSealed(c)
	}
	return l.writeOut(c, &c.batch)
}

// writeOut sends what the socket takes of a buffer, and tells whether that was all. The rest waits for EPOLLOUT.
func (l *Loop) writeOut(c *Conn, out *uint32) (all bool) {
	if *out == 0 {
		return true
	}
	b := l.bufs.at(*out)
	if b.len() == 0 {
		l.bufs.drop(out)
		return true
	}
	n, errno := send(c.fd, b.bytes())
	l.stats.Writes++
	switch errno {
	case 0:
		l.stats.WriteBytes += uint64(n)
	case unix.EAGAIN, unix.EINTR:
	default:
		l.end(c, CausePeerReset)
		return false
	}
	b.off += n
	if b.len() == 0 {
		l.bufs.drop(out)
		return true
	}
	// A short write says the same as EAGAIN: asking again would only confirm it.
	l.stats.WouldBlock++
	if n > 0 || !c.is(isBlocked) {
		c.movedSec = l.nowSec
	}
	b.compact()
	if !c.is(isBlocked) {
		c.flags |= isBlocked
		l.rearm(c)
		l.link(c)
	}
	return false
}

// unblock goes on with a batch that the socket had refused.
func (l *Loop) unblock(c *Conn) {
	if !l.write(c) {
		return
	}
	c.flags &^= isBlocked
	l.rearm(c)
	if c.is(isFinishing) {
		l.shut(c)
		return
	}
	if !l.shaking(c) {
		l.h.OnDrained(c)
	}
}
