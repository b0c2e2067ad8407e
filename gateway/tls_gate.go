package gateway

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/epoll"
)

// tlsGate is TLS of all listeners: their doors, the handshakes, and what changes while the gateway runs, which are files and the keys of
// tickets. A nil one has no doors. Safe from any goroutine.
type tlsGate struct {
	gw         *Gateway
	doors      []*tlsDoor // by listener; nil: without TLS
	handshaker *epoll.Handshaker
	seen       seenCerts
	reloads    [2]atomic.Uint64 // by result: failed, loaded

	mu      sync.Mutex // of what follows, and of new states of doors
	tickets tickets
}

// tlsLookTime is between two looks at the files. A change is read once a look has found it as the one before did: certificate and key are
// written one after the other.
const tlsLookTime = 2 * time.Second

// openTLS opens the doors of the listeners with TLS. It waits for NATS for a moment, so that the first devices after a restart find the keys of
// the tickets that they have.
func (g *Gateway) openTLS() error {
	x := &tlsGate{gw: g, doors: make([]*tlsDoor, len(g.cfg.Listeners))}
	for i, text := range g.cfg.Listeners {
		l, err := ParseListener(text)
		if err != nil {
			return err
		}
		if !l.secure() {
			continue
		}
		if x.handshaker == nil {
			x.handshaker = epoll.NewHandshaker(epoll.HandshakeOptions{
				Seats: g.cfg.TLS.HandshakesMax, Compute: halfOfCores, PerSecond: g.cfg.TLS.HandshakeRate, Panicked: x.panicked,
			})
		}
		x.doors[i] = newTLSDoor(g, l, g.cfg.tlsFilesOf(fmt.Sprintf("listeners[%d]", i), &g.bounds[i]), x.handshaker, &x.seen)
	}
	if x.handshaker == nil {
		return nil
	}
	g.tls = x
	x.tickets.begin(time.Now())
	x.refreshTickets(context.Background())
	if errs := x.load(func(*tlsDoor) bool { return true }); len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// bound notes what address a listener really has.
func (x *tlsGate) bound(listener int, l Listener) {
	if x != nil && x.doors[listener] != nil {
		x.doors[listener].listener = l.String()
	}
}

// run looks after files and tickets until ctx ends.
func (x *tlsGate) run(ctx context.Context) {
	if x == nil {
		return
	}
	look, ask := time.NewTicker(tlsLookTime), time.NewTicker(ticketsLookTime)
	defer look.Stop()
	defer ask.Stop()
	for {
		select {
		case <-look.C:
			x.look()
		case <-ask.C:
			x.refreshTickets(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// panicked is told of a panic in a handshake.
func (x *tlsGate) panicked(cause any, stack []byte) {
	x.gw.log.Error().Interface("panic", cause).Bytes("stack", stack).Msg("panic in a TLS handshake; its connection is closed")
}

// close ends the handshakes under way.
func (x *tlsGate) close() {
	if x != nil {
		x.handshaker.Close()
	}
}

// look reads the files of the doors whose files have changed and come to rest.
func (x *tlsGate) look() {
	changed := map[*tlsDoor]bool{}
	for _, d := range x.doors {
		if d == nil {
			continue
		}
		now := d.files.stamps()
		x.mu.Lock()
		changed[d] = !slices.Equal(now, d.tried) && slices.Equal(now, d.last)
		d.last = now
		x.mu.Unlock()
	}
	x.reload(func(d *tlsDoor) bool { return changed[d] })
}

// reload is load with a log.
func (x *tlsGate) reload(which func(d *tlsDoor) bool) {
	for _, e := range x.load(which) {
		x.gw.log.Error().Err(e).Msg("TLS files cannot be used; their listeners go on with what they have")
	}
}

// load reads the files of some doors and has them used. It returns what is wrong with them, each thing once.
func (x *tlsGate) load(which func(d *tlsDoor) bool) []*FieldError {
	x.mu.Lock()
	defer x.mu.Unlock()
	all, warn := validator{}, validator{}
	recalls := false
	for _, d := range x.doors {
		if d == nil || !which(d) {
			continue
		}
		was, v := d.now.Load(), validator{}
		d.tried = d.files.stamps() // before they are read: a change meanwhile is one to be read
		d.last, d.bad = d.tried, ""
		creds := d.files.load(&v, &warn)
		if creds == nil {
			x.reloads[0].Add(1)
			d.bad = v.errs[0].Error()
			all.errs = append(all.errs, v.errs...)
			continue
		}
		d.use(creds, x.tickets.inUse(time.Now()))
		if was != nil {
			x.reloads[1].Add(1)
			x.gw.log.Info().Str("listener", d.listener).Msg("TLS files were read anew")
			recalls = recalls || len(creds.revoked) > 0 || creds.anchors != was.creds.anchors
		}
	}
	if recalls {
		x.recallAll()
	}
	for _, e := range distinctErrors(warn.errs) {
		x.gw.log.Warn().Msg(e.Error())
	}
	return distinctErrors(all.errs)
}

// distinctErrors leaves out what was said before.
func distinctErrors(all []*FieldError) (once []*FieldError) {
	for _, e := range all {
		if !slices.ContainsFunc(once, func(o *FieldError) bool { return *o == *e }) {
			once = append(once, e)
		}
	}
	return once
}

// check is a line of /readyz. Nothing in it keeps devices away: others are served well, and a stale certificate is what all gateways have.
func (x *tlsGate) check() check {
	bad := ""
	x.mu.Lock()
	for _, d := range x.doors {
		if d != nil && bad == "" {
			bad = d.bad
		}
	}
	x.mu.Unlock()
	soonest := x.soonestServer()
	text := fmt.Sprintf("the first certificate expires on %s", soonest.Format(time.DateOnly))
	if time.Now().After(soonest) {
		text = fmt.Sprintf("a certificate has EXPIRED on %s", soonest.Format(time.DateOnly))
	}
	if bad != "" {
		text += "; what was read last cannot be used: " + bad
	}
	return check{"tls", true, text}
}

// soonestServer is when the first of the gateway's certificates expires.
func (x *tlsGate) soonestServer() (soonest time.Time) {
	for _, d := range x.doors {
		if d == nil {
			continue
		}
		for _, cert := range d.now.Load().creds.certs.list {
			if soonest.IsZero() || cert.Leaf.NotAfter.Before(soonest) {
				soonest = cert.Leaf.NotAfter
			}
		}
	}
	return soonest
}
