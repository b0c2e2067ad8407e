package gateway

import (
	"crypto/tls"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestTLSBrokenAnywhere: devices that break off at any byte of a handshake or behind it, by FIN or RST, while files and keys of tickets change, leave nothing behind,
// and one that is connected does not notice.
func TestTLSBrokenAnywhere(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	a.revoke("ca.crl", time.Now().Add(time.Hour))
	r := start(t, a.secured(a.wants("optional"), func(c *TLSCfg) {
		c.CRL, c.HandshakesMax = []string{a.file("ca.crl")}, 4
	}))
	stays := r.mustTLS(r.mqtt, a.client())
	r.connectOn(stays, "stays")
	packet := stays.connectPacket("breaks")
	shown := a.client(showing(a.issue("breaks")), func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(1) })
	old := a.client(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	before := runtime.NumGoroutine()

	var broken sync.WaitGroup
	for i := range 6 {
		broken.Go(func() {
			chance := rand.New(rand.NewPCG(1, uint64(i)))
			for range 40 {
				conn, err := net.Dial("tcp", r.mqtt)
				if err != nil {
					t.Error(err)
					return
				}
				b := &breaks{TCPConn: conn.(*net.TCPConn), left: chance.IntN(2500), reset: chance.IntN(2) == 0}
				_ = b.SetDeadline(time.Now().Add(patience))
				c := tls.Client(b, []*tls.Config{shown, old}[chance.IntN(2)])
				if c.Handshake() == nil {
					_, _ = c.Write(packet)
					_, _ = c.Read(make([]byte, 1))
				}
				b.end()
			}
		})
	}
	done := make(chan struct{})
	go func() { broken.Wait(); close(done) }()
	for changing := true; changing; {
		a.server("server")
		a.revoke("ca.crl", time.Now().Add(time.Hour))
		r.gw.Reload()
		r.gw.tls.refreshTickets(t.Context())
		select {
		case <-done:
			changing = false
		case <-time.After(5 * time.Millisecond):
		}
	}
	stays.ping()
	r.eventually("nothing is left", func() bool {
		s, sum := r.gw.tls.handshaker.Stats(), r.sum()
		return s.Seats+s.Queued == 0 && r.gw.room.open.Load() == 1 && sum.loop.TailBytes == 0 && sum.loop.BatchBytes == 0
	})
	r.eventually("no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+10 })
	r.connectOn(r.mustTLS(r.mqtt, shown), "breaks", func(o *mqtt.ConnectOut) { o.CleanStart = true })
}

// breaks is a connection that ends after so many bytes have gone out, within the write that does it.
type breaks struct {
	*net.TCPConn
	left  int
	reset bool
}

func (b *breaks) Write(p []byte) (int, error) {
	if len(p) <= b.left {
		b.left -= len(p)
		return b.TCPConn.Write(p)
	}
	_, _ = b.TCPConn.Write(p[:b.left])
	b.end()
	return 0, net.ErrClosed
}

func (b *breaks) end() {
	if b.reset {
		_ = b.SetLinger(0)
	} else {
		_ = b.CloseWrite()
	}
	_ = b.Close()
}
