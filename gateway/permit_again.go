package gateway

import (
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth/acl"
	"github.com/tidegate/tidegate/session"
)

// What was permitted once is looked at again when a session goes on with another connection, and when the rules of the gateway change.

// dropForbidden takes the subscriptions from a session that goes on whose device may not have them any more.
func (s *shard) dropForbidden(c *epoll.Conn, d *device) {
	p, t := s.permitOf(c, d, d.sess.ClientID()), d.tenant()
	s.filters = s.filters[:0]
	d.sess.EachSubscription(func(sub *session.Subscription) bool {
		if !p.subscribe(t.topicOut([]byte(sub.Filter)), sub.QoS).Allow {
			s.filters = append(s.filters, session.Filter{Topic: wholeFilter(sub)})
		}
		return true
	})
	if len(s.filters) == 0 {
		return
	}
	s.count.denied[deniedSubscribe] += uint64(len(s.filters))
	s.event = session.Event{Kind: session.Unsubscribe, PacketID: 1, Filters: s.filters}
	s.out.Reset()
	d.sess.Step(s.loop.NowSec(), &s.event, &s.out)
	s.out.Sends = s.out.Sends[:0] // nobody asked
	s.apply(c, d, &s.out)
}

// wholeFilter is the filter of a subscription as it stands in SUBSCRIBE.
func wholeFilter(sub *session.Subscription) []byte {
	if sub.Share == "" {
		return []byte(sub.Filter)
	}
	return []byte("$share/" + sub.Share + "/" + sub.Filter)
}

// takeRules puts rules into force. They hold at once for what comes and goes; who has lost something is disconnected in this tick and
// the following ones.
func (s *shard) takeRules(rules *acl.Policy) {
	s.fileRules = rules
	s.expelSome(rules, 1)
}

// expelSome looks at some of the connections, from a slot on, unless there are newer rules.
func (s *shard) expelSome(rules *acl.Policy, from uint32) {
	if s.fileRules != rules {
		return
	}
	next := s.loop.EachFrom(from, announceStep, func(c *epoll.Conn) {
		d := s.devices.At(c.Slot())
		if d.sess != nil && !c.Closing() {
			s.expelLoser(c, d)
		}
	})
	if next != 0 {
		s.doSoon(func(s *shard) { s.expelSome(rules, next) })
	}
}

// expelLoser disconnects a device that has lost a subscription, or the will: no protocol can tell it, and it would wait for what never comes.
func (s *shard) expelLoser(c *epoll.Conn, d *device) {
	subscriptions, will := s.loses(c, d)
	if !subscriptions && !will {
		return
	}
	s.count.expelled++
	s.goodbye(c, d, reasonAdministrative, reasonTexts[reasonAdministrative])
	d.reason = reasonAdministrative
	s.leave(c, d, &session.Event{Kind: session.Lost, KeepWill: !will})
}

// loses tells what a device has that it may not have any more.
func (s *shard) loses(c *epoll.Conn, d *device) (subscriptions, will bool) {
	p, t := s.permitOf(c, d, d.sess.ClientID()), d.tenant()
	d.sess.EachSubscription(func(sub *session.Subscription) bool {
		subscriptions = !p.subscribe(t.topicOut([]byte(sub.Filter)), sub.QoS).Allow
		return !subscriptions
	})
	if m := d.sess.Will(); m != nil {
		will = !p.publish(t.topicOut(m.Topic), m.QoS, m.Retain).Allow
	}
	return subscriptions, will
}
