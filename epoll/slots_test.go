package epoll

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(Conn{}); n != 64 {
		t.Errorf("a Conn takes %d bytes, want 64", n)
	}
	if n := unsafe.Sizeof(chunk{}); n != chunkLen*64 {
		t.Errorf("a chunk takes %d bytes, want %d", n, chunkLen*64)
	}
	var k chunk
	if at := unsafe.Offsetof(k.conns); at != 64 {
		t.Errorf("connections begin at %d of their chunk, want 64", at)
	}
}

func TestHandles(t *testing.T) {
	r := newRig(t, Options{})
	if r.Conn(0) != nil || r.Conn(handleOf(1, 1)) != nil || r.Conn(handleOf(1<<31, 7)) != nil {
		t.Fatal("found what never was")
	}
	c, _ := r.pair()
	h := c.Handle()
	if r.Conn(h) != c || h.Slot() != c.Slot() || c.loop() != r.Loop {
		t.Fatal("the handle does not find its connection")
	}
	c.Close()
	if r.Conn(h) != c {
		t.Fatal("a closing connection lives until OnClose")
	}
	r.close = func(c *Conn, _ Cause) {
		if r.Conn(h) != c {
			t.Error("gone within OnClose")
		}
	}
	r.tick()
	if r.Conn(h) != nil {
		t.Fatal("a stale handle found something")
	}
	again, _ := r.pair()
	if again.Slot() != h.Slot() || again.Handle() == h || r.Conn(h) != nil {
		t.Fatal("a reused slot must have another generation")
	}
}

// A kernel event that names an earlier generation of a slot finds nothing.
func TestStaleKernelEvent(t *testing.T) {
	r := newRig(t, Options{})
	r.data = func(c *Conn, p []byte) []byte { t.Error("OnData"); return nil }
	c, _ := r.pair()
	old := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLERR, Fd: int32(c.slot), Pad: int32(c.generation)}
	c.Close()
	r.tick()
	_, p := r.pair() // takes the slot
	p.send([]byte("x"))
	r.dispatch(&old)
	if r.stats.StaleEvents != 1 || r.stats.Reads != 0 {
		t.Fatalf("%+v", r.stats)
	}
	r.data = nil
}

func TestGenerationZeroIsSkipped(t *testing.T) {
	r := newRig(t, Options{})
	c, _ := r.pair()
	r.closeDescriptor(c)
	c.generation = 1<<32 - 1
	r.release(c)
	if again, _ := r.pair(); again.generation != 1 {
		t.Fatal(again.generation)
	}
}

// closeDescriptor takes the descriptor away from a connection that a test frees by hand.
func (r *rig) closeDescriptor(c *Conn) {
	if err := r.poll.remove(int(c.fd)); err != nil {
		r.t.Fatal(err)
	}
	unix.Close(int(c.fd))
}

func TestSlotsOverSeveralChunks(t *testing.T) {
	r := newRig(t, Options{})
	var own Chunks[[3]uint32]
	seen := map[uint32]bool{}
	var first *Conn
	for range 2*chunkLen + 10 {
		c, p := r.pair()
		p.close()
		if first == nil {
			first = c
		}
		if seen[c.slot] || c.slot&chunkMask == 0 || c.loop() != r.Loop || r.Conn(c.Handle()) != c {
			t.Fatalf("slot %d", c.slot)
		}
		seen[c.slot] = true
		own.At(c.slot)[1] = c.slot
	}
	if r.at(first.slot) != first {
		t.Fatal("a connection has moved")
	}
	n := 0
	r.Each(func(c *Conn) {
		n++
		if own.At(c.slot)[1] != c.slot {
			t.Errorf("slot %d has the state of another", c.slot)
		}
		switch n % 3 {
		case 0:
			c.Close()
		case 1:
			unix.Close(c.Detach().FD)
		}
	})
	if n != len(seen) {
		t.Fatalf("Each saw %d of %d", n, len(seen))
	}
	n = 0
	r.Each(func(*Conn) { n++ })
	if want := (len(seen) + 1) / 3; n < want-1 || n > want+1 {
		t.Fatalf("Each saw %d of the %d that are left", n, want)
	}
}

func TestChunksGrowInAnyOrder(t *testing.T) {
	var k Chunks[int]
	p := k.At(5 * chunkLen)
	*p = 7
	*k.At(1) = 8
	if k.At(5*chunkLen) != p || *p != 7 || *k.At(1) != 8 || k.chunks[2] != nil {
		t.Fatal("elements have moved")
	}
}

func TestCauseNames(t *testing.T) {
	for c := range causes {
		if Cause(c).String() == "" {
			t.Errorf("cause %d has no name", c)
		}
	}
	if Cause(200).String() != "unknown cause" {
		t.Error("unknown cause")
	}
}

// EachFrom, called with what it returned, sees every connection once, however small the steps, and none that is closing.
func TestEachFrom(t *testing.T) {
	r := newRig(t, Options{})
	for range 7 {
		r.pair()
	}
	closing, _ := r.pair()
	closing.Close()
	for _, n := range []int{1, 3, 100} {
		seen, calls := map[uint32]int{}, 0
		for next := uint32(1); next != 0; calls++ {
			next = r.EachFrom(next, n, func(c *Conn) { seen[c.Slot()]++ })
		}
		if len(seen) != 7 || seen[closing.Slot()] != 0 {
			t.Errorf("steps of %d: %v", n, seen)
		}
		if n == 1 && calls < 8 || n == 100 && calls != 1 {
			t.Errorf("steps of %d: %d calls", n, calls)
		}
		for _, times := range seen {
			if times != 1 {
				t.Errorf("steps of %d: %v", n, seen)
			}
		}
	}
}
