package epoll

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/tidegate/tidegate/epoll/record"
)

var (
	errBusy    = errors.New("epoll: too many handshakes wait")
	errEvicted = errors.New("epoll: a handshake that waited for its peer had to leave")
	errPanic   = errors.New("epoll: a panic in a handshake")
	errGone    = errors.New("epoll: the connection of a handshake has ended")
)

// shake is one handshake, between the loop that owns its connection and the goroutine that does it.
type shake struct {
	t     *TLS
	loop  *Loop
	name  Handle // of the connection
	fd    int32  // its descriptor
	mind  minder // only the goroutine's
	alone bool   // likewise: the loop has nothing to write before what the handshake says

	// Of the Handshaker, under its mu.
	in        *list.List // the list it is on; nil: none
	place     *list.Element
	stalledAt time.Time     // since when it has waited for its peer, had it waited at a stretch
	waited    time.Duration // for its peer, up to the last time that it went on
	leaving   bool          // it was evicted

	mu       sync.Mutex
	come     sync.Cond // unread has grown, or failure is set
	unread   []byte    // came in, whole records first
	unsent   []byte    // to go out
	ended    bool      // nothing will come after unread
	full     bool      // the loop has stopped reading until unread is short again
	asked    bool      // has been in the queue
	told     bool      // is on the loop's list of news
	over     bool      // the goroutine is done with it
	failure  error     // why it ended badly; nil: it ended well, or has not ended
	verified any
	keys     record.State

	// door is held while the goroutine writes to the descriptor, and for gone to be set, which takes mu as well.
	door sync.Mutex
	gone bool // nobody waits for the result, and the descriptor may be another connection's
}

// unreadMax is how many unread bytes of a connection in its handshake there may be: the longest record. The loop reads on once no whole one is left.
const unreadMax = recordBytesMax

func newShake(t *TLS, l *Loop, c *Conn) *shake {
	s := &shake{t: t, loop: l, name: c.Handle(), fd: c.fd, alone: c.batch == 0}
	s.come.L = &s.mu
	return s
}

// fail ends the handshake from outside.
func (s *shake) fail(why error) {
	s.mu.Lock()
	if s.over || s.failure != nil {
		s.mu.Unlock()
		return
	}
	s.failure = why
	s.come.Signal()
	s.tell()
}

// leave says that the connection has ended. Behind it the descriptor may be closed.
func (s *shake) leave() {
	s.door.Lock()
	s.mu.Lock()
	s.gone = true
	s.unread, s.unsent = nil, nil
	s.mu.Unlock()
	s.door.Unlock()
	s.fail(errGone)
	s.t.Handshaker.forget(s)
}

// tell makes the loop look at the handshake. Called with mu held, which it unlocks first: the loop that it wakes wants mu at once, often on the very
// core that wakes it, and would wait for a worker that the kernel has just put aside.
func (s *shake) tell() {
	quiet := s.told || s.gone
	s.told = true
	s.mu.Unlock()
	if !quiet {
		s.loop.news.put(s)
	}
}

// run does the handshake, and tells whether it ended well and was a resumption.
func (s *shake) run() (ok, resumed bool) {
	h := s.t.Handshaker
	h.compute <- struct{}{}
	state, who, err := s.contained()
	<-h.compute
	s.mu.Lock()
	s.over = true
	if s.failure == nil {
		s.failure = err
	}
	s.verified = who
	ok = s.failure == nil
	s.tell()
	return ok, state.DidResume
}

// contained is handshake, of which a panic ends no other connection.
func (s *shake) contained() (state tls.ConnectionState, who any, err error) {
	if checked {
		return s.handshake()
	}
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		err = errPanic
		if tell := s.t.Handshaker.o.Panicked; tell != nil {
			tell(cause, debug.Stack())
		}
	}()
	return s.handshake()
}

func (s *shake) handshake() (state tls.ConnectionState, who any, err error) {
	c := s.conn()
	if err = c.HandshakeContext(context.Background()); err != nil {
		return state, nil, err
	}
	state = c.ConnectionState()
	if s.keys, err = s.mind.keys(&state, s.t.Client); err != nil {
		return state, nil, err
	}
	if s.t.Verified != nil {
		if who, err = s.t.Verified(state); err != nil {
			return state, nil, &verifyError{err}
		}
	}
	return state, who, nil
}

func (s *shake) conn() *tls.Conn {
	config := s.t.Config()
	if s.t.Client {
		return tls.Client((*shim)(s), s.mind.listen(config))
	}
	return tls.Server((*shim)(s), s.mind.listen(config))
}

// verifyError is what Verified returned.
type verifyError struct{ error }

func (e *verifyError) Unwrap() error { return e.error }

// failKind sorts why a handshake ended badly.
func failKind(err error) HandshakeFail {
	var (
		certificate *tls.CertificateVerificationError
		header      tls.RecordHeaderError
		refused     *verifyError
		op          *net.OpError
	)
	switch {
	case errors.Is(err, errBusy):
		return FailBusy
	case errors.Is(err, errEvicted):
		return FailEvicted
	case errors.Is(err, errPanic):
		return FailPanic
	case errors.Is(err, errNotTLS), errors.As(err, &header):
		return FailNotTLS
	case errors.As(err, &certificate), errors.As(err, &refused):
		return FailCertificate
	case errors.As(err, &op) && op.Op == "remote error":
		return FailPeerAlert
	}
	return FailProtocol
}

// shim is the handshake as the net.Conn that crypto/tls wants. It gives exactly one record at a time, so that nothing
// behind the handshake is ever inside of crypto/tls.
type shim shake

func (m *shim) Read(p []byte) (int, error) {
	s := (*shake)(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hasRecord() && s.failure == nil && !s.ended {
		s.wait()
	}
	if s.failure != nil {
		return 0, s.failure
	}
	if !s.hasRecord() {
		return 0, io.EOF
	}
	if s.mind.left == 0 {
		n, err := record.Whole(s.unread)
		if err != nil {
			return 0, err
		}
		s.mind.left = n
		s.mind.saw(s.unread[:n])
	}
	n := copy(p[:min(len(p), s.mind.left)], s.unread)
	s.mind.left -= n
	s.unread = s.unread[n:]
	return n, nil
}

// hasRecord tells whether there is a whole record, or bytes that can't become one. Called with mu held.
func (s *shake) hasRecord() bool {
	if s.mind.left > 0 {
		return true
	}
	n, err := record.Whole(s.unread)
	return n > 0 || err != nil
}

// wait lets others compute until there is a record. The flight of ours that the peer is to answer goes out now. Called
// with mu held.
func (s *shake) wait() {
	h := s.t.Handshaker
	s.say()
	if len(s.unsent) > 0 || s.full {
		s.tell()
	} else {
		s.mu.Unlock()
	}
	<-h.compute
	h.stall(s)
	s.mu.Lock()
	for !s.hasRecord() && s.failure == nil && !s.ended {
		s.come.Wait()
	}
	s.mu.Unlock()
	h.goOn(s)
	h.compute <- struct{}{}
	s.mu.Lock()
}

// say writes a flight, which spares the loop being woken for it: 5 % of a handshake. What the socket does not take is the loop's to write, and so is
// all behind it. Called with mu held, which is free meanwhile, or the loop would wait for it with what the peer answers.
func (s *shake) say() {
	if !s.alone || len(s.unsent) == 0 {
		return
	}
	out := s.unsent
	s.unsent = nil
	s.mu.Unlock()
	s.door.Lock()
	n := 0
	if !s.gone {
		n, _ = send(s.fd, out) // the loop finds what is wrong
		s.loop.flights.Add(1)
		s.loop.flightBytes.Add(uint64(n))
	}
	s.door.Unlock()
	s.mu.Lock()
	s.alone = n == len(out)
	if !s.alone && !s.gone {
		s.unsent = out[n:]
	}
}

func (m *shim) Write(p []byte) (int, error) {
	s := (*shake)(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return 0, errGone
	}
	s.mind.wrote(p)
	s.unsent = append(s.unsent, p...)
	return len(p), nil
}

func (m *shim) Close() error                     { return nil }
func (m *shim) LocalAddr() net.Addr              { return shimAddr{} }
func (m *shim) RemoteAddr() net.Addr             { return shimAddr{} }
func (m *shim) SetDeadline(time.Time) error      { return nil }
func (m *shim) SetReadDeadline(time.Time) error  { return nil }
func (m *shim) SetWriteDeadline(time.Time) error { return nil }

// shimAddr is no address: the descriptor is the loop's business.
type shimAddr struct{}

func (shimAddr) Network() string { return "tcp" }
func (shimAddr) String() string  { return "loop" }
