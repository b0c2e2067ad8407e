package epoll

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDial(t *testing.T) {
	r := newRig(t, Options{})
	addr := r.listen()
	var accepted, dialled *Conn
	r.open = func(c *Conn) {
		if c.Listener() >= 0 {
			accepted = c
		} else {
			dialled = c
		}
	}
	r.data = func(c *Conn, p []byte) []byte {
		if c == accepted {
			put(c, p)
			return nil
		}
		return p
	}
	local := netip.MustParseAddr("127.0.0.77")
	c, err := r.Dial(local, addr)
	if err != nil {
		t.Fatal(err)
	}
	put(c, []byte("early"))
	if dialled != nil {
		t.Fatal("OnOpen within Dial")
	}
	r.until("both", func() bool { return accepted != nil && dialled != nil })
	if dialled != c || c.Peer() != addr || accepted.Peer().Addr() != local {
		t.Fatalf("dialled %v, accepted from %v", c.Peer(), accepted.Peer())
	}
	r.until("echo", func() bool { return c.tail != 0 && r.bufs.at(c.tail).len() == 5 })
	if one, err := unix.GetsockoptInt(int(c.fd), unix.IPPROTO_TCP, unix.TCP_NODELAY); err != nil || one != 1 {
		t.Fatal("TCP_NODELAY is not set on a dialled connection")
	}
}

// One port range per local address: the same local port may serve towards different peers, so no port is taken at
// bind.
func TestDialManyFromFewAddresses(t *testing.T) {
	r := newRig(t, Options{AcceptsPerTick: 1000})
	addr := r.listen()
	const n = 600
	for i := range n {
		local := netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i%3)})
		if _, err := r.Dial(local, addr); err != nil {
			t.Fatal(err)
		}
	}
	r.until("all", func() bool { return r.live == 2*n })
}

func TestDialRefused(t *testing.T) {
	r := newRig(t, Options{})
	addr := r.listen()
	r.CloseListeners()
	r.open = func(*Conn) { t.Error("OnOpen") }
	c, err := r.Dial(netip.Addr{}, addr)
	if err != nil {
		t.Fatal(err)
	}
	put(c, []byte("nobody reads this"))
	if why := r.untilClosed(1); why != CauseDialFailed {
		t.Fatal(why)
	}
}

func TestDialErrors(t *testing.T) {
	r := newRig(t, Options{})
	addr := r.listen()
	for _, d := range []struct {
		name          string
		local, remote string
	}{
		{"foreign local address", "192.0.2.1", addr.String()},
		{"local address of another family", "::1", addr.String()},
		{"zone", "127.0.0.1", "[fe80::1%eth0]:1"},
	} {
		if _, err := r.Dial(netip.MustParseAddr(d.local), netip.MustParseAddrPort(d.remote)); err == nil {
			t.Errorf("%s: no error", d.name)
		}
	}
	limitDescriptors(t, 0)
	if _, err := r.Dial(netip.Addr{}, addr); err == nil || r.live != 0 {
		t.Fatal(err, r.live)
	}
}

// A dial may be given up while the peer has not answered.
func TestCloseWhileDialling(t *testing.T) {
	for _, end := range []func(c *Conn){(*Conn).Close, func(c *Conn) { c.Finish(10) }} {
		r := newRig(t, Options{})
		addr := r.listen()
		c, err := r.Dial(netip.Addr{}, addr)
		if err != nil {
			t.Fatal(err)
		}
		end(c)
		r.tick()
		if len(r.closed) != 1 || r.closed[0] != CauseClosed {
			t.Fatal(r.closed)
		}
	}
}
