package gateway

import (
	"bytes"
	"unicode/utf8"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
	"github.com/tidegate/tidegate/session"
)

// onPackets handles every whole packet in p and returns what is left of it.
func (s *shard) onPackets(c *epoll.Conn, d *device, p []byte) (rest []byte) {
	now, doubted := s.loop.NowSec(), s.inDoubt(d)
	for {
		limit := s.boundsOf(c).PacketBytesMax
		if d.state == stateOpening {
			limit = s.cfg.Limits.ConnectBytesMax
		}
		packet, n, r := mqtt.Next(p, limit)
		if r != mqtt.Success {
			s.close(c, d, reasonOfMQTT(r))
			return nil
		}
		if n == 0 {
			break
		}
		if d.awaits || s.mustWait(c, d) {
			d.partialSec = 0
			if d.awaits && len(p) > waitBytesMax {
				c.PauseRead()
			}
			return p
		}
		if doubted || d.state == stateLive && mqtt.Type(packet[0]>>4) == mqtt.TypePublish && s.full() {
			return s.waitForRoom(c, d, p)
		}
		switch {
		case d.loggingIn():
			if !s.onLoginPacket(c, d, packet) {
				return nil
			}
		case d.state == stateOpening:
			if !s.onFirstPacket(c, d, packet) {
				return p // unread, for the home shard; or closed
			}
		case !s.onPacket(c, d, packet):
			return nil
		}
		d.partialSec, d.looked = 0, 0
		if d.state == stateLive { // until then its time is counted from accept
			d.lastSec = now
		}
		p = p[n:]
		s.work += packetWork + n/packetBytesPerWork
		if s.pacer != nil {
			if s.paced(c, d, n); c.Closing() {
				return nil
			}
		}
	}
	switch {
	case len(p) == 0:
		d.partialSec = 0
	case d.partialSec == 0:
		d.partialSec = now
	}
	return p
}

// packetWork is what a packet counts for, beside what it asks for; its bytes, which are checked and copied, count as one in packetBytesPerWork.
// Bytes of properties count one each, as they are read property by property, and again on the way to NATS.
const (
	packetWork         = 8
	packetBytesPerWork = 8
)

// mustWait tells that a device is not to be read further now.
func (s *shard) mustWait(c *epoll.Conn, d *device) bool {
	return s.unread(c) || s.overworked(c, d) || s.awaitsNATS(c) || s.pacer != nil && s.rested(c)
}

// unread tells that a device does not read what it is sent; then it is not read either until it does, as its answers would
// pile up. OnDrained goes on, or the loop finds it stalled.
func (s *shard) unread(c *epoll.Conn) bool {
	if !c.Blocked() || c.Unsent() <= s.cfg.Limits.BatchBytesMax {
		return false
	}
	c.PauseRead()
	return true
}

// onPacket handles one packet of a live device; false: the connection is closed.
func (s *shard) onPacket(c *epoll.Conn, d *device, packet []byte) bool {
	p := &s.packet
	if mqtt.Type(packet[0]>>4) == mqtt.TypeConnect {
		// A second CONNECT ends the connection, whatever is in it; it is not a new login [MQTT-3.1.0-2].
		s.closeSaying(c, d, reasonProtocol, textSecondConnect)
		return false
	}
	r := mqtt.Decode(packet, d.version, p)
	if r == mqtt.Success {
		r = mqtt.ClientFault(p) // a server's packet, or a server's property
	}
	if r != mqtt.Success {
		s.closeSaying(c, d, reasonOfMQTT(r), packetText(p.Type, r))
		return false
	}
	s.count.packetsIn[p.Type]++
	ev := &s.event
	*ev = session.Event{PacketID: p.PacketID, Reason: uint8(p.Reason)}
	switch p.Type {
	case mqtt.TypePublish:
		return s.onPublish(c, d, p, ev)
	case mqtt.TypePuback:
		ev.Kind = session.Puback
	case mqtt.TypePubrec:
		ev.Kind = session.Pubrec
	case mqtt.TypePubrel:
		ev.Kind = session.Pubrel
	case mqtt.TypePubcomp:
		ev.Kind = session.Pubcomp
	case mqtt.TypeSubscribe:
		return s.onSubscribe(c, d, p, ev)
	case mqtt.TypeUnsubscribe:
		if d.version != mqtt.V5 && len(p.Filters) > s.boundsOf(c).FiltersMax {
			s.close(c, d, reasonQuota) // UNSUBACK could not say which were left [MQTT-3.10.4-6], [MQTT-4.8.0-2]
			return false
		}
		ev.Kind, ev.Filters = session.Unsubscribe, s.sessionFilters(s.boundsOf(c), d, p.Filters, refusedUnsubscribeCount)
		s.inwardFilters(d)
	case mqtt.TypePingreq:
		s.pong(c, d)
		return true
	case mqtt.TypeDisconnect:
		s.onDisconnect(c, d, p)
		return false
	case mqtt.TypeAuth:
		return s.onAuth(c, d, p)
	default:
		s.close(c, d, reasonProtocol) // CONNECT was first, and all others are here: ClientFault lets no more through
		return false
	}
	return s.step(c, d, ev)
}

// pong answers PINGREQ [MQTT-3.12.4-1].
func (s *shard) pong(c *epoll.Conn, d *device) {
	s.count.packetsOut[mqtt.TypePingresp]++
	s.send(c, d, mqtt.AppendPingresp(s.scratch[:0]))
}

// step runs the session on what the device did and carries out what comes of it; false: the connection is closed.
func (s *shard) step(c *epoll.Conn, d *device, ev *session.Event) bool {
	s.out.Reset()
	ev.Congested = s.measured(c)
	d.sess.Step(s.loop.NowSec(), ev, &s.out)
	return s.apply(c, d, &s.out)
}

// apply carries out the effects of a step on the device that caused it.
func (s *shard) apply(c *epoll.Conn, d *device, out *session.Out) bool {
	s.applySends(c, d, d.sess, out)
	if len(out.Interests) > 0 {
		s.applyInterests(out.Interests)
	}
	for _, m := range out.Publishes {
		s.route(m)
	}
	if out.Asks() {
		s.afterStep(d.sess, out)
	}
	s.countDrops(out)
	if out.Close {
		r := mqtt.Reason(out.CloseReason)
		s.closeSaying(c, d, reasonOfMQTT(r), stepText(s.packet.Type, r))
		return false
	}
	s.proceed(c, d)
	return !c.Closing()
}

// onPublish takes a message from the device.
func (s *shard) onPublish(c *epoll.Conn, d *device, p *mqtt.Packet, ev *session.Event) bool {
	m := &s.message
	if p.QoS > 0 || p.Retain { // else nothing is beyond bounds
		if r := s.boundsOf(c).refusePublish(p); r != mqtt.Success {
			s.close(c, d, reasonOfMQTT(r))
			return false
		}
	}
	*m = session.Message{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain, From: d.sess, User: d.user()}
	if d.version == mqtt.V5 && !s.publishProperties(c, d, p, m) {
		return false
	}
	if d.version != mqtt.V5 {
		m.Topic = s.fromCallTopic(d, m.Topic)
	}
	if len(s.rewrites) > 0 && !isCall(m.Topic) {
		m.Topic = s.rewrite(m.Topic, d.clientID(), false)
	}
	refused := s.checkPublish(s.boundsOf(c), p, m)
	if refused != refusedNot {
		s.refusePublish(c, d, p, refused)
		return true
	}
	ev.Kind, ev.Msg, ev.QoS, ev.Dup = session.Publish, m, p.QoS, p.Dup
	if s.restricts {
		if may := s.mayPublishOn(c, d, m); !may.Allow {
			return s.denyPublish(c, d, p, ev, may.OnDeny)
		}
	}
	if s.gw.tenants != nil {
		if r := s.inwardMessage(d, m); r != refusedNot {
			s.refusePublish(c, d, p, r)
			return true
		}
	}
	if p.QoS == 0 {
		return s.step(c, d, ev)
	}
	ref := &s.storing.ref
	*ref = storeRef{packetID: p.PacketID, token: s.storing.next(), exactly: p.QoS == 2 && s.publishesExactly(d.sess)}
	token := ref.token
	ev.Token = token
	goesOn := s.step(c, d, ev)
	later := ref.taken
	*ref = storeRef{}
	if !goesOn || later {
		return !c.Closing()
	}
	// The message is in the tick's batch and in the sessions here: it is taken over.
	*ev = session.Event{Kind: session.Accepted, PacketID: p.PacketID, Token: token}
	return s.step(c, d, ev)
}

// refusePublish answers a message that is not taken. An MQTT 5 client is told why; one of 3.x can't be
// [MQTT-3.3.5-2], so that its message is acknowledged and goes nowhere.
func (s *shard) refusePublish(c *epoll.Conn, d *device, p *mqtt.Packet, r refusal) {
	s.count.refused++
	switch p.QoS {
	case 1:
		s.send(c, d, s.appendFailure(s.scratch[:0], d, mqtt.TypePuback, p.PacketID, r.code(), r.text()))
	case 2:
		s.send(c, d, s.appendFailure(s.scratch[:0], d, mqtt.TypePubrec, p.PacketID, r.code(), r.text()))
	}
}

// publishProperties resolves the topic alias and takes over what goes on with the message; false: closed.
func (s *shard) publishProperties(c *epoll.Conn, d *device, p *mqtt.Packet, m *session.Message) bool {
	props := &p.Props
	if props.Has(mqtt.PropTopicAlias) {
		// An alias above what CONNACK allowed is an error [MQTT-3.3.2-9].
		alias := int(props.TopicAlias)
		if alias == 0 || alias > s.boundsOf(c).TopicAliasMax {
			s.close(c, d, reasonTopicAlias)
			return false
		}
		more := d.extra()
		for len(more.aliases) < alias {
			more.aliases = append(more.aliases, nil)
		}
		known := &more.aliases[alias-1]
		switch {
		case len(p.Topic) == 0 && *known == nil:
			s.closeSaying(c, d, reasonProtocol, textAliasUnknown)
			return false
		case len(p.Topic) == 0:
			m.Topic = *known
		case s.topicWithin(s.boundsOf(c), p.Topic):
			s.count.aliasBytesIn += int64(len(p.Topic) - len(*known))
			*known = append((*known)[:0], p.Topic...)
		default:
			s.count.aliasBytesIn -= int64(len(*known))
			*known = []byte{} // refused below, and so is what follows: it is not meant for the alias's former topic
		}
	}
	if props.Has(mqtt.PropMessageExpiry) {
		m.ExpiresAtSec = saturatingAdd(s.loop.NowSec(), props.MessageExpirySec)
	}
	if props.Raw != nil {
		s.props = props.AppendForward(s.props[:0])
		m.Props = s.props
		s.work += len(s.props)
	}
	return true
}

// saturatingAdd keeps a device's numbers from wrapping the clock; 0 means never, so it is never the result.
func saturatingAdd(now, sec uint32) uint32 {
	if sum := now + sec; sum >= now {
		return sum
	}
	return 0xFFFFFFFF
}

// checkPublish tells whether the gateway takes a message.
func (s *shard) checkPublish(b *Bounds, p *mqtt.Packet, m *session.Message) refusal {
	switch {
	case len(m.Topic) == 0:
		return refusedAlias
	case bus.Reserved(m.Topic) && (!isCall(m.Topic) || s.forgedCall(m.Topic)):
		return refusedReserved
	case !s.topicWithin(b, m.Topic) && !isCall(m.Topic):
		return b.topicFault(m.Topic, refusedTopicBytes)
	case p.Props.Has(mqtt.PropPayloadFormat) && p.Props.PayloadFormat == 1 && !utf8.Valid(m.Payload):
		return refusedPayloadFormat
	case !s.fitsNATS(m):
		return refusedForNATS
	}
	return refusedNot
}

// fitsNATS tells whether NATS can take the message. Only one that is large in some way is looked at closely.
func (s *shard) fitsNATS(m *session.Message) bool {
	const surely = 512 // bytes of topic and of properties that fit however they are escaped
	if len(m.Topic) <= surely && len(m.Props) <= surely && len(m.Payload) <= 64<<10 {
		return true
	}
	b := s.uplink.pool.take()
	defer b.release()
	b.refs.Store(1)
	g := b.add(m)
	g.client, g.user = b.keep([]byte(m.From.ClientID())), b.keep(m.User) // they go into the header
	if isCall(m.Topic) {
		g.shard = nowhere
	}
	var out bus.Message
	b.Message(0, &out)
	return s.gw.bus.Fits(&out)
}

// topicWithin holds a topic or filter against the bounds of a listener.
func (s *shard) topicWithin(b *Bounds, topic []byte) bool {
	return len(topic) <= b.TopicBytesMax && bytes.Count(topic, []byte{'/'}) < b.TopicLevelsMax &&
		(!s.cfg.MQTT.StrictMapping || bus.Representable(topic))
}

// topicFault is which of the limits a topic or filter breaks; first is the refusal for its bytes, levels and mapping follow.
func (b *Bounds) topicFault(topic []byte, first refusal) refusal {
	switch {
	case len(topic) > b.TopicBytesMax:
		return first
	case bytes.Count(topic, []byte{'/'}) >= b.TopicLevelsMax:
		return first + 1
	}
	return first + 2
}

// sessionFilters are the filters of a packet for its session. Those beyond the bound on one packet get tooMany.
func (s *shard) sessionFilters(b *Bounds, d *device, in []mqtt.Filter, tooMany refusal) []session.Filter {
	s.work += len(in) * filterWork
	s.filtersAsked = len(in)
	s.filters, s.refused, s.rewritten = s.filters[:0], s.refused[:0], s.rewritten[:0]
	since := s.since(d.sess)
	for i, f := range in {
		f.Topic = s.rewriteFilter(f.Topic, d.clientID())
		refused := s.checkFilter(b, f.Topic)
		if i >= b.FiltersMax {
			refused = tooMany
		}
		s.refused = append(s.refused, refused)
		s.filters = append(s.filters, session.Filter{
			Topic: f.Topic, QoS: f.QoS, NoLocal: f.NoLocal, RetainAsPublished: f.RetainAsPublished,
			RetainHandling: f.RetainHandling, Refuse: uint8(refused.code()), Since: since,
		})
	}
	return s.filters
}

// filterWork is what looking one filter up among those of its session counts for.
const filterWork = 128

// checkFilter is why the gateway refuses a filter.
func (s *shard) checkFilter(b *Bounds, filter []byte) refusal {
	switch {
	case !s.topicWithin(b, filter):
		return b.topicFault(filter, refusedFilterBytes)
	case len(filter) > bus.SubjectBytesMax/3: // escaping makes three bytes of one at most
		return refusedFilterNATS
	case len(s.rewrites) > 0 && !mqtt.ValidFilter(filter): // it was one until a rule put its wildcard elsewhere
		return refusedFilterRewrite
	}
	return refusedNot
}

// onSubscribe makes the subscriptions. SUBACK waits until NATS knows them.
func (s *shard) onSubscribe(c *epoll.Conn, d *device, p *mqtt.Packet, ev *session.Event) bool {
	ev.Kind, ev.Filters = session.Subscribe, s.sessionFilters(s.boundsOf(c), d, p.Filters, refusedFilterCount)
	if d.version == mqtt.V5 && len(p.Props.SubscriptionIDs) > 0 {
		ev.SubID = p.Props.SubscriptionIDs[0]
	}
	s.boundFilters(s.boundsOf(c), ev.SubID != 0)
	if s.restricts && !s.permitFilters(c, d) {
		s.close(c, d, reasonNotAuthorized)
		return false
	}
	s.takeFilters(d)
	s.out.Reset()
	d.sess.Step(s.loop.NowSec(), ev, &s.out)
	answer := s.scratch3[:0]
	for i := range s.out.Sends {
		answer = s.appendSend(answer, d, &s.out.Sends[i])
	}
	s.scratch3 = answer
	s.finishOrHold(c, answer)
	return !c.Closing()
}

// onDisconnect is the device's goodbye.
func (s *shard) onDisconnect(c *epoll.Conn, d *device, p *mqtt.Packet) {
	ev := session.Event{Kind: session.Lost}
	d.reason = reasonNormal
	if d.version == mqtt.V5 {
		if p.Reason != mqtt.NormalDisconnection { // anything else keeps the will [MQTT-3.14.4-3]
			d.reason, ev.KeepWill = reasonDisconnectWithWill, true
		}
		if p.Props.Has(mqtt.PropSessionExpiry) {
			ev.SetExpiry, ev.ExpirySec = true, s.boundsOf(c).expirySec(p.Props.SessionExpirySec)
			// A session that was to end with the connection can't be prolonged [MQTT-3.1.2-23], §3.14.2.2.2.
			if ev.ExpirySec != 0 && (d.more == nil || d.more.expiry == 0) {
				d.reason = reasonNone
				s.closeSaying(c, d, reasonProtocol, textExpiryProlonged)
				return
			}
		}
	}
	if d.wire == wireFrameMQTT {
		c.End(ws.AppendClose(c.Begin(), ws.CloseNormal, ""))
	}
	s.leave(c, d, &ev)
}
