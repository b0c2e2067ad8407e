package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// peerSubject is where the gateways on one NATS talk among themselves. It is reserved: devices neither hear it nor
// write to it. A NATS user for gateways needs to publish and subscribe there.
const peerSubject = "_TG.gateways"

// peerCountMax and peerBytesMax are how much of other gateways waits for Hear's callback; beyond either nats.go drops the
// newest, counted as PeerDrops, which the callback finds out by the numbers in the messages.
const (
	peerCountMax = 4096
	peerBytesMax = 8 << 20
)

// peers is what one Bus hears of the others. What a Bus tells does not come back to it, because the uplink has no echo.
// The messages wait in nats.go, as that counts the bytes of a subscription with a callback, and not of one with a channel.
type peers struct {
	subject string
	hear    func(p []byte) // nil until Hear was called; guarded by Bus.op
	drops   *atomic.Uint64

	mu    sync.Mutex // held while hear runs: a new wire may bring messages while the old one still delivers
	ended bool

	slowMu  sync.Mutex
	slow    *nats.Subscription // the one that dropped last
	dropped uint64             // drops of it already counted
}

// Hear has hear called, on a bus goroutine, with every message that another Bus on this NATS tells from now on: in the
// order of each teller, once, but with gaps while NATS is away or hear takes too long. p is hear's to keep. To be called once at most.
// It may wait for nats.go: not for event loops.
func (b *Bus) Hear(hear func(p []byte)) error { return b.hear(b.peers, hear) }

func (b *Bus) hear(x *peers, hear func(p []byte)) error {
	b.op.Lock()
	defer b.op.Unlock()
	x.hear = hear
	w := b.uplink.now.Load()
	if w == nil {
		return nil // the next wire carries it
	}
	return x.listen(w)
}

// Tell sends p to whoever else is on this NATS; it is copied. It may wait for nats.go: not for event loops.
func (b *Bus) Tell(p []byte) error { return b.tell(peerSubject, p) }

func (b *Bus) tell(subject string, p []byte) error {
	w := b.uplink.now.Load()
	if w == nil {
		return ErrDisconnected
	}
	switch err := w.nc.Publish(subject, p); {
	case errors.Is(err, nats.ErrConnectionClosed): // and nobody has noticed yet
		return ErrDisconnected
	case err != nil:
		return fmt.Errorf("bus: tell the other gateways: %w", err)
	}
	return nil
}

// TellLast is Tell for a last word: it waits, at most d, until the server has it.
func (b *Bus) TellLast(p []byte, d time.Duration) error {
	if err := b.Tell(p); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return b.Flush(ctx)
}

// listen subscribes on a new wire; called with op held.
func (p *peers) listen(w *wire) error {
	if p.hear == nil {
		return nil
	}
	hear := p.hear
	sub, err := w.nc.Subscribe(p.subject, func(m *nats.Msg) { p.arrive(m, hear) })
	if err == nil {
		err = sub.SetPendingLimits(peerCountMax, peerBytesMax)
	}
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrBadSubscription) {
		return fmt.Errorf("bus: hear the other gateways: %w", err)
	}
	return nil // or, the connection being closed, the next wire carries it
}

// countSlow adds what nats.go dropped since the last time.
func (p *peers) countSlow(sub *nats.Subscription) {
	n, err := sub.Dropped()
	if err != nil || n <= 0 {
		return
	}
	p.slowMu.Lock()
	defer p.slowMu.Unlock()
	if p.slow != sub {
		p.slow, p.dropped = sub, 0
	}
	p.drops.Add(uint64(n) - p.dropped)
	p.dropped = uint64(n)
}

// arrive hands over one message.
func (p *peers) arrive(m *nats.Msg, hear func(p []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		hear(m.Data)
	}
}

// stop waits for the callback if it runs, and has it called no more. Not to be called from hear.
func (b *Bus) stopPeers() {
	for _, x := range []*peers{b.peers, b.words} {
		x.mu.Lock()
		x.ended = true
		x.mu.Unlock()
	}
}
