package bus

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Presence keeps who is connected: a record for each client id in the bucket TG_presence, and an event for each change of one.
//
// The idea. All changes go to one stream, TG_PRESENCE, where each is stored only if the last of its client is the one that its writer has read. Its
// writer stores it only if it is later: of a later generation, which is the time of the connect by a clock that all gateways
// keep in step, or a later state of the same one. So a gateway that is slow, cut off or mistaken cannot undo what a newer one
// wrote. NATS does the rest: it publishes what it stored as an event, in the order in which it stored it, and copies it to the
// bucket TG_presence. So the events are in order and never stale, and one is told even if its writer has died meanwhile.
//
//	$TG.state.connected.d1 ──stored?──▶ TG_PRESENCE ──republished──▶ $TG.presence.connected.d1
//	                                         └──────────sourced────▶ $KV.TG_presence.d1
//
// A gateway is in the bucket TG_gateways for as long as it renews its lease there (lease.go), and each record names the lease it was
// written under. A lease that ended never comes back: the records that name it are turned offline by one of the others
// (reap.go), and a gateway that finds its own ended takes a new one and has everything noted again. So the two can't
// undo each other, in whatever order they come.
//
// The cost. What changed gathers a few milliseconds; then one request reads the last changes of up to presenceBatch clients, and
// the new ones are written with all acks under way at once. BenchmarkPresence has the CPU. Considered and left: writing the bucket and
// publishing events from here, once a write is acknowledged, which is half of the work for NATS: events of two gateways, or after
// a lost ack, came in the wrong order (TestPresenceStorm), and died with their gateway. And keeping the revision of each client to spare
// the reading: 8 bytes for each idle device.
//
// Nothing is noted while there is no lease, and everything live again once there is. Safe from any goroutine.
type Presence struct {
	bus *Bus
	o   PresenceOptions

	active atomic.Bool // there is a lease, or was: what changes is noted

	mu       sync.Mutex
	work     sync.Cond
	waiting  map[string]*presenceEntry
	order    []*presenceEntry // those waiting, the oldest first
	process  string           // name of the lease that records are written under; "" before the first
	busy     bool             // the writer has entries in hand
	closing  bool             // Close waits for the last to be written
	overflow bool             // what changed did not fit: the lease is given up

	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	count   presenceCounters
}

// PresenceOptions say what a Presence tells about this gateway, and to whom. The functions are called on goroutines of the Bus and may block them.
type PresenceOptions struct {
	Number uint64        // of this process among the gateways
	Quiet  bool          // publish no events
	Keep   time.Duration // how long the record of a device that is offline stays; 0: for ever
	// LeaseTime is how long after this gateway's last sign of life its devices are turned offline, in whole seconds; 0: 10 s.
	LeaseTime time.Duration

	// WaitingMax is how many clients may wait to be written; beyond it the lease is given up, so that all are turned offline, and all
	// that are live are written anew under the next. 0: 1,048,576.
	WaitingMax int

	// Announce has every live connection noted again: the lease is new.
	Announce func()
	// Load is what the lease tells of this gateway.
	Load func() (connections int, listeners []string)
	// Lost is told each client id that was turned offline because its gateway died, in a rare case twice; at most reapRate a second. May be nil.
	Lost func(client string, generation uint64)
}

// PresenceState is what a connection of a client id came to.
type PresenceState struct {
	Client     string
	Generation uint64 // when it connected, in nanoseconds since 1970 by the clock of claims
	Online     bool
	Peer       netip.Addr
	Transport  string // tcp or ws
	Protocol   string // such as mqtt5
	User       string // "": none is known
	Reason     string // why it ended; of a state that is not Online
	ByDevice   bool   // the device said goodbye

	at   int64  // when, in milliseconds since 1970
	lost string // the lease that ended: the device is offline if its record still names it
}

// presenceEntry is what is to be written of one client.
type presenceEntry struct {
	client string
	key    string
	states []PresenceState // in order; what a reader of events is told once the last is written
	known  *presenceKnown  // what the last write of ours has left; nil: it is to be read
}

// presenceKnown is a record and its revision.
type presenceKnown struct {
	record   presenceRecord
	revision uint64
}

const (
	// presenceStatesMax is how many states of one client wait; beyond it those between the first and the newest are left out, counted.
	presenceStatesMax  = 8
	presenceWaitingMax = 1 << 20
	// presenceKeyMax is the longest key there is a record for. Clients with a longer one are counted as unnamable.
	presenceKeyMax = 1024
)

// presenceCounters are the live values of PresenceCounters.
type presenceCounters struct {
	written, superseded, coalesced, conflicts, failed, unnamable, lost, leases, overflows atomic.Uint64
}

// PresenceCounters are totals since the start.
type PresenceCounters struct {
	Written    uint64 // changes stored
	Superseded uint64 // states not written because there was a later one
	Coalesced  uint64 // states left out while others of the same client waited
	Conflicts  uint64 // records that somebody else replaced between our reading and writing; tried again
	Failed     uint64 // writes that NATS did not confirm or refused; tried again
	Unnamable  uint64 // changes of clients whose ids are too long for a key
	Lost       uint64 // clients turned offline here because their gateway died
	Leases     uint64 // leases taken; more than 1 means that one ended
	Overflows  uint64 // times that more changes waited than there is room for
	Waiting    uint64 // clients whose newest state is not yet written
	Active     bool   // there is a lease
}

// Counters returns the totals. Safe from any goroutine.
func (p *Presence) Counters() PresenceCounters {
	p.mu.Lock()
	waiting := len(p.waiting)
	p.mu.Unlock()
	c := &p.count
	return PresenceCounters{
		Written: c.written.Load(), Superseded: c.superseded.Load(), Coalesced: c.coalesced.Load(),
		Conflicts: c.conflicts.Load(), Failed: c.failed.Load(), Unnamable: c.unnamable.Load(), Lost: c.lost.Load(),
		Leases: c.leases.Load(), Overflows: c.overflows.Load(), Waiting: uint64(waiting), Active: p.active.Load(),
	}
}

// NewPresence returns a Presence that keeps nothing yet.
func (b *Bus) NewPresence(o PresenceOptions) *Presence {
	if o.WaitingMax <= 0 {
		o.WaitingMax = presenceWaitingMax
	}
	if o.LeaseTime <= 0 {
		o.LeaseTime = leaseTime
	}
	p := &Presence{bus: b, o: o, waiting: make(map[string]*presenceEntry)}
	p.work.L = &p.mu
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// Start begins to keep presence. It makes the stream and the buckets if they are missing, and tries again until it can; without JetStream it
// goes on looking for it now and then. To be called once; then Close or Abandon it before the Bus.
func (p *Presence) Start() {
	l := newLeaser(p)
	p.running.Go(func() { l.run(p.ctx) })
	p.running.Go(func() { p.write(p.ctx) })
}

// Note has a state written. States of one client must be noted in their order. It takes a lock for memory work only.
func (p *Presence) Note(s *PresenceState) {
	if !p.active.Load() {
		return // what is live is noted again when there is a lease
	}
	p.note(s)
}

func (p *Presence) note(s *PresenceState) {
	at := time.Now().UnixMilli()
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.waiting[s.Client]
	switch {
	case p.overflow:
		return
	case e == nil && len(p.waiting) >= p.o.WaitingMax:
		p.overflows()
		return
	case e == nil:
		key := string(appendPresenceKey(nil, s.Client))
		if len(key) > presenceKeyMax {
			p.count.unnamable.Add(1)
			return
		}
		e = &presenceEntry{client: s.Client, key: key}
		p.waiting[s.Client] = e
		p.order = append(p.order, e)
	}
	e.add(s, &p.count)
	e.states[len(e.states)-1].at = at
	p.work.Signal()
}

// add appends a state; when there are too many, one in the middle goes.
func (e *presenceEntry) add(s *PresenceState, c *presenceCounters) {
	if n := len(e.states); n >= presenceStatesMax {
		copy(e.states[1:], e.states[2:])
		e.states = e.states[:n-1]
		c.coalesced.Add(1)
	}
	e.states = append(e.states, *s)
}

// overflows gives up the lease. Called with the lock held.
func (p *Presence) overflows() {
	p.count.overflows.Add(1)
	p.overflow = true
	p.active.Store(false)
	clear(p.waiting)
	p.order = nil
}

// put takes entries back that could not be written, in front of what came meanwhile.
func (p *Presence) put(entries []*presenceEntry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.overflow {
		return
	}
	front := make([]*presenceEntry, 0, len(entries)+len(p.order))
	for _, e := range entries {
		if newer := p.waiting[e.client]; newer != nil {
			for i := range newer.states {
				e.add(&newer.states[i], &p.count)
			}
			newer.client = "" // its place in order is void
		}
		p.waiting[e.client] = e
		front = append(front, e)
	}
	for _, e := range p.order {
		if e.client != "" {
			front = append(front, e)
		}
	}
	p.order = front
}

// take returns the next entries to write; nil: ctx ended, or all is written and Close waits.
func (p *Presence) take(ctx context.Context, most int) []*presenceEntry {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = false
	for len(p.order) == 0 || p.process == "" {
		if ctx.Err() != nil || p.closing && len(p.order) == 0 {
			return nil
		}
		p.work.Wait()
	}
	if ctx.Err() != nil {
		return nil
	}
	n, bytes := 0, 0
	for n < len(p.order) && n < most && bytes < presenceBatchBytes {
		bytes += len(p.order[n].key)
		n++
	}
	batch := p.order[:n:n]
	p.order = p.order[n:]
	for _, e := range batch {
		delete(p.waiting, e.client)
	}
	p.busy = true
	return batch
}

// Close waits until what was noted is written, but not longer than ctx, and then takes the lease back, so that nobody looks for devices that are gone. An
// error of ctx means that something is not written; then the lease is left to end, and the others see to the rest.
func (p *Presence) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closing = true
	p.work.Broadcast()
	p.mu.Unlock()
	err := p.drained(ctx)
	if err == nil {
		p.bus.leave(ctx, p.processName())
	}
	p.end()
	return err
}

// Abandon ends a Presence as the death of its process would: nothing more is written, and the lease is left to end.
func (p *Presence) Abandon() { p.end() }

func (p *Presence) end() {
	p.active.Store(false)
	p.stop()
	p.mu.Lock()
	p.work.Broadcast()
	p.mu.Unlock()
	p.running.Wait()
}

// drained waits until nothing is left to write.
func (p *Presence) drained(ctx context.Context) error {
	t := time.NewTicker(presencePoll)
	defer t.Stop()
	for {
		p.mu.Lock()
		done := len(p.order) == 0 && !p.busy
		p.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// presencePoll is how often Close looks.
const presencePoll = 5 * time.Millisecond

func (p *Presence) processName() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.process
}

// appendPresenceKey appends the key of a client id: one token that is valid as a key, letters, digits, - and _ as they are and all else as =HH.
func appendPresenceKey(dst []byte, client string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(client) {
		switch c := client[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
			dst = append(dst, c)
		default:
			dst = append(dst, '=', digits[c>>4], digits[c&15])
		}
	}
	return dst
}
