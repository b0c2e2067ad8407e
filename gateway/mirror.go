package gateway

import (
	"errors"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/session"
)

// retainedMirror keeps the store of retained messages and the bucket TG_retained alike, so that all gateways on one NATS, and the
// backends, have the same.
//
// What a device sets is in the store at once and goes to the bucket; what the bucket tells goes into the store. The order of the bucket decides: the
// message with the highest revision is the one that all end with. While something of ours is on its way for a topic, the store
// shows ours, and what the bucket tells of the topic is kept aside (ownPut.base); when the bucket has told everything up to the revision that ours
// got, the later one of the two is shown. So a topic never goes back to an older message here, whoever writes.
//
//	set ──▶ own: count 1 ──stored, revision r──▶ count 0 ──the bucket has told up to r──▶ settled: base or ours, whichever is later
//
// All is guarded by the lock of the store, which is held for memory work only.
type retainedMirror struct {
	store *retainedStore
	// bucket is Bus.PutRetained; it is called with the lock held and calls nothing back before it returns.
	bucket func(m *bus.Message, ttlSec uint32, done func(revision uint64, err error)) error

	own      map[string]*ownPut
	owed     map[string]struct{} // topics to be put when the bucket takes them again
	settling []settling          // stored, and not yet told
	at       uint64              // revision up to which the bucket has told everything
	round    uint8               // of telling all there is
	whole    bool                // all there is was told once
	// waitUntilSec is when subscriptions do not wait any longer until whole.
	waitUntilSec uint32
	scratch      batch // reads properties
	count        mirrorCounters
}

// ownPut is what is ours of a topic.
type ownPut struct {
	count   int    // puts under way
	rev     uint64 // highest revision that they got
	failed  bool   // the last answer was that the bucket will not have it
	base    *retainedMsg
	baseRev uint64 // of base; 0: not told since
}

// settling is a topic whose puts are answered, with the revision of the last.
type settling struct {
	topic string
	rev   uint64
}

// mirrorCounters are totals; guarded by the lock.
type mirrorCounters struct {
	overruled uint64 // messages of devices here that somebody else's took the place of while they were on their way
	failed    uint64 // messages of devices here that the bucket will not have; what it has is shown instead
	unkept    uint64 // messages of others not kept, because the store is full
}

// retention is what became of a message that is to be retained.
type retention uint8

const (
	retainedHere    retention = iota // in memory, which is all there is
	retainedWaits                    // on its way to the bucket
	retainedRefused                  // not at all
)

// put hands a topic's message, nil for none, to the bucket. Unless it is refused the store is to show it. Without done one that the bucket can't
// take now is owed to it. Must be called with the lock held.
func (x *retainedMirror) put(nowSec uint32, topic string, msg *retainedMsg, user []byte, done func(ok bool)) retention {
	switch err := x.send(nowSec, topic, msg, user, done); {
	case err == nil:
		return retainedWaits
	case errors.Is(err, bus.ErrClosed): // the process ends
		return retainedHere
	case !errors.Is(err, bus.ErrRetainedBusy): // NATS can never carry it
	case done == nil && x.owe(topic):
		return retainedHere
	default:
		x.count.failed++
		return retainedRefused
	}
	x.count.failed++
	if msg != nil && x.send(nowSec, topic, nil, nil, nil) == nil {
		x.store.show(topic, nil) // what the topic had is not the last message any more
	}
	return retainedRefused
}

// send has the bucket take a message, nil for none. Must be called with the lock held.
func (x *retainedMirror) send(nowSec uint32, topic string, msg *retainedMsg, user []byte, done func(ok bool)) error {
	out, ttl := bus.Message{Topic: []byte(topic), User: user}, uint32(0)
	if msg != nil {
		out.Payload, out.QoS, out.Retain, out.ClientID = msg.payload, msg.qos, true, []byte(msg.from)
		if len(msg.props) > 0 {
			x.scratch.fields(msg.props, &out.Fields)
		}
		if msg.expiresAtSec != 0 {
			out.Fields.HasExpiry, out.Fields.ExpirySec = true, msg.expiresAtSec-min(nowSec, msg.expiresAtSec)
		}
		if msg.untilSec != 0 {
			ttl = max(1, msg.untilSec-min(nowSec, msg.untilSec))
		}
	}
	err := x.bucket(&out, ttl, func(rev uint64, err error) {
		x.answered(topic, rev, err)
		if done != nil {
			done(err == nil)
		}
	})
	if err == nil {
		x.ours(topic).count++
		delete(x.owed, topic)
	}
	return err
}

// ours is what is ours of a topic. Must be called with the lock held, before the store shows it.
func (x *retainedMirror) ours(topic string) *ownPut {
	o := x.own[topic]
	if o == nil {
		o = &ownPut{}
		o.base, _ = x.store.topics.Get(topic)
		x.own[topic] = o
	}
	return o
}

// owe notes that the bucket is to get what the topic has later; false: too much is owed. Must be called with the lock held.
func (x *retainedMirror) owe(topic string) bool {
	if _, known := x.owed[topic]; !known && len(x.owed) > x.store.max {
		return false
	}
	x.ours(topic)
	x.owed[topic] = struct{}{}
	return true
}

// repayShare is how many topics that are owed to the bucket are tried at a time.
const repayShare = 1000

// repay puts what is owed, as far as the bucket takes it.
func (r *retainedStore) repay(nowSec uint32) {
	x := r.mirror
	if x == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	tries := 0
	for topic := range x.owed {
		msg, _ := r.topics.Get(topic)
		if tries++; tries > repayShare || x.send(nowSec, topic, msg, nil, nil) != nil {
			return
		}
	}
}

// answered takes the bucket's answer to a put. It runs on a bus goroutine.
func (x *retainedMirror) answered(topic string, rev uint64, err error) {
	x.store.mu.Lock()
	defer x.store.mu.Unlock()
	o := x.own[topic]
	if o == nil {
		return
	}
	o.count--
	if o.failed = err != nil && !errors.Is(err, bus.ErrClosed); o.failed {
		x.count.failed++
	}
	o.rev = max(o.rev, rev)
	switch {
	case o.count > 0:
	case o.rev <= x.at:
		x.settle(topic, o)
	default:
		x.settling = append(x.settling, settling{topic, o.rev})
	}
}

// settle shows what the topic has in the bucket, unless something of ours is still on its way. Must be called with the lock held.
func (x *retainedMirror) settle(topic string, o *ownPut) {
	if _, owed := x.owed[topic]; owed || o.count > 0 {
		return
	}
	delete(x.own, topic)
	if shown, ok := x.store.topics.Get(topic); ok {
		shown.round = x.round
	}
	if o.failed || o.baseRev > o.rev {
		if !o.failed {
			x.count.overruled++
		}
		x.show(topic, o.base)
	}
}

// show has the store show what the bucket has. Must be called with the lock held.
func (x *retainedMirror) show(topic string, msg *retainedMsg) {
	if msg != nil && !x.store.fits(topic, msg) {
		x.count.unkept++
		msg = nil
	}
	x.store.show(topic, msg)
}

// hear takes what the bucket tells. It runs on one bus goroutine. done: all there is was told.
func (x *retainedMirror) hear(nowSec uint32, run []bus.RetainedUpdate) (done bool) {
	msgs := make([]*retainedMsg, len(run))
	for i := range run {
		if run[i].Kind == bus.RetainedSet {
			msgs[i] = x.message(nowSec, &run[i])
		}
	}
	x.store.mu.Lock()
	for i := range run {
		u := &run[i]
		switch u.Kind {
		case bus.RetainedBegin:
			x.round++
			x.at = 0
			for _, o := range x.own {
				o.base, o.baseRev = nil, 0
			}
			continue
		case bus.RetainedComplete:
			done = true
		default:
			topic := string(u.Topic)
			if o := x.own[topic]; o != nil {
				o.base, o.baseRev = msgs[i], u.Revision
			} else {
				x.show(topic, msgs[i])
			}
		}
		x.at = max(x.at, u.Revision)
	}
	x.settleTold(done)
	x.store.mu.Unlock()
	if done {
		x.sweep()
	}
	return done
}

// settleTold settles the topics that the bucket has told enough of; all: it has told everything. Must be called with the lock held.
func (x *retainedMirror) settleTold(all bool) {
	later := x.settling[:0]
	for _, w := range x.settling {
		if o := x.own[w.topic]; o != nil && w.rev <= x.at {
			x.settle(w.topic, o)
		} else if o != nil {
			later = append(later, w)
		}
	}
	clear(x.settling[len(later):])
	x.settling = later
	if !all {
		return
	}
	for topic, o := range x.own {
		x.settle(topic, o)
	}
}

// sweepShare is how many topics are looked at between two chances for others to have the lock.
const sweepShare = 1000

// sweep forgets what the bucket had not, when it has told all there is.
func (x *retainedMirror) sweep() {
	r := x.store
	for next, more := "", true; more; {
		var gone []string
		n := 0
		r.mu.Lock()
		more = false
		r.topics.Ascend(next, func(topic string, m *retainedMsg) bool {
			if n++; n > sweepShare {
				next, more = topic, true
				return false
			}
			if m.round != x.round && x.own[topic] == nil {
				gone = append(gone, topic)
			}
			return true
		})
		for _, topic := range gone {
			r.remove(topic)
		}
		x.whole = x.whole || !more
		r.mu.Unlock()
	}
}

// message is an update as it is kept; nil: it deletes, or is over.
func (x *retainedMirror) message(nowSec uint32, u *bus.RetainedUpdate) *retainedMsg {
	if len(u.Payload) == 0 {
		return nil
	}
	m := session.Message{Topic: u.Topic, Payload: u.Payload, QoS: backendQoS}
	if u.FromDevice {
		m.QoS = u.QoS
	}
	if u.HasFields {
		m.Props = appendFields(nil, &u.Fields)
		if u.Fields.HasExpiry {
			m.ExpiresAtSec = saturatingAdd(nowSec, u.Fields.ExpirySec)
		}
	}
	msg := x.store.message(nowSec, &m)
	msg.from = string(u.ClientID)
	if u.HasTTL {
		msg.endBy(max(1, u.TTLSec), nowSec)
	}
	if msg.over(nowSec) {
		return nil
	}
	return msg
}
