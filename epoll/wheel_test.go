package epoll

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestTimeoutComesOnceAndOnTime(t *testing.T) {
	for _, in := range []uint32{0, 1, 2, 60, 254, 255, 256, 257, 1000} {
		r := newRig(t, Options{})
		fired := 0
		r.timeout = func(c *Conn) { fired++ }
		c, _ := r.pair()
		c.Arm(r.NowSec() + in)
		for range max(in, 1) - 1 {
			r.advance(time.Second)
		}
		if fired != 0 {
			t.Fatalf("deadline in %d s: fired a second too early", in)
		}
		r.advance(time.Second)
		if fired != 1 {
			t.Fatalf("deadline in %d s: fired %d times when due", in, fired)
		}
		for range 600 {
			r.advance(time.Second)
		}
		if fired != 1 || c.is(isLinked) {
			t.Fatalf("deadline in %d s: fired %d times", in, fired)
		}
	}
}

func TestMovingADeadline(t *testing.T) {
	r := newRig(t, Options{})
	var firedAt []uint32
	r.timeout = func(c *Conn) { firedAt = append(firedAt, r.NowSec()) }
	c, _ := r.pair()
	start := r.NowSec()
	c.Arm(start + 10)
	linked := c.linkedSec
	c.Arm(start + 90)
	if c.linkedSec != linked {
		t.Fatal("moving a deadline later must not touch the wheel")
	}
	c.Arm(start + 5)
	for range 20 {
		r.advance(time.Second)
	}
	c.Arm(start + 25)
	c.Arm(0)
	for range 20 {
		r.advance(time.Second)
	}
	if len(firedAt) != 1 || firedAt[0] != start+5 {
		t.Fatalf("fired at %v, want %d", firedAt, start+5)
	}
}

// A keep-alive renewed by every packet costs the wheel one look a period.
func TestRenewedDeadlineNeverFires(t *testing.T) {
	r := newRig(t, Options{})
	r.timeout = func(c *Conn) { t.Error("fired") }
	c, _ := r.pair()
	for range 500 {
		c.Arm(r.NowSec() + 3)
		r.advance(time.Second)
	}
}

func TestArmInsideOnTimeout(t *testing.T) {
	r := newRig(t, Options{})
	fired := 0
	r.timeout = func(c *Conn) {
		fired++
		c.Arm(r.NowSec()) // already past: the next second, not this tick again
	}
	r.advance(0)
	c, _ := r.pair()
	c.Arm(r.NowSec() + 1)
	for i := 1; i <= 5; i++ {
		r.advance(time.Second)
		if fired != i {
			t.Fatalf("fired %d times in %d s", fired, i)
		}
	}
}

// The wheel against the obvious: a few hundred connections, random moves, random gaps in the clock.
func TestWheelAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t, Options{})
	deadline := map[*Conn]uint32{}
	r.timeout = func(c *Conn) {
		if d := deadline[c]; d == 0 || d > r.NowSec() {
			t.Fatalf("seed %d: fired at %d, deadline %d", seed, r.NowSec(), d)
		}
		delete(deadline, c)
	}
	var all []*Conn
	for range 200 {
		c, _ := r.pair()
		all = append(all, c)
	}
	for range 2000 {
		for range 20 {
			c := all[rng.IntN(len(all))]
			d := r.NowSec() + uint32(rng.IntN(1<<rng.IntN(11)))
			if rng.IntN(5) == 0 {
				d = 0
			}
			c.Arm(d)
			delete(deadline, c)
			if d != 0 {
				deadline[c] = d
			}
		}
		gap := time.Duration(rng.IntN(3)) * time.Second / 2
		if rng.IntN(100) == 0 {
			gap = time.Duration(rng.IntN(700)) * time.Second
		}
		before := r.NowSec()
		r.advance(gap)
		for c, d := range deadline {
			// A deadline that was past when it was set may wait for the next second.
			if d <= r.NowSec() && d > before {
				t.Fatalf("seed %d: at %d the deadline %d has not fired (linked %d)", seed, r.NowSec(), d, c.linkedSec)
			}
		}
	}
}

// After the process was stopped for a while, bytes that wait in the sockets are read before deadlines are judged,
// also when they do not fit in one wait.
func TestLateLoopReadsBeforeItJudges(t *testing.T) {
	const n = eventsMax*2 + 100
	r := newRig(t, Options{})
	r.timeout = func(c *Conn) { t.Error("timed out with a ping in the socket") }
	r.data = func(c *Conn, p []byte) []byte { c.Arm(r.NowSec() + 10); return nil }
	var peers []*peer
	for range n {
		c, p := r.pair()
		c.Arm(r.NowSec() + 10)
		peers = append(peers, p)
	}
	r.tick()
	for _, p := range peers {
		p.send([]byte("ping"))
	}
	r.advance(20 * time.Second)
	for range 5 {
		r.advance(time.Second)
	}
	if r.stats.Reads != n {
		t.Fatalf("%d reads", r.stats.Reads)
	}
	// But a flood cannot put timers off for ever.
	r.timeout = nil
	for range n/eventsMax + 2 {
		r.runTimers(eventsMax)
	}
	if r.wheel.doneSec != r.NowSec() {
		t.Fatal("timers never ran")
	}
}
