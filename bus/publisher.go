package bus

import (
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Publisher takes the batches of one shard and sees them to NATS, in order. Offer is for one goroutine; the rest is safe from any.
//
// Three positions run through a ring of batches:
//
//	confirmed ≤ sent ≤ offered
//	    |         |        +-- Offer adds here
//	    |         +----------- the send goroutine publishes the batch here, batch by batch, on one wire
//	    +--------------------- the confirm goroutine got a PONG for everything before
//
// The confirm goroutine has one PING under way at a time and confirms with it all that was sent before, while sending goes on.
// Nobody waits for it but Close and a ring that fills, so that it lets a group gather first. When the wire changes, the send goroutine goes back
// to confirmed. A batch remembers how many of its messages were handed to a wire; of these only QoS 1 and 2 go again.
type Publisher struct {
	bus  *Bus
	room func()
	done chan struct{} // closed when both goroutines have ended

	mu        sync.Mutex
	toSend    sync.Cond // what the send goroutine waits for: a batch, a wire, the end
	toConfirm sync.Cond // what the confirm goroutine waits for: something sent, a wire, the end
	ring      []sending // length is a power of two
	confirmed uint64
	sent      uint64
	offered   uint64
	bytes     int   // memory of the batches in the ring
	wire      *wire // that carries everything between confirmed and sent
	refused   bool  // Offer said no; room is owed
	draining  bool  // Close waits for the ring to become empty
	abandoned bool  // Close waits no longer

	hand    sender    // of the send goroutine
	settled []sending // of the confirm goroutine
	gather  *time.Timer
	urgent  chan struct{} // ends the gathering: the ring fills, the wire changed, or Close waits
}

// gatherTime is how long a group gathers before its PING. A PING a batch cost as much as publishing it at 10,000 single
// messages a second; BenchmarkPublisher paced. A broken wire repeats at most this much of QoS 1 and 2 needlessly.
const gatherTime = 10 * time.Millisecond

// sending is one batch in the ring. The fields behind batch are the send goroutine's.
type sending struct {
	batch   Batch
	bytes   int
	handed  int   // messages given to a wire so far
	skipped int   // of these, messages whose loss on a broken wire is counted
	lost    int   // messages dropped, or of QoS 0 and not repeated
	suspect int   // 1 + the message that broke a wire while it was alone on it
	out     []int // messages dropped: left out when the batch goes again
}

// batchBytes is what a batch costs in memory beyond what it says itself; so the number of batches is bounded, too.
const batchBytes = 256

// NewPublisher returns the publisher of one shard. room is called on a bus goroutine, once for each run of refused Offers, when
// half of PendingBytesMax is free again.
func (b *Bus) NewPublisher(room func()) *Publisher {
	p := &Publisher{bus: b, room: room, done: make(chan struct{}), ring: make([]sending, 16)}
	p.toSend.L, p.toConfirm.L = &p.mu, &p.mu
	p.gather = time.NewTimer(0)
	p.urgent = make(chan struct{}, 1)
	p.hand = sender{p: p, encoder: newEncoder(b)}
	b.mu.Lock()
	closing := b.closing
	if !closing {
		b.publishers = append(b.publishers[:len(b.publishers):len(b.publishers)], p)
	}
	b.mu.Unlock()
	if closing {
		p.draining, p.abandoned = true, true
	}
	go p.run()
	return p
}

// Offer takes a batch, or returns false because the publisher is full (Counters.OfferRefused) or the Bus is closed; then the batch
// stays the caller's. It never waits for NATS. A batch larger than PendingBytesMax is taken when the publisher is empty.
func (p *Publisher) Offer(batch Batch) bool {
	n := batch.Bytes() + batchBytes
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining {
		return false
	}
	if p.bytes > 0 && p.bytes+n > p.bus.options.PendingBytesMax {
		p.refused = true
		p.bus.count.offerRefused.Add(1)
		return false
	}
	if p.offered-p.confirmed == uint64(len(p.ring)) {
		p.grow()
	}
	*p.at(p.offered) = sending{batch: batch, bytes: n}
	p.offered++
	p.bytes += n
	if p.bytes > p.bus.options.PendingBytesMax/4 {
		p.hurry()
	}
	p.toSend.Signal()
	return true
}

// hurry ends the gathering of a group, or of the next one.
func (p *Publisher) hurry() {
	select {
	case p.urgent <- struct{}{}:
	default:
	}
}

// Pending returns how many batches are not yet confirmed and the memory they hold. Safe from any goroutine.
func (p *Publisher) Pending() (batches, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int(p.offered - p.confirmed), p.bytes
}

// stir makes both goroutines look at the state again. Called with mu held.
func (p *Publisher) stir() {
	p.toSend.Signal()
	p.toConfirm.Signal()
}

func (p *Publisher) at(i uint64) *sending { return &p.ring[i&uint64(len(p.ring)-1)] }

func (p *Publisher) grow() {
	old := p.ring
	p.ring = make([]sending, 2*len(old))
	for i := p.confirmed; i < p.offered; i++ {
		*p.at(i) = old[i&uint64(len(old)-1)]
	}
}

// run sends and confirms until the ring is empty and the Bus closes, or until it is abandoned; then it gives up the rest.
func (p *Publisher) run() {
	defer close(p.done)
	confirming := make(chan struct{})
	go func() {
		defer close(confirming)
		p.confirmLoop()
	}()
	p.sendLoop()
	<-confirming
	for p.confirmed < p.offered {
		e := p.at(p.confirmed)
		p.bus.count.givenUp.Add(uint64(e.batch.Len()))
		e.batch.Done()
		*e = sending{}
		p.confirmed++
	}
}

func (p *Publisher) sendLoop() {
	for {
		e, w, ok := p.nextToSend()
		if !ok {
			return
		}
		whole := p.hand.send(&e, w)
		p.mu.Lock()
		*p.at(p.sent) = e
		if whole {
			p.sent++
		}
		p.toConfirm.Signal()
		p.mu.Unlock()
		if !whole {
			p.awaitEnd(w)
		}
	}
}

// nextToSend waits for a batch and a wire to send it on. A new wire begins at the first batch that is not confirmed.
func (p *Publisher) nextToSend() (sending, *wire, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.finished() {
			return sending{}, nil, false
		}
		if w := p.bus.uplink.now.Load(); w != nil {
			if w != p.wire {
				p.wire = w
				p.hand.onWire(p.confirmed < p.offered && p.at(p.confirmed).handed > 0)
				p.sent = p.confirmed
				p.toConfirm.Signal()
			}
			if p.sent < p.offered {
				return *p.at(p.sent), w, true
			}
		}
		p.toSend.Wait()
	}
}

// finished tells both goroutines to end. Called with mu held.
func (p *Publisher) finished() bool {
	return p.abandoned || (p.draining && p.confirmed == p.offered)
}

// awaitEnd waits until nobody shows the broken wire any longer, so that the send goroutine does not spin on it.
func (p *Publisher) awaitEnd(w *wire) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.bus.uplink.now.Load() == w && !p.finished() {
		p.toSend.Wait()
	}
}

func (p *Publisher) confirmLoop() {
	for {
		if _, _, ok := p.nextToConfirm(); !ok {
			return
		}
		p.gather.Reset(gatherTime)
		select {
		case <-p.gather.C:
		case <-p.urgent:
		}
		w, target, ok := p.nextToConfirm()
		if !ok {
			return
		}
		err := w.flush(writeTimeout)
		p.mu.Lock()
		if err == nil && p.wire == w {
			p.hand.calm.Store(true)
			p.confirm(target) // releases mu
			continue
		}
		// After a timeout the server is only slow: ask again. Otherwise the wire is closed.
		for !errors.Is(err, nats.ErrTimeout) && p.wire == w && !p.finished() {
			p.toConfirm.Wait()
		}
		p.mu.Unlock()
	}
}

// nextToConfirm waits for sent batches.
func (p *Publisher) nextToConfirm() (*wire, uint64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.finished() {
			return nil, 0, false
		}
		if p.sent > p.confirmed {
			return p.wire, p.sent, true
		}
		p.toConfirm.Wait()
	}
}

// confirm takes the batches before target out of the ring, all at once so that a new wire finds the ring whole, and then tells
// their owner. Called with mu held; releases it.
func (p *Publisher) confirm(target uint64) {
	for ; p.confirmed < target; p.confirmed++ {
		e := p.at(p.confirmed)
		p.bytes -= e.bytes
		p.settled = append(p.settled, *e)
		*e = sending{}
	}
	owed := p.refused && p.bytes <= p.bus.options.PendingBytesMax/2
	if owed {
		p.refused = false
	}
	if p.draining {
		p.stir()
	}
	p.mu.Unlock()
	for i := range p.settled {
		e := &p.settled[i]
		p.bus.count.confirmed.Add(uint64(e.batch.Len() - e.lost))
		e.batch.Done()
	}
	clear(p.settled)
	p.settled = p.settled[:0]
	if owed && p.room != nil {
		p.room()
	}
}

// wake makes both goroutines look at the state again.
func (p *Publisher) wake() {
	p.mu.Lock()
	p.hurry()
	p.stir()
	p.mu.Unlock()
}

// drain refuses further batches and ends the goroutines when the ring is empty.
func (p *Publisher) drain() {
	p.mu.Lock()
	p.draining = true
	p.hurry()
	p.stir()
	p.mu.Unlock()
}

// giveUp ends the goroutines as soon as the wire lets them.
func (p *Publisher) giveUp() {
	p.mu.Lock()
	p.abandoned = true
	p.hurry()
	p.stir()
	p.mu.Unlock()
}
