package gateway

import (
	"strconv"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/command"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

func (s *shard) onPublishCommand(c *epoll.Conn, d *device, cmd *command.Command) bool {
	return s.publishCommand(c, d, cmd, cmd.Topic)
}

// onReply publishes the answer to a backend's request.
func (s *shard) onReply(c *epoll.Conn, d *device, cmd *command.Command) bool {
	if !isCall([]byte(cmd.Call)) {
		s.count.callsRefused++
		s.count.refused++
		s.fail(c, d, cmd, command.ErrCall)
		return true
	}
	return s.publishCommand(c, d, cmd, cmd.Call)
}

// publishCommand publishes a message of a device; false: the connection is closed.
func (s *shard) publishCommand(c *epoll.Conn, d *device, cmd *command.Command, topic string) bool {
	m := &s.message
	*m = session.Message{
		Topic: []byte(topic), Payload: cmd.Payload, QoS: cmd.QoS, Retain: cmd.Retain, From: d.sess, User: d.user(),
	}
	if cmd.HasExpiry {
		m.ExpiresAtSec = saturatingAdd(s.loop.NowSec(), cmd.ExpirySec)
	}
	if len(s.rewrites) > 0 && !isCall(m.Topic) {
		m.Topic = s.rewrite(m.Topic, d.clientID(), false)
	}
	if e := s.refuseCommand(s.boundsOf(c), m, cmd); e != nil {
		s.count.refused++
		s.fail(c, d, cmd, e)
		return true
	}
	if s.restricts {
		if may := s.mayPublishOn(c, d, m); !may.Allow {
			return s.denyCommand(c, d, cmd, may.OnDeny)
		}
	}
	if s.gw.tenants != nil {
		if r := s.inwardMessage(d, m); r != refusedNot {
			s.count.refused++
			s.fail(c, d, cmd, commandErrorOf(r))
			return true
		}
	}
	// What is not stored is taken over here and now; the session need not remember a QoS 1 message to acknowledge it.
	later := m.QoS > 0 && !isCall(m.Topic) && s.gw.durable.of(m.Topic) >= inLog
	if !later {
		s.ok(c, d, cmd)
	}
	s.event = session.Event{Kind: session.Publish, Msg: m}
	if later {
		s.storing.ref = storeRef{token: s.storing.next(), command: cmd.ID, commands: true}
	}
	goesOn := s.step(c, d, &s.event)
	s.storing.ref = storeRef{}
	return goesOn
}

// refuseCommand is why a message is not taken, or nil; it fills in the properties.
func (s *shard) refuseCommand(b *Bounds, m *session.Message, cmd *command.Command) *command.Error {
	switch {
	case s.forgedCall(m.Topic):
		return command.ErrCall
	case !isCall(m.Topic) && !s.mayPublish(b, m.Topic):
		return command.ErrTopic
	case m.Retain && !b.RetainAvailable:
		return command.ErrRetain
	case int(m.QoS) > b.MaxQoS:
		return command.Field("qos", "at most "+strconv.Itoa(b.MaxQoS)+" on this listener")
	}
	if e := s.commandProperties(m, cmd); e != nil {
		return e
	}
	if !s.fitsNATS(m) {
		return command.ErrTooLarge
	}
	return nil
}

func (s *shard) mayPublish(b *Bounds, topic []byte) bool {
	return mqtt.ValidTopic(topic) && !bus.Reserved(topic) && s.topicWithin(b, topic)
}

// commandProperties writes the properties as they travel. What MQTT has no form for is refused.
func (s *shard) commandProperties(m *session.Message, cmd *command.Command) *command.Error {
	if cmd.ContentType == "" && len(cmd.Properties) == 0 {
		return nil
	}
	p := s.props[:0]
	if cmd.ContentType != "" {
		if p = mqtt.AppendContentType(p, []byte(cmd.ContentType)); len(p) == 0 {
			return command.Field("content_type", "text without U+0000, of 65535 bytes at most")
		}
	}
	for _, pair := range cmd.Properties {
		n := len(p)
		if p = mqtt.AppendUserProperty(p, []byte(pair[0]), []byte(pair[1])); len(p) == n {
			return command.Field("properties", "text without U+0000, of 65535 bytes at most")
		}
	}
	m.Props, s.props = p, p
	return nil
}

// onAck takes what the device has dealt with.
func (s *shard) onAck(c *epoll.Conn, d *device, cmd *command.Command) bool {
	s.work += len(cmd.Acks)
	for _, id := range cmd.Acks {
		s.event = session.Event{Kind: session.Puback, PacketID: id}
		if !s.step(c, d, &s.event) {
			return false
		}
	}
	s.ok(c, d, cmd)
	return true
}
