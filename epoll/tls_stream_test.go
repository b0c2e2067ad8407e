package epoll

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// single writes each byte by itself.
type single struct{ net.Conn }

func (s single) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := s.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// A byte at a time, in the handshake and after it.
func TestTLSByteByByte(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newSecureRig(t, Options{}, HandshakeOptions{})
			r.with("the bytes", func() error {
				conn, err := net.Dial("tcp", r.addr.String())
				if err != nil {
					return err
				}
				defer conn.Close()
				c := tls.Client(single{conn}, r.client(version))
				return errors.Join(exchange(c, pattern(3000)), exchange(c, pattern(5)))
			})
		})
	}
}

// The handler leaves what is not a whole message of 1000 bytes; ciphertext that waits for the rest of its record and the
// tail do not get into each other's way.
func TestTLSTail(t *testing.T) {
	r := newSecureRig(t, Options{ReadBytes: 700}, HandshakeOptions{})
	const message = 5000
	r.data = func(c *Conn, p []byte) []byte {
		for len(p) >= message {
			put(c, p[:message])
			p = p[message:]
		}
		return p
	}
	r.with("messages", func() error {
		c, err := r.dial(r.client(tls.VersionTLS13))
		if err != nil {
			return err
		}
		return exchange(c, pattern(40*message))
	})
}

// A slow reader: what it leaves is counted, bounded by the owner, and goes out in order when it reads.
func TestTLSSlowReader(t *testing.T) {
	r := newSecureRig(t, Options{}, HandshakeOptions{})
	want := pattern(4 << 20)
	drained := 0
	r.drained = func(*Conn) { drained++ }
	var conn *Conn
	r.secured = func(c *Conn) {
		conn = c
		setBuffer(t, int(c.fd), unix.SO_SNDBUF, 8192)
		for p := want; len(p) > 0; p = p[1<<16:] {
			put(c, p[:1<<16])
		}
	}
	start := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		c, err := r.dial(r.client(tls.VersionTLS13))
		if err == nil {
			<-start
			got := make([]byte, len(want))
			_, err = io.ReadFull(c, got)
			if err == nil && !bytes.Equal(got, want) {
				err = errors.New("the bytes differ")
			}
		}
		done <- err
		r.Wake()
	}()
	r.until("blocked", func() bool { return conn != nil && conn.Blocked() })
	if n := conn.Unsent(); n < 100<<10 {
		t.Fatalf("%d bytes wait", n)
	}
	close(start)
	r.until("drained", func() bool { return drained == 1 && conn.Unsent() == 0 })
	r.with("the bytes", func() error { return <-done })
}

func TestTLSStalled(t *testing.T) {
	r := newSecureRig(t, Options{StallSec: 1}, HandshakeOptions{})
	r.secured = func(c *Conn) { put(c, pattern(8<<20)) }
	go func() { _, _ = r.dial(r.client(tls.VersionTLS13)) }()
	if why := r.untilClosed(1); why != CauseStalled {
		t.Fatal(why)
	}
}

// A paused connection is not read, nor decrypted beyond what was read; what waits is offered afterwards.
func TestTLSPause(t *testing.T) {
	r := newSecureRig(t, Options{}, HandshakeOptions{})
	var (
		conn  *Conn
		calls int
	)
	r.data = func(c *Conn, p []byte) []byte {
		if conn == nil {
			conn = c
			c.PauseRead()
			return p
		}
		calls++
		put(c, p)
		return nil
	}
	done := make(chan error, 1)
	go func() {
		c, err := r.dial(r.client(tls.VersionTLS12))
		if err == nil {
			err = errors.Join(exchange(c, pattern(100<<10)), c.CloseWrite())
		}
		done <- err
		r.Wake()
	}()
	r.until("the pause", func() bool { return conn != nil && conn.is(isMuted) })
	if calls != 0 || len(r.closed) != 0 {
		t.Fatal(calls, r.closed)
	}
	conn.ResumeRead()
	r.with("the rest", func() error { return <-done })
	if why := r.untilClosed(1); why != CausePeerClosed {
		t.Fatal(why)
	}
}

// A connection moves between two loops at every turn, in the middle of records both ways.
func TestTLSMoves(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newSecureRig(t, Options{ReadBytes: 1000}, HandshakeOptions{})
			b := newRig(t, Options{ReadBytes: 1500})
			a.tls.Verified = func(tls.ConnectionState) (any, error) { return "somebody", nil }
			loops, moves := [2]*rig{a.rig, b}, 0
			echo := func(at int) func(*Conn, []byte) []byte {
				return func(c *Conn, p []byte) []byte {
					if c.Secured() != "somebody" {
						t.Errorf("secured %v", c.Secured())
					}
					if c.Blocked() {
						c.PauseRead()
						return p
					}
					n := (len(p) + 1) / 2
					put(c, p[:n])
					m := c.Detach()
					m.Unread = m.Unread[n:]
					moves++
					if _, err := loops[1-at].Adopt(m); err != nil {
						t.Error(err)
					}
					return nil
				}
			}
			resume := func(c *Conn) { c.ResumeRead() }
			a.data, b.data, a.drained, b.drained = echo(0), echo(1), resume, resume
			done := make(chan error, 1)
			go func() {
				c, err := a.dial(a.client(version))
				if err == nil {
					err = errors.Join(exchange(c, pattern(200<<10)), c.Close())
				}
				done <- err
			}()
			var err error
			for over, begin := false, time.Now(); !over; {
				a.tick()
				b.tick()
				select {
				case err = <-done:
					over = true
				default:
					if time.Since(begin) > 20*time.Second {
						t.Fatal("too long")
					}
				}
			}
			if err != nil || moves < 20 {
				t.Fatal(err, moves)
			}
		})
	}
}

// Early data of a client in a hurry: it writes with its Finished, and ends at once.
func TestTLSHurry(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			r := newSecureRig(t, Options{}, HandshakeOptions{})
			// A client that closes with a ticket unread resets the connection.
			r.config.SessionTicketsDisabled = true
			var got []byte
			r.data = func(_ *Conn, p []byte) []byte { got = append(got, p...); return nil }
			want := pattern(50 << 10)
			r.with("the client", func() error {
				c, err := r.dial(r.client(version))
				if err != nil {
					return err
				}
				_, err = c.Write(want)
				return errors.Join(err, c.Close())
			})
			if why := r.untilClosed(1); why != CausePeerClosed && why != CausePeerReset {
				t.Fatal(why)
			}
			same(t, "early", got, want)
		})
	}
}

// StartTLS in OnData: the first bytes are plain, what OnData leaves is the hello.
func TestTLSAfterAHeader(t *testing.T) {
	r := newSecureRig(t, Options{}, HandshakeOptions{})
	r.open = nil
	echo := r.data
	r.data = func(c *Conn, p []byte) []byte {
		if c.IsTLS() {
			return echo(c, p)
		}
		if len(p) < len("header") {
			return p
		}
		c.StartTLS(r.tls)
		return p[len("header"):]
	}
	r.with("the client", func() error {
		conn, err := net.Dial("tcp", r.addr.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err = conn.Write(append([]byte("header"), hello(t)[:3]...)); err != nil {
			return err
		}
		return nil
	})
	r.untilClosed(1)
	r.with("the client", func() error {
		conn, err := net.Dial("tcp", r.addr.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err = conn.Write([]byte("header")); err != nil {
			return err
		}
		return exchange(tls.Client(conn, r.client(tls.VersionTLS13)), pattern(1000))
	})
}

// The client's side of TLS, against crypto/tls, which sends tickets.
func TestTLSClient(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			r := newSecureRig(t, Options{}, HandshakeOptions{})
			listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: r.config.Certificates})
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			config := r.client(version)
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			client := &TLS{Config: func() *tls.Config { return config }, Handshaker: r.tls.Handshaker, Client: true}
			want := pattern(100 << 10)
			r.open = func(c *Conn) { c.StartTLS(client) }
			r.secured = func(c *Conn) { put(c, want) }
			var got []byte
			r.data = func(_ *Conn, p []byte) []byte { got = append(got, p...); return nil }
			go func() {
				c, err := listener.Accept()
				if err == nil {
					_, _ = io.Copy(c, c)
				}
			}()
			if _, err := r.Dial(loopback.Addr(), addrPortOf(t, listener)); err != nil {
				t.Fatal(err)
			}
			r.until("the echo", func() bool { return len(got) == len(want) })
			same(t, "echo", got, want)
		})
	}
}

// openssl asks for new keys, in both directions, and must get its answers.
func TestTLSOpenssl(t *testing.T) {
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	for _, args := range []string{"-tls1_2", "-tls1_3", "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256"} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			r := newSecureRig(t, Options{}, HandshakeOptions{})
			r.config.NextProtos = []string{"mqtt"}
			session := filepath.Join(t.TempDir(), "session")
			for _, ticket := range []string{"-sess_out", "-sess_in"} {
				r.with("openssl", func() error {
					base := []string{"s_client", "-connect", r.addr.String(), "-alpn", "mqtt", ticket, session}
					return talkToOpenssl(path, append(base, strings.Fields(args)...))
				})
			}
			r.untilClosed(2)
			if s := r.tls.Handshaker.Stats(); s.Done != 2 || s.Resumed != 1 {
				t.Fatalf("%+v", s)
			}
		})
	}
}

// talkToOpenssl sends a line, new keys, and a line.
func talkToOpenssl(path string, args []string) error {
	cmd := exec.Command(path, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	var seen []byte
	expect := func(what string) error {
		seen = seen[:0]
		for p := make([]byte, 4096); !bytes.Contains(seen, []byte(what)); {
			n, err := out.Read(p)
			if seen = append(seen, p[:n]...); err != nil {
				return errors.New("openssl did not say " + what + " but: " + string(seen))
			}
		}
		return nil
	}
	say := func(what string) error { _, err := io.WriteString(in, what+"\n"); return err }
	steps := []string{"first words"}
	if args[len(args)-1] != "-tls1_2" {
		// K asks for new keys in both directions, k says that its own are new.
		steps = []string{"first words", "K", "more words", "k", "last words"}
	}
	if err := expect("ALPN protocol: mqtt"); err != nil {
		return err
	}
	for _, step := range steps {
		answer := step
		if len(step) == 1 {
			answer = "KEYUPDATE"
		}
		if err := errors.Join(say(step), expect(answer)); err != nil {
			return err
		}
	}
	return say("Q")
}

// TestTLSSmallRecords: records of a byte are opened a few at a time, so that the others need not wait for 64 kB of them; large ones
// are read as much at once as without TLS.
func TestTLSSmallRecords(t *testing.T) {
	const small, large = 20_000, 4 << 20
	r := newSecureRig(t, Options{}, HandshakeOptions{})
	seen, most := 0, [2]int{}
	r.data = func(c *Conn, p []byte) []byte {
		part := 0
		if seen >= small {
			part = 1
		}
		seen += len(p)
		most[part] = max(most[part], len(p))
		return nil
	}
	done := make(chan error, 1)
	go func() {
		c, err := r.dial(r.client(tls.VersionTLS13))
		for i := 0; i < small && err == nil; i++ {
			_, err = c.Write([]byte{0})
		}
		if err == nil {
			_, err = c.Write(pattern(large))
		}
		done <- err
		r.Wake()
	}()
	r.with("all bytes", func() error { return <-done })
	r.until("the last of them", func() bool { return seen == small+large })
	if most[0] > (unreadMax+smallRead)/recordHeader || most[1] < smallRead { // what came with the handshake is opened at once
		t.Errorf("at most %d records of a byte and %d bytes of large ones at once", most[0], most[1])
	}
}
