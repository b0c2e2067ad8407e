package session

import (
	"fmt"
	"hash/maphash"
)

// tickWorkMax is how many sessions one Tick looks after; the rest waits for the next.
const tickWorkMax = 4096

// Table is the sessions of one shard, by client id, with the filters they hold. Owned by that shard.
type Table struct {
	limits Limits
	seed   maphash.Seed
	byID   index[Session]
	users  map[*Session]string // whom a session belongs to; nil until one belongs to somebody
	exact  index[Subscription] // heads of filters without wildcards
	wild   trie
	due    dueHeap

	groups     map[string]*Group // shared, by $share/group/filter
	byInterest map[uint32]*Group // shared groups whose id was seen
	unbound    []*Group          // shared groups whose id was not
	orphans    ring[orphan]      // messages of shared groups whose member went

	lastValues     map[lastKey]uint32 // where in a queue the newest of a topic waits; nil until one does
	lastValuesPeak int                // how many did at most

	store store
	flows []*flow // unused
	works []*work // unused
	rec   record  // scratch of AppendRecord and Restore
	look  lookup  // scratch of onSubscribe and onUnsubscribe

	stamps        uint32
	expired       uint64
	live          int
	subscriptions int
	queued        int
	queuedBytes   int
	inflight      int
}

// Connect is what a CONNECT asks of the table. Everything is borrowed until Open returns.
type Connect struct {
	ClientID   []byte
	CleanStart bool
	Version    uint8 // 3, 4 or 5
	// ReceiveMax is the device's window, 0 means 65,535.
	ReceiveMax uint16
	// Class says whose bounds the session has from now on: those of Limits.Classes[Class-1], or with 0 those of the table.
	Class uint16
	// Upgrade delivers every message with the QoS of the subscription, also one that was published with less, so that nothing
	// is missed by a device that acknowledges.
	Upgrade bool
	// ExpirySec is how long the session outlives the connection, lowered to Limits.ExpiryMaxSec. Never (3.x with clean
	// session 0): as long as the cap.
	ExpirySec uint32
	Will      *Will // nil: none
	// Durable says that the session is kept in a record outside, which the caller stores (doc.go).
	Durable bool
}

// NewTable is an empty table. l is copied.
func NewTable(l *Limits) *Table {
	t := &Table{limits: l.withDefaults(), seed: maphash.MakeSeed()}
	t.byID = newIndex(
		func(s *Session) uint64 { return maphash.String(t.seed, s.id) },
		func(s *Session) **Session { return &s.chain })
	t.exact = newIndex(
		func(s *Subscription) uint64 { return maphash.String(t.seed, s.Filter) },
		func(s *Subscription) **Subscription { return &s.chain })
	t.wild.init(t.seed)
	t.look.seed = t.seed
	t.groups = map[string]*Group{}
	t.byInterest = map[uint32]*Group{}
	return t
}

// Open finds or makes the session of a client id for the connection owner (opaque, not 0); present is CONNACK's
// Session Present. An older live connection is reported in out.Evict; its session goes on, or ends with clean
// start [MQTT-3.1.4-3], or because its expiry is 0. A session found is live but sends nothing before Resume. nil: refused by SessionsMax.
func (t *Table) Open(nowSec uint32, c *Connect, owner uint64, out *Out) (s *Session, present bool) {
	if owner == 0 {
		panic(fmt.Sprintf("session: Open of %q without an owner", c.ClientID))
	}
	s = t.Get(c.ClientID)
	if s != nil {
		if s.state == live {
			out.Evict = s.owner
		}
		switch {
		case c.CleanStart, s.state == live && s.expirySec == 0, s.state == detached && s.endAtSec <= nowSec && s.endAtSec != Never:
			// [MQTT-3.1.2-4]; or it lasts no longer than the connection that ends here [MQTT-4.1.0-2], 3.1.1 [MQTT-3.1.2-6]; or
			// its time was over before a Tick saw it.
			s.becomeGone(nowSec, out)
			s = nil
		default:
			s.willOnReturn(nowSec, out)
		}
	}
	present = s != nil
	if !present {
		if s = t.add(c.ClientID); s == nil {
			return nil, false
		}
	}
	away := present && s.state == detached
	s.becomeLive(c, owner, out)
	s.keep(c.Durable, away)
	s.mustSave(out)
	s.resumed = !present
	return s, present
}

// add makes a session that has nothing yet, nil when SessionsMax refuses it.
func (t *Table) add(clientID []byte) *Session {
	if t.limits.SessionsMax > 0 && t.Len() >= t.limits.SessionsMax {
		return nil
	}
	t.stamps++
	s := &Session{table: t, id: string(clientID), dueAt: notDue, state: detached, stamp: t.stamps}
	t.byID.add(maphash.String(t.seed, s.id), s)
	return s
}

// Get is the session of a client id, nil when there is none.
func (t *Table) Get(clientID []byte) *Session {
	for s := *t.byID.bucket(maphash.Bytes(t.seed, clientID)); s != nil; s = s.chain {
		if s.id == string(clientID) {
			return s
		}
	}
	return nil
}

// exactHead is the head of the subscriptions to exactly this topic.
func (t *Table) exactHead(topic string) *Subscription {
	for s := *t.exact.bucket(maphash.String(t.seed, topic)); s != nil; s = s.chain {
		if s.Filter == topic {
			return s
		}
	}
	return nil
}

// addExact enters a filter without wildcards.
func (t *Table) addExact(s *Subscription) {
	if head := t.exactHead(s.Filter); head != nil {
		join(head, s)
		return
	}
	t.exact.add(maphash.String(t.seed, s.Filter), s)
}

// removeExact takes it out again; when it was the head, another one takes its place in the bucket.
func (t *Table) removeExact(s *Subscription) {
	h := maphash.String(t.seed, s.Filter)
	head := s
	if s.group != nil {
		head = t.exactHead(s.Filter)
	}
	switch after := leave(head, s); {
	case after == nil:
		t.exact.remove(h, s)
	case after != head:
		after.chain = s.chain
		t.exact.replace(h, s, after)
		s.chain = nil
	}
}

// Tick ends sessions whose time is over and publishes wills whose delay is. To be called once a second; its work is
// bounded, what is left is done by the next one.
func (t *Table) Tick(nowSec uint32, out *Out) {
	for range tickWorkMax {
		s := t.due.first()
		if s == nil || s.dueSec() > nowSec {
			return
		}
		if s.endAtSec <= nowSec {
			t.expired++
			s.becomeGone(nowSec, out)
			continue
		}
		s.publishWill(nowSec, out)
		if s.Durable() {
			out.Records = append(out.Records, s) // or who restores it publishes the will again
		}
		s.schedule()
	}
}

// Len is how many sessions there are.
func (t *Table) Len() int { return t.byID.n }

// Live is how many of them have a connection.
func (t *Table) Live() int { return t.live }

// Expired is how many sessions ended because no connection came in time.
func (t *Table) Expired() uint64 { return t.expired }

// Subscriptions is how many filters they hold together.
func (t *Table) Subscriptions() int { return t.subscriptions }

// Queued is how many messages wait in all queues, those in flight not counted.
func (t *Table) Queued() int { return t.queued }

// QueuedBytes is the size of the queued messages, each counted for every session it waits for.
func (t *Table) QueuedBytes() int { return t.queuedBytes }

// Inflight is how many QoS 1 and 2 messages to devices are unacknowledged.
func (t *Table) Inflight() int { return t.inflight }

// KeptBytes is the memory of all kept messages and wills, each counted once.
func (t *Table) KeptBytes() int { return t.store.bytes }

// Each calls f for every session, in no order, until it says false. f must not open or end sessions.
func (t *Table) Each(f func(*Session) bool) { t.byID.each(f) }
