package gateway

import (
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// CONNACK.

// Test_v5_MQTT_3_2_0_1: CONNACK comes first, whatever the session owes and whatever else is asked for in the same breath.
func Test_v5_MQTT_3_2_0_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.away(mqtt.V5, "c") // it subscribed to q/#
	p := r.connect(mqtt.V5, "p")
	p.publish(1, "q/kept", "retained", retained)
	p.publish(1, "q/a", "queued")
	c := r.open(mqtt.V5, r.mqtt)
	c.write(append(c.connectPacket("c", persistent), subscribe5(1, "q/#", 1)+"\xc0\x00"+publish5(2, "q/b", 7, "", "x")...))
	if g := c.expect(mqtt.TypeConnack); g.Reason != mqtt.Success || !g.SessionPresent {
		t.Errorf("%v, session present %v", g.Reason, g.SessionPresent)
	}
	seen := map[mqtt.Type]int{}
	for seen[mqtt.TypePingresp] == 0 || seen[mqtt.TypePuback] == 0 || seen[mqtt.TypeSuback] == 0 || seen[mqtt.TypePublish] < 4 {
		seen[c.must().Type]++
	}
}

// Test_v5_MQTT_3_2_0_2: and only once.
func Test_v5_MQTT_3_2_0_2(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, way := range transports {
		c, _ := r.connectOn(r.via(way, mqtt.V5), "c")
		c.ping()
		c.write(c.connectPacket("c"))
		if r, _ := c.end(); r != mqtt.ProtocolError { // end lets DISCONNECT pass, and counts
			t.Error(r)
		}
	}
	c := r.open(mqtt.V5, r.mqtt)
	c.write(append(c.connectPacket("c"), c.connectPacket("c")...))
	c.expect(mqtt.TypeConnack)
	c.dismissed(mqtt.ProtocolError)
	if sum := r.sum(); sum.packetsOut[mqtt.TypeConnack] != 3 {
		t.Errorf("%d CONNACKs for 3 connections", sum.packetsOut[mqtt.TypeConnack])
	}
}

// Test_v5_MQTT_3_2_2_1: of the acknowledge flags only the lowest is ever set.
func Test_v5_MQTT_3_2_2_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, want := range []byte{0, 1, 1} {
		c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent)
		if ack.raw[2] != want {
			t.Errorf("flags %08b, want %08b", ack.raw[2], want)
		}
		c.disconnect()
	}
	if g := r.refuses(connect5(0x03, "", str("c")), mqtt.MalformedPacket); g.raw[2] != 0 {
		t.Errorf("flags %08b", g.raw[2])
	}
}

// Test_v5_MQTT_3_2_2_6: who is refused is shown no session, though there is one.
func Test_v5_MQTT_3_2_2_6(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.connect(mqtt.V5, "c", persistent)
	c.disconnect()
	if g := r.refuses(connect5(0x04, "", str("c")+block("")+str("$JS")+str("x")), mqtt.TopicNameInvalid); g.raw[2] != 0 {
		t.Errorf("flags %08b", g.raw[2])
	}
	if _, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent); !ack.SessionPresent {
		t.Error("the refused CONNECT took the session away")
	}
}

// refusedConnects are CONNECTs that a gateway refuses.
var refusedConnects = map[string]string{
	"malformed":       connect5(0x03, "", str("c")),
	"protocol error":  connect5(0x02, "\x21\x00\x00", str("c")),
	"version":         fixed(0x10, str("MQTT")+"\x06\x02\x00\x3c\x00"+str("c")),
	"will topic":      connect5(0x06, "", str("c")+block("")+str("$JS")+str("x")),
	"will wildcard":   connect5(0x06, "", str("c")+block("")+str("#")+str("x")),
	"will payload":    connect5(0x06, "", str("c")+block(formatProp+"\x01")+str("w")+str("\xff")),
	"will QoS":        connect5(0x1E, "", str("c")+block("")+str("w")+str("")),
	"client id":       connect5(0x02, "", str(ill)),
	"authentication":  connect5(0x02, "\x15"+str("no such method"), str("c")),
	"ends too early":  connect5(0xC2, "", str("c")+str("u")),
	"goes on and on":  connect5(0x02, "", str("c")+"x"),
	"server property": connect5(0x02, "\x12"+str("assigned"), str("c")),
}

// Test_v5_MQTT_3_2_2_7: after a CONNACK of 0x80 or more the server closes.
func Test_v5_MQTT_3_2_2_7(t *testing.T) { t.Parallel(); refusalsEnd(t) }

// Test_v5_MQTT_3_2_2_8: and the reason code is one of CONNACK's.
func Test_v5_MQTT_3_2_2_8(t *testing.T) { t.Parallel(); refusalsEnd(t) }

func refusalsEnd(t *testing.T) {
	t.Helper()
	r := start(t)
	for _, way := range transports {
		for what, connect := range refusedConnects {
			t.Run(way+"/"+what, func(t *testing.T) {
				c := r.in(t).via(way, mqtt.V5)
				c.send(connect)
				g := c.expect(mqtt.TypeConnack)
				if permitted(t, g); !g.Reason.Failed() {
					t.Errorf("%v", g.Reason)
				}
				c.over()
			})
		}
	}
}

// Test_v5_MQTT_3_2_2_9_Default: QoS 1 and 2 are there, so no Maximum QoS is told, and both are served.
func Test_v5_MQTT_3_2_2_9_Default(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.watch("t")
	c, ack := r.accepts(connect5(0x02, "", str("c")))
	if ack.Props.Has(mqtt.PropMaxQoS) {
		t.Errorf("Maximum QoS %d", ack.Props.MaxQoS)
	}
	for qos := range byte(3) {
		c.publish(qos, "t", "x")
		if g := w.gets("t", "x"); g.QoS != qos {
			t.Errorf("QoS %d became %d", qos, g.QoS)
		}
	}
}

// Test_v5_MQTT_3_2_2_13_Gateway: a retained will is refused where nothing is retained.
func Test_v5_MQTT_3_2_2_13_Gateway(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.RetainAvailable = false })
	r.refuses(connect5(0x26, "", str("c")+block("")+str("w")+str("x")), mqtt.RetainNotSupported)
	r.accepts(connect5(0x06, "", str("c")+block("")+str("w")+str("x")))
}

// What a client must not do after such a CONNACK, and how it ends.

func Test_v5_MQTT_3_2_2_14_Gateway(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.RetainAvailable = false })
	_, ack := r.accepts(connect5(0x02, "", str("c")))
	if !ack.Props.Has(mqtt.PropRetainAvailable) || ack.Props.RetainAvailable != 0 {
		t.Error("CONNACK does not tell")
	}
	r.punishes(publish5(1, "t", 0, "", "x"), mqtt.RetainNotSupported)
}

func Test_v5_MQTT_3_2_2_15_Gateway(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Limits.PacketBytesMax = 1000 })
	w := r.watch("t")
	c, ack := r.accepts(connect5(0x02, "", str("c")))
	if ack.Props.MaxPacketBytes != 1000 {
		t.Errorf("Maximum Packet Size %d", ack.Props.MaxPacketBytes)
	}
	largest := publish5(0, "t", 0, "", string(make([]byte, 993)))
	if len(largest) != 1000 {
		t.Fatal(len(largest))
	}
	c.send(largest)
	w.message()
	c.ping()
	r.punishes(publish5(0, "t", 0, "", string(make([]byte, 994))), mqtt.PacketTooLarge)
}

func Test_v5_MQTT_3_2_2_17_Gateway(t *testing.T) { t.Parallel(); aliasesBeyond(t) }
func Test_v5_MQTT_3_3_2_9(t *testing.T)          { t.Parallel(); aliasesBeyond(t) }

func aliasesBeyond(t *testing.T) {
	t.Helper()
	r := start(t, func(c *Config) { c.MQTT.TopicAliasMax = 7 })
	if _, ack := r.accepts(connect5(0x02, "", str("c"))); ack.Props.TopicAliasMax != 7 {
		t.Errorf("Topic Alias Maximum %d", ack.Props.TopicAliasMax)
	}
	for _, alias := range []uint16{8, 256, 65535} {
		r.punishes(publish5(0, "t", 0, aliasProp+u16(alias), "x"), mqtt.TopicAliasInvalid)
	}
}

func Test_v5_MQTT_3_2_2_18_Gateway(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.TopicAliasMax = 0 })
	if _, ack := r.accepts(connect5(0x02, "", str("c"))); ack.Props.TopicAliasMax != 0 {
		t.Errorf("Topic Alias Maximum %d", ack.Props.TopicAliasMax)
	}
	r.punishes(publish5(0, "t", 0, aliasProp+u16(1), "x"), mqtt.TopicAliasInvalid)
}

// Reason string and user properties never make CONNACK longer than the client takes.

func Test_v5_MQTT_3_2_2_19(t *testing.T) { t.Parallel(); connackFits(t) }
func Test_v5_MQTT_3_2_2_20(t *testing.T) { t.Parallel(); connackFits(t) }

func connackFits(t *testing.T) {
	t.Helper()
	r := start(t)
	for size := byte(5); size < 120; size += 5 {
		limit := "\x27\x00\x00\x00" + string([]byte{size})
		for what, packet := range map[string]string{
			"accepted": connect5(0x02, limit, str("c")),
			"refused":  connect5(0x06, limit, str("c")+block("")+str("$JS")+str("x")),
		} {
			c := r.open(mqtt.V5, r.mqtt)
			c.send(packet)
			g, err := c.next()
			switch {
			case err != nil && what == "refused":
				t.Errorf("a refusal has 5 bytes, but does not come to a client that takes %d", size)
			case err != nil:
				continue
			case g.Type != mqtt.TypeConnack || len(g.raw) > int(size):
				t.Errorf("%s: %v of %d bytes for a client that takes %d", what, g.Type, len(g.raw), size)
			}
			c.cut()
		}
	}
}

// Test_v5_MQTT_3_2_2_22: without a Server Keep Alive the client's own holds.
func Test_v5_MQTT_3_2_2_22(t *testing.T) { t.Parallel(); silenceEnds(t) }

// Test_v5_MQTT_3_2_2_21_Gateway: one that asks for more than the server grants, or for none, is told what holds.
func Test_v5_MQTT_3_2_2_21_Gateway(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, keepAlive := range []uint16{0, 1201, 65535} {
		_, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c", func(o *mqtt.ConnectOut) { o.KeepAliveSec = keepAlive })
		if ack.Props.ServerKeepAliveSec != 1200 {
			t.Errorf("Server Keep Alive %d for %d", ack.Props.ServerKeepAliveSec, keepAlive)
		}
	}
	if _, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c", func(o *mqtt.ConnectOut) { o.KeepAliveSec = 1200 }); ack.Props.Has(mqtt.PropServerKeepAlive) {
		t.Error("Server Keep Alive for one that is within bounds")
	}
}
