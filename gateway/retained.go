package gateway

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tidegate/tidegate/session"
	"github.com/tidwall/btree"
)

// retainedStore holds the last retained message of every topic, in order of topics, shared by all shards. Its lock is
// held for memory work only. A replay goes through the topics some at a time, by their order, and holds none of them meanwhile: so a
// long one neither blocks nor is cut, and what was replaced since is not kept for it.
//
// The order matters to the reader: a publisher stores first and delivers second, so that a subscriber that misses the
// message on its way finds it here.
type retainedStore struct {
	mu       sync.Mutex
	topics   btree.Map[string, *retainedMsg]
	bytes    int    // of topics, properties and payloads
	max      int    // topics
	born     uint64 // topics that got a message, having had none
	bytesMax int
	// expirySec is how long a message is kept at most, 0 without bound.
	expirySec uint32
	swept     string // where the next sweep goes on
	// mirror keeps the store and NATS alike; nil: the store is all there is.
	mirror  *retainedMirror
	tenants *tenants      // whose messages are bounded; nil: nobody's
	full    atomic.Uint64 // messages not kept for want of room, of those that no shard counts
}

// retainedMsg is immutable, but for round.
type retainedMsg struct {
	payload, props []byte
	expiresAtSec   uint32 // the message's own
	born           uint64 // retainedStore.born when the topic got its first message: a replay that began before leaves it out
	untilSec       uint32 // when it is forgotten: then, or by retainedStore.expirySec; 0 never
	from           string // client id of the publisher
	qos            uint8
	round          uint8 // retainedMirror.round when it came or was set; guarded by the store's lock
}

// size is what the message of a topic counts for, in bytes.
func (m *retainedMsg) size(topic string) int { return len(topic) + len(m.props) + len(m.payload) }

// over says that the message is to be forgotten.
func (m *retainedMsg) over(nowSec uint32) bool { return m.untilSec != 0 && m.untilSec <= nowSec }

// set stores m as its topic's retained message, or deletes it when the payload is empty [MQTT-3.3.1-6].
// false: the store is full; what the topic had before is gone all the same, because it is not the last message any more.
func (r *retainedStore) set(nowSec uint32, m *session.Message) bool {
	kept, _ := r.keep(nowSec, m, nil)
	return kept
}

// keep is set that tells, with done, on a bus goroutine, whether NATS has the message too. done is called only if the message waits for that.
func (r *retainedStore) keep(nowSec uint32, m *session.Message, done func(ok bool)) (kept bool, how retention) {
	msg := r.message(nowSec, m)
	topic := string(m.Topic)
	r.mu.Lock()
	defer r.mu.Unlock()
	if kept = msg == nil || r.fits(topic, msg); !kept {
		msg = nil
	}
	if r.mirror != nil {
		if how = r.mirror.put(nowSec, topic, msg, m.User, done); how == retainedRefused {
			return false, how
		}
	}
	r.show(topic, msg)
	return kept, how
}

// message is m as it is kept, nil when it deletes.
func (r *retainedStore) message(nowSec uint32, m *session.Message) *retainedMsg {
	if len(m.Payload) == 0 {
		return nil
	}
	buf := append(append(make([]byte, 0, len(m.Props)+len(m.Payload)), m.Props...), m.Payload...)
	msg := &retainedMsg{props: buf[:len(m.Props)], payload: buf[len(m.Props):], expiresAtSec: m.ExpiresAtSec, untilSec: m.ExpiresAtSec, qos: m.QoS}
	msg.endBy(r.expirySec, nowSec)
	if m.From != nil {
		msg.from = m.From.ClientID()
	}
	return msg
}

// endBy has the message forgotten after sec more seconds at most; 0: no bound.
func (m *retainedMsg) endBy(sec, nowSec uint32) {
	if end := saturatingAdd(nowSec, sec); sec > 0 && (m.untilSec == 0 || m.untilSec > end) {
		m.untilSec = end
	}
}

// fits tells whether the limits leave room for msg. Must be called with the lock held.
func (r *retainedStore) fits(topic string, msg *retainedMsg) bool {
	others, bytes := r.topics.Len(), r.bytes
	if old, known := r.topics.Get(topic); known {
		others, bytes = others-1, bytes-old.size(topic)
	}
	return others < r.max && bytes+msg.size(topic) <= r.bytesMax && r.tenants.mayRetain(topic, 1+others-r.topics.Len(), bytes+msg.size(topic)-r.bytes)
}

// show makes msg, which fits, the topic's message; nil: it has none. Must be called with the lock held.
func (r *retainedStore) show(topic string, msg *retainedMsg) {
	old, known := r.topics.Get(topic)
	if msg == nil {
		r.remove(topic)
		return
	}
	if msg.born = r.born + 1; known {
		msg.born = old.born
		r.bytes -= old.size(topic)
		r.tenants.countRetained(topic, 0, msg.size(topic)-old.size(topic))
	} else {
		r.tenants.countRetained(topic, 1, msg.size(topic))
	}
	r.born = max(r.born, msg.born)
	if r.mirror != nil {
		msg.round = r.mirror.round
	}
	r.topics.Set(topic, msg)
	r.bytes += msg.size(topic)
}

// remove must be called with the lock held.
func (r *retainedStore) remove(topic string) {
	if old, ok := r.topics.Delete(topic); ok {
		r.tenants.countRetained(topic, -1, -old.size(topic))
		r.bytes -= old.size(topic)
	}
}

// page visits up to n topics from the place next on, as far as they begin with prefix, and appends those that filter matches and that had a message
// when born was the store's. It returns how many it visited, and where to go on; "" is the end.
func (r *retainedStore) page(dst []string, filter, prefix, next string, born uint64, n int) (topics []string, visited int, on string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.topics.Ascend(next, func(topic string, m *retainedMsg) bool {
		if !strings.HasPrefix(topic, prefix) {
			return false
		}
		if visited == n {
			on = topic
			return false
		}
		visited++
		if m.born <= born && matches(filter, topic) {
			dst = append(dst, topic)
		}
		return true
	})
	return dst, visited, on
}

// get is the topic's retained message, nil if it has none.
func (r *retainedStore) get(topic string) *retainedMsg {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, _ := r.topics.Get(topic)
	return m
}

// sweep looks at up to n topics and forgets what has expired; the next one goes on behind them.
func (r *retainedStore) sweep(nowSec uint32, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var expired []string
	from := r.swept
	r.swept = ""
	r.topics.Ascend(from, func(topic string, m *retainedMsg) bool {
		if n--; n < 0 {
			r.swept = topic
			return false
		}
		if m.over(nowSec) {
			expired = append(expired, topic)
		}
		return true
	})
	for _, topic := range expired {
		r.remove(topic)
	}
}

// size is the number of topics that have one, and the bytes these take.
func (r *retainedStore) size() (topics, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.topics.Len(), r.bytes
}

// dropExpired forgets m if it is still the message of its topic.
func (r *retainedStore) dropExpired(topic string, m *retainedMsg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now, ok := r.topics.Get(topic); ok && now == m {
		r.remove(topic)
	}
}

// matches tells whether a topic filter, without $share, matches a topic [MQTT-4.7.1-1]; wildcards at its start leave
// topics that begin with $ alone [MQTT-4.7.2-1].
func matches(filter, topic string) bool {
	if topic != "" && topic[0] == '$' && filter != "" && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		level, moreFilter, deeper := strings.Cut(filter, "/")
		if level == "#" {
			return true
		}
		name, moreTopic, longer := strings.Cut(topic, "/")
		if level != "+" && level != name {
			return false
		}
		switch {
		case !deeper && !longer:
			return true
		case !deeper:
			return false
		case !longer:
			return moreFilter == "#" // "a/#" matches "a"
		}
		filter, topic = moreFilter, moreTopic
	}
}
