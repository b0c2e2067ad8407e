package gateway

import (
	"slices"
	"strings"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/session"
)

// replay is the retained messages still to be sent for one subscription. Owned by one shard.
type replay struct {
	sess    *session.Session
	want    session.Replay
	from    *retainedStore
	born    uint64 // topics that got their first message since come live, and only so
	next    string // topic to go on with
	blocked bool   // the last step stopped because the device could take no more
	soon    bool   // but may have room again in the next tick
}

// begin starts the replay of what matches want; nil when nothing is retained at all.
func (r *retainedStore) begin(sess *session.Session, want session.Replay) *replay {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.topics.Len() == 0 {
		return nil
	}
	return &replay{sess: sess, want: want, from: r, born: r.born, next: literalPrefix(want.Filter)}
}

// literalPrefix is what every topic that matches filter begins with.
func literalPrefix(filter string) string {
	if i := strings.IndexAny(filter, "+#"); i >= 0 {
		// "a/#" matches "a" too.
		return strings.TrimSuffix(filter[:i], "/")
	}
	return filter
}

// step visits up to n topics of r and calls deliver for those that match; it returns how many it visited, and whether the replay
// is complete. deliver returns false to be asked for the same topic again.
func (p *replay) step(r *retainedStore, n int, deliver func(topic string) bool) (visited int, done bool) {
	p.blocked = false
	prefix := literalPrefix(p.want.Filter)
	if prefix == p.want.Filter { // no wildcard, one topic
		m := r.get(prefix)
		p.blocked = m != nil && m.born <= p.born && !deliver(prefix)
		return 1, !p.blocked
	}
	var room [replayShare]string
	topics, visited, on := r.page(room[:0], p.want.Filter, prefix, p.next, p.born, n)
	for _, topic := range topics {
		if !deliver(topic) {
			p.next, p.blocked = topic, true
			return visited, false
		}
	}
	p.next = on
	return visited, on == ""
}

// replayBudget is how many topics all replays of a shard visit in one tick, replayShare how many of these one may: a wildcard over a
// million retained messages, or a thousand of them, holds up the loop no longer than that.
const (
	replayBudget = 512
	replayShare  = 64
)

// replay begins to send the retained messages that a subscription asks for. One that was under way for it begins anew.
func (s *shard) replay(want session.Replay) {
	store := s.gw.retainedFor(want.Filter)
	if !s.isEarly(want, store) && !s.rests(want, store) {
		s.beginReplay(want, store)
	}
}

func (s *shard) beginReplay(want session.Replay, store *retainedStore) {
	if r := store.begin(want.Sub.Session(), want); r != nil {
		s.dropReplay(want.Sub)
		s.replays[want.Sub] = r
	}
}

// endReplay forgets the replay of a subscription.
func (s *shard) endReplay(sub *session.Subscription) {
	delete(s.early.waiting, sub)
	s.dropReplay(sub)
}

func (s *shard) dropReplay(sub *session.Subscription) {
	delete(s.replays, sub)
	if list := s.replaysWaiting[sub.Session()]; len(list) > 0 {
		s.waitReplays(sub.Session(), slices.DeleteFunc(list, func(r *replay) bool { return r.want.Sub == sub }))
	}
}

// waitReplays notes which replays wait for a device, so that they cost nothing until it is back, reads or acknowledges.
func (s *shard) waitReplays(sess *session.Session, list []*replay) {
	if len(list) == 0 {
		delete(s.replaysWaiting, sess)
		return
	}
	s.replaysWaiting[sess] = list
}

// resumeReplays goes on with the replays that wait for a device, which may be back, and did something.
func (s *shard) resumeReplays(sess *session.Session) {
	list := s.replaysWaiting[sess]
	if len(list) == 0 {
		return
	}
	delete(s.replaysWaiting, sess)
	for _, r := range list {
		s.replays[r.want.Sub] = r
	}
	s.loop.Wake() // the end of this tick may be over
}

// stepReplays goes on with the retained messages that subscriptions still have to get. The order of the map is random, so that
// none is always last.
func (s *shard) stepReplays() {
	budget, more := replayBudget, false
	for sub, r := range s.replays {
		if budget <= 0 {
			more = true
			break
		}
		visited, done := 1, false
		if c := s.loop.Conn(epoll.Handle(r.sess.Owner())); c == nil || s.holdsBack(r, c) {
			r.blocked, r.soon = true, c != nil && r.soon
		} else {
			visited, done = r.step(r.from, min(budget, replayShare), func(topic string) bool { return s.deliverRetained(r, c, topic) })
		}
		budget -= max(1, visited)
		switch {
		case done:
			delete(s.replays, sub)
		case r.blocked && !r.soon:
			delete(s.replays, sub)
			s.waitReplays(r.sess, append(s.replaysWaiting[r.sess], r))
		default:
			more = true
		}
	}
	if more {
		s.loop.Wake()
	}
}

// holdsBack tells that a device takes nothing more for now. What it does next, reading or acknowledging, resumes its replays.
func (s *shard) holdsBack(r *replay, c *epoll.Conn) bool {
	if s.slowed(c) {
		r.soon = false
		return true
	}
	count, _ := r.sess.QueueMax()
	// If the socket takes the batch at the end of this tick nobody will tell us: look again in the next one.
	r.soon = c.Unsent() > s.cfg.Limits.BatchBytesMax/2 && !c.Blocked()
	return c.Unsent() > s.cfg.Limits.BatchBytesMax/2 || r.sess.Queued() >= max(1, count/2)
}

// deliverRetained gives one topic's retained message to the session; false: not now, the device has too much unread.
func (s *shard) deliverRetained(r *replay, c *epoll.Conn, topic string) bool {
	if s.holdsBack(r, c) {
		return false
	}
	now, sub := s.loop.NowSec(), r.want.Sub
	// What is sent is what the topic has now. An older one could follow a newer live message.
	m := r.from.get(topic)
	switch {
	case m == nil, sub.NoLocal && m.from == r.sess.ClientID():
		return true
	case m.over(now):
		r.from.dropExpired(topic, m)
		return true
	case sub.QoS > 0 && !s.fitsQueue(r.sess, len(topic)+len(m.props)+len(m.payload)):
		return false
	}
	s.replayMsg = session.Message{
		Topic: append(s.replayTopic[:0], topic...), Payload: m.payload, Props: m.props, QoS: m.qos, Retain: true,
		ExpiresAtSec: m.expiresAtSec,
	}
	s.replayTopic = s.replayMsg.Topic
	s.subIDs = s.subIDs[:0]
	if sub.ID != 0 {
		s.subIDs = append(s.subIDs, sub.ID)
	}
	s.deliverTo(r.sess, &session.Event{
		Kind: session.Deliver, Msg: &s.replayMsg, QoS: sub.QoS, Retain: true, SubIDs: s.subIDs,
	})
	return true
}

// fitsQueue tells whether a session can take a message of this size without dropping one: it is sent at once, or the queue keeps half of
// its bytes for what comes live. One that is larger waits until it can be sent at once.
func (s *shard) fitsQueue(sess *session.Session, size int) bool {
	count, bytes := sess.QueueMax()
	return sess.Ready() || count > 0 && sess.QueuedBytes()+size <= bytes/2 && s.table.KeptBytes()+size <= s.cfg.Session.BytesMax/2
}
