package bus

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// wire is one connection to NATS, from its dial to its end. Safe from any goroutine once its link shows it.
type wire struct {
	nc         *nats.Conn
	id         uint64 // the server's number of it
	url        string
	maxPayload int
	subs       map[*nats.Subscription]struct{} // guarded by Bus.op
	gone       chan struct{}                   // closed when nats.go has closed the connection
	direct     *socket                         // where commands may be written between those of nats.go; nil under TLS

	mu      sync.Mutex
	conn    *socket // the one under nats.go
	release func() bool
}

// hold makes conn the wire's socket and cuts it when ctx ends.
func (w *wire) hold(ctx context.Context, conn net.Conn, timed bool) (*socket, error) {
	s := &socket{Conn: conn, timed: timed}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.release != nil {
		w.release()
	}
	w.conn = s
	w.release = context.AfterFunc(ctx, func() { _ = conn.Close() })
	return s, ctx.Err()
}

// cut closes the socket. It never waits, even while nats.go is stuck in a write.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.release != nil {
		w.release()
	}
	if w.conn != nil {
		_ = w.conn.Close()
	}
}

// kill ends the wire: first the socket, so that nats.go does not try to flush.
func (w *wire) kill() {
	w.cut()
	w.nc.Close()
}

// flush returns nil when the server has processed all that was published before: a PONG came back on this very connection.
func (w *wire) flush(d time.Duration) error {
	return w.nc.FlushTimeout(d)
}

// refused tells whether the server ended the wire because of what we sent, and not because something broke.
func (w *wire) refused() bool {
	select {
	case <-w.gone:
	case <-time.After(writeTimeout):
		return false
	}
	err := w.nc.LastError()
	if err == nil {
		return false
	}
	text := strings.ToLower(err.Error())
	for _, s := range []string{"maximum control line", "maximum payload", "unknown protocol operation", "invalid publish subject"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}
