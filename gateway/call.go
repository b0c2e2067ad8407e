package gateway

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/session"
)

// A call lets a device answer a NATS request. It is the message's Response Topic,
//
//	$reply/ base64url( reply subject, MAC )
//
// so that an MQTT 5 device answers by a plain PUBLISH, and nothing has to be remembered of it. The MAC, under a key that gateways
// alone know (callKeys), makes sure that a device publishes to a NATS subject only after a backend has put it there.
const callPrefix = "$reply/"

// macBytes is how much of an HMAC-SHA256 is kept.
const macBytes = 16

// secret is a key of 256 bits.
type secret [32]byte

func newSecret() (k secret) {
	_, _ = rand.Read(k[:]) // it does not fail
	return k
}

// appendMAC appends the MAC of parts. what keeps the uses of one secret apart.
func (k *secret) appendMAC(dst []byte, what byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, k[:])
	h.Write([]byte{what})
	for _, p := range parts {
		h.Write(p)
	}
	return append(dst, h.Sum(nil)[:macBytes]...)
}

// What a MAC is for.
const (
	macCall    = 'c'
	macSession = 's'
)

func isCall(topic []byte) bool { return bytes.HasPrefix(topic, []byte(callPrefix)) }

// appendCall appends the call that answers on a reply subject. Safe from any goroutine.
func (g *Gateway) appendCall(dst []byte, subject string) []byte {
	raw := g.keys.sign().appendMAC([]byte(subject), macCall, []byte(subject))
	return base64.RawURLEncoding.AppendEncode(append(dst, callPrefix...), raw)
}

// callTo is the reply subject of a call; false: it is none that a gateway on this NATS made.
func (g *Gateway) callTo(dst, topic []byte) (subject []byte, ok bool) {
	if len(topic) > len(callPrefix)+base64.RawURLEncoding.EncodedLen(bus.AnswerBytesMax+macBytes) {
		return nil, false
	}
	raw, err := base64.RawURLEncoding.AppendDecode(dst, topic[len(callPrefix):])
	if err != nil || len(raw) <= macBytes {
		return nil, false
	}
	subject = raw[:len(raw)-macBytes]
	if !bus.Answerable(borrowed(subject)) {
		return nil, false // whoever has the key shall not speak to NATS's own services either
	}
	mac := raw[len(subject):]
	return subject, g.keys.check(func(k *secret) bool { return hmac.Equal(mac, k.appendMAC(nil, macCall, subject)) })
}

// forgedCall tells whether a topic pretends to be a call, and counts it.
func (s *shard) forgedCall(topic []byte) bool {
	if !isCall(topic) {
		return false
	}
	if _, ok := s.gw.callTo(s.scratch[:0], topic); ok {
		return false
	}
	s.count.callsRefused++
	return true
}

// answerCall publishes what a device answers to the backend that asked, and to nobody else.
func (s *shard) answerCall(m *session.Message) {
	subject, ok := s.gw.callTo(s.scratch[:0], m.Topic)
	if !ok {
		s.count.refused++
		return
	}
	s.scratch = subject[:0]
	s.count.messagesIn[m.QoS&3]++
	answer := session.Message{Topic: subject, Payload: m.Payload, Props: m.Props, QoS: m.QoS, ExpiresAtSec: m.ExpiresAtSec, User: m.User}
	if !s.uplink.addRaw(&answer, m.From.ClientID()) {
		s.count.refused++
	}
}

// addCall gives a request of a backend its call, unless the backend says itself where it wants to be answered (TG-Response), or asks the
// gateway what came of it.
func (g *Gateway) addCall(in *bus.Inbound) {
	if in.Ask != bus.AskOutcome && in.Reply != "" && len(in.Fields.ResponseTopic) == 0 && bus.Answerable(in.Reply) {
		in.Fields.ResponseTopic, in.HasFields = g.appendCall(nil, in.Reply), true
	}
}
