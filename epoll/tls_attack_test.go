package epoll

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/epoll/record"
)

// hello returns the first record that a client sends.
func hello(t testing.TB) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer far.Close()
	go func() { _ = tls.Client(near, &tls.Config{ServerName: "127.0.0.1"}).Handshake() }()
	p := make([]byte, 4096)
	n, err := far.Read(p)
	if err != nil {
		t.Fatal(err)
	}
	return p[:n]
}

func TestTLSGarbageInsteadOfHello(t *testing.T) {
	for _, garbage := range [][]byte{
		[]byte("\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02ab"), []byte("GET / HTTP/1.1\r\n\r\n"), {22, 9}, {22, 3, 1, 0xff, 0xff}, {22, 3, 1, 0x44, 0},
	} {
		r := newSecureRig(t, Options{}, HandshakeOptions{})
		p := dialPeer(t, r.addr)
		p.send(garbage)
		if why := r.untilClosed(1); why != CauseHandshake || r.Stats().HandshakeFails[FailNotTLS] != 1 {
			t.Fatalf("%q: %v %v", garbage, why, r.Stats().HandshakeFails)
		}
		if s := r.tls.Handshaker.Stats(); s.Seats+s.Queued != 0 || s.Done+s.Failed != 0 {
			t.Fatalf("garbage got a seat: %+v", s)
		}
	}
}

// Half a hello costs no seat, a stop in the handshake one until the owner's deadline.
func TestTLSStopsInTheHandshake(t *testing.T) {
	whole := hello(t)
	for _, n := range []int{0, 1, 4, len(whole) / 2, len(whole)} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			r := newSecureRig(t, Options{}, HandshakeOptions{})
			r.open = func(c *Conn) { c.StartTLS(r.tls); c.Arm(r.NowSec() + 1) }
			r.timeout = func(c *Conn) { c.Close() }
			p := dialPeer(t, r.addr)
			p.send(whole[:n])
			seats := 0
			if n == len(whole) {
				seats = 1
				r.until("our flight", func() bool { return r.Stats().WriteBytes > 0 })
			}
			r.tick()
			if s := r.tls.Handshaker.Stats(); s.Seats != seats {
				t.Fatalf("%+v", s)
			}
			if why := r.untilClosed(1); why != CauseClosed {
				t.Fatal(why)
			}
			r.until("the seat", func() bool { return r.tls.Handshaker.Stats().Seats == 0 })
			if r.Stats().HandshakeFails != [handshakeFails]uint64{} {
				t.Fatal(r.Stats().HandshakeFails)
			}
		})
	}
}

// When all seats are taken by peers that do not go on, they make room for one that does.
func TestTLSStalledAreEvicted(t *testing.T) {
	r := newSecureRig(t, Options{}, HandshakeOptions{Seats: 4, Patience: 50 * time.Millisecond})
	whole := hello(t)
	for range 4 {
		dialPeer(t, r.addr).send(whole)
	}
	r.until("all seats taken", func() bool { return r.tls.Handshaker.Stats().Seats == 4 })
	r.with("an honest one", func() error {
		c, err := r.dial(r.client(tls.VersionTLS13))
		if err != nil {
			return err
		}
		return exchange(c, []byte("here"))
	})
	if s := r.tls.Handshaker.Stats(); s.Evicted != 1 || s.Done != 1 {
		t.Fatalf("%+v", s)
	}
	if r.untilClosed(1) != CauseHandshake || r.Stats().HandshakeFails[FailEvicted] != 1 {
		t.Fatal(r.closed, r.Stats().HandshakeFails)
	}
}

func TestTLSQueueIsBounded(t *testing.T) {
	r := newSecureRig(t, Options{}, HandshakeOptions{Seats: 1, Queue: 2, Patience: time.Hour})
	whole := hello(t)
	dialPeer(t, r.addr).send(whole)
	r.until("the seat taken", func() bool { return r.tls.Handshaker.Stats().Seats == 1 })
	var waiting []*peer
	for range 2 {
		waiting = append(waiting, dialPeer(t, r.addr))
		waiting[len(waiting)-1].send(whole)
	}
	r.until("the queue full", func() bool { return r.tls.Handshaker.Stats().Queued == 2 })
	dialPeer(t, r.addr).send(whole)
	if r.untilClosed(1) != CauseHandshake || r.Stats().HandshakeFails[FailBusy] != 1 {
		t.Fatal(r.closed, r.Stats().HandshakeFails)
	}
	waiting[0].reset()
	r.until("who leaves frees the queue", func() bool { return r.tls.Handshaker.Stats().Queued == 1 })
	if s := r.tls.Handshaker.Stats(); s.Refused != 1 {
		t.Fatalf("%+v", s)
	}
}

func TestTLSRate(t *testing.T) {
	r := newSecureRig(t, Options{}, HandshakeOptions{PerSecond: 20})
	begin := time.Now()
	for range 6 {
		r.with("a handshake", func() error {
			_, err := r.dial(r.client(tls.VersionTLS13))
			return err
		})
	}
	// Two are let through at once, or three; the rest are 50 ms apart.
	if took := time.Since(begin); took < 140*time.Millisecond {
		t.Fatalf("six handshakes in %v", took)
	}
}

// A record that was changed under way ends the connection with an alert.
func TestTLSForgedRecord(t *testing.T) {
	r := newSecureRig(t, Options{}, HandshakeOptions{})
	r.with("the alert", func() error {
		c, err := r.dial(r.client(tls.VersionTLS13))
		if err != nil {
			return err
		}
		forged := append([]byte{23, 3, 3, 0, 40}, pattern(40)...)
		if _, err = c.NetConn().Write(forged); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 10))
		if alert := tls.AlertError(20); !errors.As(err, &alert) && err.Error() != "remote error: tls: bad record MAC" {
			return fmt.Errorf("read: %w", err)
		}
		return c.NetConn().Close()
	})
	if why := r.untilClosed(1); why != CauseBadRecord || r.Stats().BadRecords != 1 {
		t.Fatal(why)
	}
}

// Endless KeyUpdates that ask for as many: a few are honest, and answered once per write; the rest end the connection.
func TestTLSEndlessKeyUpdate(t *testing.T) {
	r := newSecureRig(t, Options{}, HandshakeOptions{})
	keys := new(minder)
	config := r.client(tls.VersionTLS13)
	config.KeyLogWriter = (*keyLogWriter)(keys)
	r.with("the end", func() error {
		c, err := r.dial(config)
		if err != nil {
			return err
		}
		state, err := keys.keys13(c.ConnectionState().CipherSuite, true)
		if err != nil {
			return err
		}
		var updates []byte
		ciphers := record.NewCiphers(1)
		for range 1000 {
			updates = state.AppendKeyUpdate(ciphers, 0, updates, true)
		}
		if _, err = c.NetConn().Write(updates); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, c.NetConn())
		if errors.Is(err, unix.ECONNRESET) {
			return nil
		}
		return err
	})
	if why := r.untilClosed(1); why != CauseBadRecord {
		t.Fatal(why)
	}
	if n := r.Stats().WriteBytes; n > 8<<10 {
		t.Fatalf("%d bytes were written in answer", n)
	}
}

func TestTLSClientCertificate(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			r := newSecureRig(t, Options{}, HandshakeOptions{})
			r.config.ClientAuth, r.config.ClientCAs = tls.RequireAndVerifyClientCert, r.ca.pool
			r.tls.Verified = func(s tls.ConnectionState) (any, error) {
				name := s.PeerCertificates[0].Subject.CommonName
				if name == "banned" {
					return nil, errors.New("banned")
				}
				return name, nil
			}
			var who any
			r.secured = func(c *Conn) { who = c.Secured() }
			try := func(pairs ...tls.Certificate) (err error) {
				config := r.client(version)
				config.Certificates = pairs
				r.with("a client", func() error {
					var c *tls.Conn
					if c, err = r.dial(config); err == nil {
						err = exchange(c, []byte("here"))
						c.Close()
					}
					return nil
				})
				return err
			}
			if err := try(r.ca.issue(t, "good")); err != nil || who != "good" {
				t.Fatal(err, who)
			}
			if try() == nil || try(newAuthority(t).issue(t, "foreign")) == nil || try(r.ca.issue(t, "banned")) == nil {
				t.Fatal("let in")
			}
			r.untilClosed(4)
			if n := r.Stats().HandshakeFails; n[FailCertificate]+n[FailProtocol] != 3 || n[FailCertificate] < 1 {
				t.Fatal(n)
			}
		})
	}
}

// Goroutines do not grow with connections, and an idle one costs less than 1,500 bytes of heap.
func TestTLSIdleMemory(t *testing.T) {
	if checked {
		t.Skip("check builds weigh more")
	}
	const warm, n = 200, 800
	r := newSecureRig(t, Options{}, HandshakeOptions{})
	r.data = func(*Conn, []byte) []byte { return nil }
	p := startTLSFarEnds(t, r)
	weigh := func(conns int) (heap int, goroutines int) {
		fmt.Fprintln(p, conns)
		r.until("connections", func() bool { return r.Stats().Handshakes >= uint64(conns) })
		r.until("no seat taken", func() bool { return r.tls.Handshaker.Stats().Seats == 0 })
		for range 3 {
			r.bufs.trim()
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc), runtime.NumGoroutine()
	}
	before, few := weigh(warm)
	after, many := weigh(warm + n)
	each := (after - before) / n
	r.ciphers = record.NewCiphers(ciphersPerLoop)
	cold, _ := weigh(warm + n)
	t.Logf("%d bytes of heap per idle TLS connection, %d of them in the cache of those that talked last; %d goroutines with %d connections, %d with %d",
		each, (after-cold)/(warm+n), few, warm, many, warm+n)
	if each > 1500 || many > few+idleMax+2 {
		t.Errorf("%d bytes each; %d goroutines, then %d", each, few, many)
	}
}

// The far ends of TestTLSIdleMemory live in a process of their own, so that their memory is not counted.
const tlsFarEndsEnv = "EPOLL_TEST_TLS_FAR_ENDS"

func startTLSFarEnds(t *testing.T, r *secureRig) io.Writer {
	in, _ := startProcess(t, tlsFarEndsEnv, r.addr)
	return in
}

// holdTLSFarEnds dials as many connections as each line asks for.
func holdTLSFarEnds(addr string) error {
	var held []net.Conn
	for want := 0; ; {
		if _, err := fmt.Fscan(os.Stdin, &want); err != nil {
			runtime.KeepAlive(held)
			return nil
		}
		for len(held) < want {
			c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a peer of a test
			if err != nil {
				return err
			}
			if _, err := c.Write([]byte("hello")); err != nil {
				return err
			}
			held = append(held, c)
		}
	}
}

// TestTLSEvictsOneForEach: a seat that an evicted handshake has yet to give back is for somebody who waits, and nobody else has to leave for it.
func TestTLSEvictsOneForEach(t *testing.T) {
	h := NewHandshaker(HandshakeOptions{Seats: 3})
	defer h.Close()
	shakeOf := func() *shake {
		s := newShake(&TLS{Handshaker: h}, nil, new(Conn))
		s.gone = true // no loop wants to hear of it
		return s
	}
	h.mu.Lock()
	h.stats.Seats = 3
	for range 3 {
		h.put(&h.stalled, shakeOf())
	}
	for waiting := uint64(1); waiting <= 2; waiting++ {
		h.put(&h.queue, shakeOf())
		for range 3 {
			h.evict(time.Now())
		}
		if h.stats.Evicted != waiting {
			t.Errorf("%d are evicted for %d that wait", h.stats.Evicted, waiting)
		}
	}
	h.mu.Unlock()
}
