package gateway

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Chapters 4.1 to 4.5 and 4.8 of MQTT 3.1.1: what is stored, delivery, errors. More of QoS 2 is in
// spec_v311_interleave_test.go.

func Test_v311_MQTT_4_1_0_1(t *testing.T) { // all of the session's state is there after a loss, several times over
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	c := r.device311("c", 0, accepted311)
	c.takes(2, "t")
	c.says(publish311(pubQoS2, "u", 77, "x"), pubrec(77)) // of the device, not released
	p.gives(pubQoS1, "t", "one")                          // sent, not acknowledged
	p.gives(pubQoS2, "t", "two")                          // sent, not received
	p.gives(pubQoS2, "t", "three")                        // received, not released
	one, two, three := c.expect(mqtt.TypePublish), c.expect(mqtt.TypePublish), c.expect(mqtt.TypePublish)
	c.says(pubrec(three.PacketID), pubrel(three.PacketID))
	c.cut()
	r.left(1)
	p.gives(pubQoS1, "t", "four") // not sent yet
	r.waits(1)
	var four *got
	for range 3 {
		c = r.device311("c", 0, accepted311Present)
		c.answers(publish311(pubDup|pubQoS1, "t", one.PacketID, "one"), publish311(pubDup|pubQoS2, "t", two.PacketID, "two"), pubrel(three.PacketID))
		if g := c.expect(mqtt.TypePublish); g.payload != "four" || g.Dup != (four != nil) || four != nil && g.PacketID != four.PacketID {
			t.Fatalf("%q, dup %v", g.payload, g.Dup)
		} else {
			four = g
		}
		c.says(publish311(pubQoS2|pubDup, "u", 77, "x"), pubrec(77))
		c.silent()
		c.cut()
	}
	if n := r.sum().messagesIn[2]; n != 3 {
		t.Errorf("%d messages of QoS 2 were taken, want the three", n)
	}
}

func Test_v311_MQTT_4_1_0_2(t *testing.T) { // a session lasts at least as long as its connection, however short its life without one
	t.Parallel()
	r := start(t, func(c *Config) { c.Session.ExpiryMax = 1e9 })
	c := r.device311("c", 0, accepted311)
	c.takes(1, "t")
	began := r.nowSec()
	r.eventually("its life without a connection would be over", func() bool { return r.nowSec() > began+3 })
	c.says(publish311(0, "t", 0, "x"), publish311(0, "t", 0, "x"))
	next := r.device311("c", 0, accepted311Present)
	next.says(publish311(0, "t", 0, "x"), publish311(0, "t", 0, "x"))
}

func Test_v311_MQTT_4_3_1_1_Wire(t *testing.T) { // QoS 0: sent once, with QoS 0 and DUP 0
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	c := r.device311("c", 0, accepted311)
	c.takes(2, "t")
	p.gives(0, "t", "x")
	c.answers(publish311(0, "t", 0, "x"))
	c.cut()
	c = r.device311("c", 0, accepted311Present)
	c.silent()
}

func Test_v311_MQTT_4_3_2_1_Wire(t *testing.T) { // QoS 1 to a device: an id, QoS 1, DUP 0, and unacknowledged until its PUBACK
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.InflightMax = 1 })
	p := r.clean311("p")
	c := r.clean311("c")
	c.takes(1, "t")
	for i := range 3 {
		p.gives(pubQoS1, "t", fmt.Sprint(i))
	}
	for i := range 3 {
		g := c.packet()
		id := uint16(g[5])<<8 | uint16(g[6])
		if string(g) != publish311(pubQoS1, "t", id, fmt.Sprint(i)) || id == 0 {
			t.Fatalf("got %q", g)
		}
		c.silent()             // the window is one message: the next one waits for this one's PUBACK
		c.says(puback(id + 1)) // which is not that of another id
		c.silent()
		c.write([]byte(puback(id)))
	}
	c.silent()
}

func Test_v311_MQTT_4_3_2_2_Wire(t *testing.T) { // QoS 1 from a device: PUBACK, and then the id is new, with DUP or without
	t.Parallel()
	r := start(t)
	back := r.onNATS("t")
	watch := r.across("w")
	for _, w := range watch {
		w.takes(1, "t")
	}
	p := r.clean311("p")
	for i, flags := range []byte{pubQoS1, pubQoS1 | pubDup, pubQoS1, pubQoS1 | pubDup} {
		p.says(publish311(flags, "t", 5, fmt.Sprint(i)), puback(5))
		back.gets("t", fmt.Sprint(i))
		for _, w := range watch {
			w.gets("t", fmt.Sprint(i))
		}
	}
}

func Test_v311_MQTT_4_3_3_1_Wire(t *testing.T) { // QoS 2 to a device: PUBLISH until PUBREC, PUBREL until PUBCOMP, never back
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.InflightMax = 1 })
	p := r.clean311("p")
	c := r.device311("c", 0, accepted311)
	c.takes(2, "t")
	p.gives(pubQoS2, "t", "one")
	p.gives(pubQoS2, "t", "two")
	g := c.packet()
	id := uint16(g[5])<<8 | uint16(g[6])
	if string(g) != publish311(pubQoS2, "t", id, "one") || id == 0 {
		t.Fatalf("got %q", g)
	}
	again := func(want string) {
		t.Helper()
		c.silent()
		c.cut()
		c = r.device311("c", 0, accepted311Present)
		c.answers(want)
		c.silent()
	}
	again(publish311(pubQoS2|pubDup, "t", id, "one"))
	c.says(pubrec(id), pubrel(id))
	again(pubrel(id))
	again(pubrel(id))
	c.write([]byte(pubcomp(id)))
	if g := c.expect(mqtt.TypePublish); g.payload != "two" || g.Dup || g.PacketID == id {
		t.Errorf("%q, dup %v, id %d after %d", g.payload, g.Dup, g.PacketID, id)
	}
}

func Test_v311_MQTT_4_3_3_2_Wire(t *testing.T) { // QoS 2 from a device: PUBREC until PUBREL, PUBCOMP, and then the id is new
	t.Parallel()
	r := start(t)
	w := r.clean311("w")
	w.takes(2, "t")
	p := r.clean311("p")
	for _, payload := range []string{"one", "two"} {
		p.says(publish311(pubQoS2, "t", 5, payload), pubrec(5))
		p.says(publish311(pubQoS2|pubDup, "t", 5, payload), pubrec(5))
		p.says(publish311(pubQoS2, "t", 5, payload), pubrec(5))
		p.says(pubrel(5), pubcomp(5))
		w.gets("t", payload)
	}
	w.silent()
}

func Test_v311_MQTT_4_5_0_1_Wire(t *testing.T) { // a message is given to every session that matches: live or away, on either loop
	t.Parallel()
	r := start(t)
	var all []*client
	for shard := range 2 {
		for i, id := range r.ids("s", shard, 4) {
			c := r.device311(id, 0, accepted311)
			c.takes(2, []string{"t/#", "t/x", "+/x", "#"}[i])
			if i%2 == 0 {
				c.cut()
			}
			all = append(all, c)
		}
	}
	r.left(4)
	p := r.clean311("p")
	p.gives(pubQoS2, "t/x", "x")
	r.waits(4)
	for i, c := range all {
		if i%2 == 0 {
			c = r.device311(r.ids("s", i/4, 4)[i%4], 0, accepted311Present)
		}
		if g := c.gets("t/x", "x"); g.QoS != 2 {
			t.Errorf("QoS %d", g.QoS)
		}
		c.silent()
	}
}

func Test_v311_MQTT_4_8_0_1(t *testing.T) { // what is against the protocol ends the connection it came on, and no other
	t.Parallel()
	r := start(t)
	other := r.clean311("other")
	other.takes(0, "t")
	r.shutsOne(map[string]string{
		"packet type 0": "\x00\x00", "packet type 15": "\xf0\x00", "CONNACK": "\x20\x02\x00\x00", "SUBACK": suback(1, "\x00"), "UNSUBACK": unsuback(1),
		"PINGRESP": "\xd0\x00", "PUBACK with a body": "\x40\x03\x00\x01\x00", "PUBACK cut short": "\x40\x01\x00", "PUBREL cut short": "\x62\x01\x00",
		"PUBREC with a body": "\x50\x03\x00\x01\x00", "DISCONNECT with a body": "\xe0\x01\x00", "PINGREQ with a body": "\xc0\x01\x00",
		"empty topic": publish311(0, "", 0, "x"), "length of five bytes": "\x30\xff\xff\xff\xff\x01",
	})
	for what, wrong := range map[string]func(id uint16) string{"PUBACK": puback, "PUBCOMP": pubcomp} { // for a message of QoS 2
		c := r.clean311("c")
		c.takes(2, "q")
		other.gives(pubQoS2, "q", "x")
		c.write([]byte(wrong(c.expect(mqtt.TypePublish).PacketID)))
		c.shut(what)
	}
	c := r.clean311("c")
	c.takes(1, "q")
	other.gives(pubQoS1, "q", "x")
	c.write([]byte(pubrec(c.expect(mqtt.TypePublish).PacketID)))
	c.shut("PUBREC for a message of QoS 1")
	other.says(publish311(0, "t", 0, "x"), publish311(0, "t", 0, "x"))
}

// shutsOne is shuts beside others.
func (r *rig) shutsOne(packets map[string]string) {
	r.t.Helper()
	for what, p := range packets {
		c := r.clean311("c")
		c.write([]byte(p))
		c.shut(what)
	}
}

func Test_v311_MQTT_4_8_0_2(t *testing.T) { // what cannot be held is not left out in silence: the connection is closed
	t.Parallel()
	r := start(t)
	c := r.clean311("c")
	for id := uint16(1); id <= receiveMaxV3; id++ {
		c.write([]byte(publish311(pubQoS2, "t", id, "x")))
	}
	for id := uint16(1); id <= receiveMaxV3; id++ {
		c.answers(pubrec(id))
	}
	c.silent()
	c.write([]byte(publish311(pubQoS2, "t", receiveMaxV3+1, "x")))
	c.shut("one more than is held")
}
