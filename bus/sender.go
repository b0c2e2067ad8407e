package bus

import (
	"errors"
	"slices"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// sender hands the messages of a batch to a wire, for the send goroutine of one publisher.
//
// Some messages make the server close the connection instead of refusing them, for instance a subject beyond a max_control_line that an operator set
// lower than we assume. Such a message would break every new wire, and one device would stop all. So when wires break twice
// without any confirmation between, the sender becomes careful: it waits for a PONG after every message. If the server ends the
// wire, with an error that blames what we sent, while a message is alone on it, and does so again, that message is left out
// and counted. A server that merely stops never costs a message.
type sender struct {
	p          *Publisher
	encoder    *encoder
	message    Message
	out        []byte      // commands to be written to wire.direct
	payloadMax int         // of the wire, for this batch
	strikes    int         // wires in succession that broke with something on them and nothing confirmed
	calm       atomic.Bool // something was confirmed since the last wire
}

// carefulAfter is how many wires break in succession before the sender becomes careful.
const carefulAfter = 2

// onWire is told of each new wire, and whether the one before broke with something on it. Called with the publisher's mu held.
func (s *sender) onWire(broke bool) {
	if s.calm.Swap(false) || !broke {
		s.strikes = 0
	}
	if broke {
		s.strikes++
	}
}

// send hands a whole batch to a wire. false: the wire is broken, and e says how far it came.
func (s *sender) send(e *sending, w *wire) bool {
	if w.nc.IsClosed() {
		return false
	}
	careful := s.strikes >= carefulAfter && !s.calm.Load()
	s.payloadMax = int(w.nc.MaxPayload()) // a server may change it
	var t tally
	defer t.add(&s.p.bus.count)
	for i, again := 0, e.handed; i < e.batch.Len(); i++ {
		s.message = Message{}
		e.batch.Message(i, &s.message)
		repeated := i < again
		switch {
		case slices.Contains(e.out, i), s.message.Skip:
			continue
		case repeated && s.message.QoS == 0:
			if i >= e.skipped {
				e.skipped = i + 1
				e.lost++
				t.unconfirmed0++
			}
			continue
		}
		outcome, ok := s.publish(w)
		t.count(outcome, repeated, len(s.message.Payload))
		if outcome >= dropPayload {
			e.leaveOut(i)
		}
		if outcome != notHanded {
			e.handed = max(e.handed, i+1)
		}
		if careful || len(s.out) > frameBytesMax {
			ok = ok && s.write(w)
		}
		if !ok || (careful && outcome == published && !s.alone(e, i, w)) {
			s.out = s.out[:0]
			return false
		}
	}
	return s.write(w)
}

// write sends the commands that have gathered. false: the wire is broken.
func (s *sender) write(w *wire) bool {
	if len(s.out) == 0 {
		return true
	}
	_, err := w.direct.Write(s.out)
	if s.out = s.out[:0]; err != nil {
		w.kill()
		return false
	}
	if cap(s.out) > 4*frameBytesMax { // a large payload must not stay in memory
		s.out = nil
	}
	return true
}

// leaveOut drops message i for good.
func (e *sending) leaveOut(i int) {
	e.out = append(e.out, i)
	e.lost++
}

// outcome is what became of one message.
type outcome uint8

const (
	published outcome = iota
	notHanded         // the wire was closed already
	torn              // the wire broke under it
	dropPayload
	dropHeader
	dropSubject
	dropReserved
	dropInvalid
)

// publish hands the message to the wire. false: the wire is broken.
func (s *sender) publish(w *wire) (outcome, bool) {
	msg, v := s.encoder.encode(&s.message, s.payloadMax)
	switch v {
	case reservedTopic:
		return dropReserved, true
	case longSubject:
		return dropSubject, true
	case longHeader:
		return dropHeader, true
	case longPayload:
		return dropPayload, true
	}
	if w.direct != nil {
		s.out = s.encoder.appendFrame(s.out)
		return published, true
	}
	err := w.nc.PublishMsg(msg)
	switch {
	case err == nil:
		return published, true
	case errors.Is(err, nats.ErrMaxPayload): // the server lowered its limit
		return dropPayload, true
	case errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrBadHeaderMsg), errors.Is(err, nats.ErrHeadersNotSupported):
		return dropInvalid, true
	case errors.Is(err, nats.ErrConnectionClosed):
		return notHanded, false
	}
	w.kill()
	return torn, false
}

// alone waits until the server has processed message i, the only one on the wire. false: the wire is broken.
func (s *sender) alone(e *sending, i int, w *wire) bool {
	err := w.flush(writeTimeout)
	for errors.Is(err, nats.ErrTimeout) {
		err = w.flush(writeTimeout)
	}
	switch {
	case err == nil:
		return true
	case !w.refused():
	case e.suspect == i+1:
		e.leaveOut(i)
		s.p.bus.count.dropPoison.Add(1)
	default:
		e.suspect = i + 1
	}
	return false
}

// tally collects the counts of one batch, so that a message costs no atomic.
type tally struct {
	published, bytes, republished, unconfirmed0 uint64
	drops                                       [dropInvalid + 1]uint64 // by outcome
}

func (t *tally) count(o outcome, repeated bool, payload int) {
	t.drops[o]++
	if o != published {
		return
	}
	t.published++
	t.bytes += uint64(payload)
	if repeated {
		t.republished++
	}
}

func (t *tally) add(c *counters) {
	c.published.Add(t.published)
	c.publishedBytes.Add(t.bytes)
	c.republished.Add(t.republished)
	c.unconfirmed0.Add(t.unconfirmed0)
	c.dropPayload.Add(t.drops[dropPayload])
	c.dropHeader.Add(t.drops[dropHeader])
	c.dropSubject.Add(t.drops[dropSubject])
	c.dropReserved.Add(t.drops[dropReserved])
	c.dropInvalid.Add(t.drops[dropInvalid])
}
