package gateway

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
	"github.com/tidegate/tidegate/session"
)

// The commands of tidegate.json.v1; docs/websocket-protocol.md is the contract.

// command is what a device sends. At most one of JSON, Text and Base64 is the payload.
type command struct {
	ID        uint64          `json:"id"`
	Op        string          `json:"op"`
	Topic     string          `json:"topic"`
	Filter    string          `json:"filter"`
	JSON      json.RawMessage `json:"json"`
	Text      *string         `json:"text"`
	Base64    *string         `json:"base64"`
	Retain    bool            `json:"retain"`
	TimeoutMS int             `json:"timeout_ms"`
}

// reply is what a device gets: the answer to the command with this id, or (op "message") a message without one.
type reply struct {
	ID     uint64          `json:"id,omitempty"`
	OK     bool            `json:"ok,omitempty"`
	Op     string          `json:"op,omitempty"`
	Topic  string          `json:"topic,omitempty"`
	Retain bool            `json:"retain,omitempty"`
	JSON   json.RawMessage `json:"json,omitempty"`
	Text   *string         `json:"text,omitempty"`
	Base64 *string         `json:"base64,omitempty"`
	Error  *commandError   `json:"error,omitempty"`
}

// commandError is why a command failed. Temporary: the same command may succeed later.
type commandError struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Temporary bool   `json:"temporary"`
}

var (
	errBadCommand  = &commandError{"bad_command", "not a JSON object with an id above 0 and an op among publish, subscribe, unsubscribe, request, ping", false}
	errBadPayload  = &commandError{"bad_payload", "give one of json, text and base64", false}
	errBadTopic    = &commandError{"bad_topic", "not a topic that a device may publish to", false}
	errBadFilter   = &commandError{"bad_filter", "not a topic filter that a device may subscribe to", false}
	errQuota       = &commandError{"quota", "too many subscriptions", false}
	errRetainFull  = &commandError{"retain_unavailable", "retained messages are switched off", false}
	errTooLarge    = &commandError{"too_large", "more than NATS takes in one message", false}
	errTooMany     = &commandError{"too_many_requests", "too many requests are unanswered", true}
	errNoResponder = &commandError{"no_responders", "no backend answers requests on this topic", true}
	errTimeout     = &commandError{"timeout", "no answer in time", true}
	errUnavailable = &commandError{"unavailable", "the backend can't be reached now", true}
)

// requestTimeDefault and requestTimeMax bound how long a request waits for its answer.
const (
	requestTimeDefault = 5 * time.Second
	requestTimeMax     = time.Minute
)

// onJSON handles one command; false: the connection is closed, or the uplink has no room.
func (s *shard) onJSON(c *epoll.Conn, d *device, op ws.Op, payload []byte) bool {
	if s.uplink.full() {
		s.pausePublisher(c, d)
		c.PauseRead()
		return false
	}
	var cmd command
	if op != ws.OpText || json.Unmarshal(payload, &cmd) != nil || cmd.ID == 0 {
		s.count.badCommands++
		s.answer(c, &reply{ID: cmd.ID, Error: errBadCommand})
		return true
	}
	switch cmd.Op {
	case "publish":
		return s.onJSONPublish(c, d, &cmd)
	case "subscribe":
		return s.onJSONSubscribe(c, d, &cmd)
	case "unsubscribe":
		s.filters = append(s.filters[:0], session.Filter{Topic: []byte(cmd.Filter)})
		s.event = session.Event{Kind: session.Unsubscribe, PacketID: 1, Filters: s.filters}
		s.answer(c, &reply{ID: cmd.ID, OK: true})
		return s.step(c, d, &s.event)
	case "request":
		s.onJSONRequest(c, d, &cmd)
	case "ping":
		s.answer(c, &reply{ID: cmd.ID, OK: true})
	default:
		s.count.badCommands++
		s.answer(c, &reply{ID: cmd.ID, Error: errBadCommand})
	}
	return true
}

func (s *shard) onJSONPublish(c *epoll.Conn, d *device, cmd *command) bool {
	data, err := cmd.payload()
	topic := []byte(cmd.Topic)
	switch {
	case err != nil:
	case !s.mayPublish(topic):
		err = errBadTopic
	case cmd.Retain && !s.boundsOf(c).RetainAvailable:
		err = errRetainFull
	case !s.fitsNATS(&session.Message{Topic: topic, Payload: data, From: d.sess}):
		err = errTooLarge
	}
	if err != nil {
		s.count.refused++
		s.answer(c, &reply{ID: cmd.ID, Error: err})
		return true
	}
	s.answer(c, &reply{ID: cmd.ID, OK: true})
	return s.publishFrom(c, d, topic, data, cmd.Retain)
}

func (s *shard) mayPublish(topic []byte) bool {
	return mqtt.ValidTopic(topic) && !bus.Reserved(topic) && s.topicWithin(topic)
}

// onJSONSubscribe subscribes; the answer waits until NATS knows the subscription.
func (s *shard) onJSONSubscribe(c *epoll.Conn, d *device, cmd *command) bool {
	filter := []byte(cmd.Filter)
	if !mqtt.ValidFilter(filter) || s.checkFilter(filter) != refusedNot || s.boundsOf(c).refuseFilter(filter, false) != refusedNot {
		s.answer(c, &reply{ID: cmd.ID, Error: errBadFilter})
		return true
	}
	s.filters = append(s.filters[:0], session.Filter{Topic: filter})
	s.boundFilters(s.boundsOf(c), false)
	s.event = session.Event{Kind: session.Subscribe, PacketID: 1, Filters: s.filters}
	s.out.Reset()
	d.sess.Step(s.loop.NowSec(), &s.event, &s.out)
	answer := &reply{ID: cmd.ID, OK: true}
	for _, a := range s.out.Sends {
		if a.Kind == session.SendSuback && len(a.Reasons) > 0 && a.Reasons[0] >= 0x80 {
			answer = &reply{ID: cmd.ID, Error: errQuota}
		}
	}
	s.finishOrHold(c, answer.frame(nil))
	return true
}

// onJSONRequest sends a NATS request in the device's name.
func (s *shard) onJSONRequest(c *epoll.Conn, d *device, cmd *command) {
	data, err := cmd.payload()
	if err == nil && !s.mayPublish([]byte(cmd.Topic)) {
		err = errBadTopic
	}
	if err == nil && !s.fitsNATS(&session.Message{Topic: []byte(cmd.Topic), Payload: data, From: d.sess}) {
		err = errTooLarge
	}
	if err == nil && d.more.requests >= s.cfg.Limits.RequestsMax {
		err = errTooMany
	}
	if err != nil {
		s.answer(c, &reply{ID: cmd.ID, Error: err})
		return
	}
	wait := requestTimeDefault
	if cmd.TimeoutMS > 0 {
		wait = time.Duration(min(cmd.TimeoutMS, int(requestTimeMax/time.Millisecond))) * time.Millisecond
	}
	d.more.requests++
	owner, id := c.Handle(), cmd.ID
	subject := string(bus.AppendSubject(nil, []byte(cmd.Topic)))
	s.gw.bus.Request(subject, data, wait, func(answer []byte, err error) {
		r := &reply{ID: id, OK: true}
		switch {
		case err == nil:
			r.setPayload(answer)
		case errors.Is(err, bus.ErrNoResponders):
			r = &reply{ID: id, Error: errNoResponder}
		case errors.Is(err, bus.ErrTimeout):
			r = &reply{ID: id, Error: errTimeout}
		case errors.Is(err, bus.ErrTooMany):
			r = &reply{ID: id, Error: errTooMany}
		default:
			r = &reply{ID: id, Error: errUnavailable}
		}
		text := r.text()
		s.doSoon(func(s *shard) { s.answerRequest(owner, text) })
	})
}

func (s *shard) answerRequest(owner epoll.Handle, text []byte) {
	c := s.loop.Conn(owner)
	if c == nil || c.Closing() {
		return
	}
	d := s.devices.At(c.Slot())
	if d.more != nil && d.more.requests > 0 {
		d.more.requests--
	}
	c.End(s.appendMessage(d, c.Begin(), ws.OpText, text))
}

// payload is the bytes that a command carries.
func (cmd *command) payload() ([]byte, *commandError) {
	given := 0
	var data []byte
	if cmd.JSON != nil {
		given, data = given+1, cmd.JSON
	}
	if cmd.Text != nil {
		given, data = given+1, []byte(*cmd.Text)
	}
	if cmd.Base64 != nil {
		var err error
		if data, err = base64.StdEncoding.DecodeString(*cmd.Base64); err != nil {
			return nil, errBadPayload
		}
		given++
	}
	if given > 1 {
		return nil, errBadPayload
	}
	return data, nil
}

// setPayload puts bytes into the first of json, text and base64 that can hold them; json keeps the value, not its white
// space.
func (r *reply) setPayload(p []byte) {
	switch {
	case json.Valid(p):
		r.JSON = p
	case utf8.Valid(p):
		text := string(p)
		r.Text = &text
	default:
		text := base64.StdEncoding.EncodeToString(p)
		r.Base64 = &text
	}
}

// frame appends the reply as a WebSocket text message.
func (r *reply) frame(dst []byte) []byte { return ws.AppendFrame(dst, ws.OpText, r.text()) }

// text is the reply as JSON.
func (r *reply) text() []byte {
	text, err := json.Marshal(r)
	if err != nil { // every field marshals; a payload that is no JSON never gets into JSON
		panic(err)
	}
	return text
}

func (s *shard) answer(c *epoll.Conn, r *reply) {
	c.End(r.frame(c.Begin()))
}

// pushJSON sends a message to a JSON device.
func (s *shard) pushJSON(c *epoll.Conn, d *device, a *session.Send) {
	r := reply{Op: "message", Topic: string(a.Msg.Topic), Retain: a.Retain}
	r.setPayload(a.Msg.Payload)
	c.End(s.appendMessage(d, c.Begin(), ws.OpText, r.text()))
}
