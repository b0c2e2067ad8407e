package epoll

import (
	"testing"
	"time"
)

func TestBufferClasses(t *testing.T) {
	for _, c := range []struct{ n, class int }{
		{0, 0}, {1, 0}, {512, 0}, {513, 1}, {1024, 1}, {1025, 2}, {1 << 21, classes - 1}, {1<<21 + 1, classes},
	} {
		if got := classHolding(c.n); got != c.class {
			t.Errorf("class of %d bytes: %d, want %d", c.n, got, c.class)
		}
	}
}

func TestBuffersAreReusedAndBounded(t *testing.T) {
	var k buffers
	mem := k.get(700)
	if len(mem) != 1024 {
		t.Fatal(len(mem))
	}
	k.put(mem[:3])
	if again := k.get(1024); &again[0] != &mem[0] || len(again) != 1024 {
		t.Fatal("memory was not reused")
	}
	k.put(make([]byte, 1300)) // grown by append: serves the class below
	if len(k.get(1024)) != 1300 {
		t.Fatal("memory of odd length was not reused")
	}
	k.put(make([]byte, 100))
	k.put(make([]byte, 8<<20))
	if k.freeBytes != 0 {
		t.Fatal("kept memory of no class")
	}
	for range 100 {
		k.put(make([]byte, 1<<20))
	}
	if k.freeBytes != classBytesMax {
		t.Fatalf("kept %d bytes of one class, want %d", k.freeBytes, classBytesMax)
	}
}

// An idle loop gives its free memory back.
func TestTrim(t *testing.T) {
	r := newRig(t, Options{})
	c, _ := r.pair()
	put(c, make([]byte, 50000))
	r.tick()
	for range 1000 {
		r.bufs.put(make([]byte, 512))
	}
	for range 15 {
		r.advance(time.Second)
	}
	if free := r.Stats().FreeBytes; free != 0 {
		t.Fatalf("%d bytes are kept for nothing", free)
	}
}

func TestTrimKeepsWhatIsUsed(t *testing.T) {
	var k buffers
	for range 10 {
		k.put(make([]byte, 512))
	}
	for range 20 {
		k.trim()
		var used [][]byte
		for range 4 {
			used = append(used, k.get(512))
		}
		for _, mem := range used {
			k.put(mem)
		}
	}
	if n := len(k.classes[0].free); n != 4 {
		t.Fatalf("%d buffers kept, of which 4 are used every second", n)
	}
}
