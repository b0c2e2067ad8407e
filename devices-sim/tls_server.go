package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"

	"github.com/tidegate/tidegate/epoll"
)

// The two ways to serve TLS that are compared.
const (
	wayLoop       = "loop"       // the gateway's: handshakes on workers, records on the loop
	wayGoroutines = "goroutines" // crypto/tls with a goroutine for each connection
)

// runTLSServer is an echo server over TLS, until ctx ends. Its certificate is in dir.
func runTLSServer(ctx context.Context, way, dir string, out io.Writer) error {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	if err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	serve := serveGoroutines
	if way == wayLoop {
		serve = serveLoop
	}
	return serve(ctx, config, func(addr string) { fmt.Fprintf(out, `{"event":"ready","addr":%q}`+"\n", addr) })
}

func serveGoroutines(ctx context.Context, config *tls.Config, ready func(addr string)) error {
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	ready(l.Addr().String())
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			p := make([]byte, 4096)
			for {
				n, err := c.Read(p)
				if err != nil {
					return
				}
				if _, err := c.Write(p[:n]); err != nil {
					return
				}
			}
		}()
	}
}

// loopEcho sends back what comes. Owned by its loop.
type loopEcho struct {
	tls *epoll.TLS
}

func (e *loopEcho) OnOpen(c *epoll.Conn) { c.StartTLS(e.tls) }

func (e *loopEcho) OnData(c *epoll.Conn, p []byte) []byte {
	c.End(append(c.Begin(), p...))
	return nil
}

func (e *loopEcho) OnDrained(*epoll.Conn)            {}
func (e *loopEcho) OnTimeout(*epoll.Conn)            {}
func (e *loopEcho) OnClose(*epoll.Conn, epoll.Cause) {}
func (e *loopEcho) OnWake()                          {}
func (e *loopEcho) OnTickEnd()                       {}

func serveLoop(ctx context.Context, config *tls.Config, ready func(addr string)) error {
	h := epoll.NewHandshaker(epoll.HandshakeOptions{})
	defer h.Close()
	e := &loopEcho{tls: &epoll.TLS{Config: func() *tls.Config { return config }, Handshaker: h}}
	l, err := epoll.New(epoll.Options{}, e, e)
	if err != nil {
		return err
	}
	_, addr, err := l.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, l.Stop)()
	ready(addr.String())
	return l.Run()
}
