package gateway

import (
	"errors"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/command"
	"github.com/tidegate/tidegate/session"
)

// requestTimeDefault and requestTimeMax bound how long a request waits for its answer.
const (
	requestTimeDefault = 5 * time.Second
	requestTimeMax     = time.Minute
)

// onRequest sends a NATS request in the device's name; false: the connection is closed.
func (s *shard) onRequest(c *epoll.Conn, d *device, cmd *command.Command) bool {
	topic := s.rewrite([]byte(cmd.Topic), d.clientID(), false)
	switch {
	case !s.mayPublish(s.boundsOf(c), topic):
		s.fail(c, d, cmd, command.ErrTopic)
		return true
	case !s.fitsNATS(&session.Message{Topic: topic, Payload: cmd.Payload, From: d.sess}):
		s.fail(c, d, cmd, command.ErrTooLarge)
		return true
	case d.more.talk.requests >= s.cfg.Limits.RequestsMax:
		s.fail(c, d, cmd, command.ErrTooMany)
		return true
	}
	if s.restricts {
		if may := s.mayPublishOn(c, d, &session.Message{Topic: topic}); !may.Allow {
			return s.denyCommand(c, d, cmd, may.OnDeny)
		}
	}
	if s.gw.tenants != nil {
		m := session.Message{Topic: topic, Payload: cmd.Payload, From: d.sess}
		if r := s.inwardMessage(d, &m); r != refusedNot {
			s.fail(c, d, cmd, commandErrorOf(r))
			return true
		}
		topic = m.Topic
	}
	wait := requestTimeDefault
	if cmd.TimeoutMS > 0 {
		wait = min(time.Duration(cmd.TimeoutMS)*time.Millisecond, requestTimeMax)
	}
	d.more.talk.requests++
	owner, id := c.Handle(), cmd.ID
	enc, _ := d.encoding()
	s.gw.bus.Request(string(bus.AppendSubject(nil, topic)), cmd.Payload, wait, func(answer []byte, err error) {
		var item []byte
		if err == nil {
			item = command.AppendResponse(nil, enc, id, answer)
		} else {
			item = command.AppendError(nil, enc, id, requestError(err))
		}
		s.doSoon(func(s *shard) { s.answerLate(owner, item) })
	})
	return true
}

func requestError(err error) *command.Error {
	switch {
	case errors.Is(err, bus.ErrNoResponders):
		return command.ErrNoResponders
	case errors.Is(err, bus.ErrTimeout):
		return command.ErrTimeout
	case errors.Is(err, bus.ErrTooMany):
		return command.ErrTooMany
	}
	return command.ErrUnavailable
}

// answerLate answers a command that had to wait, if its connection is still there.
func (s *shard) answerLate(owner epoll.Handle, item []byte) {
	c := s.loop.Conn(owner)
	if c == nil || c.Closing() {
		return
	}
	d := s.devices.At(c.Slot())
	d.more.talk.requests--
	s.say(c, d, item)
}
