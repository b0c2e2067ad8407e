package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// peerSubject is where the gateways on one NATS talk among themselves. It is reserved: devices neither hear it nor
// write to it. A NATS user for gateways needs to publish and subscribe there.
const peerSubject = "_TG.gateways"

// peerArrivalsMax is how many messages of other gateways wait for Hear's callback; beyond it nats.go drops the newest,
// which the callback finds out by the numbers in the messages.
const peerArrivalsMax = 4096

// peers is what one Bus hears of the others. What a Bus tells does not come back to it, because the uplink has no echo.
type peers struct {
	arrivals chan *nats.Msg
	hear     func(p []byte) // nil until Hear was called; guarded by Bus.op
	end      chan struct{}
	done     chan struct{}
}

func newPeers() *peers {
	return &peers{arrivals: make(chan *nats.Msg, peerArrivalsMax), end: make(chan struct{}), done: make(chan struct{})}
}

// Hear has hear called, on a bus goroutine, with every message that another Bus on this NATS tells from now on: in the
// order of each teller, once, but with gaps while NATS is away or hear takes too long. p is hear's to keep. To be called once at most.
// It may wait for nats.go: not for event loops.
func (b *Bus) Hear(hear func(p []byte)) error {
	b.op.Lock()
	defer b.op.Unlock()
	b.peers.hear = hear
	go b.peers.run(hear)
	w := b.uplink.now.Load()
	if w == nil {
		return nil // the next wire carries it
	}
	return b.peers.listen(w)
}

// Tell sends p to whoever else is on this NATS; it is copied. It may wait for nats.go: not for event loops.
func (b *Bus) Tell(p []byte) error {
	w := b.uplink.now.Load()
	if w == nil {
		return ErrDisconnected
	}
	if err := w.nc.Publish(peerSubject, p); err != nil {
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
	if _, err := w.nc.ChanSubscribe(peerSubject, p.arrivals); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("bus: hear the other gateways: %w", err)
	}
	return nil // or the next wire carries it
}

func (p *peers) run(hear func(p []byte)) {
	defer close(p.done)
	for {
		select {
		case m := <-p.arrivals:
			hear(m.Data)
		case <-p.end:
			return
		}
	}
}

// stop ends the goroutine, if there is one. Not to be called from hear.
func (b *Bus) stopPeers() {
	close(b.peers.end)
	b.op.Lock()
	heard := b.peers.hear != nil
	b.op.Unlock()
	if heard {
		<-b.peers.done
	}
}
