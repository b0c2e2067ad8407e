package epoll

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

func TestAcceptTellsWhoAndWhere(t *testing.T) {
	r := newRig(t, Options{KeepAliveSec: 120})
	r.listen()
	addr := r.listen()
	var c *Conn
	r.open = func(accepted *Conn) { c = accepted }
	p := dialPeer(t, addr)
	r.until("accept", func() bool { return c != nil })
	var sa sockaddr
	if err := sa.name(p.fd); err != nil {
		t.Fatal(err)
	}
	if c.Peer() != sa.get() || c.Listener() != 1 {
		t.Fatalf("peer %v at listener %d, want %v at 1", c.Peer(), c.Listener(), sa.get())
	}
	for _, o := range []struct{ level, name, want int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 120},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 30},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4},
	} {
		if got, err := unix.GetsockoptInt(int(c.fd), o.level, o.name); err != nil || got != o.want {
			t.Errorf("socket option %d/%d is %d (%v), want %d", o.level, o.name, got, err, o.want)
		}
	}
}

func TestListenIPv6TakesIPv4(t *testing.T) {
	r := newRig(t, Options{})
	_, bound, err := r.Listen(netip.MustParseAddrPort("[::]:0"))
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	var peers []netip.AddrPort
	r.open = func(c *Conn) { peers = append(peers, c.Peer()) }
	for _, to := range []string{"127.0.0.1", "::1"} {
		dialPeer(t, netip.AddrPortFrom(netip.MustParseAddr(to), bound.Port()))
		n := len(peers)
		r.until("accept", func() bool { return len(peers) > n })
		if peers[n].Addr().String() != to {
			t.Errorf("peer %v, want %v", peers[n], to)
		}
	}
}

// Two loops listen on one address, and the kernel gives connections to both.
func TestReusePort(t *testing.T) {
	a, b := newRig(t, Options{}), newRig(t, Options{})
	addr := a.listen()
	if _, bound, err := b.Listen(addr); err != nil || bound != addr {
		t.Fatal(bound, err)
	}
	for range 64 {
		dialPeer(t, addr)
	}
	a.until("all", func() bool { b.tick(); return a.live+b.live == 64 })
	if a.live == 0 || b.live == 0 {
		t.Fatalf("%d and %d connections", a.live, b.live)
	}
}

func TestListenErrors(t *testing.T) {
	r := newRig(t, Options{})
	for _, addr := range []string{"192.0.2.1:1", "[fe80::1%eth0]:1"} {
		if _, _, err := r.Listen(netip.MustParseAddrPort(addr)); err == nil {
			t.Errorf("listening on %s", addr)
		}
	}
}

func TestAcceptBudget(t *testing.T) {
	r := newRig(t, Options{AcceptsPerTick: 5})
	addr := r.listen()
	for range 12 {
		dialPeer(t, addr)
	}
	for _, want := range []int{5, 10, 12} {
		r.tick()
		if r.live != want {
			t.Fatalf("%d connections, want %d", r.live, want)
		}
	}
}

// Connections that follow each other closely are accepted together after a rest, one that comes alone at once.
func TestAcceptRest(t *testing.T) {
	r := newRig(t, Options{})
	addr := r.listen()
	dial := func(want int, what string) {
		t.Helper()
		dialPeer(t, addr)
		r.tick()
		if r.live != want {
			t.Fatalf("%s: %d connections, want %d", what, r.live, want)
		}
	}
	dial(1, "alone")
	dial(2, "the second, which begins a rest")
	dial(2, "during the rest")
	dial(2, "during the rest")
	r.advance(acceptRest)
	r.tick() // the listener is heard again in the tick after the rest
	if r.live != 4 {
		t.Fatalf("%d connections after the rest, want 4", r.live)
	}
	r.advance(2 * acceptRest)
	dial(5, "alone again")
	dial(6, "and right after it")
	if r.stats.AcceptPauses != 0 || r.stats.AcceptErrors != 0 {
		t.Errorf("%+v", r.stats)
	}
}

// A listener that is always ready does not keep the others of its loop from being heard.
func TestAcceptRestIsFair(t *testing.T) {
	r := newRig(t, Options{})
	busy, other := r.listen(), r.listen()
	at := map[int16]int{}
	r.open = func(c *Conn) { at[int16(c.Listener())]++ }
	dialPeer(t, busy)
	r.tick()
	dialPeer(t, busy)
	r.tick() // a rest begins
	for range 3 {
		dialPeer(t, other)
		dialPeer(t, busy)
		r.advance(acceptRest)
		r.tick()
	}
	if at[0] != 5 || at[1] != 3 {
		t.Errorf("accepted %d and %d, want 5 and 3", at[0], at[1])
	}
}

// Who is not admitted is reset at once, without a slot; the others are served.
func TestAdmit(t *testing.T) {
	room := 2
	r := newRig(t, Options{Admit: func(int, netip.AddrPort) bool { room--; return room >= 0 }})
	addr := r.listen()
	var peers []*peer
	for range 3 {
		peers = append(peers, dialPeer(t, addr))
	}
	r.until("refusal", func() bool { return r.stats.Refused == 1 })
	if _, _, errno := peers[2].receive(); r.live != 2 || r.stats.Accepts != 2 || errno != unix.ECONNRESET {
		t.Fatalf("%d connections, %v, %+v", r.live, errno, r.stats)
	}
}

// A flood of connections that are not admitted is refused at a bounded rate: the listeners rest in between, and the
// loop sleeps; nobody waits for ever.
func TestRefusalsArePaced(t *testing.T) {
	r := newRig(t, Options{Admit: func(int, netip.AddrPort) bool { return false }})
	addr := r.listen()
	flood := func(n int) {
		for range n {
			p := dialPeer(t, addr)
			r.tick()
			p.close()
		}
	}
	flood(refusalsMax - 1)
	if r.stats.AcceptPauses != 0 {
		t.Fatal("paused too early")
	}
	flood(5)
	if r.stats.AcceptPauses != 1 || r.stats.Refused != refusalsMax {
		t.Fatalf("%+v", r.stats)
	}
	if n, _ := r.poll.look(); n != 0 {
		t.Fatalf("paused listeners report %d events: the loop would spin", n)
	}
	r.advance(acceptPause)
	r.tick()
	if r.tick(); r.stats.Refused != refusalsMax+4 || r.stats.AcceptPauses != 1 {
		t.Fatalf("%+v", r.stats)
	}
}

// A probe finds who listens alone, lets sharers be, and takes no connection of theirs.
func TestProbe(t *testing.T) {
	r := newRig(t, Options{})
	addr := r.listen()
	if err := Probe(addr); err != nil {
		t.Error(err)
	}
	for range 20 {
		dialPeer(t, addr)
		if err := Probe(addr); err != nil {
			t.Error(err)
		}
	}
	r.until("all are accepted", func() bool { return r.live == 20 })
	alone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	if err := Probe(netip.MustParseAddrPort(alone.Addr().String())); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("%v for a port that is not shared", err)
	}
}

// Who waits in a backlog when the listeners are emptied is accepted, not reset.
func TestEmptyListeners(t *testing.T) {
	r := newRig(t, Options{AcceptsPerTick: 5})
	a, b := r.listen(), r.listen()
	for i := range 32 {
		dialPeer(t, []netip.AddrPort{a, b}[i%2])
	}
	r.pauseListeners()
	r.EmptyListeners()
	if r.live != 32 {
		t.Fatalf("%d connections", r.live)
	}
	for _, addr := range []netip.AddrPort{a, b} {
		if !refused(t, addr) {
			t.Errorf("somebody listens on %v", addr)
		}
	}
}

func TestCloseListeners(t *testing.T) {
	r := newRig(t, Options{})
	addr := r.listen()
	dialPeer(t, addr)
	dialPeer(t, addr)
	r.open = func(*Conn) { r.CloseListeners() }
	r.tick()
	if r.live != 1 {
		t.Fatalf("%d connections", r.live)
	}
	if fd, err := dialSocket(netip.Addr{}, addr); err == nil {
		unix.Close(fd)
		r.until("refusal", func() bool { return refused(t, addr) })
	}
}

// refused tells whether nobody listens any more.
func refused(t *testing.T, addr netip.AddrPort) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}) == unix.ECONNREFUSED
}

// limitDescriptors makes the process unable to open more than n further descriptors, until restore is called.
func limitDescriptors(t *testing.T, n int) (restore func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	var fds []int
	for range n + 1 {
		fd, err := unix.Dup(0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	low := unix.Rlimit{Cur: uint64(fds[n]), Max: old.Max}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &low, nil); err != nil {
		t.Fatal(err)
	}
	restored := false
	restore = func() {
		if !restored {
			restored = true
			if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &old, nil); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(restore)
	return restore
}

// Out of descriptors: one waiting peer is told, the listeners rest for 100 ms, open connections go on, and afterwards
// everybody who waited is served.
func TestOutOfDescriptors(t *testing.T) {
	r := newRig(t, Options{})
	r.data = func(c *Conn, p []byte) []byte { put(c, p); return nil }
	addr := r.listen()
	_, other := r.pair()
	var waiting []*peer
	for range 5 {
		waiting = append(waiting, dialPeer(t, addr))
	}
	restore := limitDescriptors(t, 2)
	r.tick()
	if r.live != 3 || r.stats.AcceptPauses != 1 || r.stats.Starved != 1 || r.stats.AcceptErrors != 1 {
		t.Fatalf("%d connections, %+v", r.live, r.stats)
	}
	if _, eof, errno := waiting[2].receive(); !eof && errno != unix.ECONNRESET {
		t.Fatal("the refused peer was not told")
	}
	if n, _ := r.poll.look(); n != 0 {
		t.Fatalf("paused listeners report %d events: the loop would spin", n)
	}
	if d := r.untilNext(); d > acceptPause {
		t.Fatalf("the loop would sleep %v, past the pause", d)
	}
	other.send([]byte("ping"))
	r.tick()
	if got, _, _ := other.receive(); string(got) != "ping" {
		t.Fatal("open connections must go on")
	}
	r.advance(acceptPause - 1)
	r.tick()
	if r.stats.AcceptPauses != 1 {
		t.Fatal("the pause was too short")
	}
	r.advance(1)
	r.tick() // still no descriptor
	if r.stats.AcceptPauses != 2 || r.stats.Starved != 2 {
		t.Fatalf("%+v", r.stats)
	}
	restore()
	r.advance(acceptPause)
	r.tick()
	if r.live != 4 || r.listeners.spare < 0 {
		t.Fatalf("%d connections, want the last one too; spare %d", r.live, r.listeners.spare)
	}
}

// When even the spare is lost to another thread, nothing breaks; it is opened again after the pause.
func TestOutOfDescriptorsWithoutSpare(t *testing.T) {
	r := newRig(t, Options{})
	addr := r.listen()
	dialPeer(t, addr)
	r.listeners.closeSpare()
	restore := limitDescriptors(t, 0)
	r.tick()
	if r.live != 0 || r.stats.AcceptPauses != 1 || r.stats.Starved != 0 {
		t.Fatalf("%d connections, %+v", r.live, r.stats)
	}
	restore()
	r.advance(200 * time.Millisecond)
	r.tick()
	if r.live != 1 || r.listeners.spare < 0 {
		t.Fatalf("%d connections, spare %d", r.live, r.listeners.spare)
	}
}
