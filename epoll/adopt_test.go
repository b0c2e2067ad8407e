package epoll

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// A connection moves inside OnData, with pipelined bytes partly consumed, to a second loop.
func TestDetachInsideOnData(t *testing.T) {
	for _, size := range []int{10, 3000, 50000} {
		a, b := newRig(t, Options{}), newRig(t, Options{})
		var moved []Moved
		first := true
		a.data = func(c *Conn, p []byte) []byte {
			if first && size > 20000 { // also from a long tail
				first = false
				return p
			}
			h := c.Handle()
			put(c, []byte("unsent"))
			m := c.Detach()
			m.Unread = m.Unread[4:]
			moved = append(moved, m)
			if a.Conn(h) != nil || !c.Closing() {
				t.Error("the handle still finds a detached connection")
			}
			return p[:1] // does not matter
		}
		_, p := a.tcp()
		want := pattern(size)
		p.send(want)
		if size > 20000 {
			a.tick()
			p.send([]byte("tail"))
			want = append(want, "tail"...)
		}
		a.until("move", func() bool { return len(moved) == 1 })
		if len(a.closed) != 0 || a.live != 0 {
			t.Fatalf("closed %v, %d left", a.closed, a.live)
		}
		var got []byte
		b.open = func(*Conn) { t.Error("OnOpen for an adopted connection") }
		b.data = func(c *Conn, p []byte) []byte { got = append(got, p...); return nil }
		c, err := b.Adopt(moved[0])
		if err != nil {
			t.Fatal(err)
		}
		if c.Peer() != moved[0].Peer || c.Listener() != 0 || !c.Peer().IsValid() {
			t.Fatal(c.Peer(), c.Listener())
		}
		b.tick()
		same(t, "pipelined", got, want[4:])
		p.send([]byte("later"))
		b.tick()
		same(t, "later", got[len(want)-4:], []byte("later"))
		if sent, _, _ := p.receive(); string(sent) != "unsent" {
			t.Fatalf("%q", sent)
		}
		p.close()
		if why := b.untilClosed(1); why != CausePeerClosed || len(a.closed) != 0 {
			t.Fatal(why, a.closed)
		}
	}
}

// A blocked connection with a tail moves outside of any callback of its own.
func TestDetachBlockedAndPaused(t *testing.T) {
	a, b := newRig(t, Options{}), newRig(t, Options{})
	c, p := a.pair()
	setBuffer(t, int(c.fd), unix.SO_SNDBUF, 4096)
	a.data = func(c *Conn, p []byte) []byte { c.PauseRead(); return p }
	p.send([]byte("tail"))
	a.tick()
	p.send([]byte("+kernel"))
	want := pattern(100 << 10)
	put(c, want)
	c.Arm(a.NowSec() + 100)
	a.tick()
	if !c.Blocked() || !c.is(isMuted) {
		t.Fatal("the test did not test")
	}
	m := c.Detach()
	a.tick()
	var got []byte
	b.data = func(c *Conn, p []byte) []byte { got = append(got, p...); return nil }
	if _, err := b.Adopt(m); err != nil {
		t.Fatal(err)
	}
	var sent []byte
	b.until("all", func() bool {
		more, _, _ := p.receive()
		sent = append(sent, more...)
		return len(sent) == len(want)
	})
	same(t, "sent", sent, want)
	same(t, "unread", got, []byte("tail+kernel"))
}

func TestDetachInOtherCallbacks(t *testing.T) {
	r := newRig(t, Options{})
	var moved []Moved
	move := func(c *Conn) { moved = append(moved, c.Detach()) }
	r.open, r.timeout = move, move
	dialPeer(t, r.listen())
	r.until("move at open", func() bool { return len(moved) == 1 })
	c, _ := r.pair()
	c.Arm(r.NowSec())
	r.until("move at timeout", func() bool { r.advance(1e9); return len(moved) == 2 })
	for _, m := range moved {
		unix.Close(m.FD)
	}
	r.tick()
	if len(r.closed) != 0 || r.live != 0 {
		t.Fatalf("closed %v, %d left", r.closed, r.live)
	}
}

func TestDetachPanicsWhenThereIsNothingToMove(t *testing.T) {
	r := newRig(t, Options{})
	closing, _ := r.pair()
	closing.Close()
	finishing, _ := r.pair()
	finishing.Finish(1)
	dialling, err := r.Dial(netip.Addr{}, r.listen())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Conn{closing, finishing, dialling} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("no panic for flags %#x", c.flags)
				}
			}()
			c.Detach()
		}()
	}
}

func TestAdoptError(t *testing.T) {
	r := newRig(t, Options{})
	if _, err := r.Adopt(Moved{FD: -1}); err == nil || r.live != 0 {
		t.Fatal(err, r.live)
	}
}
