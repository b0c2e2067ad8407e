package epoll

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// What TLS on the loop rests on, proven with crypto/tls itself: its records survive a temporary error at any byte, its
// handshakes at none. Therefore a handshake has a goroutine, and what comes after it needs none.

// notYet is what a socket without bytes says.
type notYet struct{}

func (notYet) Error() string   { return "not yet" }
func (notYet) Timeout() bool   { return true }
func (notYet) Temporary() bool { return true }

// drip is a connection that, once it is dry, gives one byte and then a temporary error, in turns.
type drip struct {
	net.Conn
	dry, gave bool
}

func (d *drip) Read(p []byte) (int, error) {
	if !d.dry {
		return d.Conn.Read(p)
	}
	if d.gave = !d.gave; !d.gave {
		return 0, notYet{}
	}
	return d.Conn.Read(p[:1])
}

// stdPair returns the two ends of a connection, the server's end dripping.
func stdPair(t *testing.T, version uint16) (server *tls.Conn, under *drip, client *tls.Conn) {
	t.Helper()
	ca := newAuthority(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	near, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{near, far} {
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	under = &drip{Conn: far}
	server = tls.Server(under, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "server")}})
	client = tls.Client(near, &tls.Config{RootCAs: ca.pool, ServerName: "127.0.0.1", MinVersion: version, MaxVersion: version})
	return server, under, client
}

func TestStdRecordsSurviveATemporaryError(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			server, under, client := stdPair(t, version)
			done := make(chan error, 1)
			go func() { done <- client.Handshake() }()
			if err := errors.Join(server.Handshake(), <-done); err != nil {
				t.Fatal(err)
			}
			under.dry = true
			want := pattern(5000)
			go func() {
				_, err := client.Write(want)
				done <- err
			}()
			var got []byte
			errs := 0
			for p := make([]byte, 4096); len(got) < len(want); {
				n, err := server.Read(p)
				got = append(got, p[:n]...)
				if err != nil {
					if errs++; !errors.Is(err, notYet{}) {
						t.Fatalf("after %d bytes and %d errors: %v", len(got), errs, err)
					}
				}
			}
			if err := <-done; err != nil || errs < len(want) {
				t.Fatalf("%v, %d errors", err, errs)
			}
			if !bytes.Equal(got, want) {
				t.Fatal("the bytes differ")
			}
		})
	}
}

func TestStdHandshakesDoNot(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			server, under, client := stdPair(t, version)
			go func() { _ = client.Handshake() }()
			under.dry = true
			if err := server.Handshake(); !errors.Is(err, notYet{}) {
				t.Fatalf("the first try: %v", err)
			}
			under.dry = false
			if err := server.Handshake(); err == nil {
				t.Fatal("a handshake went on after a temporary error: the workers of Handshaker may not be needed any more")
			}
			if _, err := server.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Fatalf("reading after it: %v", err)
			}
		})
	}
}
