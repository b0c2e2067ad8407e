package epoll

import "unsafe"

// Handle names one connection of one loop while it lives: generation<<32 | slot. Generations start at 1, so 0 names
// nothing. A handle may cross goroutines and outlive its connection; then it finds nothing.
type Handle uint64

// Slot is the index of the connection in its loop, and in the owner's Chunks.
func (h Handle) Slot() uint32 { return uint32(h) }

func (h Handle) generation() uint32 { return uint32(h >> 32) }

func handleOf(slot, generation uint32) Handle { return Handle(generation)<<32 | Handle(slot) }

const (
	chunkBits = 10
	chunkLen  = 1 << chunkBits
	chunkMask = chunkLen - 1
)

// Chunks is a slot-indexed array that grows in chunks of 1,024 elements which never move. The owner of a loop keeps
// its per-connection state in one, by Conn.Slot. The zero value is ready. Owned by one loop.
type Chunks[T any] struct {
	chunks []*[chunkLen]T
}

// At returns the element of the slot, which is zero when it was never written. It grows the array on demand.
func (k *Chunks[T]) At(slot uint32) *T {
	i := int(slot >> chunkBits)
	for i >= len(k.chunks) {
		k.chunks = append(k.chunks, nil)
	}
	if k.chunks[i] == nil {
		k.chunks[i] = new([chunkLen]T)
	}
	return &k.chunks[i][slot&chunkMask]
}

// chunk holds 1,023 connections behind one cell that points back to their loop. A Conn finds its loop by its slot's
// place in the chunk and so needs no pointer of its own (TestIdleMemory: 61 to 73 bytes of heap per idle connection, all
// told); the collector scans the first word of a chunk, nothing else. At 64 KiB it is exactly eight pages of the Go
// heap. Slots whose place is 0 do not exist, therefore neither does slot 0, which the timer wheel uses to end its
// lists.
type chunk struct {
	loop  *Loop
	_     [unsafe.Sizeof(Conn{}) - unsafe.Sizeof(uintptr(0))]byte
	conns [chunkLen - 1]Conn
}

// loop returns the loop that owns the connection.
func (c *Conn) loop() *Loop {
	place := uintptr(c.slot & chunkMask)
	return (*chunk)(unsafe.Add(unsafe.Pointer(c), -int(place*unsafe.Sizeof(Conn{})))).loop
}

// use is the beginning of every method that acts on a connection.
func (c *Conn) use() *Loop {
	l := c.loop()
	l.checkOwner()
	checkLive(c)
	return l
}

// at returns the connection cell of a slot that has been handed out before.
func (l *Loop) at(slot uint32) *Conn {
	return &l.chunks[slot>>chunkBits].conns[slot&chunkMask-1]
}

// Conn returns the connection that the handle names, or nil when that has ended or was detached. Loop goroutine only.
func (l *Loop) Conn(h Handle) *Conn {
	l.checkOwner()
	slot := h.Slot()
	if slot >= l.slotsUsed || slot&chunkMask == 0 {
		return nil
	}
	c := l.at(slot)
	if c.generation != h.generation() || !c.is(isLive) || c.is(isDetached) {
		return nil
	}
	return c
}

// Each calls f for each connection that is not closing. f may close, detach and dial. Loop goroutine only.
func (l *Loop) Each(f func(c *Conn)) {
	for next := uint32(1); next != 0; {
		next = l.EachFrom(next, chunkLen, f)
	}
}

// take gives fd a slot.
func (l *Loop) take(fd int32, listener int16) *Conn {
	var slot uint32
	if n := len(l.slotsFree); n > 0 {
		slot = l.slotsFree[n-1]
		l.slotsFree = l.slotsFree[:n-1]
	} else {
		slot = l.grow()
	}
	c := l.at(slot)
	*c = Conn{fd: fd, slot: slot, generation: c.generation, flags: isLive, listener: listener}
	if c.generation == 0 {
		c.generation = 1
	}
	l.live++
	return c
}

// grow returns a slot that was never used.
func (l *Loop) grow() uint32 {
	if l.slotsUsed&chunkMask == 0 {
		l.chunks = append(l.chunks, &chunk{loop: l})
		l.slotsUsed++
	}
	l.slotsUsed++
	return l.slotsUsed - 1
}

// release frees the slot. Bumping the generation is what makes every handle and kernel event of the old connection
// stale.
func (l *Loop) release(c *Conn) {
	l.unlink(c)
	if c.is(isTLS) {
		l.dropSecure(c)
	}
	l.bufs.drop(&c.tail)
	l.bufs.drop(&c.batch)
	c.flags = 0
	c.generation++
	if c.generation == 0 {
		c.generation = 1
	}
	l.slotsFree = append(l.slotsFree, c.slot)
	l.live--
}
