package bus

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
)

// A gateway is known by two keys of the bucket TG_gateways, whose values are alike:
//
//	<node>.<number>-<lease>        its lease, which ends by itself when it is not renewed
//	known.<node>.<number>-<lease>  stays until the gateway says goodbye, or what its death left is put right
//
// So a gateway died if it is known and has no lease, whoever was there to see it end, and if nobody was. Renewing is a
// compare-and-set of the first key: who finds it gone has lost the lease and takes the next.
type lease struct {
	Node        string   `json:"node"`
	Process     string   `json:"process"` // the first key
	Number      string   `json:"number"`
	Started     string   `json:"started"`
	Renewed     string   `json:"renewed"`
	Connections int      `json:"connections"`
	Listeners   []string `json:"listeners"`
	First       uint64   `json:"firstSequence"` // of the bucket TG_presence: no record before it names this lease
}

// leaser keeps a Presence's lease and looks after those of others. All is its own goroutine's.
type leaser struct {
	p     *Presence
	store *store
	ready bool // the buckets are there

	mine     lease
	held     bool
	revision uint64
	count    int // leases taken or tried
	first    time.Time

	steady  time.Time                // since when NATS has answered without a break, and the lease is held
	reaping map[string]chan struct{} // others' leases whose records are being turned offline here; closed when done
}

// leaseTime is how long a lease lasts, leaseBeats how often it is renewed in that time, reaperTime how long one gateway has the
// task of another's devices to itself without a sign of life.
const (
	leaseTime  = 10 * time.Second
	leaseBeats = 3
	reaperTime = 30 * time.Second
)

func newLeaser(p *Presence) *leaser {
	return &leaser{p: p, first: time.Now(), reaping: map[string]chan struct{}{}}
}

// run keeps the lease until ctx ends.
func (l *leaser) run(ctx context.Context) {
	defer func() { l.store.close() }()
	for ctx.Err() == nil {
		err := l.step(ctx)
		wait := l.p.o.LeaseTime / leaseBeats
		switch {
		case errors.Is(err, errNoStorage):
			wait = noStorageTime
		case err != nil:
			l.steady = time.Now()
			wait = presencePause
		}
		pause(ctx, wait)
	}
}

// noStorageTime is how often a gateway looks whether NATS has JetStream by now.
const noStorageTime = 10 * time.Second

// step renews the lease, or takes one, and looks at the others.
func (l *leaser) step(ctx context.Context) (err error) {
	before := l.store
	if l.store, err = l.p.bus.renewed(l.store); err != nil {
		return err
	}
	if l.store != before {
		l.steady = time.Now()
	}
	if !l.ready {
		replicas := 3
		if l.p.bus.server != nil {
			replicas = 1
		}
		if err := l.store.ensureBuckets(ctx, replicas, &l.p.o); err != nil {
			return err
		}
		if e := l.p.bus.server; e != nil {
			if err := e.syncStreams(); err != nil {
				return err
			}
		}
		l.ready = true
	}
	if l.held && l.p.overflowed() {
		l.held = false
	}
	if l.held {
		err = l.renew(ctx)
	}
	if err == nil && !l.held {
		err = l.acquire(ctx)
	}
	if errors.Is(err, errNoStream) {
		l.ready = false // somebody took the buckets away
	}
	if err != nil {
		return err
	}
	return l.lookAround(ctx)
}

// renew prolongs the lease; without an error and without the lease it is lost.
func (l *leaser) renew(ctx context.Context) error {
	revision, err := l.store.put(ctx, gatewaysPrefix+l.mine.Process, l.value(), expecting(l.revision, l.p.o.LeaseTime))
	if errors.Is(err, errFenced) {
		// Perhaps it is our own renewal whose ack was lost.
		var own kvEntry
		q := directGet{MultiLast: []string{gatewaysPrefix + l.mine.Process}}
		if err := l.store.read(ctx, gatewaysStream, &q, func(v kvEntry) { own = v }); err != nil {
			return err
		}
		if l.held = own.value != nil; l.held {
			l.revision = own.revision
		}
		return nil
	}
	if err == nil {
		l.revision = revision
	}
	return err
}

// acquire takes a new lease and has everything noted under it.
func (l *leaser) acquire(ctx context.Context) error {
	last, _, err := l.store.bucketState(ctx, presenceBucket)
	if err != nil {
		return err
	}
	l.count++
	l.mine = lease{
		Node: l.p.bus.options.Node, Number: strconv.FormatUint(l.p.o.Number, 16) + "-" + strconv.Itoa(l.count),
		Started: stamp(l.first.UnixMilli()), First: last,
	}
	l.mine.Process = string(appendPresenceKey(nil, l.mine.Node)) + "." + l.mine.Number
	value := l.value()
	if _, err := l.store.put(ctx, gatewaysPrefix+leaseKnown+l.mine.Process, value, expecting(0, 0)); err != nil {
		return err
	}
	if l.revision, err = l.store.put(ctx, gatewaysPrefix+l.mine.Process, value, expecting(0, l.p.o.LeaseTime)); err != nil {
		return err
	}
	l.held, l.steady = true, time.Now()
	l.p.begin(l.mine.Process)
	return nil
}

const (
	leaseKnown  = "known."
	leaseReaper = "reaper."
)

func (l *leaser) value() []byte {
	l.mine.Connections, l.mine.Listeners = l.p.o.Load()
	l.mine.Renewed = stamp(time.Now().UnixMilli())
	p, _ := json.Marshal(&l.mine) // nothing in it can fail
	return p
}

// begin has records written under a new lease.
func (p *Presence) begin(process string) {
	p.mu.Lock()
	if p.closing {
		p.mu.Unlock()
		return
	}
	p.process, p.overflow = process, false
	p.active.Store(true)
	p.work.Broadcast()
	p.mu.Unlock()
	p.count.leases.Add(1)
	p.o.Announce()
}

func (p *Presence) overflowed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.overflow
}

// lookAround turns to the devices of gateways that died, once we would have heard of those that live.
func (l *leaser) lookAround(ctx context.Context) error {
	leases, known, reapers, err := l.store.leases(ctx)
	if err != nil {
		return err
	}
	for process, done := range l.reaping {
		select {
		case <-done:
			delete(l.reaping, process)
		default:
		}
	}
	// After a NATS that was away all leases may have ended, and all gateways but us be about to come back.
	if time.Since(l.steady) < l.p.o.LeaseTime {
		return nil
	}
	for process, k := range known {
		if leases[process].value != nil || l.reaping[process] != nil || process == l.mine.Process || reapers[process].value != nil {
			continue
		}
		_, err := l.store.put(ctx, gatewaysPrefix+leaseReaper+process, []byte(l.mine.Process), expecting(reapers[process].revision, reaperTime))
		switch {
		case errors.Is(err, errFenced):
			continue // another one does it
		case err != nil:
			return err
		}
		var dead lease
		_ = json.Unmarshal(k.value, &dead) // else it is looked for from the first record
		done := make(chan struct{})
		l.reaping[process] = done
		l.p.running.Go(func() {
			defer close(done)
			l.p.reap(ctx, process, dead.First)
		})
	}
	return nil
}

// leases reads who is there, who is known, and whose devices somebody is looking after, by the name of the lease.
func (s *store) leases(ctx context.Context) (leases, known, reapers map[string]kvEntry, err error) {
	leases, known, reapers = map[string]kvEntry{}, map[string]kvEntry{}, map[string]kvEntry{}
	q := directGet{MultiLast: []string{gatewaysPrefix + ">"}}
	err = s.read(ctx, gatewaysStream, &q, func(v kvEntry) {
		key := strings.TrimPrefix(v.subject, gatewaysPrefix)
		if process, ok := strings.CutPrefix(key, leaseKnown); ok {
			if v.value != nil {
				known[process] = v
			}
		} else if process, ok := strings.CutPrefix(key, leaseReaper); ok {
			reapers[process] = v
		} else if strings.Contains(key, ".") { // the rest is what gateways share, see SharedSecret
			leases[key] = v
		}
	})
	return leases, known, reapers, err
}

// forget leaves a mark in place of a key that ends by itself.
func (s *store) forget(ctx context.Context, key string) error {
	h := lasting(leaseMarkerTime)
	h["KV-Operation"], h["Nats-Rollup"] = []string{"PURGE"}, []string{"sub"}
	_, err := s.put(ctx, gatewaysPrefix+key, nil, h)
	return err
}

// leave says goodbye: nobody is to look for devices of this lease.
func (b *Bus) leave(ctx context.Context, process string) {
	if process == "" {
		return
	}
	s, err := b.storeOf(nil)
	if err != nil {
		return // it ends by itself
	}
	defer s.close()
	if s.forget(ctx, leaseKnown+process) == nil {
		_ = s.forget(ctx, process)
	}
}
