package gateway

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/session"
)

// interestConfirmTime is how long a SUBACK may wait for NATS to know the subscription. A NATS that is away is not waited
// for: its client subscribes again by itself when it returns.
const interestConfirmTime = 5 * time.Second

// interests is what the gateway as a whole wants from NATS: one NATS subscription per distinct filter while they are few and
// per shape of filters when they are many (shape.go), however many devices hold it, and one queue subscription per
// shared-subscription group.
//
// Overlapping NATS subscriptions each bring their own copy of a message. Therefore every interest has a number, every
// filter of a session knows the number that feeds it, and a session takes a message only from the lowest number
// among its matching filters: each message once, without a window in which a change of one session's filters could cost
// another session a message.
//
// Shards call add, adjust and remove, whose lock is held for memory work only; one goroutine talks to NATS.
type interests struct {
	mu     sync.Mutex
	byKey  map[string]*interest
	byID   map[uint32]*interest
	nextID uint32
	ops    []interestOp
	dead   int           // ops of interests that ended before NATS was told
	failed atomic.Uint64 // subscriptions that NATS's client refused
	wake   chan struct{}
	shards int
	bus    *bus.Bus
	active func(e *interest) // tells the shards that wait; registry goroutine
	shared sharedStrategies
	tails  following
	max    int        // nats.interests_max
	placed [forms]int // how many there are of each form
}

// interest is one entry. Guarded by interests.mu.
type interest struct {
	id       uint32
	key      string
	filter   string // what NATS is asked for, in MQTT form
	group    string // queue group; "" for none
	form     form   // the widest one of those whose filters it feeds
	made     form   // as it counts in placed
	active   bool   // NATS knows it
	untold   bool   // its interestOp still waits in ops
	refs     []int32
	members  []int32 // per shard, for groups
	live     []int32
	rotation uint32
	sticky   int16 // shard that had the last message
	strategy session.Strategy
}

type interestOp struct {
	e   *interest
	add bool
}

// isDead tells that the interest ended before NATS was told of it.
func (op interestOp) isDead() bool { return op.add && op.e.refs == nil }

func newInterests(shards int, active func(e *interest)) *interests {
	return &interests{
		byKey: map[string]*interest{}, byID: map[uint32]*interest{}, wake: make(chan struct{}, 1),
		shards: shards, active: active,
	}
}

// interestKey is what makes two filters one interest.
func interestKey(dst []byte, filter, group string) []byte {
	return append(append(append(dst, group...), 0), filter...)
}

// add counts shard in for exactly this filter, of a group if one is given; active tells whether NATS knows it already. Otherwise
// the shard is told later.
func (x *interests) add(shard int, filter, group string) (id uint32, active bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byKey[string(interestKey(nil, filter, group))]
	if e == nil {
		e = x.make(formExact, filter, group)
	}
	e.refs[shard]++
	return e.id, e.active
}

// remove counts shard out; the last one ends the NATS subscription.
func (x *interests) remove(shard int, id uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byID[id]
	if e == nil {
		return
	}
	e.refs[shard]--
	for _, n := range e.refs {
		if n > 0 {
			return
		}
	}
	delete(x.byKey, e.key)
	delete(x.byID, id)
	if e.group == "" {
		x.placed[e.made]--
	}
	if e.untold {
		// Taken back before NATS was told, so that a device that subscribes and unsubscribes faster than NATS follows does
		// not make the list grow.
		e.refs = nil
		x.dead++
		x.compact()
		return
	}
	x.push(interestOp{e, false})
}

// compact takes dead ops out of the list once they are most of it. Must be called with the lock held.
func (x *interests) compact() {
	if x.dead >= compactAfter && x.dead > len(x.ops)/2 {
		x.ops, x.dead = slices.DeleteFunc(x.ops, interestOp.isDead), 0
	}
}

// compactAfter is how many dead ops are not worth the work.
const compactAfter = 64

// takeOps is what NATS has to be told.
func (x *interests) takeOps() []interestOp {
	x.mu.Lock()
	defer x.mu.Unlock()
	ops := slices.DeleteFunc(x.ops, interestOp.isDead)
	x.ops, x.dead = nil, 0
	for _, op := range ops {
		op.e.untold = false
	}
	return ops
}

// adjust changes how many members, and live members, a group has in a shard; it ignores what is no group.
func (x *interests) adjust(shard int, id uint32, members, live int32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.byID[id]; e != nil && e.group != "" {
		e.members[shard] += members
		e.live[shard] += live
	}
}

// push must be called with the lock held.
func (x *interests) push(op interestOp) {
	x.ops = append(x.ops, op)
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// routed is who takes a message from NATS.
type routed struct {
	shard  int16  // -1: all
	key    uint32 // session.Message.GroupKey
	form   form   // of the interest that brought it
	direct bool   // the interest is for what devices call their own: no wildcard in it but for the client
}

// route says who takes a message of interest id: one shard for a group, by its strategy, all shards with the filter otherwise.
// client is the publisher, empty for a backend. ok is false when nobody holds the filter any more.
func (x *interests) route(id uint32, topic, client []byte) (to routed, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byID[id]
	if e == nil {
		return to, false
	}
	to.shard, to.form = -1, e.form
	if e.group == "" {
		to.direct = e.form == formClient || e.form == formExact && !strings.ContainsAny(e.filter, "+#")
		return to, true
	}
	to.key = groupKey(e.strategy, topic, client)
	to.shard, ok = e.choose(to.key)
	return to, ok
}

// routeAgain is the same for a message of a group that lost its member.
func (x *interests) routeAgain(id, key uint32) (shard int16, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.byID[id]; e != nil && e.group != "" {
		return e.choose(key)
	}
	return 0, false
}

// liveElsewhere tells whether a group has a live member in a shard other than this.
func (x *interests) liveElsewhere(shard int, id uint32) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byID[id]
	if e == nil || e.group == "" {
		return false
	}
	for i, n := range e.live {
		if n > 0 && i != shard {
			return true
		}
	}
	return false
}

// wants tells whether shard holds interest id.
func (x *interests) wants(shard int, id uint32) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byID[id]
	return e != nil && e.refs[shard] > 0
}

// count is the number of NATS interests.
func (x *interests) count() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.byID)
}

// begin carries what is wanted before there are devices to NATS, so that the first of them misses nothing. A NATS that is away hears of it when
// it is back.
func (x *interests) begin(ctx context.Context, b *bus.Bus, failed func(op string, err error)) {
	x.bus = b
	if b.Status().Connected() {
		x.apply(ctx, x.takeOps(), failed)
	}
}

// run carries changes to NATS, in order, until ctx ends. After begin.
func (x *interests) run(ctx context.Context, failed func(op string, err error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-x.wake:
		case <-x.tails.retry:
		}
		x.apply(ctx, x.takeOps(), failed)
	}
}

func (x *interests) apply(ctx context.Context, ops []interestOp, failed func(op string, err error)) {
	added := false
	for _, op := range ops {
		if !op.add {
			if err := x.bus.Unsubscribe(op.e.id); err != nil {
				failed("unsubscribe", err)
			}
			continue
		}
		added = true
		if err := x.bus.Subscribe(op.e.id, bus.AppendFilterSubjects([]byte(op.e.filter)), op.e.group); err != nil {
			x.failed.Add(1)
			failed("subscribe", err)
		}
	}
	x.tails.update(x)
	if !added {
		return
	}
	flush, cancel := context.WithTimeout(ctx, interestConfirmTime)
	_ = x.bus.Flush(flush) // away or slow: see interestConfirmTime
	cancel()
	for _, op := range ops {
		if op.add {
			x.mu.Lock()
			op.e.active = true
			x.mu.Unlock()
			x.active(op.e)
		}
	}
}

// interestActive tells the shards that NATS knows an interest. Registry goroutine.
func (g *Gateway) interestActive(e *interest) {
	id := e.id
	for i, s := range g.shards {
		if !g.interests.wants(i, id) {
			continue
		}
		s.doSoon(func(s *shard) {
			if e := s.interestByID[id]; e != nil {
				s.confirm(e)
			}
		})
	}
}
