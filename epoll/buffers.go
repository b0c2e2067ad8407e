package epoll

import "math/bits"

// buffers lends memory to tails and batches. A connection names its buffer by an index into the table, so that Conn
// holds no pointers. Freed memory goes to lists by power-of-two class. They are plain slices instead of a sync.Pool:
// the loop is their only user, and the pool would cost an atomic and an interface a call.
//
// Two rules bound what the lists hold: no class keeps more than classBytesMax, and once a second each class gives
// half of what nobody used during that second to the collector. So an idle loop holds nothing. Owned by one loop.
type buffers struct {
	table     []buffer // index 0 is never used
	unused    []uint32 // free indices of the table
	classes   [classes]class
	held      [kinds]int // bytes of memory lent
	freeBytes int        // bytes of memory in the lists
}

// buffer is memory in use: mem[off:end] are the bytes that count.
type buffer struct {
	mem      []byte
	off, end int
	kind     kind
}

func (b *buffer) bytes() []byte { return b.mem[b.off:b.end] }

func (b *buffer) len() int { return b.end - b.off }

// compact moves the bytes down over those that are done with, if these are as many: so a byte moves few times.
func (b *buffer) compact() {
	if b.off >= b.len() {
		b.end = copy(b.mem, b.bytes())
		b.off = 0
	}
}

type kind uint8

const (
	kindTail kind = iota
	kindBatch
	kinds
)

type class struct {
	free [][]byte
	low  int // the shortest free has been since the last trim
}

const (
	classBitsMin  = 9  // 512 B
	classBitsMax  = 21 // 2 MiB, which holds the default longest tail
	classes       = classBitsMax - classBitsMin + 1
	classBytesMax = 8 << 20
)

// lend returns a new table entry with room for at least n bytes.
func (k *buffers) lend(kind kind, n int) uint32 {
	if len(k.table) == 0 {
		k.table = append(k.table, buffer{})
	}
	var i uint32
	if n := len(k.unused); n > 0 {
		i = k.unused[n-1]
		k.unused = k.unused[:n-1]
	} else {
		k.table = append(k.table, buffer{})
		i = uint32(len(k.table) - 1)
	}
	mem := k.get(n)
	k.table[i] = buffer{mem: mem, kind: kind}
	k.held[kind] += cap(mem)
	return i
}

// at returns the entry. It is good until the next lend.
func (k *buffers) at(i uint32) *buffer { return &k.table[i] }

// drop takes the entry back and forgets it, if there is one.
func (k *buffers) drop(i *uint32) {
	if *i == 0 {
		return
	}
	b := &k.table[*i]
	k.held[b.kind] -= cap(b.mem)
	k.put(b.mem)
	*b = buffer{}
	k.unused = append(k.unused, *i)
	*i = 0
}

// replace gives the entry other memory, which holds the same bytes.
func (k *buffers) replace(b *buffer, mem []byte) {
	k.held[b.kind] += cap(mem) - cap(b.mem)
	k.put(b.mem)
	b.mem = mem[:cap(mem)]
}

// enlarge doubles the entry's memory.
func (k *buffers) enlarge(b *buffer) {
	mem := k.get(2 * len(b.mem))
	b.end = copy(mem, b.bytes())
	b.off = 0
	k.replace(b, mem)
}

// get returns memory of at least n bytes.
func (k *buffers) get(n int) []byte {
	at := classHolding(n)
	if at >= classes {
		return make([]byte, n)
	}
	c := &k.classes[at]
	last := len(c.free) - 1
	if last < 0 {
		return make([]byte, 1<<(at+classBitsMin))
	}
	mem := c.free[last]
	c.free[last] = nil
	c.free = c.free[:last]
	c.low = min(c.low, last)
	k.freeBytes -= cap(mem)
	return mem
}

// put takes memory back. Memory that append has grown has odd lengths; it serves the class below.
func (k *buffers) put(mem []byte) {
	mem = mem[:cap(mem)]
	mangle(mem)
	at := bits.Len(uint(len(mem))) - 1 - classBitsMin
	if at < 0 || at >= classes {
		return
	}
	c := &k.classes[at]
	if (len(c.free)+1)<<(at+classBitsMin) > classBytesMax {
		return
	}
	c.free = append(c.free, mem)
	k.freeBytes += len(mem)
}

// trim lets go of half of what was not used since the last trim, rounded up.
func (k *buffers) trim() {
	for i := range k.classes {
		c := &k.classes[i]
		for range (c.low + 1) / 2 {
			last := len(c.free) - 1
			k.freeBytes -= cap(c.free[last])
			c.free[last] = nil
			c.free = c.free[:last]
		}
		c.low = len(c.free)
	}
}

// classHolding returns the smallest class whose memory holds n bytes.
func classHolding(n int) int {
	if n <= 1<<classBitsMin {
		return 0
	}
	return bits.Len(uint(n-1)) - classBitsMin
}
