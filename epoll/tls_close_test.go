package epoll

import (
	"crypto/tls"
	"testing"
	"time"
)

// A Handshaker that closes ends who has a seat and who waits for one, and refuses who comes later. Who is secured stays, and nothing is left behind.
func TestTLSHandshakerCloses(t *testing.T) {
	t.Parallel()
	r := newSecureRig(t, Options{}, HandshakeOptions{Seats: 1, Patience: time.Hour})
	var secured *tls.Conn
	r.with("one that is secured", func() (err error) {
		if secured, err = r.dial(r.client(tls.VersionTLS13)); err != nil {
			return err
		}
		return exchange(secured, []byte("before"))
	})
	whole := hello(t)
	stalled, waiting := dialPeer(t, r.addr), dialPeer(t, r.addr)
	stalled.send(whole)
	r.until("the seat is taken", func() bool { return r.tls.Handshaker.Stats().Seats == 1 && r.Stats().WriteBytes > 0 })
	waiting.send(whole)
	r.until("one waits", func() bool { return r.tls.Handshaker.Stats().Queued == 1 })

	r.tls.Handshaker.Close()
	r.untilClosed(2)
	dialPeer(t, r.addr).send(whole)
	if why := r.untilClosed(3); why != CauseHandshake {
		t.Fatal(why)
	}
	if f := r.Stats().HandshakeFails; f[FailEvicted] != 1 || f[FailBusy] != 2 {
		t.Fatal(f)
	}
	r.until("the seat is free", func() bool { s := r.tls.Handshaker.Stats(); return s.Seats+s.Queued == 0 })
	r.with("who was secured", func() error { return exchange(secured, []byte("after")) })
	r.tls.Handshaker.Close() // again
}
