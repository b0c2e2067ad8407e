package epoll

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
	"unsafe"
)

// Many handshakes at a time: all succeed, few compute, and when they are over no more goroutines are there than before.
func TestTLSManyAtATime(t *testing.T) {
	const many = 200
	r := newSecureRig(t, Options{}, HandshakeOptions{Seats: 16, Compute: 1})
	r.with("many", func() error {
		errs := make(chan error, many)
		for range many {
			go func() {
				c, err := r.dial(r.client(tls.VersionTLS13))
				if err == nil {
					err = exchange(c, pattern(2000))
				}
				errs <- err
			}()
		}
		var all error
		for range many {
			all = errors.Join(all, <-errs)
		}
		return all
	})
	if s := r.tls.Handshaker.Stats(); s.Done != many || s.Seats+s.Queued != 0 {
		t.Fatalf("%+v", s)
	}
}

// BenchmarkTLSEcho is one message of 64 bytes to and fro on each of 100 connections; cpu-ns/echo is that of the process,
// so the same clients are in both figures. "goroutines" is crypto/tls with a goroutine for each connection.
func BenchmarkTLSEcho(b *testing.B) {
	const conns = 100
	ca := newAuthority(b)
	config := &tls.Config{Certificates: []tls.Certificate{ca.issue(b, "server")}}
	client := &tls.Config{RootCAs: ca.pool, ServerName: "127.0.0.1"}
	for _, way := range []string{"loop", "goroutines"} {
		b.Run(way, func(b *testing.B) {
			addr := startTLSServer(b, way, config)
			var far []*tls.Conn
			for range conns {
				c, err := tls.Dial("tcp", addr, client)
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				far = append(far, c)
			}
			msg, in := make([]byte, 64), make([]byte, 64)
			n, before := 0, cpu()
			for b.Loop() {
				for _, c := range far {
					if _, err := c.Write(msg); err != nil {
						b.Fatal(err)
					}
				}
				for _, c := range far {
					if _, err := io.ReadFull(c, in); err != nil {
						b.Fatal(err)
					}
				}
				n += conns
			}
			b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(n), "cpu-ns/echo")
		})
	}
}

// BenchmarkTLSHandshake reports the CPU of the process per handshake, 16 clients a core at a time included, who are the same
// in both.
func BenchmarkTLSHandshake(b *testing.B) {
	ca := newAuthority(b)
	config := &tls.Config{Certificates: []tls.Certificate{ca.issue(b, "server")}}
	for _, way := range []string{"loop", "goroutines"} {
		for _, resumed := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/resumed=%v", way, resumed), func(b *testing.B) {
				addr := startTLSServer(b, way, config)
				client := &tls.Config{RootCAs: ca.pool, ServerName: "127.0.0.1"}
				if resumed {
					client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				}
				before := cpu()
				b.SetParallelism(16)
				b.RunParallel(func(pb *testing.PB) {
					for p := make([]byte, 1); pb.Next(); {
						if err := greet(addr, client, p); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-us/handshake")
			})
		}
	}
}

// greet connects, and ends when a byte has come back.
func greet(addr string, client *tls.Config, p []byte) error {
	c, err := tls.Dial("tcp", addr, client)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(p); err != nil {
		return err
	}
	_, err = io.ReadFull(c, p)
	return err
}

// secureEcho is an echo over TLS.
type secureEcho struct {
	echo
	tls *TLS
}

func (e *secureEcho) OnOpen(c *Conn) { c.StartTLS(e.tls) }

// startTLSServer starts an echo server, of ours or one with a goroutine for each connection.
func startTLSServer(b *testing.B, way string, config *tls.Config) string {
	b.Helper()
	if way == "goroutines" {
		l, err := tls.Listen("tcp", "127.0.0.1:0", config)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go echoTo(c)
			}
		}()
		return l.Addr().String()
	}
	h := NewHandshaker(HandshakeOptions{})
	e := &secureEcho{tls: &TLS{Config: func() *tls.Config { return config }, Handshaker: h}}
	l, err := New(Options{}, e, e)
	if err != nil {
		b.Fatal(err)
	}
	e.l = l
	_, addr, err := l.Listen(loopback)
	if err != nil {
		b.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		if err := l.Run(); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() { l.Stop(); done.Wait(); h.Close() })
	return addr.String()
}

func echoTo(c net.Conn) {
	defer c.Close()
	p := make([]byte, 4096)
	for {
		if err := c.SetReadDeadline(time.Now().Add(90 * time.Second)); err != nil {
			return
		}
		n, err := c.Read(p)
		if err != nil {
			return
		}
		if _, err := c.Write(p[:n]); err != nil {
			return
		}
	}
}

// What a TLS connection costs beside its Conn, which stays one cache line.
func TestSecureSize(t *testing.T) {
	if n := unsafe.Sizeof(secure{}); n > 256 {
		t.Fatalf("secure has %d bytes", n)
	}
	if n := unsafe.Sizeof(Conn{}); n != 64 {
		t.Fatalf("Conn has %d bytes", n)
	}
}
