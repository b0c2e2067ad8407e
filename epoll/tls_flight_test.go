package epoll

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTLSFlightOfTheGone: a worker writes what its handshake says itself, but not to whoever has got the descriptor of a connection that has ended: it
// is closed behind leave.
func TestTLSFlightOfTheGone(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	r := newSecureRig(t, Options{}, HandshakeOptions{})
	say := func(s *shake) {
		s.mu.Lock()
		s.unsent = []byte("flight")
		s.say()
		s.mu.Unlock()
	}
	arrived := func() int {
		n, _, err := unix.Recvfrom(pair[1], make([]byte, 64), unix.MSG_DONTWAIT)
		if err != nil && err != unix.EAGAIN {
			t.Fatal(err)
		}
		return max(n, 0)
	}

	s := newShake(r.tls, r.Loop, &Conn{fd: int32(pair[0])})
	say(s)
	if n := arrived(); n != len("flight") {
		t.Fatalf("%d bytes of a flight have come", n)
	}
	s.leave()
	say(s)
	if n := arrived(); n != 0 || len(s.unsent) != 0 {
		t.Errorf("%d bytes of a flight have come to a stranger, and %d wait", n, len(s.unsent))
	}

	s = newShake(r.tls, r.Loop, &Conn{fd: int32(pair[0])})
	left := make(chan struct{})
	s.door.Lock()
	go func() { s.leave(); close(left) }()
	select {
	case <-left:
		t.Error("a connection has left while its worker writes")
	case <-time.After(10 * time.Millisecond):
	}
	s.door.Unlock()
	<-left
}

// gated is a connection that reads nothing before its gate is open.
type gated struct {
	net.Conn
	gate chan struct{}
}

func (g gated) Read(p []byte) (int, error) {
	<-g.gate
	return g.Conn.Read(p)
}

// TestTLSLongFlight: what the socket does not take of a worker's flight the loop writes, and the rest of the handshake behind it.
func TestTLSLongFlight(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			r := newSecureRig(t, Options{}, HandshakeOptions{})
			r.open = func(c *Conn) {
				if err := unix.SetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 4096); err != nil {
					t.Error(err)
				}
				c.StartTLS(r.tls)
			}
			chain := &r.config.Certificates[0].Certificate
			for len(*chain) < 200 {
				*chain = append(*chain, (*chain)[0])
			}
			plain, err := net.Dial("tcp", r.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer plain.Close()
			gate := make(chan struct{})
			done := make(chan error, 1)
			go func() {
				done <- exchange(tls.Client(gated{plain, gate}, r.client(version)), []byte("behind a long flight"))
				r.Wake()
			}()
			r.until("a socket that takes no more", func() bool { return r.Stats().WouldBlock > 0 })
			close(gate)
			r.with("the echo", func() error { return <-done })
		})
	}
}
