package mqtt

import (
	"bytes"
	"testing"
)

// fault is a packet that breaks a rule, and what it is called.
type fault struct {
	name   string
	v      Version
	packet []byte
	want   Reason
}

func runFaults(t *testing.T, faults []fault) {
	t.Helper()
	for _, f := range faults {
		var p Packet
		if got := Decode(f.packet, f.v, &p); got != f.want {
			t.Errorf("%s %s (% x): %q, want %q", f.v, f.name, f.packet, got, f.want)
		}
	}
}

// illText is text that MQTT does not allow: [MQTT-1.5.4-1], [MQTT-1.5.4-2].
var illText = []text{"\x00", "a\x00b", "\xff", "a\xc3", "\xed\xa0\x80", "\xed\xbf\xbf", "\xc0\x80", "\xf4\x90\x80\x80", "\x80"}

// oddText is text that MQTT advises against and that we take: control characters, non-characters, a byte order
// mark. [MQTT-1.5.4-3]
var oddText = []text{"\x01", "\x7f", "\u0085", "\ufffe", "\uffff", "\ufdd0", "\ufeffa", "\U0010ffff"}

func TestConnectFaults(t *testing.T) {
	head := func(flags int, parts ...any) []byte {
		return frame(0x10, text("MQTT"), 4, flags, u16(9), join(parts...))
	}
	head5 := func(flags int, parts ...any) []byte {
		return frame(0x10, text("MQTT"), 5, flags, u16(9), join(parts...))
	}
	head31 := func(flags int, parts ...any) []byte {
		return frame(0x10, text("MQIsdp"), 3, flags, u16(9), join(parts...))
	}
	faults := []fault{
		{"reserved flag", V311, head(0x03, text("c")), MalformedPacket},
		{"reserved flag", V5, head5(0x03, 0, text("c")), MalformedPacket},
		{"will QoS 3", V311, head(0x1E, text("c"), text("w"), text("")), MalformedPacket},
		{"will QoS without will", V311, head(0x0A, text("c")), ProtocolError},
		{"will retain without will", V5, head5(0x22, 0, text("c")), ProtocolError},
		{"password without user name", V311, head(0x42, text("c"), text("p")), ProtocolError},
		{"password without user name", V31, head31(0x42, text("c"), text("p")), ProtocolError},
		{"user name without its field", V311, head(0x82, text("c")), MalformedPacket},
		{"user name cut", V31, head31(0x82, text("c"), 0), MalformedPacket},
		{"empty id", V31, head31(0x02, text("")), ClientIdentifierNotValid},
		{"empty will topic", V311, head(0x06, text("c"), text(""), text("x")), TopicNameInvalid},
		{"wildcard in will topic", V311, head(0x06, text("c"), text("a/#"), text("x")), TopicNameInvalid},
		{"wildcard in will topic", V5, head5(0x06, 0, text("c"), 0, text("+"), text("x")), TopicNameInvalid},
		{"length in too many bytes", V5, append([]byte{0x10, 0x8D, 0x00}, head5(0x02, 0, text(""))[2:]...), MalformedPacket},
		{"a will property in CONNECT", V5, head5(0x02, props(PropWillDelay, u32(1)), text("c")), MalformedPacket},
		{"a CONNECT property in the will", V5, head5(0x06, 0, text("c"), props(PropReceiveMax, u16(1)), text("w"), text("")), MalformedPacket},
		{"two will delays", V5, head5(0x06, 0, text("c"), props(PropWillDelay, u32(1), PropWillDelay, u32(1)), text("w"), text("")), ProtocolError},
		{"receive maximum 0", V5, head5(0x02, props(PropReceiveMax, u16(0)), text("c")), ProtocolError},
		{"maximum packet size 0", V5, head5(0x02, props(PropMaxPacketBytes, u32(0)), text("c")), ProtocolError},
		{"request problem information 2", V5, head5(0x02, props(PropRequestProblemInfo, 2), text("c")), ProtocolError},
		{"request response information 2", V5, head5(0x02, props(PropRequestResponseInfo, 2), text("c")), ProtocolError},
		{"authentication data without method", V5, head5(0x02, props(PropAuthData, text("x")), text("c")), ProtocolError},
		{"properties past the packet", V5, head5(0x02, 9, PropReceiveMax, u16(1)), MalformedPacket},
	}
	for _, s := range illText {
		faults = append(faults,
			fault{"ill-formed id", V311, head(0x02, s), MalformedPacket},
			fault{"ill-formed will topic", V311, head(0x06, text("c"), s, text("x")), MalformedPacket},
			fault{"ill-formed user name", V311, head(0x82, text("c"), s), MalformedPacket},
			fault{"binary password", V311, head(0xC2, text("c"), text("u"), s), Success},
			fault{"binary will payload", V311, head(0x06, text("c"), text("w"), s), Success})
	}
	for _, s := range oddText {
		faults = append(faults, fault{"odd id", V311, head(0x02, s), Success}, fault{"odd id", V31, head31(0x02, s), Success})
	}
	runFaults(t, faults)
}

// An unknown protocol or level is refused in the version that its sender is most likely to understand.
// [MQTT-3.1.2-1], [MQTT-3.1.2-2]
func TestConnectProtocol(t *testing.T) {
	for _, c := range []struct {
		name  string
		level int
		want  Reason
		v     Version
	}{
		{"MQTT", 4, Success, V311},
		{"MQTT", 5, Success, V5},
		{"MQIsdp", 3, Success, V31},
		{"MQTT", 0, UnsupportedProtocolVersion, V311},
		{"MQTT", 3, UnsupportedProtocolVersion, V311},
		{"MQTT", 6, UnsupportedProtocolVersion, V5},
		{"MQTT", 0x84, UnsupportedProtocolVersion, V311},
		{"MQIsdp", 4, UnsupportedProtocolVersion, V311},
		{"mqtt", 4, UnsupportedProtocolVersion, V311},
		{"", 4, UnsupportedProtocolVersion, V311},
		{"HTTP", 1, UnsupportedProtocolVersion, V311},
	} {
		packet := frame(0x10, text(c.name), c.level, 0x02, u16(0), text("c1"))
		if c.level == 5 {
			packet = frame(0x10, text(c.name), c.level, 0x02, u16(0), 0, text("c1"))
		}
		var p Packet
		if r := Decode(packet, 0, &p); r != c.want || p.Version != c.v || string(p.Connect.ProtocolName) != c.name {
			t.Errorf("%q level %d: %s in %s, want %s in %s", c.name, c.level, r, p.Version, c.want, c.v)
		}
	}
}

func TestConnackFaults(t *testing.T) {
	runFaults(t, []fault{
		{"reserved flags", V311, frame(0x20, 2, 0), MalformedPacket},
		{"reserved flags", V5, frame(0x20, 0x80, 0, 0), MalformedPacket},
		{"first byte unused", V31, frame(0x20, 0xFF, 0), Success},
		{"session with a refusal", V311, frame(0x20, 1, 5), ProtocolError},
		{"session with a refusal", V5, frame(0x20, 1, NotAuthorized, 0), ProtocolError},
		{"unknown return code", V311, frame(0x20, 0, 6), ProtocolError},
		{"reason of another packet", V5, frame(0x20, 0, SessionTakenOver, 0), ProtocolError},
		{"too short", V311, frame(0x20, 0), MalformedPacket},
		{"no property length", V5, frame(0x20, 0, 0), MalformedPacket},
		{"maximum QoS 2", V5, frame(0x20, 0, 0, props(PropMaxQoS, 2)), ProtocolError},
		{"retain available 2", V5, frame(0x20, 0, 0, props(PropRetainAvailable, 2)), ProtocolError},
		{"wildcard available 2", V5, frame(0x20, 0, 0, props(PropWildcardAvailable, 2)), ProtocolError},
		{"subscription identifiers available 2", V5, frame(0x20, 0, 0, props(PropSubIDAvailable, 2)), ProtocolError},
		{"shared available 2", V5, frame(0x20, 0, 0, props(PropSharedAvailable, 2)), ProtocolError},
	})
}

func TestPublishFaults(t *testing.T) {
	long := text(bytes.Repeat([]byte("x"), stringBytesMax))
	faults := []fault{
		{"packet id 0", V311, frame(0x32, text("a"), u16(0)), ProtocolError},
		{"packet id 0", V5, frame(0x34, text("a"), u16(0), 0), ProtocolError},
		{"QoS 3", V5, frame(0x36, text("a"), u16(1), 0), MalformedPacket},
		{"again with QoS 0", V311, frame(0x38, text("a")), MalformedPacket},
		{"empty topic", V311, frame(0x30, text(""), "x"), ProtocolError},
		{"empty topic without alias", V5, frame(0x30, text(""), 0, "x"), ProtocolError},
		{"alias 0", V5, frame(0x30, text("a"), props(PropTopicAlias, u16(0))), TopicAliasInvalid},
		{"wildcard", V311, frame(0x30, text("a/+/b")), TopicNameInvalid},
		{"wildcard", V5, frame(0x30, text("#"), 0), TopicNameInvalid},
		{"wildcard behind a non-ASCII letter", V311, frame(0x30, text("ü/#")), TopicNameInvalid},
		{"topic of 65,535 bytes", V311, frame(0x30, long), Success},
		{"topic past the packet", V311, frame(0x30, u16(9), "a"), MalformedPacket},
		{"length in too many bytes", V5, []byte{0x30, 0x84, 0, 0, 1, 'a', 0}, MalformedPacket},
		{"length in too many bytes", V311, []byte{0x30, 0x83, 0, 0, 1, 'a'}, Success},
		{"property length in too many bytes", V5, frame(0x30, text("a"), 0x80, 0), MalformedPacket},
		{"property length of five bytes", V5, frame(0x30, text("a"), 0x80, 0x80, 0x80, 0x80, 0), MalformedPacket},
		{"subscription identifier in too many bytes", V5, frame(0x30, text("a"), props(PropSubscriptionID, 0x81, 0)), MalformedPacket},
		{"subscription identifier of five bytes", V5, frame(0x30, text("a"), props(PropSubscriptionID, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F)), MalformedPacket},
		{"largest subscription identifier", V5, frame(0x30, text("a"), props(PropSubscriptionID, 0xFF, 0xFF, 0xFF, 0x7F)), Success},
		{"subscription identifier 0", V5, frame(0x30, text("a"), props(PropSubscriptionID, 0)), ProtocolError},
		{"payload format 2", V5, frame(0x30, text("a"), props(PropPayloadFormat, 2)), ProtocolError},
		{"response topic with wildcard", V5, frame(0x30, text("a"), props(PropResponseTopic, text("a/#"))), ProtocolError},
		{"empty response topic", V5, frame(0x30, text("a"), props(PropResponseTopic, text(""))), ProtocolError},
	}
	for _, s := range illText {
		faults = append(faults,
			fault{"ill-formed topic", V311, frame(0x30, s), MalformedPacket},
			fault{"ill-formed topic with wildcard", V311, frame(0x30, "+"+s), MalformedPacket},
			fault{"ill-formed content type", V5, frame(0x30, text("a"), props(PropContentType, s)), MalformedPacket},
			fault{"ill-formed response topic", V5, frame(0x30, text("a"), props(PropResponseTopic, s)), MalformedPacket},
			fault{"ill-formed user name", V5, frame(0x30, text("a"), props(PropUser, s, text(""))), MalformedPacket},
			fault{"ill-formed user value", V5, frame(0x30, text("a"), props(PropUser, text(""), s)), MalformedPacket},
			fault{"binary correlation data", V5, frame(0x30, text("a"), props(PropCorrelationData, s)), Success})
	}
	for _, s := range oddText {
		faults = append(faults, fault{"odd topic", V311, frame(0x30, s), Success})
	}
	runFaults(t, faults)
}

func TestAckFaults(t *testing.T) {
	var faults []fault
	for _, first := range []int{0x40, 0x50, 0x62, 0x70} {
		faults = append(faults,
			fault{"packet id 0", V311, frame(first, u16(0)), ProtocolError},
			fault{"packet id 0", V5, frame(first, u16(0), 0), ProtocolError},
			fault{"too long", V311, frame(first, u16(1), 0), MalformedPacket},
			fault{"unknown reason", V5, frame(first, u16(1), 0x03), ProtocolError},
			fault{"reason of another packet", V5, frame(first, u16(1), KeepAliveTimeout), ProtocolError},
			fault{"property of another packet", V5, frame(first, u16(1), 0, props(PropTopicAlias, u16(1))), MalformedPacket},
			fault{"two reason strings", V5, frame(first, u16(1), 0, props(PropReasonString, text("a"), PropReasonString, text("b"))), ProtocolError})
	}
	runFaults(t, append(faults,
		fault{"PUBREL again", V311, frame(0x6A, u16(1)), MalformedPacket},
		fault{"PUBREL again", V5, frame(0x6A, u16(1)), MalformedPacket},
		fault{"PUBREL with a reason of PUBREC", V5, frame(0x62, u16(1), QuotaExceeded), ProtocolError},
		fault{"PUBREC with a reason of PUBREL", V5, frame(0x50, u16(1), PacketIdentifierNotFound), ProtocolError}))
}

func TestSubscribeFaults(t *testing.T) {
	one := func(v Version, filter text, options int) []byte {
		if v == V5 {
			return frame(0x82, u16(1), 0, filter, options)
		}
		return frame(0x82, u16(1), filter, options)
	}
	faults := []fault{
		{"packet id 0", V311, frame(0x82, u16(0), text("a"), 0), ProtocolError},
		{"no filter", V311, frame(0x82, u16(1)), ProtocolError},
		{"no filter", V5, frame(0x82, u16(1), 0), ProtocolError},
		{"QoS 3", V311, one(V311, "a", 3), MalformedPacket},
		{"reserved bit", V311, one(V311, "a", 4), MalformedPacket},
		{"QoS 3", V5, one(V5, "a", 3), ProtocolError},
		{"retain handling 3", V5, one(V5, "a", 0x30), ProtocolError},
		{"reserved bit 6", V5, one(V5, "a", 0x40), MalformedPacket},
		{"reserved bit 7", V5, one(V5, "a", 0x80), MalformedPacket},
		{"no local, shared", V5, one(V5, "$share/g/a", 4), ProtocolError},
		{"no local", V5, one(V5, "a", 4), Success},
		{"again", V311, frame(0x8A, u16(1), text("a"), 0), MalformedPacket},
		{"without options", V5, frame(0x82, u16(1), 0, text("a")), MalformedPacket},
		{"subscription identifier 0", V5, frame(0x82, u16(1), props(PropSubscriptionID, 0), text("a"), 0), ProtocolError},
		{"two subscription identifiers", V5, frame(0x82, u16(1), props(PropSubscriptionID, 1, PropSubscriptionID, 2), text("a"), 0), ProtocolError},
		{"UNSUBSCRIBE with packet id 0", V311, frame(0xA2, u16(0), text("a")), ProtocolError},
		{"UNSUBSCRIBE without filter", V311, frame(0xA2, u16(1)), ProtocolError},
		{"UNSUBSCRIBE without filter", V5, frame(0xA2, u16(1), 0), ProtocolError},
		{"UNSUBSCRIBE with a bad filter", V5, frame(0xA2, u16(1), 0, text("a"), text("b#")), TopicFilterInvalid},
		{"UNSUBSCRIBE with subscription identifier", V5, frame(0xA2, u16(1), props(PropSubscriptionID, 1), text("a")), MalformedPacket},
	}
	for _, s := range illText {
		faults = append(faults, fault{"ill-formed filter", V311, one(V311, s, 0), MalformedPacket},
			fault{"ill-formed filter", V5, frame(0xA2, u16(1), 0, s), MalformedPacket})
	}
	for filter, ok := range filterCases {
		want := TopicFilterInvalid
		if ok {
			want = Success
		}
		faults = append(faults, fault{"filter " + filter, V311, one(V311, text(filter), 0), want})
	}
	runFaults(t, faults)
}

func TestSubackFaults(t *testing.T) {
	runFaults(t, []fault{
		{"packet id 0", V311, frame(0x90, u16(0), 0), ProtocolError},
		{"no reason", V311, frame(0x90, u16(1)), ProtocolError},
		{"no reason", V5, frame(0x90, u16(1), 0), ProtocolError},
		{"return code 3", V311, frame(0x90, u16(1), 3), ProtocolError},
		{"an MQTT 5 reason", V311, frame(0x90, u16(1), NotAuthorized), ProtocolError},
		{"reason of another packet", V5, frame(0x90, u16(1), 0, NoSubscriptionExisted), ProtocolError},
		{"UNSUBACK too long", V311, frame(0xB0, u16(1), 0), MalformedPacket},
		{"UNSUBACK with packet id 0", V5, frame(0xB0, u16(0), 0, 0), ProtocolError},
		{"UNSUBACK without reason", V5, frame(0xB0, u16(1), 0), ProtocolError},
		{"UNSUBACK with a granted QoS", V5, frame(0xB0, u16(1), 0, GrantedQoS1), ProtocolError},
	})
}

func TestPingDisconnectAuthFaults(t *testing.T) {
	runFaults(t, []fault{
		{"PINGREQ with a body", V311, frame(0xC0, 0), MalformedPacket},
		{"PINGRESP with a body", V5, frame(0xD0, 0), MalformedPacket},
		{"DISCONNECT with a body", V311, frame(0xE0, 0), MalformedPacket},
		{"DISCONNECT with a reason of CONNACK", V5, frame(0xE0, Banned), ProtocolError},
		{"DISCONNECT with a reserved reason", V5, frame(0xE0, 0xFF), ProtocolError},
		{"DISCONNECT with two expiries", V5, frame(0xE0, 0, props(PropSessionExpiry, u32(1), PropSessionExpiry, u32(1))), ProtocolError},
		{"AUTH", V311, frame(0xF0), MalformedPacket},
		{"AUTH", V31, frame(0xF0, 0x18, 0), MalformedPacket},
		{"AUTH without method", V5, frame(0xF0, ContinueAuthentication, 0), ProtocolError},
		{"AUTH of success spelt out", V5, frame(0xF0, 0, 0), Success},
		{"AUTH of success with words but no method", V5, frame(0xF0, 0, props(PropReasonString, text("x"))), ProtocolError},
		{"AUTH without property length", V5, frame(0xF0, ContinueAuthentication), MalformedPacket},
		{"AUTH with another reason", V5, frame(0xF0, NotAuthorized, props(PropAuthMethod, text("m"))), ProtocolError},
	})
}
