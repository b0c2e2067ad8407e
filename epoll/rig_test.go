package epoll

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// rig is a loop that the test drives tick by tick, with a clock that the test moves. What a test does not set does
// the least: data is consumed, everything else ignored. Closed connections are recorded.
type rig struct {
	*Loop
	t      *testing.T
	nanos  atomic.Int64
	closed []Cause // by order of OnClose

	open    func(c *Conn)
	data    func(c *Conn, p []byte) []byte
	drained func(c *Conn)
	timeout func(c *Conn)
	close   func(c *Conn, why Cause)
	secured func(c *Conn)
	wake    func()
	tickEnd func()
}

func (r *rig) OnOpen(c *Conn) {
	if r.open != nil {
		r.open(c)
	}
}

func (r *rig) OnData(c *Conn, p []byte) []byte {
	if r.data != nil {
		return r.data(c, p)
	}
	return nil
}

func (r *rig) OnDrained(c *Conn) {
	if r.drained != nil {
		r.drained(c)
	}
}

func (r *rig) OnTimeout(c *Conn) {
	if r.timeout != nil {
		r.timeout(c)
	}
}

func (r *rig) OnClose(c *Conn, why Cause) {
	r.closed = append(r.closed, why)
	if r.close != nil {
		r.close(c, why)
	}
}

func (r *rig) OnSecured(c *Conn) {
	if r.secured != nil {
		r.secured(c)
	}
}

func (r *rig) OnWake() {
	if r.wake != nil {
		r.wake()
	}
}

func (r *rig) OnTickEnd() {
	if r.tickEnd != nil {
		r.tickEnd()
	}
}

func newRig(t *testing.T, o Options) *rig {
	t.Helper()
	r := &rig{t: t}
	l, err := New(o, r, r)
	if err != nil {
		t.Fatal(err)
	}
	r.Loop = l
	r.nanos.Store(processNanos())
	l.clock = r.nanos.Load
	t.Cleanup(func() {
		r.open, r.data, r.drained, r.timeout, r.close, r.wake, r.tickEnd, r.secured = nil, nil, nil, nil, nil, nil, nil, nil
		l.closeAll()
		l.checkAll()
		if l.live != 0 {
			t.Errorf("%d connections are left", l.live)
		}
		if s := l.Stats(); s.TailBytes != 0 || s.BatchBytes != 0 {
			t.Errorf("%d bytes of tails and %d of batches are left", s.TailBytes, s.BatchBytes)
		}
		l.dispose()
	})
	return r
}

// tick does one round with what is ready, without waiting.
func (r *rig) tick() {
	r.t.Helper()
	n, err := r.poll.look()
	if err != nil {
		r.t.Fatal(err)
	}
	r.again = false
	r.Loop.tick(n)
	r.checkAll()
}

// until does rounds, waiting as the loop does, until the condition holds.
func (r *rig) until(what string, holds func() bool) {
	r.t.Helper()
	r.tick()
	for begin := time.Now(); !holds(); {
		if time.Since(begin) > 20*time.Second {
			r.t.Fatalf("waited too long for: %s (stats %+v)", what, r.Stats())
		}
		n, err := r.wait()
		if err != nil {
			r.t.Fatal(err)
		}
		r.Loop.tick(n)
	}
}

// advance moves the clock and does one round.
func (r *rig) advance(d time.Duration) {
	r.nanos.Add(int64(d))
	r.tick()
}

// untilClosed does rounds until n connections were closed, and returns the last cause.
func (r *rig) untilClosed(n int) Cause {
	r.t.Helper()
	r.until("close", func() bool { return len(r.closed) >= n })
	return r.closed[len(r.closed)-1]
}

func (r *rig) listen() netip.AddrPort {
	r.t.Helper()
	_, bound, err := r.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		r.t.Fatal(err)
	}
	return bound
}

// pair adopts one end of a socket pair and returns the other one.
func (r *rig) pair() (*Conn, *peer) {
	r.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := r.Adopt(Moved{FD: fds[0], Listener: 3})
	if err != nil {
		r.t.Fatal(err)
	}
	return c, newPeer(r.t, fds[1])
}

// tcp returns an accepted TCP connection and its other end.
func (r *rig) tcp() (*Conn, *peer) {
	r.t.Helper()
	addr := r.listen()
	var c *Conn
	was := r.open
	r.open = func(accepted *Conn) { c = accepted }
	p := dialPeer(r.t, addr)
	r.until("accept", func() bool { return c != nil })
	r.open = was
	return c, p
}

// peer is the far end of a connection: a plain descriptor, never blocking.
type peer struct {
	t  *testing.T
	fd int
}

func newPeer(t *testing.T, fd int) *peer {
	p := &peer{t: t, fd: fd}
	t.Cleanup(p.close)
	return p
}

func dialPeer(t *testing.T, to netip.AddrPort) *peer {
	t.Helper()
	fd, err := dialSocket(netip.Addr{}, to)
	if err != nil {
		t.Fatal(err)
	}
	return newPeer(t, fd)
}

func (p *peer) close() {
	if p.fd >= 0 {
		unix.Close(p.fd)
		p.fd = -1
	}
}

// reset closes with a RST. TCP only.
func (p *peer) reset() {
	p.t.Helper()
	if err := unix.SetsockoptLinger(p.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		p.t.Fatal(err)
	}
	p.close()
}

func (p *peer) shutWrite() {
	p.t.Helper()
	if err := unix.Shutdown(p.fd, unix.SHUT_WR); err != nil {
		p.t.Fatal(err)
	}
}

// send sends all of b, which must fit.
func (p *peer) send(b []byte) {
	p.t.Helper()
	if n, errno := send(int32(p.fd), b); errno != 0 || n != len(b) {
		p.t.Fatalf("send of %d bytes: %d, %v", len(b), n, errno)
	}
}

// flood sends until the socket is full, and returns how many bytes it took.
func (p *peer) flood() (total int) {
	block := make([]byte, 16<<10)
	for {
		n, errno := send(int32(p.fd), block)
		if errno != 0 {
			return total
		}
		total += n
	}
}

// receive returns what is there, and whether the end was seen.
func (p *peer) receive() (got []byte, eof bool, errno unix.Errno) {
	block := make([]byte, 64<<10)
	for {
		n, errno := recv(int32(p.fd), block)
		switch {
		case n > 0:
			got = append(got, block[:n]...)
		case errno == 0:
			return got, true, 0
		case errno == unix.EAGAIN:
			return got, false, 0
		default:
			return got, false, errno
		}
	}
}

// put appends b to the connection's batch.
func put(c *Conn, b []byte) { c.End(append(c.Begin(), b...)) }

func setBuffer(t *testing.T, fd, option, size int) {
	t.Helper()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, size); err != nil {
		t.Fatal(err)
	}
}

// pattern returns n bytes of which no two stretches look alike.
func pattern(n int) []byte {
	p := make([]byte, n)
	x := uint32(2463534242)
	for i := range p {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		p[i] = byte(x >> 11)
	}
	return p
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: got %d bytes, want %d, which differ", what, len(got), len(want))
	}
}
