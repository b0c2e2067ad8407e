package gateway

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// CONNECT, part 3: what the client's properties ask of the server, and what the server does about a CONNECT.

// Test_v5_MQTT_3_1_2_24: no packet is longer than the client's Maximum Packet Size; one of just that size comes.
func Test_v5_MQTT_3_1_2_24(t *testing.T) {
	t.Parallel()
	const size = 60
	r := start(t)
	c := r.connect(mqtt.V5, "small", func(o *mqtt.ConnectOut) { o.MaxPacketBytes = size })
	c.subscribe(2, "t")
	p := r.connect(mqtt.V5, "p")
	for qos := range byte(3) {
		head := 6 // fixed header, topic and property length
		if qos > 0 {
			head += 2
		}
		for n := size - head - 2; n <= size-head+2; n++ {
			p.publish(qos, "t", string(make([]byte, n)))
			if n <= size-head {
				if g := c.message(); len(g.raw) != head+n {
					t.Errorf("QoS %d: %d bytes for a payload of %d", qos, len(g.raw), n)
				}
			}
		}
	}
	c.ping()
}

// Test_v5_MQTT_3_1_2_24_Answers: nor is an answer: what has no shorter form ends the connection instead.
func Test_v5_MQTT_3_1_2_24_Answers(t *testing.T) {
	t.Parallel()
	r := start(t)
	const fits = 100 - 5 // reasons beside fixed header, identifier and property length
	for what, packet := range map[string]func(n int) string{
		"SUBACK":   func(n int) string { return fixed(0x82, u16(1)+block("")+strings.Repeat(str("f")+"\x00", n)) },
		"UNSUBACK": func(n int) string { return fixed(0xA2, u16(1)+block("")+strings.Repeat(str("f"), n)) },
	} {
		c := r.connect(mqtt.V5, "small", func(o *mqtt.ConnectOut) { o.MaxPacketBytes = 100 })
		c.send(packet(fits))
		if g := c.must(); len(g.raw) != 100 || g.Type.String() != what {
			t.Errorf("%v of %d bytes, want %s of 100", g.Type, len(g.raw), what)
		}
		c.send(packet(fits + 1))
		g := c.must()
		if len(g.raw) > 100 || g.Type != mqtt.TypeDisconnect || g.Reason != mqtt.PacketTooLarge {
			t.Errorf("%s: %v %v of %d bytes", what, g.Type, g.Reason, len(g.raw))
		}
		c.over()
	}
	_, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c")
	most := func(n int) func(o *mqtt.ConnectOut) { return func(o *mqtt.ConnectOut) { o.MaxPacketBytes = uint32(n) } }
	r.connectOn(r.open(mqtt.V5, r.mqtt), "c", most(len(ack.raw)))
	c := r.open(mqtt.V5, r.mqtt)
	c.write(c.connectPacket("c", most(len(ack.raw)-1)))
	c.over() // without a word
}

// Test_v5_MQTT_3_1_2_27_Wire: without a Topic Alias Maximum, or with 0, no topic alias is sent.
func Test_v5_MQTT_3_1_2_27_Wire(t *testing.T) {
	t.Parallel()
	r := start(t)
	for what, props := range map[string]string{"absent": "", "0": "\x22\x00\x00"} {
		c, _ := r.accepts(connect5(0x02, props, str("c")))
		c.subscribe(1, "t/#")
		p := r.connect(mqtt.V5, "p")
		for range 5 {
			p.publish(1, "t/long/enough/for/an/alias", "x")
			if g := c.message(); g.topic != "t/long/enough/for/an/alias" || g.Props.Has(mqtt.PropTopicAlias) {
				t.Errorf("%s: topic %q, alias %d", what, g.topic, g.Props.TopicAlias)
			}
		}
	}
}

// Test_v5_MQTT_3_1_2_28_Unasked: nobody gets Response Information who did not ask for it.
func Test_v5_MQTT_3_1_2_28_Unasked(t *testing.T) {
	t.Parallel()
	r := start(t)
	for what, props := range map[string]string{"absent": "", "0": "\x19\x00"} {
		if _, ack := r.accepts(connect5(0x02, props, str("c"))); ack.Props.Has(mqtt.PropResponseInfo) {
			t.Errorf("%s: %q", what, ack.Props.ResponseInfo)
		}
	}
}

// Test_v5_MQTT_3_1_2_29_Wire: Request Problem Information 0 keeps reason strings and user properties off every packet but PUBLISH, CONNACK
// and DISCONNECT. A message keeps its user properties.
func Test_v5_MQTT_3_1_2_29_Wire(t *testing.T) {
	t.Parallel()
	r := start(t)
	quiet := func() *client {
		c, _ := r.accepts(connect5(0x02, "\x17\x00", str("quiet")))
		return c
	}
	for _, p := range provocations {
		c := quiet()
		c.send(p.packet)
		g := c.expect(p.answer)
		if p.answer != mqtt.TypeDisconnect && (g.Props.Has(mqtt.PropReasonString) || g.Props.UserCount > 0) {
			t.Errorf("%s: %q and %d user properties", p.name, g.Props.ReasonString, g.Props.UserCount)
		}
	}
	c := quiet()
	c.subscribe(1, "t")
	r.connect(mqtt.V5, "p").send(publish5(0, "t", 0, userProp+str("k")+str("v"), "x"))
	if got := users(c.gets("t", "x")); len(got) != 1 || got[0] != "k=v" {
		t.Errorf("user properties %q", got)
	}
}

// Test_v5_MQTT_3_1_4_1: a CONNECT against section 3.1 ends the connection.
func Test_v5_MQTT_3_1_4_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	for what, packet := range map[string]string{
		"bytes after the payload":      connect5(0x02, "", str("c")+"x"),
		"properties past the end":      fixed(0x10, str("MQTT")+"\x05\x02\x00\x3c\x40"+str("c")),
		"property of a PUBLISH":        connect5(0x02, aliasProp+"\x00\x01", str("c")),
		"unknown property":             connect5(0x02, "\x7f\x00", str("c")),
		"session expiry cut short":     connect5(0x02, "\x11\x00\x00", str("c")),
		"will delay outside of a will": connect5(0x02, "\x18\x00\x00\x00\x01", str("c")),
	} {
		if g := r.refuses(packet, mqtt.MalformedPacket); g.SessionPresent {
			t.Errorf("%s: session present", what)
		}
	}
	for _, props := range []string{
		"\x21\x00\x00", "\x27\x00\x00\x00\x00", "\x19\x02", "\x17\x02", "\x16" + str("data without method"), "\x11\x00\x00\x00\x01\x11\x00\x00\x00\x01",
		"\x21\x00\x01\x21\x00\x01", "\x22\x00\x01\x22\x00\x01",
	} {
		r.refuses(connect5(0x02, props, str("c")), mqtt.ProtocolError)
	}
	r.refuses(connect5(0x06, "", str("c")+block("")+str("a/#")+str("x")), mqtt.TopicNameInvalid)
	if s := r.sum(); s.sessions != 0 {
		t.Errorf("%d sessions", s.sessions)
	}
}

// Test_v5_MQTT_3_1_4_2: so does one that breaks a further restriction of the server.
func Test_v5_MQTT_3_1_4_2(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Session.Max = 1; c.Loops = 1 })
	wills := func(topic, props, payload string) string {
		return connect5(0x06, "", str("c")+block(props)+str(topic)+str(payload))
	}
	r.refuses(wills("w", formatProp+"\x01", "\xff"), mqtt.PayloadFormatInvalid)
	r.refuses(wills(deep, "", "x"), mqtt.TopicNameInvalid)
	r.refuses(wills("$JS/API", "", "x"), mqtt.TopicNameInvalid)
	r.accepts(connect5(0x02, "", str("the one")))
	r.refuses(connect5(0x02, "", str("one more")), mqtt.QuotaExceeded)
}

// Test_v5_MQTT_3_1_4_3_Wire: the older connection of a client id gets DISCONNECT 0x8E and is closed, whichever of its properties differ.
func Test_v5_MQTT_3_1_4_3_Wire(t *testing.T) {
	t.Parallel()
	r := start(t)
	older := r.connect(mqtt.V5, "c", persistent)
	newer, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent)
	if !ack.SessionPresent {
		t.Error("the session did not move on")
	}
	older.dismissed(mqtt.SessionTakenOver)
	newer.ping()
}

// Test_v5_MQTT_3_1_4_4: Clean Start is carried out: nothing of the old session is left, neither filters nor messages.
func Test_v5_MQTT_3_1_4_4(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.connect(mqtt.V5, "p")
	for _, there := range []bool{true, false} { // the old session has a connection, or none
		c := r.connect(mqtt.V5, "c", persistent)
		c.subscribe(2, "t")
		p.publish(2, "t", "unanswered")
		c.expect(mqtt.TypePublish)
		if !there {
			c.cut()
			r.eventually("the session is away", func() bool { return r.sum().sessionsLive == 1 })
		}
		c = r.connect(mqtt.V5, "c")
		p.publish(1, "t", "nobody hears it")
		c.ping()
		c.disconnect()
	}
}

// Test_v5_MQTT_3_1_4_5: an accepted CONNECT is answered with CONNACK 0x00.
func Test_v5_MQTT_3_1_4_5(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, connect := range []string{
		connect5(0x02, "", str("c")), connect5(0x00, "", str("c")), connect5(0x02, "", str("")), connect5(0x02, "\x11\xff\xff\xff\xff", str("c")),
		connect5(0xF6, "\x17\x01\x19\x01\x21\x00\x01\x22\x00\x01"+userProp+str("k")+str("v"), str("c")+block("")+str("w")+str("")+str("u")+str("p")),
	} {
		c := r.open(mqtt.V5, r.mqtt)
		c.send(connect)
		if g := c.must(); g.raw[0] != 0x20 || g.raw[3] != 0 {
			t.Errorf("%x to %q", g.raw, connect)
		}
	}
}

// Test_v5_MQTT_3_1_4_6: what follows a refused CONNECT is not looked at.
func Test_v5_MQTT_3_1_4_6(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.watch("t")
	for _, refused := range []string{
		connect5(0x03, "", str("c")), connect5(0x06, "", str("c")+block("")+str("$JS")+str("x")), connect5(0x02, "\x21\x00\x00", str("c")),
	} {
		c := r.open(mqtt.V5, r.mqtt)
		c.send(refused + publish5(0, "t", 0, "", "after a refusal") + subscribe5(1, "t", 0) + connect5(0x02, "", str("c")) +
			publish5(2, "t", 1, "", "after a refusal"))
		if g := c.expect(mqtt.TypeConnack); !g.Reason.Failed() {
			t.Errorf("%v", g.Reason)
		}
		c.over()
	}
	w.hearsNothingBut(r, "t", "of a client")
}
