package bus

import (
	"errors"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// storeSender writes the messages of one round as NATS commands, past nats.go like sender (frame.go has the reason). Owned by the goroutine of one Storer.
//
// The reply subject of a message is where JetStream answers, and carries everything that a fast batch is about:
//
//	_INBOX.<storer>.<storer><round>.500.fail.<number>.<op>.$FI     op: 0 begins, 1 adds, 2 adds and ends
//	_INBOX.<storer>.<storer><round>.<number>                       a message of its own
type storeSender struct {
	encoder *encoder
	storer  *Storer
	wire    *wire
	stream  uint16
	fast    bool
	reply   []byte // up to the number
	replyTo int
	id      []byte
	op      int // where in out the last message says its op
	out     []byte
	sent    []int32
	message StoreMessage
	batch   storing // that the last message is of
	at      uint64  // its position
	has     bool    // batch is valid
	most    int     // bytes that the server takes
	expect  string  // the stream that must store the message; "" for the log
	covers  []string
	plan    []*nats.Msg // instead of out where the socket is not ours (TLS)
}

const fastBatchReply = ".500.fail."

func (o *storeSender) of(s *Storer) { o.storer = s }

func (o *storeSender) begin(s *Storer, w *wire, stream uint16, fast bool, number uint64) {
	o.of(s)
	o.wire, o.stream, o.fast, o.most = w, stream, fast, int(w.nc.MaxPayload())
	o.sent, o.out, o.plan = o.sent[:0], o.out[:0], nil
	o.reply = append(append(o.reply[:0], s.inbox...), s.id...)
	o.reply = strconv.AppendUint(o.reply, number, 36)
	if fast {
		o.reply = append(o.reply, fastBatchReply...)
	} else {
		o.reply = append(o.reply, '.')
	}
	o.replyTo = len(o.reply)
	o.expect, o.covers = "", nil
	if stream > 0 {
		o.expect = s.bus.options.Durable.Streams[stream-1]
		o.covers = *s.bus.durable.took[stream].subjects.Load()
	}
}

// load reads a message from its batch.
func (o *storeSender) load(sl *slot) {
	if !o.has || o.at != sl.batch {
		o.storer.mu.Lock()
		o.batch, o.at, o.has = *o.storer.at(sl.batch), sl.batch, true
		o.storer.mu.Unlock()
	}
	o.message = StoreMessage{}
	o.batch.batch.Store(int(sl.i), &o.message)
	if o.message.Release {
		o.message.Stream = 0
	}
	sl.stream, sl.known, sl.bytes = o.message.Stream, true, len(o.message.Payload)
}

// add appends the message that was loaded last, slot k. false: it can never be stored.
func (o *storeSender) add(k int) bool {
	m := &o.message
	number := len(o.sent) + 1
	op := byte('1')
	if number == 1 {
		op = '0'
	}
	reply := strconv.AppendInt(o.reply[:o.replyTo], int64(number), 10)
	if o.fast {
		reply = append(append(reply, '.', op), fastBatchEnd...)
	}
	o.reply = reply
	id := o.id[:0]
	if m.QoS == 2 || m.Release || (m.QoS == 1 && !o.storer.bus.options.Embedded) {
		id = append(id, o.storer.id...)
		id = strconv.AppendUint(id, o.batch.first+uint64(o.storer.slots[k].i), 36)
	}
	o.id = id
	msg, v := o.encoder.encodeStored(m, o.reply, id, o.expect, o.most)
	if v != fits || !o.takes(msg.Subject) {
		return false
	}
	o.sent = append(o.sent, int32(k))
	if o.wire.direct == nil {
		o.plan = append(o.plan, o.encoder.cloneStored())
		return true
	}
	from := len(o.out)
	o.out = o.encoder.appendFrame(o.out)
	o.op = from + len("HPUB ") + len(msg.Subject) + len(" ") + len(msg.Reply) - len(fastBatchEnd) - 1
	return true
}

// takes tells whether the user's stream takes a subject; if it does not, nobody would answer, now and ever.
func (o *storeSender) takes(subject string) bool {
	for _, c := range o.covers {
		if matchesSubject(c, subject) {
			return true
		}
	}
	return len(o.covers) == 0
}

// write ends the batch and puts everything on the wire. A wire that breaks ends the round.
func (o *storeSender) write() {
	if o.wire.direct == nil {
		o.publish()
		return
	}
	if o.fast {
		o.out[o.op] = '2'
	}
	if _, err := o.wire.direct.Write(o.out); err != nil {
		o.wire.kill()
	}
	if cap(o.out) > 2*storeBytesMax { // a large payload must not stay in memory
		o.out = nil
	}
}

// publish is write through nats.go.
func (o *storeSender) publish() {
	for i, m := range o.plan {
		if o.fast && i == len(o.plan)-1 {
			end := len(m.Reply) - len(fastBatchEnd) - 1
			m.Reply = m.Reply[:end] + "2" + m.Reply[end+1:]
		}
		if err := o.wire.nc.PublishMsg(m); err != nil && !errors.Is(err, nats.ErrMaxPayload) {
			o.wire.kill()
			return
		}
	}
	o.plan = nil
}

// fastBatchEnd is how the reply subject of a message in a fast batch ends.
const fastBatchEnd = ".$FI"

// encodeStored is encode for a message that a stream is to store: to reply the stream answers, id and expect are headers when they are not empty.
func (e *encoder) encodeStored(m *StoreMessage, reply, id []byte, expect string, payloadMax int) (*nats.Msg, verdict) {
	e.lead = e.lead[:0]
	e.packet, e.id, e.expect = m.PacketID, borrow(id), expect
	plain := m.Message
	switch {
	case m.Release:
		e.lead, e.packet = append(e.lead, relSubject...), 0
		e.key = AppendClientKey(e.key[:0], m.ClientID)
		e.digits = strconv.AppendUint(e.digits[:0], uint64(m.PacketID), 10)
		plain = Message{QoS: 2, Subject: e.key, Payload: e.digits}
	case m.Stream > 0:
		e.packet = 0
	case m.PacketID != 0:
		e.lead = append(AppendClientKey(append(e.lead, log2Subject...), m.ClientID), '.')
	default:
		e.lead = append(e.lead, logSubject...)
	}
	plain.Reply = reply
	return e.encode(&plain, payloadMax)
}

// cloneStored is the encoded message in memory of its own.
func (e *encoder) cloneStored() *nats.Msg {
	m := &nats.Msg{Subject: strings.Clone(e.msg.Subject), Reply: strings.Clone(e.msg.Reply), Header: nats.Header{}, Data: e.msg.Data}
	for name, values := range e.msg.Header {
		for _, v := range values {
			m.Header[name] = append(m.Header[name], strings.Clone(v))
		}
	}
	if e.id != "" {
		m.Header[headerMsgID] = []string{strings.Clone(e.id)}
	}
	if e.expect != "" {
		m.Header[headerExpectStream] = []string{e.expect}
	}
	return m
}
