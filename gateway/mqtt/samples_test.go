package mqtt

import (
	"fmt"
	"testing"
)

// u16 and u32 are big-endian numbers and text a string with its length, for use as parts of packets in tests.
type (
	u16  uint16
	u32  uint32
	text string
)

// join makes bytes of parts: an int is one byte, a []byte is taken as it is.
func join(parts ...any) (b []byte) {
	for _, part := range parts {
		switch x := part.(type) {
		case int:
			b = append(b, byte(x))
		case byte:
			b = append(b, x)
		case Reason:
			b = append(b, byte(x))
		case PropertyID:
			b = append(b, byte(x))
		case u16:
			b = appendUint16(b, uint16(x))
		case u32:
			b = appendUint32(b, uint32(x))
		case text:
			b = appendBinary(b, []byte(x))
		case string:
			b = append(b, x...)
		case []byte:
			b = append(b, x...)
		default:
			panic(fmt.Sprintf("no bytes for a %T", part))
		}
	}
	return b
}

// props makes a property block with its length.
func props(parts ...any) []byte {
	b := join(parts...)
	return append(appendVarint(nil, len(b)), b...)
}

// frame makes a packet with a fixed header.
func frame(first int, parts ...any) []byte {
	b := join(parts...)
	return append(appendVarint([]byte{byte(first)}, len(b)), b...)
}

// sample is a packet that keeps every rule.
type sample struct {
	name   string
	v      Version
	packet []byte
	// whole lists remaining lengths at which the cut-off packet is a whole one again, and keeps every rule.
	whole []int
	// empty lists those at which it lacks its last part entirely, which is a protocol error, not a malformed
	// packet.
	empty []int
}

// after counts the bytes of parts, to say where a cut is.
func after(parts ...any) int { return len(join(parts...)) }

func from(low, high int) (all []int) {
	for i := low; i < high; i++ {
		all = append(all, i)
	}
	return all
}

var allProps = struct{ connect, will, connack, publish, answer, disconnect, auth []byte }{
	connect: props(PropSessionExpiry, u32(3600), PropReceiveMax, u16(10), PropMaxPacketBytes, u32(9000), PropTopicAliasMax, u16(7),
		PropRequestResponseInfo, 1, PropRequestProblemInfo, 0, PropUser, text("a"), text("1"), PropUser, text("a"), text("2"),
		PropAuthMethod, text("SCRAM"), PropAuthData, text("x\x00y")),
	will: props(PropWillDelay, u32(5), PropPayloadFormat, 1, PropMessageExpiry, u32(60), PropContentType, text("text/plain"),
		PropResponseTopic, text("r/t"), PropCorrelationData, text("\x00\x01"), PropUser, text("k"), text("v")),
	connack: props(PropSessionExpiry, u32(60), PropReceiveMax, u16(20), PropMaxQoS, 1, PropRetainAvailable, 0, PropMaxPacketBytes, u32(1000),
		PropAssignedClientID, text("auto-1"), PropTopicAliasMax, u16(3), PropReasonString, text("fine"), PropUser, text("k"), text("v"),
		PropWildcardAvailable, 1, PropSubIDAvailable, 0, PropSharedAvailable, 1, PropServerKeepAlive, u16(30),
		PropResponseInfo, text("resp/"), PropServerReference, text("other:1883"), PropAuthMethod, text("SCRAM"), PropAuthData, text("ok")),
	publish: props(PropPayloadFormat, 1, PropMessageExpiry, u32(60), PropTopicAlias, u16(3), PropResponseTopic, text("r/t"),
		PropCorrelationData, text("\x00\x01"), PropUser, text("k"), text("v"), PropSubscriptionID, 0x81, 0x01,
		PropSubscriptionID, 5, PropContentType, text("text/plain"), PropUser, text("k"), text("w")),
	answer:     props(PropReasonString, text("why"), PropUser, text("k"), text("v")),
	disconnect: props(PropReasonString, text("why"), PropUser, text("k"), text("v"), PropServerReference, text("other:1883")),
	auth:       props(PropAuthMethod, text("SCRAM"), PropAuthData, text("x"), PropReasonString, text("why"), PropUser, text("k"), text("v")),
}

// samples has every packet type in every version that has it, plain and with everything it may carry.
var samples = func() []sample {
	s := []sample{
		{"connect 3.1", V31, frame(0x10, text("MQIsdp"), 3, 0x02, u16(60), text("c1")), nil, nil},
		{"connect 3.1 with everything", V31, frame(0x10, text("MQIsdp"), 3, 0xF6, u16(60), text("c1"), text("w/t"), text("gone"), text("u"), text("p")),
			// The flags of user name and password without their fields are no fault in 3.1.
			[]int{after(text("MQIsdp"), 3, 0xF6, u16(60), text("c1"), text("w/t"), text("gone")),
				after(text("MQIsdp"), 3, 0xF6, u16(60), text("c1"), text("w/t"), text("gone"), text("u"))}, nil},
		{"connect 3.1.1", V311, frame(0x10, text("MQTT"), 4, 0x02, u16(60), text("c1")), nil, nil},
		{"connect 3.1.1 without id", V311, frame(0x10, text("MQTT"), 4, 0x02, u16(60), text("")), nil, nil},
		{"connect 3.1.1 with everything", V311, frame(0x10, text("MQTT"), 4, 0xEE, u16(60), text("c1"), text("w/t"), text("gone"), text("u"), text("p")), nil, nil},
		{"connect 5", V5, frame(0x10, text("MQTT"), 5, 0x02, u16(0), 0, text("")), nil, nil},
		{"connect 5 with password alone", V5, frame(0x10, text("MQTT"), 5, 0x42, u16(0), 0, text("c1"), text("p")), nil, nil},
		{"connect 5 with everything", V5, frame(0x10, text("MQTT"), 5, 0xF6, u16(60), allProps.connect, text("c1"),
			allProps.will, text("w/t"), text(""), text("ü"), text("\x00p")), nil, nil},
		{"connack 5", V5, frame(0x20, 0, 0, 0), nil, nil},
		{"connack 5 refusal", V5, frame(0x20, 0, NotAuthorized, 0), nil, nil},
		{"connack 5 with everything", V5, frame(0x20, 1, 0, allProps.connack), nil, nil},
		{"publish 5", V5, frame(0x30, text("a/b"), 0, "hello"), from(after(text("a/b"), 0), after(text("a/b"), 0, "hello")), nil},
		{"publish 5 with everything", V5, frame(0x3D, text("a/b"), u16(10), allProps.publish, "hello"),
			from(after(text("a/b"), u16(10), allProps.publish), after(text("a/b"), u16(10), allProps.publish, "hello")), nil},
		{"publish 5 by alias", V5, frame(0x30, text(""), props(PropTopicAlias, u16(1)), "x"), []int{6}, nil},
		{"puback 5 with reason", V5, frame(0x40, u16(9), NoMatchingSubscribers), []int{2}, nil},
		{"puback 5 with words", V5, frame(0x40, u16(9), NotAuthorized, props(PropReasonString, text("why"))), []int{2, 3}, nil},
		{"suback 5 with words", V5, frame(0x90, u16(9), props(PropReasonString, text("why")), 1), nil, []int{after(u16(9), props(PropReasonString, text("why")))}},
		{"suback 5", V5, frame(0x90, u16(9), 0, 0, 1, 2, NotAuthorized), []int{4, 5, 6}, []int{3}},
		{"suback 5 with everything", V5, frame(0x90, u16(9), allProps.answer, 1), nil, []int{after(u16(9), allProps.answer)}},
		{"unsuback 5", V5, frame(0xB0, u16(9), allProps.answer, 0, NoSubscriptionExisted), []int{after(u16(9), allProps.answer, 0)}, []int{after(u16(9), allProps.answer)}},
		{"subscribe 5", V5, frame(0x82, u16(9), 0, text("a/+"), 0x2D), nil, []int{3}},
		{"subscribe 5 with everything", V5, frame(0x82, u16(9), props(PropSubscriptionID, 0x80, 0x01, PropUser, text("k"), text("v")), text("$share/g/a/#"), 0x1A, text("#"), 2),
			[]int{after(u16(9), props(PropSubscriptionID, 0x80, 0x01, PropUser, text("k"), text("v")), text("$share/g/a/#"), 0x1A)},
			[]int{after(u16(9), props(PropSubscriptionID, 0x80, 0x01, PropUser, text("k"), text("v")))}},
		{"unsubscribe 5", V5, frame(0xA2, u16(9), props(PropUser, text("k"), text("v")), text("a"), text("b")),
			[]int{after(u16(9), props(PropUser, text("k"), text("v")), text("a"))}, []int{after(u16(9), props(PropUser, text("k"), text("v")))}},
		{"disconnect 5", V5, frame(0xE0), nil, nil},
		{"disconnect 5 with reason", V5, frame(0xE0, DisconnectWithWillMessage), []int{0}, nil},
		{"disconnect 5 with everything", V5, frame(0xE0, ServerMoved, allProps.disconnect), []int{0, 1}, nil},
		{"disconnect 5 with expiry", V5, frame(0xE0, 0, props(PropSessionExpiry, u32(0))), []int{0, 1}, nil},
		{"auth 5", V5, frame(0xF0), nil, nil},
		{"auth 5 with everything", V5, frame(0xF0, ContinueAuthentication, allProps.auth), []int{0}, nil},
	}
	for _, v := range []Version{V31, V311} {
		s = append(s, []sample{
			{"connack", v, frame(0x20, 0, 5), nil, nil},
			{"publish", v, frame(0x31, text("a/b"), "hello"), from(5, 10), nil},
			{"publish qos 2", v, frame(0x3C, text("a/b"), u16(10), "hello"), from(7, 12), nil},
			{"subscribe", v, frame(0x82, u16(9), text("a/+"), 1, text("#"), 0), []int{8}, []int{2}},
			{"suback", v, frame(0x90, u16(9), 0, 1, 2, 0x80), []int{3, 4, 5}, []int{2}},
			{"unsubscribe", v, frame(0xA2, u16(9), text("a"), text("b")), []int{5}, []int{2}},
			{"unsuback", v, frame(0xB0, u16(9)), nil, nil},
			{"disconnect", v, frame(0xE0), nil, nil},
		}...)
	}
	s = append(s, sample{"connack with session", V311, frame(0x20, 1, 0), nil, nil},
		sample{"connack with an unused byte", V31, frame(0x20, 0xFF, 0), nil, nil},
		sample{"pubrel again", V31, frame(0x6A, u16(9)), nil, nil},
		sample{"subscribe again", V31, frame(0x8A, u16(9), text("a"), 1), nil, []int{2}})
	for _, v := range []Version{V31, V311, V5} {
		for _, first := range []int{0x40, 0x50, 0x62, 0x70} {
			s = append(s, sample{"ack", v, frame(first, u16(9)), nil, nil})
		}
		s = append(s, sample{"pingreq", v, frame(0xC0), nil, nil}, sample{"pingresp", v, frame(0xD0), nil, nil})
	}
	for _, first := range []int{0x40, 0x50, 0x62, 0x70} {
		s = append(s, sample{"ack with everything", V5, frame(first, u16(9), 0, allProps.answer), []int{2, 3}, nil})
	}
	return s
}()

func (s *sample) String() string { return fmt.Sprintf("%s %s (% x)", s.v, s.name, s.packet) }

// decoded decodes packets that a test knows to be right.
func decoded(t testing.TB, packet []byte, v Version) *Packet {
	t.Helper()
	p := new(Packet)
	if r := Decode(packet, v, p); r != Success {
		t.Fatalf("decode % x as %s: %s", packet, v, r)
	}
	return p
}
