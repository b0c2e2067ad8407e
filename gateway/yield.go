package gateway

import (
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// claim tells the other gateways that a client id has connected here; record is that of its session, nil when it is not kept.
func (s *shard) claim(c *epoll.Conn, sess *session.Session, clean bool, record *opening) {
	x := s.gw.claims
	if x == nil || !x.timed.Load() && record == nil {
		return
	}
	var at uint64
	if record != nil {
		at = record.generation
	} else {
		at = x.next()
	}
	*s.claimedAt.At(c.Slot()) = at
	x.add(sess.ClientID(), at, clean)
	s.comeOnline(c, sess)
}

// claimOf is when the connection in a slot claimed its client id. One that was there before anybody else has the earliest
// time there is.
func (s *shard) claimOf(slot uint32) uint64 {
	if x := s.gw.claims; x == nil || !x.timed.Load() {
		return 1
	}
	return max(1, *s.claimedAt.At(slot))
}

// claimOfSession is the same for the connection that a session has, or had last.
func (s *shard) claimOfSession(sess *session.Session) uint64 {
	if owner := sess.Owner(); owner != 0 {
		return s.claimOf(epoll.Handle(owner).Slot())
	}
	return max(1, sess.Mark())
}

// claimSome goes on with claiming everything again.
func (s *shard) claimSome() {
	x := s.gw.claims
	switch {
	case x.alone.Load():
		s.claimFrom = 0
		x.scanned()
		return
	case !x.roomy():
		return // the next tick is a second away at most
	}
	s.claimFrom = s.loop.EachFrom(s.claimFrom, claimStep, func(c *epoll.Conn) {
		if d := s.devices.At(c.Slot()); d.sess != nil {
			x.add(d.sess.ClientID(), s.claimOf(c.Slot()), false)
		}
	})
	if s.claimFrom == 0 {
		x.scanned()
		return
	}
	s.loop.Wake()
}

// hearClaims settles who has the client ids that another gateway claims.
func (s *shard) hearClaims(list []claim) {
	for i := range list {
		k := &list[i]
		sess := s.table.Get(k.id)
		if sess == nil {
			continue
		}
		mine := s.claimOfSession(sess)
		if mine > k.at || mine == k.at && s.gw.claims.self > k.by {
			s.gw.claims.add(sess.ClientID(), mine, false) // it has not heard of ours, be the device still here or away
			continue
		}
		s.yield(k)
	}
}

// elsewhere is the owner of a session that another gateway has; no handle of a connection is like it.
const elsewhere = ^uint64(0)

// yield ends the session of a client id that is at another gateway now, as if that connection had come here and gone at
// once: so the will, and the connection that had the session, fare as in any takeover. What was queued is dropped and
// counted, and nothing is queued any more.
func (s *shard) yield(k *claim) {
	now := s.loop.NowSec()
	s.out.Reset()
	if old := s.table.Get(k.id); old != nil && old.Durable() {
		if !k.clean {
			s.moveOut(old)
			return
		}
		old.Keep(nil) // its record is the other gateway's
	}
	sess, _ := s.table.Open(now, &session.Connect{ClientID: k.id, CleanStart: k.clean, Version: uint8(mqtt.V5)}, elsewhere, &s.out)
	evicted := s.evict(s.out.Evict)
	if evicted {
		s.count.takenElsewhere++
	}
	if sess != nil {
		s.event = session.Event{Kind: session.Lost, Owner: elsewhere}
		sess.Step(now, &s.event, &s.out)
		if evicted {
			s.tellHeld(sess, false)
		}
	}
	s.applyTable(&s.out)
}

// moveOut ends what is here of a session that goes on at another gateway: its connection, as in any takeover, and then, once the last of it
// is written down, or the other gateway has written first, the rest.
func (s *shard) moveOut(sess *session.Session) {
	if s.evict(sess.Owner()) {
		s.count.takenElsewhere++
		s.tellHeld(sess, false)
	}
	k := keeperOf(sess)
	if k == nil || k.saving && !k.fenced {
		if k != nil {
			k.moving = true
		}
		return
	}
	s.forget(sess)
}

// forget takes a session out of the table that its record is enough for, or that another gateway has.
func (s *shard) forget(sess *session.Session) {
	sess.Keep(nil)
	s.out.Reset()
	s.table.Forget(sess, &s.out)
	s.applyTable(&s.out)
}

// tellShard runs f on the shard's loop; it waits for room in the inbox, or until the gateway stops.
func (g *Gateway) tellShard(s *shard, f func(s *shard)) { g.putNote(s, note{do: f}, func() {}) }
