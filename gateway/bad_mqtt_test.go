package gateway

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// badBytes is bytes a device must not send, and how that ends.
type badBytes struct {
	name  string
	bytes string
	// answer is the reason of CONNACK before the session is open, and of DISCONNECT after, in MQTT 5; Success: none.
	answer mqtt.Reason
	// code is the return code of a 3.x CONNACK; 0: none comes.
	code byte
	ws   ws.CloseCode
	why  reason
}

// connect5 is a CONNECT of MQTT 5 with these flags, properties and payload.
func connect5(flags byte, props, payload string) string {
	return fixed(0x10, "\x00\x04MQTT\x05"+string([]byte{flags})+"\x00\x3c"+block(props)+payload)
}

func connect311(flags byte, payload string) string {
	return fixed(0x10, "\x00\x04MQTT\x04"+string([]byte{flags})+"\x00\x3c"+payload)
}

// fixed puts a fixed header in front of a body.
func fixed(first byte, body string) string { return string([]byte{first}) + block(body) }

// block puts a variable byte integer with its length in front of p.
func block(p string) string {
	var head []byte
	for n := len(p); ; {
		b := byte(n % 128)
		if n /= 128; n > 0 {
			head = append(head, b|0x80)
			continue
		}
		return string(append(head, b)) + p
	}
}

// str is a UTF-8 string as MQTT has it.
func str(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }

// badText are strings that no MQTT string may be [MQTT-1.5.4-1], [MQTT-1.5.4-2].
var badText = map[string]string{
	"NUL": "a\x00b", "surrogate": "\xed\xa0\x80", "overlong": "\xc0\xaf", "lone continuation": "\x80", "cut short": "\xe2\x82",
	"beyond Unicode": "\xf4\x90\x80\x80",
}

// badFirst come as the first packet.
var badFirst = []badBytes{
	{"packet type 0", "\x00\x00", 0, 0, 1002, reasonMalformed},
	{"remaining length of five bytes", "\x10\xff\xff\xff\xff\x01", 0, 0, 1002, reasonMalformed},
	{"256 MB announced", "\x10\xff\xff\xff\x7f", 0, 0, 1009, reasonTooLarge},
	{"CONNECT beyond its own limit", "\x10\x81\x80\x01", 0, 0, 1009, reasonTooLarge},
	{"CONNECT with flags", "\x11\x00", 0, 0, 1002, reasonMalformed},
	{"PUBLISH", fixed(0x30, str("a")+"x"), 0, 0, 1002, reasonProtocol},
	{"SUBSCRIBE", fixed(0x82, "\x00\x01"+str("a")+"\x00"), 0, 0, 1002, reasonProtocol},
	{"PINGREQ", "\xc0\x00", 0, 0, 1002, reasonProtocol},
	{"DISCONNECT", "\xe0\x00", 0, 0, 1002, reasonProtocol},
	{"CONNACK", "\x20\x02\x00\x00", 0, 0, 1002, reasonProtocol},
	{"AUTH", "\xf0\x00", 0, 0, 1002, reasonProtocol},
	{"unknown protocol name", fixed(0x10, str("MQTX")+"\x04\x02\x00\x3c"+str("c")), 0, 1, 1002, reasonVersion},
	{"level 2", fixed(0x10, str("MQTT")+"\x02\x02\x00\x3c"+str("c")), 0, 1, 1002, reasonVersion},
	{"level 6", fixed(0x10, str("MQTT")+"\x06\x02\x00\x3c\x00"+str("c")), mqtt.UnsupportedProtocolVersion, 0, 1002, reasonVersion},
	{"MQIsdp with level 4", fixed(0x10, str("MQIsdp")+"\x04\x02\x00\x3c"+str("c")), 0, 1, 1002, reasonVersion},
	{"reserved connect flag", connect5(0x03, "", str("c")), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"reserved connect flag 3.1.1", connect311(0x03, str("c")), 0, 0, 1002, reasonMalformed},
	{"will QoS 3", connect5(0x1E, "", str("c")+"\x00"+str("w")+str("")), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"will retain without will", connect5(0x22, "", str("c")), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"will topic with wildcard", connect5(0x06, "", str("c")+"\x00"+str("w/#")+str("")), mqtt.TopicNameInvalid, 0, 1008, reasonTopic},
	{"empty will topic", connect5(0x06, "", str("c")+"\x00"+str("")+str("")), mqtt.TopicNameInvalid, 0, 1008, reasonTopic},
	{"will delay twice", connect5(0x06, "", str("c")+block("\x18\x00\x00\x00\x01\x18\x00\x00\x00\x01")+str("w")+str("")), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"will payload is not its format", connect5(0x06, "", str("c")+block("\x01\x01")+str("w")+str("\xff")), mqtt.PayloadFormatInvalid, 0, 1007, reasonPayloadFormat},
	{"payload ends early", connect5(0xC2, "", str("c")+str("user")), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"bytes after the payload", connect5(0x02, "", str("c")+"x"), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"password without user name 3.1.1", connect311(0x42, str("c")+str("p")), 0, 0, 1002, reasonProtocol},
	{"empty id without clean session 3.1.1", connect311(0x00, str("")), 0, 2, 1008, reasonClientID},
	{"auth method", connect5(0x02, "\x15"+str("SCRAM"), str("c")), mqtt.BadAuthenticationMethod, 0, 1008, reasonAuthMethod},
	{"auth data without method", connect5(0x02, "\x16"+str("x"), str("c")), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"receive maximum 0", connect5(0x02, "\x21\x00\x00", str("c")), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"maximum packet size 0", connect5(0x02, "\x27\x00\x00\x00\x00", str("c")), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"session expiry twice", connect5(0x02, "\x11\x00\x00\x00\x01\x11\x00\x00\x00\x01", str("c")), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"property of PUBLISH", connect5(0x02, "\x23\x00\x01", str("c")), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"unknown property", connect5(0x02, "\x7f\x00", str("c")), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"properties past the end", fixed(0x10, str("MQTT")+"\x05\x02\x00\x3c\x40"+str("c")), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"property past its block", connect5(0x02, "\x11\x00\x00", str("c")), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
}

// badLater come from a device with a session; PUBLISH and SUBSCRIBE rows are MQTT 5.
var badLater = []badBytes{
	{"second CONNECT", connect5(0x02, "", str("again")), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"CONNACK", "\x20\x03\x00\x00\x00", mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"SUBACK", "\x90\x04\x00\x01\x00\x00", mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"UNSUBACK", "\xb0\x04\x00\x01\x00\x00", mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"PINGRESP", "\xd0\x00", mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"AUTH", "\xf0\x00", mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"packet type 0", "\x00\x00", mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"QoS 3", fixed(0x36, str("a")+"\x00\x01\x00"), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"DUP at QoS 0", fixed(0x38, str("a")+"\x00"), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"PUBREL without its flags", "\x60\x02\x00\x01", mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"SUBSCRIBE without its flags", fixed(0x80, "\x00\x01\x00"+str("a")+"\x00"), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"UNSUBSCRIBE without its flags", fixed(0xa0, "\x00\x01\x00"+str("a")), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"PINGREQ with flags", "\xc1\x00", mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"PINGREQ with a body", "\xc0\x01\x00", mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"DISCONNECT with flags", "\xe1\x00", mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"remaining length of five bytes", "\x30\xff\xff\xff\xff\x01", mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"overlong remaining length", "\xc0\x80\x00", mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"256 MB announced", "\x30\xff\xff\xff\x7f", mqtt.PacketTooLarge, 0, 1009, reasonTooLarge},
	{"PUBLISH with packet id 0", fixed(0x32, str("a")+"\x00\x00\x00"), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"PUBLISH without packet id", fixed(0x32, str("a")), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"PUBLISH to +", fixed(0x30, str("a/+")+"\x00"), mqtt.TopicNameInvalid, 0, 1008, reasonTopic},
	{"PUBLISH to #", fixed(0x30, str("#")+"\x00"), mqtt.TopicNameInvalid, 0, 1008, reasonTopic},
	{"PUBLISH without topic", fixed(0x30, str("")+"\x00x"), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"PUBLISH with a subscription identifier", fixed(0x30, str("a")+block("\x0b\x01")), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"content type twice", fixed(0x30, str("a")+block("\x03"+str("x")+"\x03"+str("y"))), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"payload format 2", fixed(0x30, str("a")+block("\x01\x02")), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"property of CONNECT", fixed(0x30, str("a")+block("\x11\x00\x00\x00\x01")), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"unknown property", fixed(0x30, str("a")+block("\x7f\x00")), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"property length past the end", fixed(0x30, str("a")+"\x40"), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"property length of five bytes", fixed(0x30, str("a")+"\x80\x80\x80\x80\x01"), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"response topic with wildcard", fixed(0x30, str("a")+block("\x08"+str("r/#"))), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"SUBSCRIBE with packet id 0", fixed(0x82, "\x00\x00\x00"+str("a")+"\x00"), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"SUBSCRIBE without filter", fixed(0x82, "\x00\x01\x00"), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"SUBSCRIBE without options", fixed(0x82, "\x00\x01\x00"+str("a")), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"reserved subscription option", fixed(0x82, "\x00\x01\x00"+str("a")+"\x40"), mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"subscription QoS 3", fixed(0x82, "\x00\x01\x00"+str("a")+"\x03"), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"retain handling 3", fixed(0x82, "\x00\x01\x00"+str("a")+"\x30"), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"no local on a shared subscription", fixed(0x82, "\x00\x01\x00"+str("$share/g/a")+"\x04"), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"subscription identifier 0", fixed(0x82, "\x00\x01\x02\x0b\x00"+str("a")+"\x00"), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"filter a/#/b", fixed(0x82, "\x00\x01\x00"+str("a/#/b")+"\x00"), mqtt.TopicFilterInvalid, 0, 1008, reasonFilter},
	{"filter a+", fixed(0x82, "\x00\x01\x00"+str("a+")+"\x00"), mqtt.TopicFilterInvalid, 0, 1008, reasonFilter},
	{"empty filter", fixed(0x82, "\x00\x01\x00"+str("")+"\x00"), mqtt.TopicFilterInvalid, 0, 1008, reasonFilter},
	{"UNSUBSCRIBE without filter", fixed(0xa2, "\x00\x01\x00"), mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"PUBACK with packet id 0", "\x40\x02\x00\x00", mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"PUBACK with an unknown reason", "\x40\x03\x00\x01\x7f", mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"PUBACK cut short", "\x40\x01\x00", mqtt.MalformedPacket, 0, 1002, reasonMalformed},
	{"DISCONNECT with an unknown reason", "\xe0\x01\x7f", mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"DISCONNECT with a server's reason", "\xe0\x01\x8e", mqtt.ProtocolError, 0, 1002, reasonProtocol},
	{"DISCONNECT with a server reference", fixed(0xe0, "\x00"+block("\x1c"+str("x"))), mqtt.ProtocolError, 0, 1002, reasonProtocol},
}

func withBadText(rows []badBytes, make func(text string) string, answer mqtt.Reason) []badBytes {
	for name, text := range badText {
		rows = append(rows, badBytes{name + " in text", make(text), answer, 0, 1002, reasonMalformed})
	}
	return rows
}

// TestBadFirstPacket: what must not come first is answered with CONNACK where one is due, closed, and counted.
func TestBadFirstPacket(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.witness()
	rows := withBadText(badFirst, func(text string) string { return connect5(0x02, "", str(text)) }, mqtt.MalformedPacket)
	rows = withBadText(rows, func(text string) string { return connect5(0x82, "", str("c")+str(text)) }, mqtt.MalformedPacket)
	for _, way := range transports {
		for _, row := range rows {
			t.Run(way+"/"+row.name, func(t *testing.T) {
				r := r.in(t)
				before := r.closedBy(row.why)
				c := r.via(way, mqtt.V311)
				if row.answer != 0 {
					c.v = mqtt.V5
				}
				c.write([]byte(row.bytes))
				if row.answer != 0 || row.code != 0 {
					if g := c.expect(mqtt.TypeConnack); g.Reason != row.answer || g.ReturnCode != row.code {
						t.Errorf("CONNACK %v %d, want %v %d", g.Reason, g.ReturnCode, row.answer, row.code)
					}
				}
				c.endsWith(mqtt.Success, row.ws)
				r.closesBy(row.why, before, 1)
			})
		}
		w.check()
	}
	if s := r.sum(); s.sessions != len(w.devices) {
		t.Errorf("%d sessions", s.sessions)
	}
}

// TestBadPacket: what a device with a session must not send ends its connection with the reason the standard names.
func TestBadPacket(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.witness()
	rows := withBadText(badLater, func(text string) string { return fixed(0x30, str(text)+"\x00") }, mqtt.MalformedPacket)
	rows = withBadText(rows, func(text string) string { return fixed(0x82, "\x00\x01\x00"+str(text)+"\x00") }, mqtt.MalformedPacket)
	rows = withBadText(rows, func(text string) string { return fixed(0x30, str("a")+block("\x26"+str("k")+str(text))) }, mqtt.MalformedPacket)
	for _, filter := range []string{"$share//x", "$share/g/", "$share/+/x", "$share/g", "$share/g#/x"} {
		rows = append(rows, badBytes{"filter " + filter, fixed(0x82, "\x00\x01\x00"+str(filter)+"\x00"), mqtt.TopicFilterInvalid, 0, 1008, reasonFilter})
	}
	for _, way := range transports {
		for _, row := range rows {
			t.Run(way+"/"+row.name, func(t *testing.T) {
				r := r.in(t)
				before := r.closedBy(row.why)
				c, _ := r.connectOn(r.via(way, mqtt.V5), "bad")
				c.write([]byte(row.bytes))
				c.endsWith(row.answer, row.ws)
				r.closesBy(row.why, before, 1)
			})
		}
		w.check()
	}
}

// TestHarmlessOddities: what looks odd but is allowed is answered and goes on.
func TestHarmlessOddities(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.SysInterval = 0 }) // a message of $SYS may come before SUBACK
	for _, way := range transports {
		c, _ := r.connectOn(r.via(way, mqtt.V5), "odd", func(o *mqtt.ConnectOut) {
			for range 1000 { // a property bomb of the allowed kind
				o.UserProps = mqtt.AppendUserProperty(o.UserProps, []byte("k"), []byte("v"))
			}
		})
		for _, ack := range []byte{0x40, 0x70} { // PUBACK and PUBCOMP of an older life
			c.write([]byte{ack, 2, 0, 99})
			c.ping()
		}
		c.write([]byte{0x50, 2, 0, 99})
		if g := c.expect(mqtt.TypePubrel); g.Reason != mqtt.PacketIdentifierNotFound {
			t.Errorf("PUBREL %v", g.Reason)
		}
		c.write([]byte{0x62, 2, 0, 99})
		if g := c.expect(mqtt.TypePubcomp); g.Reason != mqtt.PacketIdentifierNotFound {
			t.Errorf("PUBCOMP %v", g.Reason)
		}
		if got := c.publish(1, "x", "\xff", func(p *mqtt.PublishOut) { p.Props = mqtt.AppendPayloadFormat(nil, 1) }); got != mqtt.PayloadFormatInvalid {
			t.Errorf("PUBACK %v", got)
		}
		c.publish(1, "\ufeffbom", "x")
		if got := c.subscribe(1, "$SYS/#", "\ufffe\uffff", "\ufeffbom"); got[0].Failed() || got[1].Failed() || got[2].Failed() {
			t.Errorf("SUBACK %v", got)
		}
		c.disconnect()
	}
	old := r.connect(mqtt.V311, "old")
	old.write([]byte{0x62, 2, 0, 99})
	old.expect(mqtt.TypePubcomp)
	old.write([]byte{0x50, 2, 0, 99})
	old.expect(mqtt.TypePubrel)
}

// TestWrongAcknowledgement: an acknowledgement of another kind than is due is a protocol error.
func TestWrongAcknowledgement(t *testing.T) {
	t.Parallel()
	r := start(t)
	for i, wrong := range []byte{0x40, 0x70} { // PUBACK, PUBCOMP for a message of QoS 2
		c := r.connect(mqtt.V5, "c")
		c.subscribe(2, "x")
		p := r.connect(mqtt.V5, "p")
		p.publish(2, "x", strings.Repeat("x", 10))
		g := c.expect(mqtt.TypePublish)
		c.write([]byte{wrong, 2, byte(g.PacketID >> 8), byte(g.PacketID)})
		c.endsWith(mqtt.ProtocolError, 0)
		r.closesBy(reasonProtocol, 0, uint64(i+1))
	}
}
