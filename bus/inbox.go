package bus

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// inbox takes what arrives on all subscriptions of both connections to Receive, in order, on one goroutine.
//
//	nats.go readLoop ──arrivals──▶ pump ──queue (bounded in bytes)──▶ receive ──▶ Options.Receive
//
// A channel subscription of nats.go is bounded by messages only, and a message may be a megabyte; so the pump, which never waits
// for the user, moves messages to a queue bounded in bytes, drops the newest beyond it and counts every one.
type inbox struct {
	bus      *Bus
	arrivals chan *nats.Msg
	end      chan struct{}
	wait     sync.WaitGroup

	mu     sync.Mutex
	more   sync.Cond
	queue  []*nats.Msg
	bytes  int // of the queue and of what receive still works on
	closed bool

	knownMu sync.RWMutex
	known   map[*nats.Subscription]*feed
}

// feed is one NATS subscription of an interest.
type feed struct {
	interest *interest
	dropped  atomic.Uint64 // drops of nats.go already counted
}

const (
	arrivalsMax = 8192 // messages between nats.go and the pump
	runMax      = 256  // messages in one call of Receive
)

func newInbox(b *Bus) *inbox {
	in := &inbox{
		bus: b, arrivals: make(chan *nats.Msg, arrivalsMax), end: make(chan struct{}),
		known: make(map[*nats.Subscription]*feed),
	}
	in.more.L = &in.mu
	return in
}

func (in *inbox) start() {
	in.wait.Add(2)
	go in.pump()
	go in.receive()
}

// stop ends both goroutines; what waits is not delivered.
func (in *inbox) stop() {
	close(in.end)
	in.mu.Lock()
	in.closed = true
	in.more.Signal()
	in.mu.Unlock()
	in.wait.Wait()
}

func (in *inbox) pump() {
	defer in.wait.Done()
	run := make([]*nats.Msg, 0, runMax)
	for {
		select {
		case m := <-in.arrivals:
			run = in.gather(append(run[:0], m))
			in.enqueue(run)
			clear(run)
		case <-in.end:
			return
		}
	}
}

// gather adds what has arrived already, so that one lock serves many messages.
func (in *inbox) gather(run []*nats.Msg) []*nats.Msg {
	for len(run) < cap(run) {
		select {
		case m := <-in.arrivals:
			run = append(run, m)
		default:
			return run
		}
	}
	return run
}

// cost is what a waiting message counts against InboxBytesMax: its bytes and about what Go needs to hold it.
func cost(m *nats.Msg) int { return m.Size() + 256 }

func (in *inbox) enqueue(run []*nats.Msg) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, m := range run {
		n := cost(m)
		if in.bytes > 0 && in.bytes+n > in.bus.options.InboxBytesMax {
			in.bus.count.slowDrops.Add(1)
			continue
		}
		in.bytes += n
		in.queue = append(in.queue, m)
	}
	in.more.Signal()
}

// receive hands the queue to the user, a run at a time.
func (in *inbox) receive() {
	defer in.wait.Done()
	d := decoder{site: in.bus.options.site()}
	var spare []*nats.Msg
	for {
		queue, ok := in.take(spare)
		if !ok {
			return
		}
		for rest := queue; len(rest) > 0; {
			n := min(len(rest), runMax)
			in.deliver(&d, rest[:n])
			rest = rest[n:]
		}
		clear(queue)
		spare = queue[:0]
		if cap(spare) > 16*runMax {
			spare = nil // a burst is over; do not keep its memory
		}
	}
}

// take waits for messages and leaves the spare slice in their place.
func (in *inbox) take(spare []*nats.Msg) ([]*nats.Msg, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.queue) == 0 && !in.closed {
		in.more.Wait()
	}
	queue := in.queue
	in.queue = spare
	return queue, !in.closed
}

func (in *inbox) deliver(d *decoder, run []*nats.Msg) {
	bytes, payload := 0, 0
	d.reset()
	for _, m := range run {
		bytes += cost(m)
		it := in.lookup(m.Sub)
		if it == nil || it.gone.Load() {
			continue // the interest has ended
		}
		if d.add(it.id, m, &in.bus.count) {
			payload += len(m.Data)
		}
	}
	if len(d.run) > 0 {
		in.bus.count.received.Add(uint64(len(d.run)))
		in.bus.count.receivedBytes.Add(uint64(payload))
		in.bus.options.Receive(d.run)
	}
	in.mu.Lock()
	in.bytes -= bytes
	in.mu.Unlock()
}

// lookup finds the interest of a subscription. A message can overtake the end of attach; then it waits for that.
func (in *inbox) lookup(sub *nats.Subscription) *interest {
	f := in.find(sub)
	if f == nil {
		in.bus.op.Lock()
		f = in.find(sub)
		in.bus.op.Unlock()
	}
	if f == nil {
		return nil
	}
	return f.interest
}

func (in *inbox) find(sub *nats.Subscription) *feed {
	in.knownMu.RLock()
	defer in.knownMu.RUnlock()
	return in.known[sub]
}

func (in *inbox) learn(sub *nats.Subscription, it *interest) {
	in.knownMu.Lock()
	in.known[sub] = &feed{interest: it}
	in.knownMu.Unlock()
}

func (in *inbox) forget(sub *nats.Subscription) {
	in.knownMu.Lock()
	delete(in.known, sub)
	in.knownMu.Unlock()
}
