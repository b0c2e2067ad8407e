package gateway

import (
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// What refuses or ends something says why, in a Reason String, to MQTT 5 clients that want to hear it and have room for it.

// heed notes what CONNECT says of the packets that its client takes, before the first of them.
func (s *shard) heed(c *epoll.Conn, d *device, p *mqtt.Packet) {
	d.packetMax = 0
	if d.version != mqtt.V5 {
		return
	}
	d.packetMax = p.Props.MaxPacketBytes // [MQTT-3.1.2-24]; 0 when absent
	if p.Props.Has(mqtt.PropRequestProblemInfo) && p.Props.RequestProblemInfo == 0 {
		d.extra().terse = true // [MQTT-3.1.2-29]
	}
	if n := min(int(p.Props.TopicAliasMax), s.boundsOf(c).TopicAliasOutMax); n > 0 {
		d.extra().aliasMax = uint8(n)
	}
}

// says is the reason string for a packet that has size bytes with it; nil when it must be left out, which is also when it
// is what makes the packet too large for the client.
func (s *shard) says(d *device, text string, size int) []byte {
	if text == "" || d.version != mqtt.V5 || !s.cfg.MQTT.ReasonStrings || d.packetMax != 0 && size > int(d.packetMax) {
		return nil
	}
	s.words = append(s.words[:0], text...)
	return s.words
}

// saysOnAck is says for packets other than CONNACK and DISCONNECT, which a client may want without [MQTT-3.1.2-29].
func (s *shard) saysOnAck(d *device, text string, size int) []byte {
	if d.more != nil && d.more.terse {
		return nil
	}
	return s.says(d, text, size)
}

// appendFailure writes the PUBACK, PUBREC, PUBREL or PUBCOMP that t names, with a failure [MQTT-3.4.2-2], [MQTT-3.5.2-2], [MQTT-3.6.2-2], [MQTT-3.7.2-2].
func (s *shard) appendFailure(dst []byte, d *device, t mqtt.Type, id uint16, r mqtt.Reason, text string) []byte {
	s.count.packetsOut[t]++
	return mqtt.AppendAck(dst, t, d.version, id, r, s.saysOnAck(d, text, mqtt.AckSize(len(text))))
}

// appendAck writes such an acknowledgement of the session's, which is a failure or not.
func (s *shard) appendAck(dst []byte, d *device, t mqtt.Type, a *session.Send) []byte {
	r := mqtt.Reason(a.Reason)
	if r.Failed() {
		return s.appendFailure(dst, d, t, a.PacketID, r, answerText(t, r))
	}
	s.count.packetsOut[t]++
	return mqtt.AppendAck(dst, t, d.version, a.PacketID, r, nil)
}

// appendFilterAck writes the SUBACK [MQTT-3.9.2-1] or UNSUBACK [MQTT-3.11.2-1] that t names; it says why the first filter that is
// refused is refused.
func (s *shard) appendFilterAck(dst []byte, d *device, t mqtt.Type, id uint16, codes []uint8) []byte {
	s.count.packetsOut[t]++
	text := ""
	s.reasons = s.reasons[:0]
	for i, code := range codes {
		r := mqtt.Reason(code)
		s.reasons = append(s.reasons, r)
		if text == "" && r.Failed() {
			text = s.filterText(i, t, r)
		}
	}
	words := s.saysOnAck(d, text, mqtt.SubackSize(len(codes), len(text)))
	if t == mqtt.TypeSuback {
		return mqtt.AppendSuback(dst, d.version, id, s.reasons, words)
	}
	return s.within(d, len(dst), mqtt.AppendUnsuback(dst, d.version, id, s.reasons, words))
}

// filterText says why the i-th filter of the packet at hand is refused: by the gateway, or else by the session.
func (s *shard) filterText(i int, t mqtt.Type, r mqtt.Reason) string {
	if i < len(s.refused) && s.refused[i].code() == r {
		return s.refused[i].text()
	}
	return answerText(t, r)
}

// appendDisconnect writes the DISCONNECT of a connection that ends for r; nothing when even without words it is more than the
// client takes [MQTT-3.14.2-3].
func (s *shard) appendDisconnect(dst []byte, c *epoll.Conn, d *device, r reason, text string) []byte {
	if ref := s.boundsOf(c).ServerReference; sendsElsewhere(r) && fitsReference(ref, d.packetMax) {
		return mqtt.AppendRedirect(dst, mqtt.UseAnotherServer, []byte(ref))
	}
	if d.packetMax != 0 && mqtt.DisconnectSize(0) > int(d.packetMax) {
		return dst
	}
	if r == reasonMemory || r == reasonLag {
		s.props = appendRetry(s.props[:0])
		full := mqtt.AppendDisconnectLater(dst, reasonTable[r].mqtt, s.says(d, text, mqtt.DisconnectSize(len(text))+len(s.props)), s.props)
		if d.packetMax == 0 || len(full)-len(dst) <= int(d.packetMax) {
			return full
		}
	}
	return mqtt.AppendDisconnect(dst, d.version, reasonTable[r].mqtt, s.says(d, text, mqtt.DisconnectSize(len(text))))
}

// sendRefusal answers CONNECT with a reason and words [MQTT-3.2.2-19].
func (s *shard) sendRefusal(c *epoll.Conn, d *device, r mqtt.Reason, text string) {
	s.count.refusedConnects++
	s.connack = mqtt.ConnackOut{Reason: r, MaxQoS: allQoS, ReasonString: s.says(d, text, 0)}
	if r == mqtt.QuotaExceeded || r == mqtt.ServerUnavailable || r == mqtt.ServerBusy && d.unwelcome {
		s.redirect(c, d)
	}
	if d.version == mqtt.V5 && passes(s.connack.Reason) {
		s.props = appendRetry(s.props[:0])
		s.connack.UserProps = s.props
	}
	s.scratch = mqtt.AppendConnack(s.scratch[:0], d.version, &s.connack)
	if d.packetMax != 0 && len(s.scratch) > int(d.packetMax) {
		s.connack.ReasonString, s.connack.UserProps = nil, nil // [MQTT-3.2.2-20]
		s.scratch = mqtt.AppendConnack(s.scratch[:0], d.version, &s.connack)
	}
	s.send(c, d, s.scratch)
}
