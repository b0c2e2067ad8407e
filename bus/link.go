package bus

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// link keeps one connection to NATS alive. Every connection it makes is a wire of its own, and a wire that broke never comes back.
//
// nats.go could reconnect by itself, but then a publish that began on the old connection may continue on the new one: messages 6 to 10 would
// arrive before 1 to 5 are repeated. With one nats.Conn for each connection, a message belongs to exactly one wire, order holds by
// construction, and a connection that the server ended for a protocol error (nats.go gives up on those) is no special case.
// The cost: we dial and subscribe again ourselves.
type link struct {
	bus   *Bus
	base  nats.Options
	ctx   context.Context // ends with Close
	greet func(*wire) error
	tried chan struct{} // closed after the first attempt to connect
	done  chan struct{} // closed when run has returned

	now   atomic.Pointer[wire] // nil while away
	prev  *wire                // the one before; its messages may still wait in the inbox. Guarded by Bus.op
	known []string             // servers the last wire was told of; owned by run

	errMu sync.Mutex
	err   error
}

// The pause before the next attempt doubles from redialMin to redialMax, or to redialBroken after a wire that stood but broke soon.
const (
	redialMin    = 50 * time.Millisecond
	redialBroken = 200 * time.Millisecond
	redialMax    = 2 * time.Second
)

func newLink(ctx context.Context, b *Bus, base nats.Options, echo bool) *link {
	base.NoEcho = !echo
	if echo {
		base.Name += " echo"
	}
	return &link{bus: b, base: base, ctx: ctx, tried: make(chan struct{}), done: make(chan struct{})}
}

// run dials until a wire stands, waits until it breaks, and starts over.
func (l *link) run() {
	defer close(l.done)
	pause := redialMin
	for first := true; l.ctx.Err() == nil; first = false {
		began := time.Now()
		w, err := l.dial()
		if err == nil {
			err = l.install(w)
		}
		l.setErr(err)
		l.bus.wireChanged()
		if first {
			close(l.tried)
		}
		most := redialMax
		if err == nil {
			l.serve(w)
			most = redialBroken
		}
		if time.Since(began) > redialMax {
			pause = redialMin
		}
		l.sleep(min(pause, most))
		pause = min(2*pause, most)
	}
}

// serve waits until the wire breaks.
func (l *link) serve(w *wire) {
	l.bus.count.connects.Add(1)
	select {
	case <-w.gone:
	case <-l.ctx.Done():
		w.kill()
		<-w.gone
	}
	w.cut()
	l.uninstall(w)
	l.bus.count.disconnects.Add(1)
	l.known = w.nc.DiscoveredServers()
	err := w.nc.LastError()
	if err == nil {
		err = errors.New("bus: the NATS server closed the connection")
	}
	l.setErr(err)
	l.bus.wireChanged()
}

// sleep waits about d, a quarter more or less, so that many gateways do not return in step.
func (l *link) sleep(d time.Duration) {
	t := time.NewTimer(d*3/4 + rand.N(d/2))
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.ctx.Done():
	}
}

// dial makes one attempt over all known servers.
func (l *link) dial() (*wire, error) {
	o := l.base
	w := &wire{subs: make(map[*nats.Subscription]struct{}), gone: make(chan struct{})}
	var once sync.Once
	o.ClosedCB = func(*nats.Conn) { once.Do(func() { close(w.gone) }) }
	o.AsyncErrorCB = func(_ *nats.Conn, sub *nats.Subscription, err error) { l.bus.onAsyncError(sub, err) }
	if s := l.bus.server; s != nil && len(o.Servers) == 0 {
		o.InProcessServer = pipeDialer{l, w, s}
	} else {
		o.CustomDialer = tcpDialer{l, w}
		o.Servers = withDiscovered(o.Servers, l.known)
	}
	nc, err := o.Connect()
	if err != nil {
		w.cut()
		return nil, err
	}
	w.nc, w.maxPayload, w.url = nc, int(nc.MaxPayload()), nc.ConnectedUrlRedacted()
	if s := l.bus.server; s != nil {
		w.url = s.url()
	}
	w.id, _ = nc.GetClientID() // old servers have none
	if _, err := nc.TLSConnectionState(); err != nil && nc.HeadersSupported() {
		w.direct = w.conn
	}
	return w, nil
}

// withDiscovered adds the servers that a cluster told of, with the user of the first URL if it has one.
func withDiscovered(urls, known []string) []string {
	if len(known) == 0 {
		return urls
	}
	all := append([]string(nil), urls...)
	first, _ := url.Parse(urls[0])
	for _, s := range known {
		u, err := url.Parse(s)
		if err != nil {
			continue
		}
		if first != nil && u.User == nil {
			u.User = first.User
		}
		all = append(all, u.String())
	}
	return all
}

// install subscribes all interests on a new wire and then shows it to everybody.
func (l *link) install(w *wire) error {
	l.bus.op.Lock()
	defer l.bus.op.Unlock()
	if l.greet != nil {
		if err := l.greet(w); err != nil {
			w.kill()
			return err
		}
	}
	for _, it := range l.bus.interests {
		if it.link != l {
			continue
		}
		if err := l.bus.attach(w, it); err != nil {
			w.kill()
			return err
		}
	}
	l.now.Store(w)
	return nil
}

// uninstall hides a broken wire. Its subscriptions stay known until the next one breaks, for messages still waiting in the inbox.
func (l *link) uninstall(w *wire) {
	l.now.Store(nil)
	l.bus.op.Lock()
	defer l.bus.op.Unlock()
	if l.prev != nil {
		for sub := range l.prev.subs {
			l.bus.inbox.forget(sub)
		}
	}
	l.prev = w
	for _, it := range l.bus.interests {
		if it.link == l {
			it.subs = nil
		}
	}
}

func (l *link) setErr(err error) {
	l.errMu.Lock()
	l.err = err
	l.errMu.Unlock()
}

func (l *link) lastErr() error {
	l.errMu.Lock()
	defer l.errMu.Unlock()
	return l.err
}

// tcpDialer dials for nats.go and remembers the socket, so that a stalled wire can be cut.
type tcpDialer struct {
	l *link
	w *wire
}

func (d tcpDialer) Dial(network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(d.l.ctx, network, address)
	if err != nil {
		return nil, err
	}
	return d.w.hold(d.l.ctx, conn, true)
}

// pipeDialer is the same for the embedded server.
type pipeDialer struct {
	l *link
	w *wire
	s *embedded
}

func (d pipeDialer) InProcessConn() (net.Conn, error) {
	conn, err := d.s.server.InProcessConn()
	if err != nil {
		return nil, err
	}
	return d.w.hold(d.l.ctx, conn, false)
}
