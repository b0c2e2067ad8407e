package epoll

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// closeIn prepares a close inside each callback, and tells how many calls of OnClose it leads to.
var closeIn = map[string]func(r *rig) int{
	"OnOpen": func(r *rig) int {
		r.open = func(c *Conn) { c.Close() }
		dialPeer(r.t, r.listen())
		return 1
	},
	"OnData": func(r *rig) int {
		r.data = func(c *Conn, p []byte) []byte { c.Close(); return p }
		_, p := r.pair()
		p.send([]byte("x"))
		return 1
	},
	"OnData with a long tail": func(r *rig) int {
		r.data = func(c *Conn, p []byte) []byte {
			if len(p) > 9000 {
				c.Close()
			}
			return p
		}
		_, p := r.pair()
		p.send(make([]byte, 9000))
		r.tick()
		p.send(make([]byte, 9000))
		return 1
	},
	"OnDrained": func(r *rig) int {
		r.drained = func(c *Conn) { c.Close() }
		c, p := r.pair()
		setBuffer(r.t, int(c.fd), unix.SO_SNDBUF, 4096)
		put(c, make([]byte, 30<<10))
		r.tick()
		for c.Blocked() {
			p.receive()
			r.tick()
		}
		return 1
	},
	"OnTimeout": func(r *rig) int {
		r.timeout = func(c *Conn) { c.Close() }
		c, _ := r.pair()
		c.Arm(r.NowSec() + 1)
		r.advance(time.Second)
		return 1
	},
	"OnClose": func(r *rig) int {
		var other *Conn
		r.close = func(c *Conn, why Cause) { c.Close(); other.Close() }
		c, _ := r.pair()
		other, _ = r.pair()
		c.Close()
		return 2
	},
	"OnWake": func(r *rig) int {
		c, _ := r.pair()
		r.Loop.Wake()
		r.wake = func() { c.Close() }
		return 1
	},
	"OnTickEnd": func(r *rig) int {
		c, _ := r.pair()
		r.tickEnd = func() { c.Close(); r.tickEnd = nil }
		return 1
	},
}

// Close is allowed in every callback: OnClose comes once, with CauseClosed, and nothing is called after it.
func TestCloseInsideEachCallback(t *testing.T) {
	for name, prepare := range closeIn {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{})
			n := prepare(r)
			if why := r.untilClosed(n); why != CauseClosed {
				t.Fatal(why)
			}
			r.tick()
			r.tick()
			if len(r.closed) != n {
				t.Fatalf("%d calls of OnClose, want %d", len(r.closed), n)
			}
		})
	}
}

// One connection's OnData may close its neighbour whose event is in the same batch.
func TestCloseNeighbourWithPendingEvent(t *testing.T) {
	r := newRig(t, Options{})
	a, ap := r.pair()
	b, bp := r.pair()
	calls := 0
	r.data = func(c *Conn, p []byte) []byte {
		calls++
		a.Close()
		b.Close()
		return nil
	}
	ap.send([]byte("x"))
	bp.send([]byte("x"))
	r.tick()
	if calls != 1 || len(r.closed) != 2 || r.stats.StaleEvents != 1 {
		t.Fatalf("%d OnData, %v closed, %d stale", calls, r.closed, r.stats.StaleEvents)
	}
}

func TestNothingHappensOnAClosingConnection(t *testing.T) {
	r := newRig(t, Options{})
	r.timeout = func(c *Conn) { t.Error("OnTimeout") }
	r.data = func(c *Conn, p []byte) []byte { t.Error("OnData"); return nil }
	c, p := r.pair()
	p.send([]byte("x"))
	half := append(c.Begin(), "half"...)
	c.Close()
	c.End(half)
	put(c, []byte("more"))
	c.Arm(1)
	c.PauseRead()
	c.ResumeRead()
	c.Offer([]byte("x"))
	c.Finish(10)
	c.Close()
	if !c.Closing() {
		t.Fatal("not closing")
	}
	r.tick()
	if got, eof, errno := p.receive(); len(got) != 0 || !(eof || errno == unix.ECONNRESET) || r.stats.Writes != 0 {
		t.Fatalf("%q arrived, eof %v, %v", got, eof, errno)
	}
}

// What OnClose makes others send, such as a will, goes out at once.
func TestWriteFromOnClose(t *testing.T) {
	r := newRig(t, Options{})
	c, _ := r.pair()
	other, p := r.pair()
	r.close = func(*Conn, Cause) { put(other, []byte("will")) }
	c.Close()
	r.tick()
	if !r.again {
		t.Fatal("the loop would sleep on unsent bytes")
	}
	r.tick()
	if got, _, _ := p.receive(); string(got) != "will" {
		t.Fatalf("%q", got)
	}
}

func TestFinishDeliversTheGoodbyeThoughThePeerKeepsSending(t *testing.T) {
	r := newRig(t, Options{})
	finished := false
	r.data = func(c *Conn, p []byte) []byte {
		if finished {
			t.Error("OnData after Finish")
		}
		finished = true
		put(c, []byte("goodbye"))
		c.Finish(10)
		put(c, []byte("too late"))
		return p
	}
	_, p := r.tcp()
	p.flood()
	var got []byte
	eof := false
	r.until("goodbye", func() bool {
		p.flood()
		b, end, errno := p.receive()
		if errno != 0 {
			t.Fatalf("the peer got %v instead of the goodbye", errno)
		}
		got, eof = append(got, b...), end
		return eof
	})
	if string(got) != "goodbye" || len(r.closed) != 0 {
		t.Fatalf("%q, closed %v", got, r.closed)
	}
	for range 4 * discardsMax {
		p.flood()
		r.tick()
	}
	if n := r.stats.Reads; n > 1+discardsMax {
		t.Errorf("%d reads of a connection that has had its goodbye", n)
	}
	for range 14 {
		r.advance(time.Second)
	}
	if why := r.untilClosed(1); why != CauseClosed {
		t.Fatal(why)
	}
}

func TestFinishWritesALongGoodbye(t *testing.T) {
	r := newRig(t, Options{})
	r.drained = func(*Conn) { t.Error("OnDrained after Finish") }
	c, p := r.pair()
	setBuffer(t, int(c.fd), unix.SO_SNDBUF, 4096)
	want := pattern(200 << 10)
	put(c, want)
	r.tick()
	c.Finish(10)
	p.shutWrite() // the peer has said all, and still listens
	var got []byte
	r.until("all", func() bool {
		b, eof, _ := p.receive()
		got = append(got, b...)
		return eof
	})
	same(t, "goodbye", got, want)
	if why := r.untilClosed(1); why != CauseClosed {
		t.Fatal(why)
	}
}

func TestFinishLingersNoLongerThanAsked(t *testing.T) {
	t.Run("peer silent", func(t *testing.T) {
		r := newRig(t, Options{})
		c, _ := r.pair()
		c.Finish(3)
		for range 3 {
			r.advance(time.Second)
			if len(r.closed) != 0 {
				t.Fatal("too early")
			}
		}
		r.advance(time.Second)
		if len(r.closed) != 1 || r.closed[0] != CauseClosed {
			t.Fatal(r.closed)
		}
	})
	t.Run("peer does not read", func(t *testing.T) {
		r := newRig(t, Options{StallSec: 100})
		c, _ := r.pair()
		setBuffer(t, int(c.fd), unix.SO_SNDBUF, 4096)
		put(c, make([]byte, 200<<10))
		c.Finish(3)
		r.tick()
		r.advance(4 * time.Second)
		if len(r.closed) != 1 || r.closed[0] != CauseStalled {
			t.Fatal(r.closed)
		}
	})
}

func TestFinishOfAPausedConnection(t *testing.T) {
	r := newRig(t, Options{})
	r.data = func(c *Conn, p []byte) []byte { c.PauseRead(); return p }
	c, p := r.pair()
	p.send([]byte("one"))
	r.tick()
	p.send([]byte("two"))
	r.tick()
	if !c.is(isMuted) || c.tail == 0 {
		t.Fatal("the test did not test")
	}
	c.Finish(10)
	p.close()
	if why := r.untilClosed(1); why != CauseClosed {
		t.Fatal(why)
	}
}

func TestFinishAndPeerReset(t *testing.T) {
	r := newRig(t, Options{})
	c, p := r.tcp()
	setBuffer(t, int(c.fd), unix.SO_SNDBUF, 4096)
	setBuffer(t, p.fd, unix.SO_RCVBUF, 4096)
	put(c, make([]byte, 4<<20))
	c.Finish(10)
	r.tick()
	if !c.Blocked() {
		t.Fatal("the test did not test")
	}
	p.reset()
	if why := r.untilClosed(1); why != CausePeerReset {
		t.Fatal(why)
	}
}

func TestStopClosesEverything(t *testing.T) {
	r := newRig(t, Options{})
	l, err := New(Options{}, r, r)
	if err != nil {
		t.Fatal(err)
	}
	_, addr, err := l.Listen(loopback)
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan struct{}, 8)
	r.open = func(*Conn) { opened <- struct{}{} }
	r.close = func(c *Conn, why Cause) {
		if _, err := l.Dial(netip.Addr{}, addr); err != ErrStopped {
			t.Errorf("Dial while stopping: %v", err)
		}
	}
	done := make(chan error)
	go func() { done <- l.Run() }()
	for range 5 {
		dialPeer(t, addr)
		<-opened
	}
	l.Stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(r.closed) != 5 {
		t.Fatal(r.closed)
	}
	for _, why := range r.closed {
		if why != CauseStopped {
			t.Fatal(r.closed)
		}
	}
	l.Wake()
	l.Stop()
}

func TestStopBeforeRun(t *testing.T) {
	r := newRig(t, Options{})
	l, err := New(Options{}, r, r)
	if err != nil {
		t.Fatal(err)
	}
	l.Stop()
	if err := l.Run(); err != nil {
		t.Fatal(err)
	}
}
