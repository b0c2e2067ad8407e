package epoll

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
)

// Bytes go both ways, small and large, over every suite, in one handshake and in a resumed one.
func TestTLSEcho(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newSecureRig(t, Options{}, HandshakeOptions{})
			r.config.NextProtos = []string{"mqtt", "http/1.1"}
			var states []tls.ConnectionState
			r.tls.Verified = func(s tls.ConnectionState) (any, error) { states = append(states, s); return s.NegotiatedProtocol, nil }
			var who []any
			r.secured = func(c *Conn) { who = append(who, c.Secured()) }
			config := r.client(version)
			config.NextProtos = []string{"http/1.1"}
			config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
			for range 3 {
				r.with("echo", func() error {
					c, err := r.dial(config)
					if err != nil {
						return err
					}
					for _, n := range []int{1, 100, 16 << 10, 1, 3 << 20} {
						if err := exchange(c, pattern(n)); err != nil {
							return err
						}
					}
					return c.Close()
				})
			}
			if r.untilClosed(3) != CausePeerClosed {
				t.Fatal(r.closed)
			}
			if len(states) != 3 || states[0].DidResume || !states[1].DidResume || !states[2].DidResume || states[0].Version != version {
				t.Fatalf("%+v", states)
			}
			if len(who) != 3 || who[0] != "http/1.1" {
				t.Fatal(who)
			}
			if s := r.Stats(); s.Handshakes != 3 || s.BadRecords != 0 {
				t.Fatalf("%+v", s)
			}
		})
	}
}

func TestTLSSuites(t *testing.T) {
	suites := []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	}
	r := newSecureRig(t, Options{}, HandshakeOptions{})
	r.config.CipherSuites = suites
	for _, suite := range suites {
		config := r.client(tls.VersionTLS12)
		config.CipherSuites = []uint16{suite}
		r.with(tls.CipherSuiteName(suite), func() error {
			c, err := r.dial(config)
			if suite == tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA {
				if err == nil {
					return errors.New("a suite that is no AEAD was accepted")
				}
				return nil
			}
			if err != nil {
				return err
			}
			return exchange(c, pattern(40000))
		})
	}
	r.until("the refusal", func() bool { return r.Stats().HandshakeFails[FailProtocol] == 1 })
}

// The peer's goodbye and ours: Finish is a clean end for who reads, close_notify and then the FIN.
func TestTLSFinish(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			r := newSecureRig(t, Options{}, HandshakeOptions{})
			r.data = func(c *Conn, p []byte) []byte {
				put(c, pattern(300<<10))
				c.Finish(10)
				return nil
			}
			r.with("the goodbye", func() error {
				c, err := r.dial(r.client(version))
				if err != nil {
					return err
				}
				if _, err = c.Write([]byte("x")); err != nil {
					return err
				}
				got, err := io.ReadAll(c)
				if err == nil && len(got) != 300<<10 {
					err = io.ErrUnexpectedEOF
				}
				return errors.Join(err, c.Close())
			})
			if why := r.untilClosed(1); why != CauseClosed {
				t.Fatal(why)
			}
		})
	}
}

// A peer that ends without close_notify has ended all the same.
func TestTLSPeerEndsWithoutGoodbye(t *testing.T) {
	r := newSecureRig(t, Options{}, HandshakeOptions{})
	r.with("the end", func() error {
		c, err := r.dial(r.client(tls.VersionTLS13))
		if err != nil {
			return err
		}
		return c.NetConn().(*net.TCPConn).CloseWrite()
	})
	if why := r.untilClosed(1); why != CausePeerClosed {
		t.Fatal(why)
	}
}
