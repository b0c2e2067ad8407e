package bus

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
)

// Headers between backends and gateways about requests; never of a device.
const (
	headerAsk     = "TG-Ask"     // on a request: "outcome", to be answered by the gateway
	headerOutcome = "TG-Outcome" // on that answer
)

// AskOutcome is the value of Inbound.Ask with which a backend wants to know what became of a message.
const AskOutcome = "outcome"

// Answer tells a requester what became of its request, in the header TG-Outcome of a message without payload. nobody makes it what NATS
// itself says when a subject has no subscriber (status 503), which client libraries turn into their error for that. The reply subject has to be
// Answerable. It may wait for nats.go: not for event loops. ErrDisconnected while NATS is away: nothing is kept.
func (b *Bus) Answer(reply, outcome string, nobody bool) error {
	w := b.uplink.now.Load()
	if w == nil {
		return ErrDisconnected
	}
	if w.direct != nil {
		_, err := w.direct.Write(appendAnswer(nil, reply, outcome, nobody))
		if err != nil {
			w.kill()
			return ErrDisconnected
		}
		return nil
	}
	m := nats.Msg{Subject: reply, Header: nats.Header{headerOutcome: {outcome}}}
	if nobody {
		m.Header["Status"] = []string{statusNobody} // nats.go has no way to write it where NATS does, and reads it here as well
	}
	switch err := w.nc.PublishMsg(&m); {
	case errors.Is(err, nats.ErrConnectionClosed):
		return ErrDisconnected
	case err != nil:
		return fmt.Errorf("bus: answer a request: %w", err)
	}
	return nil
}

const statusNobody = "503"

// appendAnswer appends the answer as a NATS command.
func appendAnswer(dst []byte, reply, outcome string, nobody bool) []byte {
	head := "NATS/1.0"
	if nobody {
		head += " " + statusNobody
	}
	head += "\r\n" + headerOutcome + ": " + outcome + "\r\n\r\n"
	dst = append(append(append(dst, "HPUB "...), reply...), ' ')
	dst = strconv.AppendInt(dst, int64(len(head)), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(len(head)), 10)
	return append(append(append(dst, "\r\n"...), head...), "\r\n"...)
}

// fromJetStream tells whether a message was published with JetStream, as far as its headers tell: whoever publishes so waits for the stream's
// answer on the reply subject, not for a device's.
func fromJetStream(h nats.Header) bool {
	for _, name := range []string{nats.MsgIdHdr, nats.ExpectedStreamHdr, nats.ExpectedLastSeqHdr, nats.ExpectedLastSubjSeqHdr, nats.ExpectedLastMsgIdHdr} {
		if len(h[name]) > 0 {
			return true
		}
	}
	return false
}
