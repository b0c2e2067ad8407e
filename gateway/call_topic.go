package gateway

import (
	"bytes"
	"crypto/hmac"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// MQTT 3.x has no Response Topic, so the call of a request goes into the topic: what is published to devices/d1/cmd reaches the device as
//
//	devices/d1/cmd/request/~<call>      and it answers on
//	devices/d1/cmd/response/~<call>
//
// by mqtt.request_topic and mqtt.response_topic. Only a device whose filters match the longer topic gets it so, such as devices/d1/cmd/#;
// others get the message as it is, as if nobody wanted an answer, and so does everybody get what is no request.
//
// The call is the reply subject and a MAC of it and of the client id, so that no other device can answer, not even one that
// overhears the request, whose own copy has a call of its own. The mark ~ is in no base64url: a level after response/ that is no call
// stays a level like any other.
const (
	callMark  = '~'
	macCallV3 = '3'

	topicPlace = "{topic}"
	callPlace  = "{call}"
)

// callTopics is mqtt.request_topic and mqtt.response_topic made ready: what stands between topic and call, with a slash at either end.
type callTopics struct {
	request, response string // "": 3.x devices get no calls
}

func newCallTopics(c *MQTT) callTopics {
	request, _ := callTopicMiddle(c.RequestTopic)
	response, _ := callTopicMiddle(c.ResponseTopic)
	return callTopics{request, response}
}

// callTopicMiddle is what stands between {topic} and {call}.
func callTopicMiddle(pattern string) (middle string, ok bool) {
	middle, begins := strings.CutPrefix(pattern, topicPlace)
	middle, ends := strings.CutSuffix(middle, callPlace)
	ok = begins && ends && len(middle) > 2 && middle[0] == '/' && middle[len(middle)-1] == '/' && !strings.ContainsAny(middle, "+#{}\x00")
	return middle, ok
}

func (c *Config) validateCallTopics(v *validator) {
	if c.MQTT.RequestTopic == "" {
		return
	}
	for _, t := range []struct{ path, pattern string }{
		{"mqtt.request_topic", c.MQTT.RequestTopic}, {"mqtt.response_topic", c.MQTT.ResponseTopic},
	} {
		if _, ok := callTopicMiddle(t.pattern); !ok {
			v.add(t.path, fmt.Sprintf("%q is not %s, levels, and %s", t.pattern, topicPlace, callPlace), "a pattern such as "+Default().MQTT.RequestTopic)
		}
	}
	if c.MQTT.RequestTopic == c.MQTT.ResponseTopic {
		v.add("mqtt.response_topic", "the same as mqtt.request_topic: a device would hear its own answer as a request", "another level, such as response")
	}
}

// callTopic gives a request to a 3.x device its call; topic is what it is published to.
func (s *shard) callTopic(d *device, m *session.Message) (topic []byte) {
	if s.gw.callTopics.request == "" || !bytes.Contains(m.Props, []byte(callPrefix)) {
		return m.Topic
	}
	p := &s.pushProps
	if !mqtt.ParseForward(m.Props, p) || !p.Has(mqtt.PropResponseTopic) || !isCall(p.ResponseTopic) {
		return m.Topic
	}
	subject, ok := s.gw.callTo(s.callRaw[:0], p.ResponseTopic)
	if !ok {
		return m.Topic
	}
	s.callRaw = subject
	raw := s.gw.keys.sign().appendMAC(subject, macCallV3, subject, []byte(d.sess.ClientID()))
	s.callBytes = append(append(append(s.callBytes[:0], m.Topic...), s.gw.callTopics.request...), callMark)
	s.callBytes = base64.RawURLEncoding.AppendEncode(s.callBytes, raw)
	if len(s.callBytes) > bus.TopicBytesMax || !heardBy(d.sess, borrowed(s.callBytes)) {
		return m.Topic
	}
	return s.callBytes
}

// heardBy tells whether one of the session's filters matches a topic.
func heardBy(sess *session.Session, topic string) (yes bool) {
	sess.EachSubscription(func(sub *session.Subscription) bool {
		yes = matches(sub.Filter, topic)
		return !yes
	})
	return yes
}

// fromCallTopic is the call that a 3.x device answers by publishing to topic, in the form of other calls; or topic, if that is none.
// One that is forged, or another device's, becomes a call that nobody made.
func (s *shard) fromCallTopic(d *device, topic []byte) []byte {
	at := bytes.LastIndexByte(topic, '/') + 1
	if at == len(topic) || topic[at] != callMark || s.gw.callTopics.request == "" || !bytes.HasSuffix(topic[:at], []byte(s.gw.callTopics.response)) {
		return topic
	}
	if len(topic)-at > base64.RawURLEncoding.EncodedLen(bus.AnswerBytesMax+macBytes) {
		return []byte(callPrefix)
	}
	raw, err := base64.RawURLEncoding.AppendDecode(s.callRaw[:0], topic[at+1:])
	if err != nil || len(raw) <= macBytes {
		return []byte(callPrefix)
	}
	s.callRaw = raw
	subject, mac := raw[:len(raw)-macBytes], raw[len(raw)-macBytes:]
	if !s.gw.keys.check(func(k *secret) bool {
		return hmac.Equal(mac, k.appendMAC(nil, macCallV3, subject, []byte(d.sess.ClientID())))
	}) {
		return []byte(callPrefix)
	}
	s.callBytes = s.gw.appendCall(s.callBytes[:0], string(subject))
	return s.callBytes
}
