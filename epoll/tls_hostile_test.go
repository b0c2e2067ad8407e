package epoll

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/tidegate/tidegate/epoll/record"
)

// seated takes the one seat of a rig, by a peer that says no more than hello.
func (r *secureRig) seated() *peer {
	r.t.Helper()
	p := dialPeer(r.t, r.addr)
	p.send(hello(r.t))
	r.until("the seat taken", func() bool { return r.tls.Handshaker.Stats().Seats == 1 })
	return p
}

// queued has a peer wait for a seat.
func (r *secureRig) queued() *peer {
	r.t.Helper()
	p := dialPeer(r.t, r.addr)
	p.send(hello(r.t))
	r.until("the queue", func() bool { return r.tls.Handshaker.Stats().Queued == 1 })
	return p
}

// A peer that says FIN and then RST while it waits for a seat is gone: the kernel would report it for as long as it is kept, in each tick.
func TestTLSResetBehindFIN(t *testing.T) {
	r := newSecureRig(t, Options{}, HandshakeOptions{Seats: 1, Patience: time.Hour})
	r.seated()
	p := r.queued()
	p.shutWrite()
	r.until("the FIN", func() bool {
		muted := false
		r.EachFrom(1, 10, func(c *Conn) { muted = muted || c.is(isMuted) })
		return muted
	})
	p.reset()
	if why := r.untilClosed(1); why != CausePeerReset {
		t.Fatal(why)
	}
	if s := r.tls.Handshaker.Stats(); s.Queued != 0 {
		t.Fatalf("%+v", s)
	}
}

// Who waits for a seat, or has one, is read no further than one record goes.
func TestTLSUnreadIsBounded(t *testing.T) {
	r := newSecureRig(t, Options{}, HandshakeOptions{Seats: 1, Patience: time.Hour})
	r.seated()
	p := r.queued()
	p.flood()
	for range 20 {
		r.tick()
		p.flood()
	}
	r.EachFrom(1, 10, func(c *Conn) {
		s := r.secure(c).shake
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.unread) > recordBytesMax || cap(s.unread) > 2*recordBytesMax {
			t.Errorf("%d bytes in %d are kept of a peer that is in its handshake", len(s.unread), cap(s.unread))
		}
	})
}

// Nor is more taken from who has said it before TLS was begun: nobody goes on before the answer to his hello.
func TestTLSMuchBehindTheHello(t *testing.T) {
	r := newSecureRig(t, Options{}, HandshakeOptions{Seats: 1, Patience: time.Hour})
	r.open = nil
	r.data = func(c *Conn, p []byte) []byte { c.StartTLS(r.tls); return p }
	p := dialPeer(t, r.addr)
	p.send(append(hello(t), make([]byte, 40<<10)...))
	if why := r.untilClosed(1); why != CauseHandshake || r.Stats().HandshakeFails[FailNotTLS] != 1 {
		t.Fatal(why, r.Stats().HandshakeFails)
	}
}

// KeyUpdates are the dearest records that there are. A byte of data between two of them makes no more of them honest.
func TestTLSKeyUpdatesBetweenData(t *testing.T) {
	for name, c := range map[string]struct {
		updates int
		want    Cause
	}{"a few": {handledMax, CausePeerClosed}, "many": {1000, CauseBadRecord}} {
		r := newSecureRig(t, Options{}, HandshakeOptions{})
		keys := new(minder)
		config := r.client(tls.VersionTLS13)
		config.KeyLogWriter = (*keyLogWriter)(keys)
		r.with(name, func() error {
			conn, err := r.dial(config)
			if err != nil {
				return err
			}
			state, err := keys.keys13(conn.ConnectionState().CipherSuite, true)
			if err != nil {
				return err
			}
			var all []byte
			k := record.NewCiphers(1)
			for range c.updates {
				all = state.AppendKeyUpdate(k, 0, all, false)
				all = state.Seal(k, 0, all, []byte("a"))
			}
			if _, err = conn.NetConn().Write(state.AppendCloseNotify(k, 0, all)); err != nil {
				return err
			}
			_, _ = io.Copy(io.Discard, conn.NetConn())
			return conn.NetConn().Close()
		})
		if why := r.untilClosed(1); why != c.want {
			t.Errorf("%s: %v", name, why)
		}
	}
}

// Who says a byte at a time takes as much of its seat's patience as who says nothing.
func TestTLSTricklersAreEvicted(t *testing.T) {
	r := newSecureRig(t, Options{}, HandshakeOptions{Seats: 1, Patience: 300 * time.Millisecond})
	whole := hello(t)
	slow := dialPeer(t, r.addr)
	at := recordHeader
	say := func() { // a byte of the hello, in a record of its own
		_, _ = send(int32(slow.fd), []byte{22, 3, 1, 0, 1, whole[at]})
		at++
	}
	say()
	r.until("the seat taken", func() bool { return r.tls.Handshaker.Stats().Seats == 1 })
	done := make(chan error, 1)
	go func() {
		c, err := r.dial(r.client(tls.VersionTLS13))
		if err == nil {
			err = exchange(c, []byte("here"))
		}
		done <- err
		r.Wake()
	}()
	last := time.Now()
	r.until("an honest one", func() bool {
		if time.Since(last) > 10*time.Millisecond && at < len(whole)-1 {
			last = time.Now()
			say()
		}
		r.Wake()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return true
		default:
			return at == len(whole)-1
		}
	})
	if s := r.tls.Handshaker.Stats(); s.Evicted != 1 || s.Done != 1 {
		t.Fatalf("%+v", s)
	}
}

// A panic in a handshake ends that connection, and nobody else notices.
func TestTLSPanicOfAWorker(t *testing.T) {
	if checked {
		t.Skip("in check builds a panic ends the process")
	}
	var told bytes.Buffer
	r := newSecureRig(t, Options{}, HandshakeOptions{Seats: 1, Panicked: func(cause any, stack []byte) {
		told.WriteString(cause.(string))
		told.Write(stack)
	}})
	first := true
	r.tls.Verified = func(tls.ConnectionState) (any, error) {
		if first {
			first = false
			panic("a fault of ours")
		}
		return nil, nil
	}
	r.with("the end of one", func() error {
		c, err := r.dial(r.client(tls.VersionTLS12))
		if err != nil {
			return nil
		}
		defer c.Close()
		if exchange(c, []byte("here")) == nil {
			return errors.New("it lives")
		}
		return nil
	})
	if why := r.untilClosed(1); why != CauseHandshake || r.Stats().HandshakeFails[FailPanic] != 1 {
		t.Fatal(why, r.Stats().HandshakeFails)
	}
	if !bytes.HasPrefix(told.Bytes(), []byte("a fault of ours")) || !bytes.Contains(told.Bytes(), []byte("TestTLSPanicOfAWorker")) {
		t.Fatalf("%q", told.Bytes())
	}
	r.with("the next one", func() error {
		c, err := r.dial(r.client(tls.VersionTLS13))
		if err != nil {
			return err
		}
		return exchange(c, []byte("here"))
	})
}

// A bad record behind one that has the connection move is not forgotten on the way.
func TestTLSBadRecordMoves(t *testing.T) {
	r := newSecureRig(t, Options{}, HandshakeOptions{})
	r.data = func(c *Conn, p []byte) []byte {
		if len(p) == 4 && r.adopts == nil {
			m := c.Detach()
			m.Unread = nil
			r.adopts = func() {
				if _, err := r.Adopt(m); err != nil {
					t.Error(err)
				}
			}
			return p
		}
		put(c, p)
		return nil
	}
	r.tickEnd = func() {
		if r.adopts != nil {
			r.adopts()
			r.adopts = func() {}
		}
	}
	keys := new(minder)
	config := r.client(tls.VersionTLS13)
	config.KeyLogWriter = (*keyLogWriter)(keys)
	r.with("a client", func() error {
		c, err := r.dial(config)
		if err != nil {
			return err
		}
		state, err := keys.keys13(c.ConnectionState().CipherSuite, true)
		if err != nil {
			return err
		}
		if err := exchange(c, []byte("hello")); err != nil {
			return err
		}
		k := record.NewCiphers(1)
		state.SetSequence(0, 1)
		bad := state.Seal(k, 0, nil, []byte("move"))
		bad = append(bad, 20, 3, 3, 0, 1, 1) // ChangeCipherSpec has no place here
		_, err = c.NetConn().Write(bad)
		return err
	})
	if why := r.untilClosed(1); why != CausePeerClosed {
		t.Fatal(why)
	}
}
