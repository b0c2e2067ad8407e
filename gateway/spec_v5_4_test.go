package gateway

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// Operational behaviour; sections 4.1 to 4.9 are for the most part in session/spec_*_test.go, where time is an argument.

// Test_v5_MQTT_4_2_0_1: bytes arrive in order and none is lost, by every transport, both ways.
func Test_v5_MQTT_4_2_0_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, way := range transports {
		c, _ := r.connectOn(r.via(way, mqtt.V5), "c")
		c.subscribe(1, "t")
		var all strings.Builder
		for i := range 200 {
			all.WriteString(publish5(0, "t", 0, "", strings.Repeat(string(rune('a'+i%26)), i*37)))
		}
		stream := all.String()
		for len(stream) > 0 {
			n := min(len(stream), 1000)
			c.send(stream[:n])
			stream = stream[n:]
		}
		for i := range 200 {
			c.gets("t", strings.Repeat(string(rune('a'+i%26)), i*37))
		}
		c.disconnect()
	}
}

// Test_v5_MQTT_4_4_0_1_Wire: after a reconnect what was not acknowledged comes again with its packet id, PUBLISH as PUBLISH with DUP and
// PUBREL as PUBREL; on a connection that lives nothing is sent twice.
func Test_v5_MQTT_4_4_0_1_Wire(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.connect(mqtt.V5, "c", persistent)
	c.subscribe(2, "t")
	p := r.connect(mqtt.V5, "p")
	var ids []uint16
	for i, payload := range []string{"qos 1", "qos 2", "qos 2, received"} {
		p.publish(min(byte(i)+1, 2), "t", payload)
		g := c.expect(mqtt.TypePublish)
		if g.Dup {
			t.Errorf("%q comes with DUP", payload)
		}
		ids = append(ids, g.PacketID)
	}
	c.write(mqtt.AppendPubrec(nil, c.v, ids[2], mqtt.Success))
	c.expect(mqtt.TypePubrel)
	c.ping()
	for range 2 {
		c.cut()
		var ack *got
		c, ack = r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent)
		if !ack.SessionPresent {
			t.Fatal("the session is gone")
		}
		for i, payload := range []string{"qos 1", "qos 2"} {
			if g := c.expect(mqtt.TypePublish); !g.Dup || g.PacketID != ids[i] || g.payload != payload {
				t.Errorf("%q with id %d, DUP %v", g.payload, g.PacketID, g.Dup)
			}
		}
		if g := c.expect(mqtt.TypePubrel); g.PacketID != ids[2] {
			t.Errorf("PUBREL %d", g.PacketID)
		}
		c.ping()
	}
}

// Test_v5_MQTT_4_7_0_1: wildcards are for filters, not for topics.
func Test_v5_MQTT_4_7_0_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.connect(mqtt.V5, "c")
	for _, filter := range []string{"+", "#", "a/+", "a/#", "+/+/#"} {
		if granted := c.subscribe(0, filter); granted[0].Failed() {
			t.Errorf("%q: %v", filter, granted[0])
		}
	}
	for _, topic := range wildcards {
		r.punishes(publish5(0, topic, 0, "", "x"), mqtt.TopicNameInvalid)
		r.refuses(connect5(0x06, "", str("c")+block("")+str(topic)+str("x")), mqtt.TopicNameInvalid)
	}
}

// Test_v5_MQTT_4_7_1_1_Wire and its sibling: filters that break the rules of wildcards end the connection with 0x8F.
func Test_v5_MQTT_4_7_1_1_Wire(t *testing.T) {
	t.Parallel()
	illFilters(t, "a#", "#/a", "a/#/b", "a/b#", "##", "+#", "$share/g/a#")
}
func Test_v5_MQTT_4_7_1_2_Wire(t *testing.T) {
	t.Parallel()
	illFilters(t, "a+", "+a", "a/+b/c", "a/b+", "++", "$share/g/+a")
}

func illFilters(t *testing.T, filters ...string) {
	t.Helper()
	r := start(t)
	for _, filter := range filters {
		r.punishes(subscribe5(1, filter, 0), mqtt.TopicFilterInvalid)
		r.punishes(unsubscribe5(1, filter), mqtt.TopicFilterInvalid)
	}
}

// Test_v5_MQTT_4_7_3_1: topics and filters have a character at least.
func Test_v5_MQTT_4_7_3_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.punishes(publish5(0, "", 0, "", "x"), mqtt.ProtocolError)
	r.punishes(subscribe5(1, "", 0), mqtt.TopicFilterInvalid)
	r.punishes(unsubscribe5(1, ""), mqtt.TopicFilterInvalid)
	r.refuses(connect5(0x06, "", str("c")+block("")+str("")+str("x")), mqtt.TopicNameInvalid)
	w := r.watch("#")
	p := r.connect(mqtt.V5, "p")
	for _, topic := range []string{"/", "a", " "} {
		p.publish(1, topic, topic)
		w.gets(topic, topic)
	}
}

// Test_v5_MQTT_4_7_3_2: and no U+0000.
func Test_v5_MQTT_4_7_3_2(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, text := range []string{"\x00", "a\x00", "a/\x00/b"} {
		r.punishes(publish5(0, text, 0, "", "x"), mqtt.MalformedPacket)
		r.punishes(subscribe5(1, text, 0), mqtt.MalformedPacket)
		r.punishes(unsubscribe5(1, text), mqtt.MalformedPacket)
	}
}

// Test_v5_MQTT_4_7_3_3: 65,535 bytes are a topic, if more than this server takes: it is refused, and the client stays.
func Test_v5_MQTT_4_7_3_3(t *testing.T) {
	t.Parallel()
	r := start(t)
	longest := strings.Repeat("x", 65535)
	c := r.connect(mqtt.V5, "c")
	c.send(publish5(2, longest, 1, "", "x"))
	if answer := c.acknowledged(mqtt.TypePuback, 1); answer != mqtt.TopicNameInvalid {
		t.Error(answer)
	}
	if granted := c.subscribe(0, longest); granted[0] != mqtt.TopicFilterInvalid {
		t.Error(granted)
	}
	within := strings.Repeat("x", 1024)
	c.subscribe(1, within)
	c.publish(0, within, "x")
	c.gets(within, "x")
}

// Test_v5_MQTT_4_13_1_1: malformed packets and protocol errors end the connection with the reason that the standard gives.
func Test_v5_MQTT_4_13_1_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	for packet, why := range map[string]mqtt.Reason{
		"\x00\x00": mqtt.MalformedPacket, "\xc0\x01\x00": mqtt.MalformedPacket, "\xc0\x80\x80\x80\x80\x01": mqtt.MalformedPacket,
		publish5(0, "t", 0, "\x7f", ""): mqtt.MalformedPacket, publish5(0, "t", 0, "\x01", ""): mqtt.MalformedPacket,
		publish5(0, "t", 0, "\x01\x02", ""): mqtt.ProtocolError, publish5(0, "t", 0, "\x01\x00\x01\x00", ""): mqtt.ProtocolError,
		publish5(2, "t", 0, "", "x"): mqtt.ProtocolError, subscribe5(0, "t", 0): mqtt.ProtocolError, subscribe5(1, "t", 3): mqtt.ProtocolError,
		subscribe5(1, "t", 0x30): mqtt.ProtocolError, "\xd0\x00": mqtt.ProtocolError, "\xb0\x04\x00\x01\x00\x00": mqtt.ProtocolError,
		fixed(0x82, u16(1)+block("\x0b\x00")+str("t")+"\x00"): mqtt.ProtocolError,
	} {
		r.punishes(packet, why)
	}
}

// Test_v5_MQTT_4_13_2_1: after CONNACK or DISCONNECT with 0x80 or more the connection is closed.
func Test_v5_MQTT_4_13_2_1(t *testing.T) {
	t.Parallel()
	refusalsEnd(t)
	everyFarewell(t, func(t *testing.T, c *client, g *got) {
		if !g.Reason.Failed() {
			t.Errorf("%v", g.Reason)
		}
		c.over()
	})
}

// MQTT over WebSocket.

// Test_v5_MQTT_6_0_0_1: packets are in binary frames; a text frame ends the connection.
func Test_v5_MQTT_6_0_0_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	c, _ := r.connectOn(r.via("ws", mqtt.V5), "c")
	c.subscribe(1, "t")
	c.publish(0, "t", "x")
	c.gets("t", "x") // a text frame would be no packet for this client
	text := ws.AppendMasked(nil, ws.OpText, []byte("text"), [4]byte{1, 2, 3, 4})
	if _, err := c.conn.Write(text); err != nil {
		t.Fatal(err)
	}
	c.endsWith(mqtt.ProtocolError, ws.Unsupported)
}

// Test_v5_MQTT_6_0_0_2: packets are not aligned to frames: two in one, one in many.
func Test_v5_MQTT_6_0_0_2(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.watch("t") // so that a filter of t is known already, and what is published behind SUBSCRIBE comes as well
	for _, size := range []int{1, 2, 3, 7, 50, 1000} {
		c := r.via("ws", mqtt.V5)
		stream := string(c.connectPacket("c")) + subscribe5(1, "t", 0) + publish5(0, "t", 0, "", "x") + "\xc0\x00" + publish5(2, "t", 7, "", "y")
		for len(stream) > 0 {
			n := min(len(stream), size)
			c.send(stream[:n])
			stream = stream[n:]
		}
		seen := map[mqtt.Type]int{}
		for range 6 {
			seen[c.must().Type]++
		}
		if seen[mqtt.TypeConnack] != 1 || seen[mqtt.TypeSuback] != 1 || seen[mqtt.TypePublish] != 2 || seen[mqtt.TypePingresp] != 1 || seen[mqtt.TypePuback] != 1 {
			t.Errorf("frames of %d bytes: %v", size, seen)
		}
		c.cut()
	}
}

// Test_v5_MQTT_6_0_0_3: who does not offer the subprotocol is not taken for an MQTT client, and not connected.
func Test_v5_MQTT_6_0_0_3(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, offer := range []string{"", "mqttv5", "MQTT", "graphql-ws"} {
		c := r.open(mqtt.V5, r.ws)
		c.framed = true
		c.write(ws.AppendHandshake(nil, r.ws, "/mqtt", offer, testKey))
		if status := c.handshaken(""); status == 101 {
			t.Errorf("%q is upgraded", offer)
		}
	}
}

// Test_v5_MQTT_6_0_0_4: the subprotocol that the server chooses is mqtt, whatever else is offered.
func Test_v5_MQTT_6_0_0_4(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, offer := range []string{"mqtt", "mqtt, mqttv3.1", "mqttv3.1, mqtt", "other, mqtt"} {
		c := r.open(mqtt.V5, r.ws)
		c.framed = true
		c.write(ws.AppendHandshake(nil, r.ws, "/mqtt", offer, testKey))
		if status := c.handshaken("mqtt"); status != 101 {
			t.Errorf("%q: %d", offer, status)
		}
		r.connectOn(c, "c")
		c.disconnect()
	}
}
