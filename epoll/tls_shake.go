package epoll

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/tidegate/tidegate/epoll/record"
)

var errNotTLS = errors.New("epoll: the first bytes are no TLS")

// goodbyeSec is how long a peer has to take the alert that ends its connection.
const goodbyeSec = 2

// alertAccessDenied says that a valid certificate is not welcome.
const alertAccessDenied record.Alert = 49

// ciphersPerLoop is how many connections of a loop may talk at a time before keys are expanded again for each read or
// write: 2 MiB a loop at most.
const ciphersPerLoop = 1024

// helloBytesMax is the longest first record of a peer that opens a handshake, its header aside.
const helloBytesMax = 16 << 10

// news are handshakes of a loop's connections of which a worker has something to tell: the door into the loop. Safe from
// any goroutine.
type news struct {
	loop *Loop
	mu   sync.Mutex
	list []*shake
}

func (n *news) put(s *shake) {
	n.mu.Lock()
	n.list = append(n.list, s)
	n.mu.Unlock()
	n.loop.Wake()
}

func (n *news) take() []*shake {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.list
	n.list = nil
	return list
}

func (l *Loop) startTLS(c *Conn, t *TLS) {
	c.flags |= isTLS
	s := &secure{shake: newShake(t, l, c)}
	*l.secures.At(c.slot) = s
	s.out, c.batch = c.batch, 0
	l.needCipherRoom()
	if t.Client {
		s.shake.asked = true
		t.Handshaker.ask(s.shake)
	}
	if l.showing != c.slot {
		l.feedTail(c)
	}
}

// feedTail hands what has come before StartTLS, or was left in its OnData, to the handshake. Nobody who waits for an answer to his hello has said
// more than there may be unread.
func (l *Loop) feedTail(c *Conn) {
	tail := c.tail
	c.tail = 0
	switch {
	case tail == 0:
	case l.bufs.at(tail).len() > unreadMax:
		l.failShake(c, errNotTLS)
	default:
		l.feed(c, l.bufs.at(tail).bytes())
	}
	l.bufs.drop(&tail)
}

// readShaking reads a connection in its handshake once, as far as there may be unread bytes.
func (l *Loop) readShaking(c *Conn) {
	s := l.secure(c).shake
	s.mu.Lock()
	room := unreadMax - len(s.unread)
	s.mu.Unlock()
	n, errno := recv(c.fd, l.rbuf[:min(room, len(l.rbuf))])
	if n == 0 && errno == 0 && s.asked {
		l.endOfInput(c)
		return
	}
	if !l.received(c, n, errno) {
		return
	}
	l.feed(c, l.rbuf[:n])
	mangle(l.rbuf[:n])
}

// endOfInput notes the FIN of a peer in its handshake, which may have sent all that is needed, and data behind it.
func (l *Loop) endOfInput(c *Conn) {
	l.stats.Reads++
	s := l.secure(c).shake
	s.mu.Lock()
	s.ended = true
	s.come.Signal()
	s.mu.Unlock()
	l.mute(c)
}

// feed hands bytes of the peer to the handshake, and asks for a seat when the first record is whole.
func (l *Loop) feed(c *Conn, p []byte) {
	s := l.secure(c).shake
	s.mu.Lock()
	s.unread = append(s.unread, p...)
	unread := s.unread
	if len(unread) >= unreadMax {
		s.full = true
		l.mute(c)
	}
	s.come.Signal()
	s.mu.Unlock()
	if s.asked {
		return
	}
	// Nobody else reads it before the handshake has a seat.
	whole, err := wholeHello(unread)
	switch {
	case err != nil:
		l.failShake(c, err)
	case whole:
		s.asked = true
		s.t.Handshaker.ask(s)
	}
}

// wholeHello tells whether the first record of a handshake is whole.
func wholeHello(p []byte) (bool, error) {
	if len(p) > 0 && p[0] != typeHandshake || len(p) > 1 && p[1] != 3 {
		return false, errNotTLS
	}
	n, err := record.Whole(p)
	if err != nil || len(p) >= recordHeader && int(p[3])<<8+int(p[4]) > helloBytesMax {
		return false, errNotTLS
	}
	return n > 0, nil
}

// mute takes EPOLLIN away.
func (l *Loop) mute(c *Conn) {
	if !c.is(isMuted) {
		c.flags |= isMuted
		l.rearm(c)
	}
}

// hearNews acts on what the workers have done for connections of this loop.
func (l *Loop) hearNews() {
	for _, s := range l.news.take() {
		c := l.Conn(s.name)
		if c == nil || c.Closing() || !c.is(isTLS) || l.secure(c).shake != s {
			continue
		}
		l.advance(c, s)
	}
}

// advance takes over what a handshake has produced.
func (l *Loop) advance(c *Conn, s *shake) {
	s.mu.Lock()
	s.told = false
	out, over, failure := s.unsent, s.over, s.failure
	s.unsent = nil
	if s.full && !s.hasRecord() && !s.ended && !c.is(isPaused) {
		s.full = false
		c.flags &^= isMuted
		l.rearm(c)
	}
	s.mu.Unlock()
	if len(out) > 0 {
		l.queue(c, out)
	}
	switch {
	case failure != nil:
		l.failShake(c, failure)
	case over:
		l.secured(c, s)
	}
}

// queue puts ciphertext behind what waits to be written.
func (l *Loop) queue(c *Conn, p []byte) {
	s := l.secure(c)
	if s.out == 0 {
		s.out = l.bufs.lend(kindBatch, len(p))
	}
	b := l.bufs.at(s.out)
	l.makeRoom(b, len(p))
	b.end += copy(b.mem[b.end:], p)
	l.soil(c)
}

// secured ends a handshake that went well. No lock is needed: the worker is done with it.
func (l *Loop) secured(c *Conn, s *shake) {
	e := l.secure(c)
	e.shake = nil
	e.state, e.who = s.keys, s.verified
	l.stats.Handshakes++
	if c.is(isMuted) && !c.is(isPaused) && !s.ended {
		c.flags &^= isMuted
		l.rearm(c)
	}
	if len(s.unread) > 0 && !l.openEarly(c, s.unread) {
		return
	}
	e.over = e.over || s.ended
	if c.batch != 0 {
		l.soil(c)
	}
	if l.securer != nil {
		l.securer.OnSecured(c)
	}
	if c.Closing() {
		return
	}
	if c.tail != 0 || e.over {
		l.resume(c)
	}
}

// failShake ends a connection whose handshake went badly, after the alert if there is one.
func (l *Loop) failShake(c *Conn, why error) {
	if errors.Is(why, io.EOF) || errors.Is(why, io.ErrUnexpectedEOF) {
		l.end(c, CausePeerClosed)
		return
	}
	l.stats.HandshakeFails[failKind(why)]++
	s := l.secure(c)
	var refused *verifyError
	if errors.As(why, &refused) {
		s.shake.mu.Lock()
		s.state = s.shake.keys
		s.shake.mu.Unlock()
		l.queue(c, s.state.AppendAlert(l.ciphers, c.slot, nil, alertAccessDenied))
	}
	l.fail(c, CauseHandshake)
}

// fail ends the connection for a fault of TLS. What waits as ciphertext, an alert, is written first.
func (l *Loop) fail(c *Conn, why Cause) {
	s := l.secure(c)
	if s.out == 0 {
		l.end(c, why)
		return
	}
	l.bufs.drop(&c.batch)
	s.bye = true
	c.cause = why
	l.finish(c, goodbyeSec)
}

// unsecure takes the TLS state away from a connection that moves.
func (l *Loop) unsecure(c *Conn) *sealed {
	s := l.secure(c)
	m := &sealed{secure: *s}
	m.secure.raw, m.secure.out = 0, 0
	if s.raw != 0 {
		m.raw = bytes.Clone(l.bufs.at(s.raw).bytes())
	}
	if s.out != 0 {
		m.out = bytes.Clone(l.bufs.at(s.out).bytes())
	}
	return m
}

// resecure gives it to the connection in its new loop.
func (l *Loop) resecure(c *Conn, m *sealed) {
	c.flags |= isTLS
	l.needCipherRoom()
	s := new(secure)
	*s = m.secure
	*l.secures.At(c.slot) = s
	l.keepRaw(s, m.raw)
	if len(m.out) > 0 {
		l.queue(c, m.out)
	}
	if s.over {
		l.resume(c)
	}
}

func (l *Loop) needCipherRoom() {
	if l.cbuf == nil {
		l.ciphers = record.NewCiphers(ciphersPerLoop)
		l.cbuf = make([]byte, tailShort+recordBytesMax+l.o.ReadBytes)
	}
}
