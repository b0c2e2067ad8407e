//go:build race || gwcheck

package epoll

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// checked tells that this is a check build.
const checked = true

// owner remembers the thread that runs the loop. Check builds lock the goroutine to it, so that thread and goroutine
// are the same thing.
type owner struct {
	tid  int    // 0: not running
	full uint32 // the second of the last look at everything
}

func (o *owner) enter() {
	runtime.LockOSThread()
	o.tid = unix.Gettid()
}

func (o *owner) leave() {
	o.tid = 0
	runtime.UnlockOSThread()
}

// checkOwner panics when a method of the loop is called from a goroutine that does not own it.
func (l *Loop) checkOwner() {
	if tid := l.owner.tid; tid != 0 && tid != unix.Gettid() {
		panic(fmt.Sprintf("epoll: thread %d calls into the loop of thread %d", unix.Gettid(), tid))
	}
}

// checkLive panics when a *Conn is used after its OnClose, or after the tick in which it was detached.
func checkLive(c *Conn) {
	if !c.is(isLive) {
		panic(fmt.Sprintf("epoll: use of slot %d after it was freed", c.slot))
	}
}

// mangle overwrites bytes whose loan has ended, so that whoever kept them notices.
func mangle(p []byte) {
	for i := range p {
		p[i] = 0xDB
	}
}

// checkInvariants looks at the whole loop after the first tick of each second.
func (l *Loop) checkInvariants() {
	if l.owner.full == l.nowSec {
		return
	}
	l.owner.full = l.nowSec
	l.checkAll()
}

func (l *Loop) checkAll() {
	live, lent := 0, 0
	for slot := uint32(1); slot < l.slotsUsed; slot++ {
		if slot&chunkMask == 0 {
			continue
		}
		c := l.at(slot)
		if !c.is(isLive) {
			continue
		}
		live++
		l.checkConn(c)
		for _, i := range []uint32{c.tail, c.batch} {
			if i != 0 {
				lent++
			}
		}
		if c.is(isTLS) {
			for _, i := range []uint32{l.secure(c).raw, l.secure(c).out} {
				if i != 0 {
					lent++
				}
			}
		}
	}
	if live != l.live || live+len(l.slotsFree)+len(l.chunks) != int(l.slotsUsed) {
		panic(fmt.Sprintf("epoll: %d live connections counted, %d found; %d slots free of %d",
			l.live, live, len(l.slotsFree), l.slotsUsed))
	}
	if table := max(0, len(l.bufs.table)-1); lent+len(l.bufs.unused) != table {
		panic(fmt.Sprintf("epoll: %d buffers lent and %d unused, of %d", lent, len(l.bufs.unused), table))
	}
}

func (l *Loop) checkConn(c *Conn) {
	unsent := c.Unsent()
	switch {
	case c.loop() != l:
		panic(fmt.Sprintf("epoll: slot %d does not find its loop", c.slot))
	case c.is(isBlocked) && unsent == 0:
		panic(fmt.Sprintf("epoll: slot %d waits for room and has nothing to send", c.slot))
	case unsent > 0 && !c.is(isBlocked|isDirty|isConnecting) && !l.shaking(c):
		panic(fmt.Sprintf("epoll: slot %d has %d bytes that nobody will send", c.slot, unsent))
	case c.tail != 0 && l.bufs.at(c.tail).len() > l.o.TailBytesMax:
		panic(fmt.Sprintf("epoll: slot %d keeps a tail of %d", c.slot, l.bufs.at(c.tail).len()))
	case l.due(c) != never && !c.is(isLinked):
		panic(fmt.Sprintf("epoll: slot %d is due at %d and not in the wheel", c.slot, l.due(c)))
	}
}
