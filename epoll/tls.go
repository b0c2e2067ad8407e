package epoll

import (
	"crypto/tls"
	"fmt"

	"github.com/tidegate/tidegate/epoll/record"
)

// TLS is how connections of one kind become secured. It may be used by many connections of many loops at once.
type TLS struct {
	// Config is asked once per handshake, on a worker. Session tickets are those of the Config that is returned, or of that
	// which its GetConfigForClient chooses, with the keys that it has then. TLS below 1.2 and suites of TLS 1.2
	// that are no AEAD are never offered. A KeyLogWriter of its own is still served.
	Config func() *tls.Config
	// Verified is told of a finished handshake, on a worker, and says whose connection it is: what Conn.Secured returns.
	// An error ends the connection with CauseHandshake. nil: everybody is welcome.
	Verified func(state tls.ConnectionState) (who any, err error)
	// Handshaker does the work.
	Handshaker *Handshaker
	// Client tells that we speak first: for connections that we dialled. There is no resumption: tickets of the server are skipped.
	Client bool
}

// Securer is implemented by a Handler that wants to know when a handshake is over.
type Securer interface {
	// OnSecured tells that the handshake begun with StartTLS has succeeded: from now on OnData gets plaintext and Begin
	// lends it. Bytes of the peer that came with the end of the handshake follow in OnData.
	OnSecured(c *Conn)
}

// HandshakeFail is why a handshake ended a connection with CauseHandshake.
type HandshakeFail uint8

const (
	FailNotTLS      HandshakeFail = iota // the first bytes are no TLS handshake, or the hello is longer than 16 KiB
	FailBusy                             // the queue of the Handshaker was full
	FailEvicted                          // all seats were taken, and this was the one that had waited longest for its peer
	FailPeerAlert                        // the peer ended it by an alert
	FailCertificate                      // the peer's certificate was missing, not valid, or refused by Verified
	FailProtocol                         // no common version or suite, or another fault that crypto/tls found
	FailPanic                            // a fault of ours; told to HandshakeOptions.Panicked
	handshakeFails  = int(FailPanic) + 1
)

var handshakeFailNames = [handshakeFails]string{
	"not TLS", "busy", "evicted", "peer alert", "certificate", "protocol", "panic",
}

// String returns the reason in words.
func (f HandshakeFail) String() string {
	if int(f) < len(handshakeFailNames) {
		return handshakeFailNames[f]
	}
	return "unknown handshake failure"
}

// secure is the TLS state of one connection, beside the Conn and only for connections that have called StartTLS. Owned
// by the loop of the connection.
type secure struct {
	state record.State
	shake *shake // the handshake; nil once it is over
	who   any    // what Verified returned
	raw   uint32 // unread ciphertext, less than a record, in the loop's buffer table; 0: none
	out   uint32 // ciphertext that the socket has refused, likewise
	large bool   // its records are large enough to read many at once
	over  bool   // the peer has said close_notify
	bye   bool   // we have
}

// StartTLS begins the handshake: from OnOpen, or from OnData, where what that returns are the first bytes of TLS. What
// was put into the batch before goes out as it is. Until OnSecured there is no OnData and no Detach; what is put into
// the batch waits, Finish is Close, and the deadline (Arm, OnTimeout) is the owner's. A handshake that fails ends the connection
// with CauseHandshake, after an alert to the peer.
func (c *Conn) StartTLS(t *TLS) {
	l := c.use()
	if c.Closing() {
		return
	}
	if c.is(isTLS|isConnecting) || t == nil || t.Config == nil || t.Handshaker == nil {
		panic(fmt.Sprintf("epoll: StartTLS of slot %d, which dials or has begun TLS before (flags %#x), or with an incomplete TLS", c.slot, c.flags))
	}
	l.startTLS(c, t)
}

// Secured returns what TLS.Verified returned for the connection; nil if it is plain or its handshake is not over.
func (c *Conn) Secured() any {
	l := c.use()
	if !c.is(isTLS) {
		return nil
	}
	return l.secure(c).who
}

// IsTLS tells whether StartTLS was called.
func (c *Conn) IsTLS() bool { return c.is(isTLS) }

// shaking tells whether the handshake is not over.
func (l *Loop) shaking(c *Conn) bool { return c.is(isTLS) && l.secure(c).shake != nil }

func (l *Loop) secure(c *Conn) *secure { return *l.secures.At(c.slot) }
