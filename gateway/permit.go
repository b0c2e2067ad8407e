package gateway

import (
	"bytes"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth/acl"
	"github.com/tidegate/tidegate/gateway/command"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// Permissions are looked at where something of a device comes in or goes out: a message, a filter, a will, a message that is sent to it. That last
// one is the only check of what it gets, and it is made at the very end, so that it holds whatever the message has waited in: a queue, the log, the
// store of retained messages. A gateway without rules looks at shard.restricts and no further.

// permit is what one device may do: who it is, and whose rules are asked in which order. Owned by the device's loop.
type permit struct {
	who   acl.Who
	own   *acl.Policy // of its token, or of who let it in; nil: none
	file  *acl.Policy // of acl.file; nil: none
	allow bool        // what no rule decides
	by    *acl.Policy // which of them has decided; nil: none
}

// permitOf is that of a device that has, or is to have, a client id, which is the one inside.
func (s *shard) permitOf(c *epoll.Conn, d *device, clientID string) permit {
	return s.permitIn(s.boundsOf(c), d, clientID)
}

// permitIn is permitOf for a device of a listener with these bounds.
func (s *shard) permitIn(b *Bounds, d *device, clientID string) permit {
	p := permit{file: s.fileRules, allow: b.ACLDefault == aclAllow}
	p.who.ClientID = d.tenant().idOut(clientID)
	if w := d.who(); w != nil {
		p.who.Username, p.who.Tenant, p.own = w.user, w.tenant, w.rules
		if w.of != nil {
			p.who.Tenant = w.of.name
		}
		if w.tls != nil {
			p.who.CN = w.tls.CN
		}
	}
	return p
}

func (p *permit) publish(topic []byte, qos byte, retain bool) acl.Decision {
	for _, p.by = range [...]*acl.Policy{p.own, p.file} {
		if p.by == nil {
			continue
		}
		if may := p.by.Publish(&p.who, topic, qos, retain); may.Rule != acl.Undecided {
			return may
		}
	}
	return p.undecided()
}

// subscribe is about a filter, with $share/GROUP/ or without.
func (p *permit) subscribe(filter []byte, qos byte) acl.Decision {
	if rest, shared := bytes.CutPrefix(filter, []byte("$share/")); shared {
		_, filter, _ = bytes.Cut(rest, []byte{'/'})
	}
	for _, p.by = range [...]*acl.Policy{p.own, p.file} {
		if p.by == nil {
			continue
		}
		if may := p.by.Subscribe(&p.who, filter, qos); may.Rule != acl.Undecided {
			return may
		}
	}
	return p.undecided()
}

// grant is the highest QoS, up to the one that is asked for, with which a device may have a subscription.
func (p *permit) grant(filter []byte, asked byte) (qos byte, may acl.Decision) {
	for qos = asked; ; qos-- {
		if may = p.subscribe(filter, qos); may.Allow || qos == 0 {
			return qos, may
		}
	}
}

func (p *permit) deliver(topic []byte) acl.Decision {
	for _, p.by = range [...]*acl.Policy{p.own, p.file} {
		if p.by == nil {
			continue
		}
		if may := p.by.Deliver(&p.who, topic); may.Rule != acl.Undecided {
			return may
		}
	}
	return p.undecided()
}

func (p *permit) undecided() acl.Decision {
	p.by = nil
	return acl.Decision{Allow: p.allow, Rule: acl.Undecided}
}

// mayPublishOn tells whether a device may publish a message. Answers to requests it may give in any case: who asked has permitted that.
func (s *shard) mayPublishOn(c *epoll.Conn, d *device, m *session.Message) acl.Decision {
	if isCall(m.Topic) {
		return acl.Decision{Allow: true, Rule: acl.Undecided}
	}
	p := s.permitOf(c, d, d.sess.ClientID())
	return p.publish(m.Topic, m.QoS, m.Retain)
}

// denyPublish deals with a PUBLISH that is not permitted, as its rule has it; false: the connection is closed.
func (s *shard) denyPublish(c *epoll.Conn, d *device, p *mqtt.Packet, ev *session.Event, then acl.OnDeny) bool {
	s.count.denied[deniedPublish]++
	switch {
	case then == acl.Disconnect:
		s.close(c, d, reasonNotAuthorized)
		return false
	case then == acl.Ignore && p.QoS > 0:
		s.count.refused++
		return s.swallow(c, d, ev)
	default:
		s.refusePublish(c, d, p, refusedDeniedTopic)
	}
	return true
}

// swallow acknowledges a message as if it went on; false: the connection is closed. The session has to know of it, or PUBREL would find
// nothing.
func (s *shard) swallow(c *epoll.Conn, d *device, ev *session.Event) bool {
	ev.Token = s.storing.next()
	id, token := ev.PacketID, ev.Token
	s.out.Reset()
	d.sess.Step(s.loop.NowSec(), ev, &s.out)
	s.out.Publishes = s.out.Publishes[:0]
	if !s.apply(c, d, &s.out) {
		return false
	}
	*ev = session.Event{Kind: session.Accepted, PacketID: id, Token: token}
	return s.step(c, d, ev)
}

// denyUnheard is denyPublish for a device that can't be told; false: the connection is closed.
func (s *shard) denyUnheard(c *epoll.Conn, d *device, then acl.OnDeny) bool {
	s.count.denied[deniedPublish]++
	s.count.refused++
	if then == acl.Disconnect {
		s.close(c, d, reasonNotAuthorized)
		return false
	}
	return true
}

// denyCommand is denyPublish for a command; false: the connection is closed. A request is never ignored, as it waits for an answer.
func (s *shard) denyCommand(c *epoll.Conn, d *device, cmd *command.Command, then acl.OnDeny) bool {
	if then == acl.Ignore && cmd.Op != command.Request {
		s.ok(c, d, cmd)
	} else {
		s.fail(c, d, cmd, command.ErrForbidden)
	}
	return s.denyUnheard(c, d, then)
}

// permitFilters holds the filters of a subscription, in s.filters, against the permissions: one may be granted with less QoS, or is refused.
// false: the device is to be disconnected for it.
func (s *shard) permitFilters(c *epoll.Conn, d *device) bool {
	p := s.permitOf(c, d, d.sess.ClientID())
	for i := range s.filters {
		f := &s.filters[i]
		if f.Refuse != 0 || !mqtt.ValidFilter(f.Topic) { // the session refuses that
			continue
		}
		qos, may := p.grant(f.Topic, f.QoS)
		if may.Allow {
			f.QoS = qos
			continue
		}
		s.count.denied[deniedSubscribe]++
		if may.OnDeny == acl.Disconnect {
			return false
		}
		f.Refuse = uint8(refusedDeniedFilter.code())
		if i < len(s.refused) {
			s.refused[i] = refusedDeniedFilter
		}
	}
	return true
}

// permitCommand is permitFilters for the filter of a command; false: it was answered.
func (s *shard) permitCommand(c *epoll.Conn, d *device, cmd *command.Command) bool {
	s.refused = s.refused[:0]
	ends := !s.permitFilters(c, d)
	if !ends && s.filters[0].Refuse == 0 {
		return true
	}
	s.fail(c, d, cmd, command.ErrForbidden)
	if ends {
		s.close(c, d, reasonNotAuthorized)
	}
	return false
}

// permitWill holds the will of a CONNECT against the permissions; false: CONNECT was refused. A rule that ignores takes the will away.
func (s *shard) permitWill(c *epoll.Conn, d *device, clientID []byte, in *session.Connect) bool {
	p, m := s.permitOf(c, d, string(clientID)), &in.Will.Message
	may := p.publish(m.Topic, m.QoS, m.Retain)
	switch {
	case may.Allow:
		m.Recheck = p.remains(d) && s.boundsOf(c).ACLDefault == s.cfg.ACL.Default
		return true
	case may.OnDeny == acl.Ignore:
		in.Will = nil
		return true
	}
	s.count.denied[deniedWill]++
	s.refuse(c, d, refusedDeniedWill.code(), refusedDeniedWill.text())
	return false
}

// withholds tells that a message is not sent to a device, as it may not have it, and does what is to be done instead: to the session it is as if it had
// been delivered.
func (s *shard) withholds(c *epoll.Conn, d *device, a *session.Send) bool {
	topic, may := s.topicFor(d, a.Msg.Topic)
	if may && s.restricts {
		p := s.permitOf(c, d, d.sess.ClientID())
		may = p.deliver(topic).Allow
	}
	if may {
		return false
	}
	s.count.denied[deniedDeliver]++
	if a.QoS > 0 {
		s.oversize = append(s.oversize, unsendable{a.PacketID, uint8(mqtt.NotAuthorized)})
	} else {
		s.count.drops[session.DropDenied]++
	}
	return true
}
