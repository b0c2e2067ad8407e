package gateway

import (
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/session"
)

// A session that was away, or could not take what came, reads what it missed from the streams: some at a time, as its queue has room,
// from its cursor on, until it is where the tail is. From then on the tail feeds it. Both go by sequence numbers, so that nothing is
// missed between the two, and nothing comes twice.

// catchUpCount and catchUpBytes are how much is read at a time for one session.
const (
	catchUpCount = 256
	catchUpBytes = 256 << 10
)

// catchUp goes on reading what a session missed, if there is anything and it has room.
func (s *shard) catchUp(sess *session.Session) {
	k := keeperOf(sess)
	if k == nil || k.read != 0 || !sess.Hungry() {
		return // what it does next, acknowledging mostly, brings us back
	}
	if c := s.loop.Conn(epoll.Handle(sess.Owner())); c == nil || c.Closing() || s.slowed(c) {
		return
	} else if c.Unsent() > s.cfg.Limits.BatchBytesMax/2 {
		s.goOnLater(c)
		return
	}
	filters := plainFilters(sess)
	switch {
	case len(filters) == 0:
		s.missedNothing(sess)
		return
	case !s.followed(k):
		return // the end of a SUBSCRIBE that waits for NATS brings us back
	}
	stream := k.stream
	k.reads++
	n := max(k.reads, 1)
	k.reads, k.read, k.gained = n, n, false
	s.count.catchUpReads++
	s.gw.bus.ReplayLog(bus.ReplayRead{Stream: stream, After: sess.Cursor(stream), Filters: filters, Count: catchUpCount, Bytes: catchUpBytes},
		func(run []bus.Inbound, upTo uint64, err error) {
			b := s.gw.downPool.take()
			for i := range run {
				s.gw.addLogged(b, &run[i])
			}
			b.refs.Store(1)
			if err == nil {
				s.gw.durable.reached(stream, upTo)
			}
			s.doSoon(func(s *shard) { s.takeMissed(k, n, b, stream, upTo, err) })
		})
}

// plainFilters are the filters of a session that streams are read for.
func plainFilters(sess *session.Session) (filters [][]byte) {
	sess.EachSubscription(func(sub *session.Subscription) bool {
		if isFed(sub) {
			filters = append(filters, []byte(sub.Filter))
		}
		return true
	})
	return filters
}

// hasPlainFilter tells whether streams are read for a session.
func hasPlainFilter(sess *session.Session) (has bool) {
	sess.EachSubscription(func(sub *session.Subscription) bool {
		has = sub.Share == ""
		return !has
	})
	return has
}

// followed tells whether the tails run, so that what is stored from now on comes by them; otherwise the session goes on when they do.
func (s *shard) followed(k *keeper) bool {
	if !s.feeding.on && !k.waits {
		k.waits = true
		s.feeding.behind = append(s.feeding.behind, k)
	}
	return s.feeding.on
}

// missedNothing has a session without filters begin where the tails are, so that those it makes bring nothing older.
func (s *shard) missedNothing(sess *session.Session) {
	for stream := range s.tailAt {
		sess.SeenUpTo(uint16(stream), s.tailHas(uint16(stream)))
	}
	sess.CaughtUp()
}

// takeMissed delivers what the n-th read for a session brought.
func (s *shard) takeMissed(k *keeper, n uint32, b *batch, stream uint16, upTo uint64, err error) {
	defer b.release()
	if k.read != n {
		return // of an earlier connection
	}
	k.read = 0
	if keeperOf(k.sess) != k || !k.sess.Behind() || k.sess.Owner() == 0 {
		return // it ended, or is away again
	}
	if k.gained { // what a new filter is to bring may be among what this passed over
		s.catchUp(k.sess)
		return
	}
	if err != nil {
		s.gw.log.Debug().Err(err).Msg("what a session missed could not be read; again in a second")
		s.later = append(s.later, func() { s.catchUp(k.sess) })
		return
	}
	for i := range b.msgs {
		if !s.giveMissed(k, b, i) {
			s.catchUp(k.sess)
			return
		}
	}
	sess := k.sess
	if upTo < sess.Cursor(stream) {
		sess.RewindTo(stream, upTo)
	}
	sess.SeenUpTo(stream, upTo)
	switch {
	case upTo < s.tailHas(stream): // the tail has been further meanwhile, or this was not all
	case int(stream)+1 < len(s.tailAt):
		k.stream++
	default:
		k.stream = 0
		if s.caughtUp(k) {
			return
		}
	}
	s.catchUp(sess)
}

// caughtUp has the tail feed a session again, if it is where all tails are.
func (s *shard) caughtUp(k *keeper) bool {
	for stream := range s.tailAt {
		if k.sess.Cursor(uint16(stream)) < s.tailHas(uint16(stream)) {
			return false
		}
	}
	k.sess.CaughtUp()
	return true
}

// tailHas is the sequence number up to which the tail of a stream has brought all that it will: what it brought last, or where it began. A
// tail that has just begun, in a process that was just started, has brought nothing yet.
func (s *shard) tailHas(stream uint16) uint64 {
	return max(s.tailAt[stream], s.gw.durable.tailFrom[stream].Load())
}

// giveMissed delivers one message; false: the session cannot take it now.
func (s *shard) giveMissed(k *keeper, b *batch, i int) (taken bool) {
	defer s.containMessagePanic()
	m, sess := &s.routed, k.sess
	b.logged(i, m)
	if c := s.loop.Conn(epoll.Handle(sess.Owner())); c == nil || c.Unsent() > s.cfg.Limits.BatchBytesMax || s.slowed(c) {
		return false
	}
	s.work++
	m.From = nil
	if string(b.at(b.msgs[i].client)) == sess.ClientID() {
		m.From = sess // No Local
	}
	sess.Match(m, &s.matches)
	if len(s.matches.List) == 0 {
		return true
	}
	t, ev := &s.matches.List[0], &s.devent
	*ev = session.Event{Kind: session.Deliver, Msg: m, QoS: t.QoS, SubIDs: t.SubIDs, Retain: m.Retain && t.RetainAsPublished, Replay: true}
	s.count.replayed++
	return s.deliverTo(sess, ev)
}
