package mqtt

import (
	"bytes"
	"testing"
)

// The statements of MQTT 5.0 that are about coding alone; those that need a server are in gateway/spec_v5_*_test.go.

// strings5 is every UTF-8 string that a client can send, each in a packet that is right but for it.
var strings5 = map[string]func(s text) []byte{
	"client id":      func(s text) []byte { return frame(0x10, text("MQTT"), 5, 2, u16(0), 0, s) },
	"will topic":     func(s text) []byte { return frame(0x10, text("MQTT"), 5, 6, u16(0), 0, text("c"), 0, s, text("")) },
	"user name":      func(s text) []byte { return frame(0x10, text("MQTT"), 5, 0x82, u16(0), 0, text("c"), s) },
	"auth method":    func(s text) []byte { return frame(0xF0, ContinueAuthentication, props(PropAuthMethod, s)) },
	"topic":          func(s text) []byte { return frame(0x30, s, 0) },
	"content type":   func(s text) []byte { return frame(0x30, text("t"), props(PropContentType, s)) },
	"response topic": func(s text) []byte { return frame(0x30, text("t"), props(PropResponseTopic, s)) },
	"reason string":  func(s text) []byte { return frame(0x40, u16(1), 0, props(PropReasonString, s)) },
	"filter":         func(s text) []byte { return frame(0x82, u16(1), 0, s, 0) },
	"unsubscribed":   func(s text) []byte { return frame(0xA2, u16(1), 0, s) },
}

// pairs5 is every place of a user property.
var pairs5 = map[string]func(block []byte) []byte{
	"CONNECT": func(b []byte) []byte { return frame(0x10, text("MQTT"), 5, 2, u16(0), b, text("c")) },
	"will": func(b []byte) []byte {
		return frame(0x10, text("MQTT"), 5, 6, u16(0), 0, text("c"), b, text("w"), text(""))
	},
	"PUBLISH":     func(b []byte) []byte { return frame(0x30, text("t"), b) },
	"PUBACK":      func(b []byte) []byte { return frame(0x40, u16(1), 0, b) },
	"PUBREC":      func(b []byte) []byte { return frame(0x50, u16(1), 0, b) },
	"PUBREL":      func(b []byte) []byte { return frame(0x62, u16(1), 0, b) },
	"PUBCOMP":     func(b []byte) []byte { return frame(0x70, u16(1), 0, b) },
	"SUBSCRIBE":   func(b []byte) []byte { return frame(0x82, u16(1), b, text("f"), 0) },
	"UNSUBSCRIBE": func(b []byte) []byte { return frame(0xA2, u16(1), b, text("f")) },
	"DISCONNECT":  func(b []byte) []byte { return frame(0xE0, 0, b) },
}

func malformed(t *testing.T, what string, packet []byte) {
	t.Helper()
	if r := Decode(packet, V5, new(Packet)); r != MalformedPacket {
		t.Errorf("%s: %v, want a malformed packet (% x)", what, r, packet)
	}
}

// Test_v5_MQTT_1_5_4_1: text is well-formed UTF-8 without surrogates.
func Test_v5_MQTT_1_5_4_1(t *testing.T) {
	for where, packet := range strings5 {
		for _, s := range []text{
			"\xed\xa0\x80", "\xed\xbf\xbf", "a\xed\xa0\x81\xed\xb0\x80", // surrogates, alone and as a pair
			"\xff", "\xfe", "\x80", "a\xc3", "\xe2\x82", "\xf0\x9f\x98", // no UTF-8, or cut short
			"\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", // longer than needed
			"\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", // beyond U+10FFFF
		} {
			malformed(t, where, packet(s))
		}
		for _, s := range []text{"\ud7ff", "\ue000", "\U00010000", "\U0010ffff", "ü€😀"} {
			if r := Decode(packet(s), V5, new(Packet)); r != Success {
				t.Errorf("%s: %v for %q", where, r, s)
			}
		}
	}
}

// Test_v5_MQTT_1_5_4_2: and without U+0000.
func Test_v5_MQTT_1_5_4_2(t *testing.T) {
	for where, packet := range strings5 {
		for _, s := range []text{"\x00", "a\x00", "\x00a", "a\x00b"} {
			malformed(t, where, packet(s))
		}
	}
}

// Test_v5_MQTT_1_5_4_3: EF BB BF is a character like any other; two strings that differ by it are two.
func Test_v5_MQTT_1_5_4_3(t *testing.T) {
	for _, s := range []text{"\ufeff", "\ufeffa", "a\ufeff", "a\ufeffb"} {
		if got := decoded(t, strings5["topic"](s), V5).Topic; string(got) != string(s) {
			t.Errorf("topic %q became %q", s, got)
		}
		if got := decoded(t, strings5["filter"](s), V5).Filters[0].Topic; string(got) != string(s) {
			t.Errorf("filter %q became %q", s, got)
		}
		if got := decoded(t, strings5["client id"](s), V5).Connect.ClientID; string(got) != string(s) {
			t.Errorf("client id %q became %q", s, got)
		}
		out := AppendPublish(nil, V5, &PublishOut{Topic: []byte(s)})
		if !bytes.Contains(out, []byte(s)) {
			t.Errorf("%q is written as % x", s, out)
		}
	}
}

// Test_v5_MQTT_1_5_5_1: a variable byte integer has as few bytes as possible, as a length and as a property.
func Test_v5_MQTT_1_5_5_1(t *testing.T) {
	malformed(t, "remaining length 0 in two bytes", []byte{0xC0, 0x80, 0x00})
	malformed(t, "remaining length 0 in four bytes", []byte{0xC0, 0x80, 0x80, 0x80, 0x00})
	malformed(t, "remaining length 4 in two bytes", join(0x30, 0x84, 0x00, text("t"), 0))
	malformed(t, "property length 0 in two bytes", frame(0x30, text("t"), 0x80, 0x00))
	malformed(t, "property length 2 in two bytes", frame(0x30, text("t"), 0x82, 0x00, PropPayloadFormat, 1))
	malformed(t, "subscription identifier 1 in two bytes", frame(0x82, u16(1), props(PropSubscriptionID, 0x81, 0x00), text("f"), 0))
	for value, want := range map[int]string{
		0: "\x00", 127: "\x7f", 128: "\x80\x01", 16383: "\xff\x7f", 16384: "\x80\x80\x01", 2097151: "\xff\xff\x7f", 2097152: "\x80\x80\x80\x01",
		268435455: "\xff\xff\xff\x7f",
	} {
		if got := appendVarint(nil, value); string(got) != want {
			t.Errorf("%d is written as % x", value, got)
		}
		if got, rest, ok := takeVarint([]byte(want)); got != value || len(rest) != 0 || !ok {
			t.Errorf("% x is read as %d", want, got)
		}
	}
}

// Test_v5_MQTT_1_5_7_1: both strings of a pair are UTF-8 strings, wherever the pair is.
func Test_v5_MQTT_1_5_7_1(t *testing.T) {
	for where, packet := range pairs5 {
		for _, s := range illText {
			malformed(t, where+", name", packet(props(PropUser, s, text("v"))))
			malformed(t, where+", value", packet(props(PropUser, text("k"), s)))
		}
		malformed(t, where+", without its value", packet(props(PropUser, text("k"))))
		if r := Decode(packet(props(PropUser, text("ü"), text(""), PropUser, text(""), text("\ufeff"))), V5, new(Packet)); r != Success {
			t.Errorf("%s: %v", where, r)
		}
	}
}

// Test_v5_MQTT_2_1_3_1: reserved flags have the values of table 2-2, in what is read and in what is written.
func Test_v5_MQTT_2_1_3_1(t *testing.T) {
	bodies := map[Type][]byte{
		TypeConnect: join(text("MQTT"), 5, 2, u16(0), 0, text("c")), TypeConnack: join(0, 0, 0), TypePuback: join(u16(1)), TypePubrec: join(u16(1)),
		TypePubrel: join(u16(1)), TypePubcomp: join(u16(1)), TypeSubscribe: join(u16(1), 0, text("f"), 0), TypeSuback: join(u16(1), 0, 0),
		TypeUnsubscribe: join(u16(1), 0, text("f")), TypeUnsuback: join(u16(1), 0, 0), TypePingreq: nil, TypePingresp: nil, TypeDisconnect: nil,
		TypeAuth: nil,
	}
	for ty, body := range bodies {
		right := 0
		if ty == TypePubrel || ty == TypeSubscribe || ty == TypeUnsubscribe {
			right = 2
		}
		for flags := range 16 {
			packet := frame(int(ty)<<4|flags, body)
			r := Decode(packet, V5, new(Packet))
			if (r == Success) != (flags == right) || r != Success && r != MalformedPacket {
				t.Errorf("%v with flags %04b: %v", ty, flags, r)
			}
		}
	}
	for _, s := range samples {
		if s.v != V5 {
			continue
		}
		p := decoded(t, s.packet, V5)
		if out, ok := encoded(p); ok && out[0] != s.packet[0] {
			t.Errorf("%s is written with %08b", s.name, out[0])
		}
	}
}

// Test_v5_MQTT_2_2_1_2: a PUBLISH with QoS 0 has no packet identifier: what follows the topic is the properties.
func Test_v5_MQTT_2_2_1_2(t *testing.T) {
	p := decoded(t, frame(0x30, text("t"), 0, u16(7), "x"), V5)
	if p.PacketID != 0 || string(p.Payload) != "\x00\x07x" {
		t.Errorf("id %d, payload %q", p.PacketID, p.Payload)
	}
	out := AppendPublish(nil, V5, &PublishOut{Topic: []byte("t"), Payload: []byte("x"), PacketID: 7})
	if want := frame(0x30, text("t"), 0, "x"); !bytes.Equal(out, want) {
		t.Errorf("% x, want % x", out, want)
	}
}

// Test_v5_MQTT_2_2_2_1: without properties there is a length of 0, where the packet does not end before it.
func Test_v5_MQTT_2_2_2_1(t *testing.T) {
	for what, packet := range map[string][]byte{
		"CONNECT": frame(0x10, text("MQTT"), 5, 2, u16(0)), "PUBLISH": frame(0x30, text("t")), "SUBSCRIBE": frame(0x82, u16(1)),
		"UNSUBSCRIBE": frame(0xA2, u16(1)), "CONNACK": frame(0x20, 0, 0),
	} {
		malformed(t, what+" without a property length", packet)
	}
	for what, c := range map[string]struct {
		got  []byte
		want []byte
	}{
		"CONNACK":  {AppendConnack(nil, V5, &ConnackOut{MaxQoS: 2}), frame(0x20, 0, 0, 0)},
		"PUBLISH":  {AppendPublish(nil, V5, &PublishOut{Topic: []byte("t")}), frame(0x30, text("t"), 0)},
		"SUBACK":   {AppendSuback(nil, V5, 1, []Reason{0}, nil), frame(0x90, u16(1), 0, 0)},
		"UNSUBACK": {AppendUnsuback(nil, V5, 1, []Reason{0}, nil), frame(0xB0, u16(1), 0, 0)},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s: % x, want % x", what, c.got, c.want)
		}
	}
}
