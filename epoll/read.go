package epoll

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// How bytes come in. A connection without a tail is read into the loop's shared buffer. So is one with a short tail,
// which is copied in front first: that costs at most 2*tailShort bytes of copying a read, less than the read itself.
// A long tail is not moved; the read goes behind it into the tail's own memory, which doubles when full. So a peer
// that sends a packet of a megabyte a byte at a time costs no more copying than one that sends it at once.

const (
	// tailShort is the length up to which a tail is copied to the shared buffer and back.
	tailShort = 2048
	// roomMin is the least room a read into a tail's own memory gets.
	roomMin = 2048
)

// read reads a connection once and shows the handler what there is.
func (l *Loop) read(c *Conn) {
	if c.is(isTLS) {
		l.readSealed(c)
		return
	}
	if c.tail != 0 && l.bufs.at(c.tail).len() > tailShort {
		l.readBehind(c)
		return
	}
	room := l.rbuf[tailShort:]
	n, errno := recv(c.fd, room)
	if !l.received(c, n, errno) {
		return
	}
	p := room[:n]
	if c.tail != 0 {
		tail := l.bufs.at(c.tail).bytes()
		p = l.rbuf[tailShort-len(tail) : tailShort+n]
		copy(p, tail)
		l.stats.TailCopyBytes += uint64(len(tail))
	}
	l.show(c, p, false)
}

// readBehind reads into the memory of a long tail.
func (l *Loop) readBehind(c *Conn) {
	b := l.bufs.at(c.tail)
	l.makeRoom(b, min(roomMin, l.o.ReadBytes))
	n, errno := recv(c.fd, b.mem[b.end:min(len(b.mem), b.end+l.o.ReadBytes)])
	if !l.received(c, n, errno) {
		return
	}
	b.end += n
	l.show(c, b.bytes(), true)
}

// received counts a read, and ends the connection if there is nothing more to come.
func (l *Loop) received(c *Conn, n int, errno unix.Errno) bool {
	l.stats.Reads++
	switch {
	case n > 0:
		l.stats.ReadBytes += uint64(n)
		return true
	case errno == 0:
		l.end(c, CausePeerClosed)
	case errno != unix.EAGAIN && errno != unix.EINTR:
		l.end(c, CausePeerReset)
	}
	return false
}

// makeRoom makes at least n bytes free behind the bytes of b: by moving them down over as many that are done with, or
// else by doubling the memory. Either way a byte is moved a bounded number of times.
func (l *Loop) makeRoom(b *buffer, n int) {
	if len(b.mem)-b.end >= n {
		return
	}
	size := b.len()
	if b.off >= size && len(b.mem)-size >= n {
		copy(b.mem, b.bytes())
	} else {
		mem := l.bufs.get(max(2*size, size+n))
		copy(mem, b.bytes())
		l.bufs.replace(b, mem)
	}
	l.stats.TailCopyBytes += uint64(size)
	b.off, b.end = 0, size
}

// offerResumed shows the tails of connections that were resumed or adopted. Those resumed meanwhile wait for the next
// tick, so a handler that pauses and resumes at every turn cannot hold the loop.
func (l *Loop) offerResumed() {
	l.offers, l.resumed = l.resumed, l.offers[:0]
	for _, slot := range l.offers {
		c := l.at(slot)
		if !c.is(isResumed) {
			continue
		}
		c.flags &^= isResumed
		if c.is(isPaused | isEnded | isFinishing) {
			continue
		}
		if c.tail != 0 {
			l.show(c, l.bufs.at(c.tail).bytes(), true)
		}
		if c.is(isTLS) {
			l.endIfOver(c)
		}
		if c.is(isMuted) && !c.is(isPaused) && !c.Closing() && !l.shaking(c) {
			c.flags &^= isMuted
			l.rearm(c)
		}
	}
}

// show lends p to the handler and keeps what it leaves. own tells that p is the memory of the connection's tail.
func (l *Loop) show(c *Conn, p []byte, own bool) {
	l.showing, l.shown = c.slot, p
	was := c.flags
	rest := l.h.OnData(c, p)
	l.showing, l.shown = 0, nil
	if c.is(isEnded | isFinishing) {
		l.bufs.drop(&c.tail)
	} else {
		l.keep(c, p, rest, own)
		if c.is(isTLS) && was&isTLS == 0 {
			l.feedTail(c)
		}
	}
	if !own {
		mangle(p)
	}
}

// keep makes rest, a part of p, the connection's tail.
func (l *Loop) keep(c *Conn, p, rest []byte, own bool) {
	if len(rest) == 0 {
		l.bufs.drop(&c.tail)
		return
	}
	at := int(uintptr(unsafe.Pointer(unsafe.SliceData(rest))) - uintptr(unsafe.Pointer(unsafe.SliceData(p))))
	if at < 0 || at > len(p)-len(rest) {
		panic(fmt.Sprintf("epoll: OnData returned %d bytes that are no part of the %d it was given", len(rest), len(p)))
	}
	if len(rest) > l.o.TailBytesMax {
		l.end(c, CauseTailTooLong)
		return
	}
	if own {
		b := l.bufs.at(c.tail)
		b.off += at
		b.end = b.off + len(rest)
		// Few bytes shall not hold much memory. A buffer is this empty only after its owner has consumed more than is
		// copied here.
		if len(b.mem) > 1<<classBitsMin && len(rest) < len(b.mem)/4 {
			mem := l.bufs.get(len(rest))
			copy(mem, rest)
			l.bufs.replace(b, mem)
			b.off, b.end = 0, len(rest)
			l.stats.TailCopyBytes += uint64(len(rest))
		}
		return
	}
	l.setTail(c, rest)
}

// setTail makes a copy of p, which is not memory of the tail, the connection's tail.
func (l *Loop) setTail(c *Conn, p []byte) {
	if c.tail == 0 {
		c.tail = l.bufs.lend(kindTail, len(p))
	}
	b := l.bufs.at(c.tail)
	if len(b.mem) < len(p) {
		l.bufs.replace(b, l.bufs.get(len(p)))
	}
	copy(b.mem, p)
	b.off, b.end = 0, len(p)
	l.stats.TailCopyBytes += uint64(len(p))
}

// PauseRead stops OnData until ResumeRead. Bytes already read stay in the tail, later ones in the kernel, and in the
// end in the peer. A connection reset during the pause ends with CausePeerReset; a FIN is seen after ResumeRead.
func (c *Conn) PauseRead() {
	c.use()
	if !c.Closing() {
		c.flags |= isPaused
	}
}

// ResumeRead lets OnData be called again. A kept tail is offered later in this tick, or in the next one at once, also
// when nothing new arrives; this holds for a connection that was not paused, too.
func (c *Conn) ResumeRead() {
	l := c.use()
	if c.Closing() {
		return
	}
	c.flags &^= isPaused
	if c.is(isMuted) && c.tail == 0 { // else once its tail was offered, if it does not pause again then
		c.flags &^= isMuted
		l.rearm(c)
	}
	if c.tail != 0 || l.showing == c.slot || c.is(isTLS) && l.secure(c).over {
		l.resume(c)
	}
}

// resume puts the connection on the list of tails to be offered.
func (l *Loop) resume(c *Conn) {
	if !c.is(isResumed) {
		c.flags |= isResumed
		l.resumed = append(l.resumed, c.slot)
	}
}

// Offer replaces the kept tail by a copy of unread, to be offered with the next bytes or after ResumeRead. Not from
// within the connection's own OnData, whose result is the tail.
func (c *Conn) Offer(unread []byte) {
	l := c.use()
	if l.showing == c.slot {
		panic(fmt.Sprintf("epoll: Offer within OnData of slot %d", c.slot))
	}
	if c.Closing() {
		return
	}
	old := c.tail
	c.tail = 0
	if len(unread) > 0 {
		l.setTail(c, unread)
	}
	l.bufs.drop(&old)
}
