package gateway

import (
	"crypto/rand"
	"unicode/utf8"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
	"github.com/tidegate/tidegate/session"
)

// onFirstPacket handles the first packet of a connection: whose home is elsewhere is sent there. ok is false when the
// connection does not go on here.
func (s *shard) onFirstPacket(c *epoll.Conn, d *device, packet []byte) (ok bool) {
	// The first packet must be CONNECT [MQTT-3.1.0-1].
	if mqtt.Type(packet[0]>>4) != mqtt.TypeConnect {
		s.close(c, d, reasonProtocol)
		return false
	}
	tenanted := refusedNot
	if s.gw.tenants != nil {
		tenanted = s.assignTenant(c, d)
	}
	if id, _, whole := mqtt.PeekClientID(packet); whole && !d.unwelcome {
		if id = d.idOr(id); len(id) > 0 && s.goesHome(c, d, id) {
			return false
		}
	}
	if id, _, whole := mqtt.PeekClientID(packet); whole && !d.unwelcome && s.waitsOut(c, d, d.tenant().idIn(id)) {
		return false
	}
	s.count.packetsIn[mqtt.TypeConnect]++
	r := mqtt.Decode(packet, 0, &s.packet)
	if d.version = s.packet.Version; d.version < mqtt.V31 || d.version > mqtt.V5 {
		d.version = mqtt.V311
	}
	s.heed(c, d, &s.packet)
	if r != mqtt.Success {
		s.refuse(c, d, r, packetText(mqtt.TypeConnect, r))
		return false
	}
	refused := s.checkConnect(c, &s.packet)
	if refused == refusedNot {
		refused = s.boundsOf(c).refuseWill(&s.packet.Connect)
	}
	if refused == refusedNot {
		refused = tenanted
	}
	if refused != refusedNot {
		s.refuse(c, d, refused.code(), refused.text())
		return false
	}
	if d.unwelcome {
		s.turnAway(c, d)
		return false
	}
	if s.keepOut(c, d, d.tenant().idIn(s.packet.Connect.ClientID), s.packet.Connect.Username) {
		return false
	}
	if s.packet.Version == mqtt.V5 && s.packet.Props.Has(mqtt.PropAuthMethod) {
		return s.beginLogin(c, d, packet)
	}
	if s.doorOf(c).chain != nil && !s.vouched(c, d, &s.packet) {
		return false
	}
	s.connect(c, d, &s.packet)
	return d.state == stateLive
}

// refuse answers CONNECT with a reason and words and closes.
func (s *shard) refuse(c *epoll.Conn, d *device, r mqtt.Reason, text string) {
	// A CONNECT against the rules gets no answer in 3.x [MQTT-3.1.4-1]; in 5.0 it may.
	if d.version == mqtt.V5 || (r != mqtt.MalformedPacket && r != mqtt.ProtocolError && r != mqtt.PacketTooLarge) {
		s.sendRefusal(c, d, r, text)
	} else {
		s.count.refusedConnects++
	}
	s.close(c, d, reasonOfMQTT(r))
}

// allQoS leaves Maximum QoS out of CONNACK: 2 is what that means [MQTT-3.2.2-9].
const allQoS = 0xFF

// checkConnect is what the gateway, not the codec, demands of CONNECT.
func (s *shard) checkConnect(c *epoll.Conn, p *mqtt.Packet) refusal {
	q := &p.Connect
	switch {
	case len(q.ClientID) == 0 && p.Version == mqtt.V31:
		return refusedClientID
	case len(q.ClientID) == 0 && p.Version == mqtt.V311 && !q.CleanStart: // [MQTT-3.1.3-8]
		return refusedClientID
	}
	if r := s.checkLogin(c, p); r != refusedNot {
		return r
	}
	switch {
	case !q.HasWill:
		return refusedNot
	case q.WillProps.Has(mqtt.PropPayloadFormat) && q.WillProps.PayloadFormat == 1 && !utf8.Valid(q.WillPayload):
		return refusedWillFormat
	}
	return refusedNot
}

// checkWillTopic is why the gateway does not take a will topic, once topic_rewrite has made it what it is.
func (s *shard) checkWillTopic(b *Bounds, topic []byte) refusal {
	switch {
	case bus.Reserved(topic):
		return refusedWillReserved
	case !s.topicWithin(b, topic):
		return b.topicFault(topic, refusedWillBytes)
	}
	return refusedNot
}

// asked is the session that a CONNECT asks for, but for its will and bounds.
func (s *shard) asked(c *epoll.Conn, p *mqtt.Packet) session.Connect {
	q := &p.Connect
	in := session.Connect{
		ClientID: q.ClientID, CleanStart: q.CleanStart, Version: uint8(p.Version), ReceiveMax: 65535,
		Class: s.class(c),
	}
	if p.Version == mqtt.V5 {
		if p.Props.Has(mqtt.PropSessionExpiry) {
			in.ExpirySec = p.Props.SessionExpirySec
		}
		if p.Props.Has(mqtt.PropReceiveMax) {
			in.ReceiveMax = p.Props.ReceiveMax
		}
	} else if !q.CleanStart {
		in.ExpirySec = 0xFFFFFFFF
	}
	return in
}

// connect opens the session, answers CONNACK and sends what the session still owes.
func (s *shard) connect(c *epoll.Conn, d *device, p *mqtt.Packet) {
	q := &p.Connect
	now := s.loop.NowSec()
	assigned := len(q.ClientID) == 0
	if !s.nameIt(c, d, q) {
		return
	}
	in := s.asked(c, p)
	asked := in.ExpirySec
	in.ExpirySec = s.boundsOf(c).expirySec(asked)
	if s.cfg.NATS.HeaderUser && q.HasUsername && len(s.gw.methods) == 0 && s.doorOf(c).chain == nil { // where names are proved, others are not shown beside them
		d.extra().user = append([]byte(nil), q.Username...)
	}
	var will session.Will
	if q.HasWill {
		s.fillWill(&will, d, p)
		if in.Will = &will; !s.takeWill(c, d, q, &in) {
			return
		}
	}
	if !s.mayHave(c, d, q) {
		return
	}
	var record *opening
	if in.Durable = s.gw.durable.keepsSessions() && (in.ExpirySec > 0 || !in.CleanStart); in.Durable || len(s.openings) > 0 {
		var ok bool
		if record, ok = s.opens(c, d, q, in.Durable); !ok {
			return
		}
	}
	s.out.Reset()
	sess, present := s.openSession(c, &in, record)
	if sess == nil {
		s.out.Reset()
		s.refuse(c, d, refusedSessions.code(), refusedSessions.text())
		return
	}
	s.own(d, sess)
	if evicted := s.evict(s.out.Evict); present && !evicted {
		s.tellHeld(sess, true)
	}
	d.sess, d.state, d.partialSec = sess, stateLive, 0
	if p.Version == mqtt.V5 && in.ExpirySec != 0 {
		d.extra().expiry = in.ExpirySec
	}
	s.count.live[d.kind()]++
	s.count.connects++
	if q.HasWill && in.Will == nil {
		s.count.denied[deniedWill]++
	}
	s.claim(c, sess, q.CleanStart, record)
	// CONNACK comes first [MQTT-3.2.0-1], what is in flight second, and then what the connect set off, which may be a will for
	// this very session.
	if !s.acknowledgeConnect(c, d, p, asked, present, assigned) {
		return
	}
	s.event = session.Event{Kind: session.Resume, Congested: s.measured(c)}
	sess.Step(now, &s.event, &s.out)
	if s.apply(c, d, &s.out) {
		if s.restricts && present {
			s.dropForbidden(c, d)
		}
		s.autoSubscribe(c, d)
	}
	if k := keeperOf(sess); k != nil && !c.Closing() {
		s.refill(k)
		s.catchUp(sess)
	}
}

// nameIt gives the device its client id as it is inside; false: CONNECT was refused.
func (s *shard) nameIt(c *epoll.Conn, d *device, q *mqtt.Connect) bool {
	if len(q.ClientID) == 0 {
		q.ClientID = s.idFor(c, d)
	} else {
		q.ClientID = d.tenant().idIn(q.ClientID)
	}
	if !s.knowsID(d, q.ClientID) {
		s.refuse(c, d, refusedTenantID.code(), refusedTenantID.text())
		return false
	}
	return true
}

// takeWill holds the will of a CONNECT against all that it has to keep to; false: CONNECT was refused.
func (s *shard) takeWill(c *epoll.Conn, d *device, q *mqtt.Connect, in *session.Connect) bool {
	m := &in.Will.Message
	r := s.checkWillTopic(s.boundsOf(c), m.Topic)
	switch {
	case r != refusedNot:
	case s.restricts && !s.permitWill(c, d, q.ClientID, in):
		return false
	case in.Will != nil && s.gw.tenants != nil && s.inward(d, m) != refusedNot:
		r = refusedDeniedWill
	}
	if r != refusedNot {
		s.refuse(c, d, r.code(), r.text())
	}
	return r == refusedNot
}

// mayHave tells whether a device may have the session of its client id, or a new one; false: CONNECT was refused.
func (s *shard) mayHave(c *epoll.Conn, d *device, q *mqtt.Connect) bool {
	if !s.owns(d, q.ClientID) {
		s.turnDown(c, d, refusedOwner)
		return false
	}
	if s.keepOut(c, d, q.ClientID, q.Username) || s.keepFlapping(c, d, q) { // by the name it has proved
		return false
	}
	if r := s.takeTenantPlace(d, q.ClientID); r != refusedNot {
		s.refuse(c, d, r.code(), r.text())
		return false
	}
	return true
}

// evict closes the connection that had the session before [MQTT-3.1.4-3]; false: there is none.
func (s *shard) evict(owner uint64) bool {
	if owner == 0 {
		return false
	}
	old := s.loop.Conn(epoll.Handle(owner))
	if old == nil {
		return false
	}
	s.count.takeovers++
	s.tookOver(old)
	s.close(old, s.devices.At(old.Slot()), reasonTakenOver)
	return true
}

func (s *shard) fillWill(w *session.Will, d *device, p *mqtt.Packet) {
	q := &p.Connect
	s.props = q.WillProps.AppendForward(s.props[:0])
	w.Message = session.Message{
		Topic: s.rewrite(q.WillTopic, d.tenant().idOut(string(q.ClientID)), false), Payload: q.WillPayload, Props: s.props, QoS: q.WillQoS, Retain: q.WillRetain,
		User: d.user(),
	}
	if q.WillProps.Has(mqtt.PropWillDelay) {
		w.DelaySec = q.WillProps.WillDelaySec
	}
	if q.WillProps.Has(mqtt.PropMessageExpiry) {
		w.HasExpiry, w.ExpirySec = true, q.WillProps.MessageExpirySec
	}
}

// idFor is the client id, as it is inside, of a device that has given none.
func (s *shard) idFor(c *epoll.Conn, d *device) []byte {
	if id := s.assigned(c); id != nil {
		return id
	}
	if id := d.idOr(nil); id != nil {
		return d.tenant().idIn(id)
	}
	return s.assignClientID(d)
}

// assignClientID makes an id whose home is this shard.
func (s *shard) assignClientID(d *device) []byte {
	for {
		id := d.tenant().idIn([]byte("tg-" + rand.Text()))
		if s.gw.home(id) == s {
			return id
		}
	}
}

// acknowledgeConnect sends CONNACK; an MQTT 5 client is told every bound that it will be held to. false: it takes no packet of that
// size, so it is closed without a word, as DISCONNECT may not come before CONNACK [MQTT-3.14.0-1].
func (s *shard) acknowledgeConnect(c *epoll.Conn, d *device, p *mqtt.Packet, expirySec uint32, present, assigned bool) bool {
	out := &s.connack
	*out = mqtt.ConnackOut{SessionPresent: present, MaxQoS: allQoS}
	d.keepAliveSec = p.Connect.KeepAliveSec
	if d.version == mqtt.V5 {
		b := s.boundsOf(c)
		limit := uint32(b.KeepAliveMax.Seconds())
		if asked := uint32(d.keepAliveSec); limit > 0 && (asked == 0 || asked > limit) {
			d.keepAliveSec = uint16(limit)
			out.HasServerKeepAlive, out.ServerKeepAliveSec = true, d.keepAliveSec
		}
		if lasts := b.expirySec(expirySec); lasts != expirySec {
			out.HasSessionExpiry, out.SessionExpirySec = true, lasts
		}
		if assigned {
			out.AssignedClientID = []byte(d.clientID())
		}
		b.tell(out)
		d.nameMethod(out)
		s.tellResponseInformation(d, p, out)
	}
	packet := mqtt.AppendConnack(s.scratch[:0], d.version, out)
	if d.packetMax != 0 && len(packet) > int(d.packetMax) {
		s.applyTable(&s.out)
		d.state, d.reason = stateOpening, reasonTooLarge
		s.goodbye(c, d, reasonTooLarge, reasonTexts[reasonTooLarge])
		s.leave(c, d, &session.Event{Kind: session.Lost}) // without a session known to it, it has no will
		return false
	}
	s.count.packetsOut[mqtt.TypeConnack]++
	s.send(c, d, packet)
	return true
}

// send appends whole MQTT packets, or the answer to a command, to the connection's batch, framed as it needs.
func (s *shard) send(c *epoll.Conn, d *device, packet []byte) {
	if d.talks() {
		s.say(c, d, packet)
		return
	}
	if d.packetMax != 0 && len(packet) > int(d.packetMax) { // it must not be sent [MQTT-3.1.2-24], and is no message to leave out
		s.doomed = append(s.doomed, doomed{c.Handle(), reasonTooLarge})
		return
	}
	if d.wire == wireFrameMQTT {
		c.End(ws.AppendFrame(c.Begin(), ws.OpBinary, packet))
		return
	}
	c.End(append(c.Begin(), packet...))
}
