package gateway

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Chapter 3.3 of MQTT 3.1.1 without retained messages: flags, topics, answers.

func Test_v311_MQTT_3_3_1_1_Wire(t *testing.T) { // what is sent again has DUP, once for every time but the first
	t.Parallel()
	r := start(t)
	c := r.device311("c", 0, accepted311)
	c.takes(2, "t")
	p := r.clean311("p")
	p.gives(pubQoS1, "t", "one")
	p.gives(pubQoS2, "t", "two")
	first := []string{string(c.packet()), string(c.packet())}
	if first[0][0] != 0x32 || first[1][0] != 0x34 {
		t.Fatalf("got %q", first)
	}
	for range 3 {
		c.cut()
		c = r.device311("c", 0, accepted311Present)
		c.answers("\x3a"+first[0][1:], "\x3c"+first[1][1:])
		c.silent()
	}
}

func Test_v311_MQTT_3_3_1_2(t *testing.T) { // QoS 0 is never a duplicate: neither sent as one nor taken
	t.Parallel()
	r := start(t, func(c *Config) { c.Session.QueueQoS0 = true })
	c := r.device311("c", 0, accepted311)
	c.takes(2, "t")
	c.cut()
	r.left(0)
	p := r.clean311("p")
	p.gives(0, "t", "kept")
	c = r.device311("c", 0, accepted311Present)
	c.answers(publish311(0, "t", 0, "kept"))
	p.write([]byte(publish311(pubDup, "t", 0, "x")))
	p.shut("DUP with QoS 0")
	c.silent()
}

func Test_v311_MQTT_3_3_1_3(t *testing.T) { // DUP is not handed on
	t.Parallel()
	r := start(t)
	watch := r.across("watch")
	for _, w := range watch {
		w.takes(2, "t")
	}
	p := r.clean311("p")
	p.says(publish311(pubDup|pubQoS1, "t", 1, "one"), puback(1))
	p.says(publish311(pubDup|pubQoS2, "t", 2, "two"), pubrec(2))
	for _, w := range watch {
		if a, b := w.packet(), w.packet(); a[0] != 0x32 || b[0] != 0x34 {
			t.Errorf("got %q, %q", a, b)
		}
	}
}

func Test_v311_MQTT_3_3_1_4(t *testing.T) { // QoS 3 closes the connection
	t.Parallel()
	r := start(t)
	for _, flags := range []byte{0x06, 0x07, 0x0E, 0x0F} {
		c := r.clean311("c")
		c.write([]byte(publish311(flags, "t", 1, "x")))
		c.shut("QoS 3")
	}
}

func Test_v311_MQTT_3_3_2_1(t *testing.T) { // the topic comes first, and is UTF-8
	t.Parallel()
	r := start(t)
	c := r.clean311("c")
	c.takes(0, "é/t")
	c.says("\x30\x08\x00\x04\xc3\xa9/t\x00\x01", "\x30\x08\x00\x04\xc3\xa9/t\x00\x01")
	for what, p := range map[string]string{
		"nothing": "\x30\x00", "half a length": "\x30\x01\x00", "topic cut short": "\x30\x03\x00\x05t", "no UTF-8": publish311(0, "\xff", 0, "x"),
	} {
		c := r.clean311("c2")
		c.write([]byte(p))
		c.shut(what)
	}
}

func Test_v311_MQTT_3_3_2_2(t *testing.T) { t.Parallel(); wildcardInTopic(t) } // no wildcards in a topic name
func Test_v311_MQTT_4_7_1_1(t *testing.T) { t.Parallel(); wildcardInTopic(t) }

func wildcardInTopic(t *testing.T) {
	t.Helper()
	r := start(t)
	w := r.clean311("w")
	w.takes(0, "#")
	for _, topic := range []string{"#", "+", "a/+", "+/a", "a/#", "a+", "#a", "a/b#/c"} {
		for _, flags := range []byte{0, pubQoS1 | pubRetain, pubQoS2} {
			c := r.clean311("c")
			c.write([]byte(publish311(flags, topic, 1, "x")))
			c.shut(topic)
		}
		c := r.open(mqtt.V311, r.mqtt)
		c.write([]byte(connect311(flagClean|flagWill, str("c")+str(topic)+str("x"))))
		if p := c.packet(); p != nil && p[3] == 0 {
			t.Errorf("a will on %q is taken", topic)
		}
	}
	w.silent()
}

func Test_v311_MQTT_3_3_2_3(t *testing.T) { // what is sent has the topic it was published on, which the filter matches
	t.Parallel()
	r := start(t)
	nc := r.nats()
	watch := r.across("w")
	for _, w := range watch {
		w.takes(1, "a/+/c")
	}
	p := r.clean311("p")
	topics := []string{"a/b/c", "a//c", "a/B/c", "a/b c/c"}
	for _, topic := range topics {
		p.gives(pubQoS1, topic, "device")
		p.gives(pubQoS1, topic+"/d", "other")
	}
	for _, w := range watch {
		for _, topic := range topics {
			w.gets(topic, "device")
		}
	}
	if err := nc.Publish("a.n.c", []byte("nats")); err != nil {
		t.Fatal(err)
	}
	for _, w := range watch {
		w.gets("a/n/c", "nats")
		w.silent()
	}
}

func Test_v311_MQTT_3_3_4_1(t *testing.T) { // QoS 0: no answer, 1: PUBACK, 2: PUBREC
	t.Parallel()
	r := start(t)
	c := r.clean311("c")
	c.says(publish311(0, "t", 0, "x")+"\xc0\x00", "\xd0\x00")
	c.says(publish311(pubQoS1, "t", 9, "x"), puback(9))
	c.says(publish311(pubQoS2, "t", 9, "x"), pubrec(9))
	c.silent()
	c.says(publish311(pubQoS1, "t", 10, "")+publish311(pubQoS2, "t", 11, ""), puback(10), pubrec(11))
}

func Test_v311_MQTT_3_3_5_1_Wire(t *testing.T) { // overlapping filters: delivered with the highest quality of them
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	for _, w := range r.across("w") {
		w.takes(1, "a/b")
		w.takes(2, "a/+")
		w.takes(0, "#")
		for qos, flags := range []byte{0, pubQoS1, pubQoS2} {
			p.gives(flags, "a/b", "x")
			if g := w.gets("a/b", "x"); int(g.QoS) != qos {
				t.Errorf("QoS %d of %d", g.QoS, qos)
			}
			w.silent()
		}
		w.cut()
	}
}

func Test_v311_MQTT_3_3_5_2(t *testing.T) { // who may not publish there is acknowledged all the same, and nobody gets it
	t.Parallel()
	r := start(t)
	back := r.onNATS("$JS.API.INFO")
	all := r.onNATS("secret")
	w := r.clean311("w")
	w.takes(2, "$JS/#")
	w.takes(2, "secret")
	c := r.clean311("c")
	for _, topic := range []string{"$JS/API/INFO", "$SYS/x", "$share/g/x"} {
		for _, flags := range []byte{0, pubQoS1, pubQoS2, pubRetain | pubQoS1} {
			c.gives(flags, topic, "x")
		}
	}
	c.gives(0, "secret", "end")
	w.answers(publish311(0, "secret", 0, "end"))
	all.gets("secret", "end")
	if n, _, _ := back.sub.Pending(); n != 0 || r.retainedTopics() != 0 {
		t.Errorf("%d messages at NATS, %d retained", n, r.retainedTopics())
	}
	w.silent()
}

// TestLargestMessage: a remaining length of one to four bytes, both ways.
func TestLargestMessage(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Limits.PacketBytesMax = 4 << 20 })
	c := r.clean311("c")
	c.takes(0, "t")
	for _, n := range []int{127, 128, 16383, 16384} { // remaining length
		p := publish311(0, "t", 0, strings.Repeat("x", n-3))
		c.says(p, p)
	}
	p := publish311(0, "t", 0, strings.Repeat("x", 900_000))
	c.says(p, p)
	// The length may be longer than it need be: 3.1.1 does not forbid it.
	c.says("\x30\x85\x80\x80\x00\x00\x01txy", "\x30\x05\x00\x01txy")
	c.write([]byte("\x30\x85\x80\x80\x80\x00\x00\x01txy"))
	c.shut("a length of five bytes")
}
