package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// PUBLISH, part 1: retained messages, topics and what is sent on.

// Test_v5_MQTT_3_3_1_4: a PUBLISH with both QoS bits is malformed.
func Test_v5_MQTT_3_3_1_4(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, flags := range []byte{0x06, 0x07, 0x0E, 0x0F} {
		r.punishes(publish5(flags, "t", 1, "", "x"), mqtt.MalformedPacket)
	}
}

// latest is what a new subscriber gets as retained, nothing if "".
func (r *rig) latest(topic string) *got {
	r.t.Helper()
	c := r.connect(mqtt.V5, "late")
	defer c.cut()
	c.subscribe(2, topic)
	c.write(mqtt.AppendPingreq(nil))
	g := c.must()
	if g.Type == mqtt.TypePingresp {
		return nil
	}
	if g.Type != mqtt.TypePublish || g.topic != topic || !g.Retain {
		r.t.Errorf("%v %q, retain %v", g.Type, g.topic, g.Retain)
	}
	return g
}

// Test_v5_MQTT_3_3_1_5: a retained message replaces the one before, and is kept with its QoS.
func Test_v5_MQTT_3_3_1_5(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.connect(mqtt.V5, "p")
	for i, payload := range []string{"zero", "one", "two", "one", "zero"} {
		qos := []byte{0, 1, 2, 1, 0}[i]
		p.publish(qos, "t", payload, retained)
		p.ping()
		g := r.latest("t")
		if g == nil || g.payload != payload || g.QoS != qos {
			t.Fatalf("%+v instead of %q", g, payload)
		}
	}
	if n := r.retainedTopics(); n != 1 {
		t.Errorf("%d retained messages", n)
	}
}

func Test_v5_MQTT_3_3_1_6(t *testing.T) { t.Parallel(); emptyRemoves(t) }
func Test_v5_MQTT_3_3_1_7(t *testing.T) { t.Parallel(); emptyRemoves(t) }

// emptyRemoves: an empty retained message goes to subscribers as any other, but is not kept, nor what was kept.
func emptyRemoves(t *testing.T) {
	t.Helper()
	r := start(t)
	w := r.watch("t")
	p := r.connect(mqtt.V5, "p")
	for qos := range byte(3) {
		p.publish(qos, "t", "kept", retained)
		w.gets("t", "kept")
		p.publish(qos, "t", "", retained)
		w.gets("t", "")
		if g := r.latest("t"); g != nil {
			t.Errorf("%q is kept", g.payload)
		}
		p.publish(qos, "t", "", retained) // there is nothing to remove
		w.gets("t", "")
		if n := r.retainedTopics(); n != 0 {
			t.Errorf("%d retained messages", n)
		}
	}
}

// Test_v5_MQTT_3_3_1_8: a message without the flag neither is kept nor changes what is.
func Test_v5_MQTT_3_3_1_8(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.watch("+")
	p := r.connect(mqtt.V5, "p")
	p.publish(1, "t", "kept", retained)
	w.gets("t", "kept")
	for _, payload := range []string{"passing", ""} {
		p.publish(1, "t", payload)
		w.gets("t", payload)
		p.publish(1, "other", payload)
		w.gets("other", payload)
		if g := r.latest("t"); g == nil || g.payload != "kept" {
			t.Errorf("after %q: %+v", payload, g)
		}
		if g := r.latest("other"); g != nil {
			t.Errorf("after %q: %q is kept", payload, g.payload)
		}
	}
}

// Test_v5_MQTT_3_3_2_1: the topic comes first and is a UTF-8 string, also in what the server sends.
func Test_v5_MQTT_3_3_2_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, text := range badText {
		r.punishes(publish5(0, text, 0, "", "x"), mqtt.MalformedPacket)
	}
	r.punishes(fixed(0x30, "\x00\x05t"), mqtt.MalformedPacket) // the topic is longer than the packet
	r.punishes(publish5(0, "", 0, "", "x"), mqtt.ProtocolError)
	w := r.watch("#")
	r.connect(mqtt.V5, "p").send(publish5(0, "ü/\ufeff/x", 0, "", "x"))
	if g := w.message(); !strings.HasPrefix(string(g.raw[2:]), str("ü/\ufeff/x")) {
		t.Errorf("%x", g.raw)
	}
}

// Test_v5_MQTT_3_3_2_2: without wildcards.
func Test_v5_MQTT_3_3_2_2(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.watch("#")
	for _, topic := range wildcards {
		for flags := byte(0); flags <= 4; flags += 2 {
			r.punishes(publish5(flags, topic, 1, "", "x"), mqtt.TopicNameInvalid)
		}
	}
	w.hearsNothingBut(r, "t", "a topic")
}

var wildcards = []string{"+", "#", "a/+", "a/#", "+/a", "a/+/b", "a+", "a#b"}

// Test_v5_MQTT_3_3_2_3: what a subscriber gets matches its filter, byte by byte as it was published.
func Test_v5_MQTT_3_3_2_3(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.connect(mqtt.V5, "p")
	topics := []string{"a", "a/b", "a/b/c", "/a", "a/", "a//b", "A/b", "a.b", "a b/*", "a/>", "ü/b"}
	for filter, want := range map[string][]string{
		"a/+": {"a/b", "a/", "a/>"}, "a/#": {"a", "a/b", "a/b/c", "a/", "a//b", "a/>"}, "+/b": {"a/b", "A/b", "ü/b"}, "a/b": {"a/b"}, "+": {"a", "a.b"},
		"a/>": {"a/>"}, "a b/*": {"a b/*"}, "/+": {"/a"},
	} {
		c := r.connect(mqtt.V5, "c")
		c.subscribe(1, filter, "end")
		for _, topic := range topics {
			p.publish(1, topic, topic)
		}
		p.publish(1, "end", "end")
		for _, topic := range append(want, "end") {
			c.gets(topic, topic)
		}
		c.disconnect()
	}
}

// What the publisher says about its message goes to every subscriber as it is: to live ones, to those of a shared subscription, to late
// ones as a retained message, after an absence, a second time, and in a will.

func Test_v5_MQTT_3_3_2_4(t *testing.T) {
	t.Parallel()
	sentOn(t, formatProp+"\x01", formatProp+"\x00")
}
func Test_v5_MQTT_3_3_2_15(t *testing.T) {
	t.Parallel()
	sentOn(t, "\x08"+str("answer/to/ü"), "\x08"+str("/"))
}
func Test_v5_MQTT_3_3_2_16(t *testing.T) {
	t.Parallel()
	sentOn(t, "\x09"+str("\x00\xff\xed\xa0\x80"), "\x09"+str(""), "\x09"+str(strings.Repeat("x", 300)))
}
func Test_v5_MQTT_3_3_2_17(t *testing.T) {
	t.Parallel()
	sentOn(t, userProp+str("k")+str("v"), userProp+str("")+str(""), userProp+str("ü")+str("\ufeff"), userProp+str("Nats-Msg-Id")+str(strings.Repeat("v", 300)))
}
func Test_v5_MQTT_3_3_2_18(t *testing.T) {
	t.Parallel()
	pair := func(k, v string) string { return userProp + str(k) + str(v) }
	sentOn(t, pair("b", "1")+pair("a", "2")+pair("b", "0")+pair("B", "1")+pair("a", "2"), pair("a", "1")+pair("", "")+pair("a", ""))
}
func Test_v5_MQTT_3_3_2_20(t *testing.T) {
	t.Parallel()
	sentOn(t, "\x03"+str("application/json; charset=ü"), "\x03"+str(""))
}

func sentOn(t *testing.T, blocks ...string) {
	t.Helper()
	r := start(t)
	for i, props := range blocks {
		topic, awayID := fmt.Sprint("t/", i), fmt.Sprint("away-", i)
		live := r.connect(mqtt.V5, r.ids("live", 0, 1)[0])
		live.subscribe(2, topic)
		other := r.connect(mqtt.V5, r.ids("other", 1, 1)[0])
		other.subscribe(0, topic)
		group := r.connect(mqtt.V5, "group")
		group.subscribe(1, "$share/g/"+topic)
		away := r.connect(mqtt.V5, awayID, persistent)
		away.subscribe(2, topic)
		away.disconnect()
		check := func(who string, g *got) {
			if got := "\x00" + string(g.raw[:len(g.raw)-len(g.Payload)]); !strings.Contains(got, block(props)) || g.topic != topic {
				t.Errorf("%s: %q in %x", who, props, g.raw)
			}
		}
		p := r.connect(mqtt.V5, "p")
		p.send(publish5(0x03, topic, 1, props, "text"))
		p.expect(mqtt.TypePuback)
		check("live", live.message())
		check("other", other.message())
		check("group", group.message())
		late := r.connect(mqtt.V5, "late")
		late.subscribe(1, topic)
		check("late", late.message())
		back, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), awayID, persistent)
		check("away", back.expect(mqtt.TypePublish))
		back.cut()
		back, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), awayID, persistent)
		check("again", back.expect(mqtt.TypePublish))
		willing, _ := r.accepts(connect5(0x06|1<<3, "", str("willing")+block(props)+str(topic)+str("text")))
		willing.cut()
		check("will", live.message())
		for _, c := range []*client{live, other, group, late, back, p} {
			c.disconnect()
		}
	}
}

// Test_v5_MQTT_3_3_1_2_Wire: a client that sets DUP at QoS 0 is closed.
func Test_v5_MQTT_3_3_1_2_Wire(t *testing.T) {
	t.Parallel()
	start(t).punishes(fixed(0x38, str("a")+block("")+"x"), mqtt.MalformedPacket)
}
