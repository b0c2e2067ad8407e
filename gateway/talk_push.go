package gateway

import (
	"bytes"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/command"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
	"github.com/tidegate/tidegate/session"
)

// Bounds on what goes in one frame to a device that takes arrays.
const (
	runBytesMax = 16 << 10
	runsSpare   = 64
)

// push sends a message to a device with commands. What else its session sends, MQTT's acknowledgements, it does not have.
func (s *shard) push(c *epoll.Conn, d *device, a *session.Send) {
	if a.Kind != session.SendPublish {
		return
	}
	s.count.messagesOut[a.QoS&3]++
	s.count.payloadOut += uint64(len(a.Msg.Payload))
	m := &s.pushOut
	*m = command.Message{
		Topic: d.tenant().topicOut(a.Msg.Topic), Payload: a.Msg.Payload, Dup: a.Dup, Retain: a.Retain, HasExpiry: a.HasExpiry, ExpirySec: a.ExpirySec,
		Properties: m.Properties[:0],
	}
	if a.QoS > 0 {
		m.Ack = a.PacketID
	}
	if len(a.Msg.Props) > 0 {
		s.pushProperties(m, a.Msg.Props)
	}
	enc, op := d.encoding()
	if enc == command.JSON {
		m.Form = s.formOf(m.Payload)
	}
	if d.more.talk.arrays {
		r := s.runOf(c, d)
		r.Keep(command.AppendMessage(r.Next(enc), enc, m))
		if r.Bytes() > runBytesMax || r.Len() >= command.BatchMax {
			s.endRun(c, d)
		}
		return
	}
	if d.reader.Deflates() {
		s.scratch3 = command.AppendMessage(s.scratch3[:0], enc, m)
		c.End(s.appendMessage(d, c.Begin(), op, s.scratch3))
		return
	}
	dst, mark := ws.BeginFrame(c.Begin())
	c.End(ws.EndFrame(command.AppendMessage(dst, enc, m), mark, op))
}

// fanned is the payload of the message that is being delivered. What has to be known of all its bytes is looked for once, not for each
// device that hears it: the same bytes have the same form, wherever a session keeps them.
type fanned struct {
	payload []byte // nil: none is
	form    command.Form
}

func (s *shard) formOf(payload []byte) command.Form {
	f := &s.fanned
	if f.payload == nil || !bytes.Equal(f.payload, payload) { // it had waited
		return command.FormUnknown
	}
	if f.form == command.FormUnknown {
		f.form = command.FormOf(payload)
	}
	return f.form
}

// pushProperties takes what a device is told of the properties of a message.
func (s *shard) pushProperties(m *command.Message, block []byte) {
	p := &s.pushProps
	if !mqtt.ParseForward(block, p) {
		return
	}
	if p.Has(mqtt.PropContentType) {
		m.ContentType = p.ContentType
	}
	if p.Has(mqtt.PropResponseTopic) && isCall(p.ResponseTopic) {
		m.Call = p.ResponseTopic
	}
	p.EachUser(func(name, value []byte) bool {
		m.Properties = append(m.Properties, command.Property{Name: name, Value: value})
		return true
	})
}

// runOf is the run of a device that takes arrays.
func (s *shard) runOf(c *epoll.Conn, d *device) *command.Run {
	t := d.more.talk
	if t.run != nil {
		return t.run
	}
	if n := len(s.spareRuns); n > 0 {
		t.run, s.spareRuns = s.spareRuns[n-1], s.spareRuns[:n-1]
	} else {
		t.run = &command.Run{}
	}
	s.runs = append(s.runs, c.Handle())
	return t.run
}

// endRun sends the run of a device; it owns none while it hears nothing.
func (s *shard) endRun(c *epoll.Conn, d *device) {
	t := d.more.talk
	if t.run == nil {
		return
	}
	r := t.run
	t.run = nil
	s.sendRun(c, d, r, true)
	if len(s.spareRuns) < runsSpare && r.Cap() <= 2*runBytesMax {
		s.spareRuns = append(s.spareRuns, r)
	}
}

// endRuns sends the runs of this tick.
func (s *shard) endRuns() {
	for _, h := range s.runs {
		if c := s.loop.Conn(h); c != nil && !c.Closing() {
			s.endRun(c, s.devices.At(c.Slot()))
		}
	}
	s.runs = s.runs[:0]
}
