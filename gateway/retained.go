package gateway

import (
	"strings"
	"sync"

	"github.com/tidegate/tidegate/session"
	"github.com/tidwall/btree"
)

// retainedStore holds the last retained message of every topic, in order of topics, shared by all shards. Its lock is
// held for memory work only. A replay reads a copy-on-write snapshot, so that a long one neither blocks nor is cut.
//
// The order matters to the reader: a publisher stores first and delivers second, so that a subscriber that misses the
// message on its way finds it here.
type retainedStore struct {
	mu     sync.Mutex
	topics btree.Map[string, *retainedMsg]
	max    int
}

// retainedMsg is immutable.
type retainedMsg struct {
	payload, props []byte
	expiresAtSec   uint32
	qos            uint8
}

// set stores m as its topic's retained message, or deletes it when the payload is empty [MQTT-3.3.1-6].
// false: the store is full and the topic is new.
func (r *retainedStore) set(m *session.Message) bool {
	if len(m.Payload) == 0 {
		r.mu.Lock()
		r.topics.Delete(string(m.Topic))
		r.mu.Unlock()
		return true
	}
	buf := append(append(make([]byte, 0, len(m.Props)+len(m.Payload)), m.Props...), m.Payload...)
	msg := &retainedMsg{props: buf[:len(m.Props)], payload: buf[len(m.Props):], expiresAtSec: m.ExpiresAtSec, qos: m.QoS}
	topic := string(m.Topic)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.topics.Len() >= r.max {
		if _, known := r.topics.Get(topic); !known {
			return false
		}
	}
	r.topics.Set(topic, msg)
	return true
}

// len is the number of topics that have one.
func (r *retainedStore) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.topics.Len()
}

// dropExpired forgets m if it is still the message of its topic.
func (r *retainedStore) dropExpired(topic string, m *retainedMsg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now, ok := r.topics.Get(topic); ok && now == m {
		r.topics.Delete(topic)
	}
}

// replay is the retained messages still to be sent for one subscription.
type replay struct {
	owner    uint64 // connection the subscription was made on
	sess     *session.Session
	want     session.Replay
	snapshot *btree.Map[string, *retainedMsg]
	next     string // topic to go on with
	blocked  bool   // the last step stopped because the device could take no more
}

// begin starts the replay of what matches want.
func (r *retainedStore) begin(sess *session.Session, want session.Replay) *replay {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.topics.Len() == 0 {
		return nil
	}
	return &replay{owner: sess.Owner(), sess: sess, want: want, snapshot: r.topics.Copy(), next: literalPrefix(want.Filter)}
}

// literalPrefix is what every topic that matches filter begins with.
func literalPrefix(filter string) string {
	if i := strings.IndexAny(filter, "+#"); i >= 0 {
		// "a/#" matches "a" too.
		return strings.TrimSuffix(filter[:i], "/")
	}
	return filter
}

// step visits up to n topics and calls deliver for those that match; true: the replay is complete. deliver returns
// false to be asked for the same topic again.
func (p *replay) step(n int, deliver func(topic string, m *retainedMsg) bool) (done bool) {
	done, p.blocked = true, false
	prefix := literalPrefix(p.want.Filter)
	p.snapshot.Ascend(p.next, func(topic string, m *retainedMsg) bool {
		if !strings.HasPrefix(topic, prefix) {
			return false
		}
		if n--; n < 0 {
			p.next, done = topic, false
			return false
		}
		if matches(p.want.Filter, topic) && !deliver(topic, m) {
			p.next, p.blocked, done = topic, true, false
			return false
		}
		return true
	})
	return done
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
