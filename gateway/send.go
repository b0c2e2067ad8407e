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
	for i := range out.Sends {
		a := &out.Sends[i]
		if (s.restricts || s.gw.tenants != nil) && a.Kind == session.SendPublish && s.withholds(c, d, a) {
			continue
		}
		if s.outflow != nil && a.Kind == session.SendPublish {
			s.delivers(c, s.loop.Now())
		}
		switch d.wire {
		case wirePlain:
			s.sendToPlain(c, d, a)
		case wireJSON, wireCBOR:
			s.push(c, d, a)
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
	if !s.skipping && len(s.oversize) > 0 {
		s.skipOversize(c, d, sess)
	}
}

// unsendable is a message of the window that its device is not sent, with the reason that is not its size.
type unsendable struct {
	packetID uint16
	reason   uint8
}

// skipOversize tells the session what its device can't be sent, so that the window does not stay closed. What comes of that
// may be too large again.
func (s *shard) skipOversize(c *epoll.Conn, d *device, sess *session.Session) {
	s.skipping = true
	defer func() { s.skipping = false }()
	var out session.Out
	for len(s.oversize) > 0 {
		last := len(s.oversize) - 1
		ev := session.Event{Kind: session.TooLarge, PacketID: s.oversize[last].packetID, Reason: s.oversize[last].reason}
		s.oversize = s.oversize[:last]
		sess.Step(s.loop.NowSec(), &ev, &out)
		s.applySends(c, d, sess, &out)
		if out.Asks() {
			s.afterStep(sess, &out)
		}
		s.countDrops(&out)
		out.Reset()
	}
}

// appendSend writes one packet.
func (s *shard) appendSend(dst []byte, d *device, a *session.Send) []byte {
	switch a.Kind {
	case session.SendPublish:
		return s.appendPublish(dst, d, a)
	case session.SendPuback:
		return s.appendAck(dst, d, mqtt.TypePuback, a)
	case session.SendPubrec:
		return s.appendAck(dst, d, mqtt.TypePubrec, a)
	case session.SendPubrel:
		if a.Dup {
			s.count.packetsOut[mqtt.TypePubrel]++
			return mqtt.AppendPubrelAgain(dst, d.version, a.PacketID)
		}
		return s.appendAck(dst, d, mqtt.TypePubrel, a)
	case session.SendPubcomp:
		return s.appendAck(dst, d, mqtt.TypePubcomp, a)
	case session.SendSuback:
		return s.appendFilterAck(dst, d, mqtt.TypeSuback, a.PacketID, a.Reasons)
	case session.SendUnsuback:
		return s.appendFilterAck(dst, d, mqtt.TypeUnsuback, a.PacketID, a.Reasons)
	}
	return dst
}

// within leaves an answer out that is longer than the device takes, and is no message to do without: it is closed
// [MQTT-3.1.2-24]. The answer begins at from.
func (s *shard) within(d *device, from int, dst []byte) []byte {
	if d.packetMax == 0 || len(dst)-from <= int(d.packetMax) {
		return dst
	}
	s.doomed = append(s.doomed, doomed{epoll.Handle(d.sess.Owner()), reasonTooLarge})
	return dst[:from]
}

func (s *shard) appendPublish(dst []byte, d *device, a *session.Send) []byte {
	p := &s.publishOut
	*p = mqtt.PublishOut{
		Topic: a.Msg.Topic, Payload: a.Msg.Payload, QoS: a.QoS, Retain: a.Retain, Dup: a.Dup, PacketID: a.PacketID,
	}
	if d.version == mqtt.V5 {
		p.Props, p.SubscriptionIDs = a.Msg.Props, a.SubIDs
		p.ExpirySec, p.HasExpiry = a.ExpirySec, a.HasExpiry
		if t := d.tenant(); t != nil {
			p.Topic, p.Props = t.topicOut(p.Topic), s.propsOut(t, p.Props)
		}
		if !s.fits(d, p) {
			// Too large for this device: as if it had been delivered [MQTT-3.1.2-25].
			if a.QoS > 0 {
				s.oversize = append(s.oversize, unsendable{packetID: a.PacketID})
			} else {
				s.count.drops[session.DropTooLarge]++
			}
			return dst
		}
	} else if len(a.Msg.Props) > 0 {
		p.Topic = s.callTopic(d, a.Msg)
	}
	if d.version != mqtt.V5 {
		p.Topic = d.tenant().topicOut(p.Topic)
	}
	s.count.packetsOut[mqtt.TypePublish]++
	s.count.messagesOut[a.QoS&3]++
	s.count.payloadOut += uint64(len(a.Msg.Payload))
	return mqtt.AppendPublish(dst, d.version, p)
}

// proceed sends what waits in the session's queue, as far as the device's window and batch take it.
func (s *shard) proceed(c *epoll.Conn, d *device) {
	for d.sess != nil && d.sess.Pending() && c.Unsent() <= s.cfg.Limits.BatchBytesMax && !s.slowed(c) {
		s.dout.Reset()
		s.devent = session.Event{Kind: session.Drained}
		if s.outflow != nil {
			s.devent.Most = s.mayDeliver(c, s.loop.Now())
		}
		d.sess.Step(s.loop.NowSec(), &s.devent, &s.dout)
		s.countDrops(&s.dout)
		s.applySends(c, d, d.sess, &s.dout)
		if s.dout.Asks() {
			s.afterStep(d.sess, &s.dout)
		}
	}
	s.dout.Reset()
	if d.sess == nil {
		return
	}
	if d.sess.Behind() {
		s.catchUp(d.sess)
	}
	if d.sess.Pending() && !s.slowed(c) {
		s.goOnLater(c)
	}
	if len(s.replaysWaiting) > 0 {
		s.resumeReplays(d.sess)
	}
}

// goOnLater has the queue of a device looked at again once its batch is written: in the next tick, or when it reads.
func (s *shard) goOnLater(c *epoll.Conn) {
	if d := s.devices.At(c.Slot()); !d.eager && !c.Blocked() {
		d.eager = true
		s.eager = append(s.eager, c.Handle())
	}
}

// proceedEager goes on with the queues of devices whose batches were full, or that got more than one event may send.
func (s *shard) proceedEager() {
	eager := s.eager
	s.eager = s.eagerSpare[:0]
	for _, h := range eager {
		c := s.loop.Conn(h)
		if c == nil || c.Closing() {
			continue
		}
		d := s.devices.At(c.Slot())
		d.eager = false
		s.proceed(c, d)
	}
	s.eagerSpare = eager
	if len(s.eager) > 0 {
		s.loop.Wake()
	}
}
