package epoll

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestOneWritePerTick(t *testing.T) {
	r := newRig(t, Options{})
	r.data = func(c *Conn, p []byte) []byte {
		for range 10 {
			put(c, []byte("ab"))
		}
		if c.Unsent() != 20 {
			t.Errorf("%d unsent", c.Unsent())
		}
		return nil
	}
	c, p := r.pair()
	p.send([]byte("x"))
	r.tick()
	if r.stats.Writes != 1 || r.stats.WriteBytes != 20 || r.stats.WouldBlock != 0 {
		t.Fatalf("%+v", r.stats)
	}
	if c.batch != 0 || c.Unsent() != 0 {
		t.Fatal("an empty batch holds memory")
	}
	if got, _, _ := p.receive(); len(got) != 20 {
		t.Fatalf("%d bytes arrived", len(got))
	}
}

func TestBeginWithoutBytesWritesNothing(t *testing.T) {
	r := newRig(t, Options{})
	c, _ := r.pair()
	c.End(c.Begin())
	r.tick()
	if r.stats.Writes != 0 || c.batch != 0 {
		t.Fatalf("%+v", r.stats)
	}
}

// A socket that takes little gives short writes and EAGAIN: everything arrives in order, EPOLLOUT is armed only in
// between, and OnDrained comes once per blockage.
func TestShortWrites(t *testing.T) {
	for _, kind := range []string{"unix", "tcp"} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, Options{})
			connect := r.pair
			if kind == "tcp" {
				connect = r.tcp
			}
			c, p := connect()
			setBuffer(t, int(c.fd), unix.SO_SNDBUF, 4096)
			setBuffer(t, p.fd, unix.SO_RCVBUF, 32<<10)
			drained := 0
			r.drained = func(c *Conn) {
				drained++
				if c.Unsent() != 0 || c.Blocked() {
					t.Error("drained, but not empty")
				}
			}
			want := pattern(300 << 10)
			var got []byte
			sent := 0
			for i := 0; sent < len(want); i++ {
				n := min(1+i*37%5000, len(want)-sent)
				put(c, want[sent:sent+n])
				sent += n
				r.tick()
				if c.Blocked() != (c.Unsent() > 0) {
					t.Fatalf("blocked %v with %d unsent", c.Blocked(), c.Unsent())
				}
				if i%3 == 0 {
					b, _, _ := p.receive()
					got = append(got, b...)
				}
			}
			r.until("all written", func() bool {
				b, _, _ := p.receive()
				got = append(got, b...)
				return c.Unsent() == 0
			})
			r.until("all arrived", func() bool {
				b, _, _ := p.receive()
				got = append(got, b...)
				return len(got) >= len(want)
			})
			same(t, "stream", got, want)
			if drained == 0 || r.stats.WouldBlock == 0 {
				t.Fatalf("drained %d times, %d refusals: the test did not test", drained, r.stats.WouldBlock)
			}
		})
	}
}

func TestBatchBeyondFlushBytesIsWrittenAtOnce(t *testing.T) {
	r := newRig(t, Options{FlushBytes: 1000})
	c, p := r.pair()
	put(c, make([]byte, 1000))
	if r.stats.Writes != 0 {
		t.Fatal("written although not above the limit")
	}
	put(c, make([]byte, 1))
	if r.stats.Writes != 1 || c.Unsent() != 0 {
		t.Fatalf("not written above the limit: %+v", r.stats)
	}
	r.tick()
	if got, _, _ := p.receive(); len(got) != 1001 || r.stats.Writes != 1 {
		t.Fatalf("%d bytes, %d writes", len(got), r.stats.Writes)
	}
}

func TestWriteToResetPeer(t *testing.T) {
	r := newRig(t, Options{FlushBytes: 100})
	c, p := r.tcp()
	p.reset()
	for !c.Closing() {
		put(c, make([]byte, 1000)) // the early flush finds it, within a callback of anybody
	}
	put(c, make([]byte, 1000))
	if why := r.untilClosed(1); why != CausePeerReset {
		t.Fatal(why)
	}
}

func TestStalledPeerIsClosed(t *testing.T) {
	r := newRig(t, Options{StallSec: 10})
	timeouts := 0
	r.timeout = func(c *Conn) { timeouts++ }
	c, p := r.pair()
	setBuffer(t, int(c.fd), unix.SO_SNDBUF, 4096)
	put(c, make([]byte, 200<<10))
	r.tick()
	c.Arm(r.NowSec() + 5)
	r.advance(9 * time.Second)
	if timeouts != 1 {
		t.Fatal("the owner's deadline must come although the connection is blocked")
	}
	p.receive() // progress
	r.until("progress", func() bool { return c.movedSec == r.NowSec() })
	r.advance(9 * time.Second)
	if len(r.closed) != 0 || !c.Blocked() {
		t.Fatalf("closed %v although bytes moved 9 s ago", r.closed)
	}
	r.advance(3 * time.Second)
	if len(r.closed) != 1 || r.closed[0] != CauseStalled {
		t.Fatal(r.closed)
	}
}

func TestEndWithoutBeginPanics(t *testing.T) {
	r := newRig(t, Options{})
	c, _ := r.pair()
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	c.End([]byte("mine"))
}
