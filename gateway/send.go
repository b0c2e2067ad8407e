package gateway

import (
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
	"github.com/tidegate/tidegate/session"
)

// applySends appends what the session sends to the batch of its connection, in the protocol the device speaks.
func (s *shard) applySends(c *epoll.Conn, d *device, sess *session.Session, out *session.Out) {
	if d.sess != sess || sess == nil {
		return
	}
	s.oversize = s.oversize[:0]
	for i := range out.Sends {
		a := &out.Sends[i]
		switch d.wire {
		case wirePlain, wireJSON:
			s.sendToPlain(c, d, a)
		case wireFrameMQTT:
			dst, mark := ws.BeginFrame(c.Begin())
			from := len(dst)
			if dst = s.appendSend(dst, d, a); len(dst) > from {
				c.End(ws.EndFrame(dst, mark, ws.OpBinary))
			} else {
				c.End(dst[:mark])
			}
		default:
			c.End(s.appendSend(c.Begin(), d, a))
		}
	}
	if len(s.oversize) > 0 {
		s.skipOversize(c, d, sess)
	}
}

// appendSend writes one packet.
func (s *shard) appendSend(dst []byte, d *device, a *session.Send) []byte {
	switch a.Kind {
	case session.SendPublish:
		return s.appendPublish(dst, d, a)
	case session.SendPuback:
		s.count.packetsOut[mqtt.TypePuback]++
		return mqtt.AppendPuback(dst, d.version, a.PacketID, mqtt.Reason(a.Reason))
	case session.SendPubrec:
		s.count.packetsOut[mqtt.TypePubrec]++
		return mqtt.AppendPubrec(dst, d.version, a.PacketID, mqtt.Reason(a.Reason))
	case session.SendPubrel:
		s.count.packetsOut[mqtt.TypePubrel]++
		return mqtt.AppendPubrel(dst, d.version, a.PacketID, mqtt.Reason(a.Reason))
	case session.SendPubcomp:
		s.count.packetsOut[mqtt.TypePubcomp]++
		return mqtt.AppendPubcomp(dst, d.version, a.PacketID, mqtt.Reason(a.Reason))
	case session.SendSuback:
		s.count.packetsOut[mqtt.TypeSuback]++
		return mqtt.AppendSuback(dst, d.version, a.PacketID, s.mqttReasons(a.Reasons))
	case session.SendUnsuback:
		s.count.packetsOut[mqtt.TypeUnsuback]++
		return mqtt.AppendUnsuback(dst, d.version, a.PacketID, s.mqttReasons(a.Reasons))
	}
	return dst
}

func (s *shard) appendPublish(dst []byte, d *device, a *session.Send) []byte {
	p := &s.publishOut
	*p = mqtt.PublishOut{
		Topic: a.Msg.Topic, Payload: a.Msg.Payload, QoS: a.QoS, Retain: a.Retain, Dup: a.Dup, PacketID: a.PacketID,
	}
	if d.version == mqtt.V5 {
		p.Props, p.SubscriptionIDs = a.Msg.Props, a.SubIDs
		p.ExpirySec, p.HasExpiry = a.ExpirySec, a.HasExpiry
		if d.packetMax != 0 && mqtt.PublishSize(d.version, p) > int(d.packetMax) {
			// Too large for this device: as if it had been delivered [MQTT-3.1.2-25].
			if a.QoS > 0 {
				s.oversize = append(s.oversize, a.PacketID)
			} else {
				s.count.drops[session.DropTooLarge]++
			}
			return dst
		}
	}
	s.count.packetsOut[mqtt.TypePublish]++
	s.count.messagesOut[a.QoS&3]++
	return mqtt.AppendPublish(dst, d.version, p)
}

// skipOversize tells the session what its device can't be sent, so that the window does not stay closed.
func (s *shard) skipOversize(c *epoll.Conn, d *device, sess *session.Session) {
	ids := append([]uint16(nil), s.oversize...)
	for _, id := range ids {
		ev := session.Event{Kind: session.TooLarge, PacketID: id}
		var out session.Out
		sess.Step(s.loop.NowSec(), &ev, &out)
		s.applySends(c, d, sess, &out)
		s.countDrops(&out)
		out.Reset()
	}
}
