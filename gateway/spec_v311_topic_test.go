package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// Chapters 4.7, 6 and 7 of MQTT 3.1.1: topics, WebSocket, transports.

// badFilters sends each filter alone, behind a good one, and in UNSUBSCRIBE; the connection ends and nothing is subscribed.
func badFilters(t *testing.T, filters ...string) {
	t.Helper()
	r := start(t)
	bad := map[string]string{}
	for _, f := range filters {
		bad[f] = subscribe311(1, f, "\x00")
		bad[f+", second"] = subscribe311(1, "a", "\x00", f, "\x00")
		bad["UNSUBSCRIBE "+f] = unsubscribe311(1, f)
	}
	r.shuts(bad)
}

func Test_v311_MQTT_4_7_1_2_Wire(t *testing.T) { // # stands alone in the last level
	t.Parallel()
	badFilters(t, "a#", "a/b#", "a/#/b", "#/", "#/a", "##", "/##", "+#", "a/#b")
}

func Test_v311_MQTT_4_7_1_3_Wire(t *testing.T) { // + stands alone in its level
	t.Parallel()
	badFilters(t, "a+", "+a", "a/b+", "a/+b/c", "++", "+/++", "/+a")
}

func Test_v311_MQTT_4_7_2_1_Wire(t *testing.T) { // topics that begin with $ are kept out of leading wildcards, live and retained
	t.Parallel()
	r := start(t)
	nc := r.nats()
	watch := r.across("w")
	for _, w := range watch {
		for _, filter := range []string{"#", "+/#", "+/x", "+", "/#"} {
			w.takes(2, filter)
		}
	}
	for _, p := range r.across("p") {
		for _, topic := range []string{"$", "$x", "$SYS/x", "$foo/x", "$/x", "$SYS"} {
			p.gives(pubQoS1, topic, "device")
			p.gives(pubRetain, topic, "device")
		}
	}
	for _, subject := range []string{"$SYS.x", "$foo.x", "$x"} {
		if err := nc.Publish(subject, []byte("nats")); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	p := r.clean311("end")
	for _, topic := range []string{"x/$x", "end"} { // $ further on is a character like others
		p.gives(pubQoS1, topic, topic)
	}
	if err := nc.Publish("nats", []byte("end")); err != nil {
		t.Fatal(err)
	}
	for _, w := range watch {
		w.gets("x/$x", "x/$x")
		w.gets("end", "end")
		w.gets("nats", "end")
		w.silent()
	}
	late := r.clean311("late")
	late.takes(0, "#")
	late.silent()
}

func Test_v311_MQTT_4_7_3_1(t *testing.T) { // topics and filters have at least one character
	t.Parallel()
	badFilters(t, "")
	r := start(t)
	for _, flags := range []byte{0, pubQoS1, pubQoS2, pubRetain} {
		c := r.clean311("c")
		c.write([]byte(publish311(flags, "", 1, "x")))
		c.shut("empty topic")
	}
	c := r.open(mqtt.V311, r.mqtt)
	c.write([]byte(connect311(flagClean|flagWill, str("c")+str("")+str("x"))))
	if p := c.packet(); p != nil && p[3] == 0 {
		t.Error("a will without a topic is taken")
	}
	one := r.clean311("one") // and one is enough
	for _, topic := range []string{"/", "a", " "} {
		one.takes(0, topic)
		one.says(publish311(0, topic, 0, "x"), publish311(0, topic, 0, "x"))
	}
}

func Test_v311_MQTT_4_7_3_2(t *testing.T) { // nor U+0000
	t.Parallel()
	badFilters(t, "\x00", "a/\x00", "a\x00/b", "\x00/#")
	r := start(t)
	for _, topic := range []string{"\x00", "a/\x00", "\x00a"} {
		c := r.clean311("c")
		c.write([]byte(publish311(0, topic, 0, "x")))
		c.shut("U+0000 in a topic")
	}
}

func Test_v311_MQTT_4_7_3_4_Wire(t *testing.T) { // nothing is normalized: each of these is another topic
	t.Parallel()
	r := start(t)
	topics := []string{
		"t/a", "t/A", "t/a ", "t/ a", "t//a", "t/a/", "/t/a", "t/á", "t/a\u0301", "t/ａ", "t/%61", "t/./a", "t/../t/a", "t/\u200ba", "t/a\ufeff", "T/a",
		"t.a", "t*", "t>", "t/>", "t/*", "t/\u00e4", "t/a\u0308", "t/\ufffd", "t/\u0001", "t/\U0001F600",
	}
	var all []*client
	for i, topic := range topics {
		c := r.clean311(r.ids(fmt.Sprint("s", i), i%2, 1)[0])
		c.takes(0, topic)
		all = append(all, c)
	}
	p := r.clean311("p")
	for _, topic := range topics {
		p.gives(0, topic, topic)
	}
	for i, c := range all {
		c.answers(publish311(0, topics[i], 0, topics[i]))
		c.silent()
	}
}

func Test_v311_MQTT_6_0_0_1(t *testing.T) { // MQTT comes in binary frames, ours too; another kind of frame ends it
	t.Parallel()
	r := start(t)
	c := r.openWS(mqtt.V311, "/mqtt", "mqtt")
	c.write([]byte(connect311(flagClean, str("c"))))
	for len(c.raw) < 2 {
		if err := c.fill(); err != nil {
			t.Fatal(err)
		}
	}
	if c.raw[0] != 0x82 { // FIN and opcode 2
		t.Errorf("CONNACK in a frame that begins with %#x", c.raw[0])
	}
	c.answers(accepted311)
	for name, first := range map[string]string{"before CONNECT": "", "after": connect311(flagClean, str("d"))} {
		c := r.openWS(mqtt.V311, "/mqtt", "mqtt")
		if first != "" {
			c.says(first, accepted311)
		}
		if _, err := c.conn.Write(ws.AppendMasked(nil, ws.OpText, []byte(publish311(0, "t", 0, "x")), [4]byte{1, 2, 3, 4})); err != nil {
			t.Fatal(err)
		}
		c.shut("text frame " + name)
	}
}

func Test_v311_MQTT_6_0_0_2(t *testing.T) { // packets and frames do not line up: many in one, one in many, one byte a frame
	t.Parallel()
	r := start(t, memoryOnly) // PUBREL does not wait for PUBREC
	stream := connect311(flagClean, str("c")) + subscribe311(1, "t", "\x00") + publish311(pubQoS1, "u", 2, "x") + publish311(pubQoS2, "u", 3, "x") + pubrel(3)
	for _, size := range []int{1, 2, 3, 7, 20, len(stream)} {
		c := r.openWS(mqtt.V311, "/mqtt", "mqtt")
		var frames []byte
		for at := 0; at < len(stream); at += size {
			frames = ws.AppendMasked(frames, ws.OpBinary, []byte(stream[at:min(at+size, len(stream))]), [4]byte{5, 6, 7, 8})
		}
		frames = ws.AppendMasked(frames, ws.OpBinary, nil, [4]byte{})
		if _, err := c.conn.Write(frames); err != nil {
			t.Fatal(err)
		}
		c.answers(accepted311)
		got := map[string]bool{}
		for range 4 { // SUBACK waits for NATS
			got[string(c.packet())] = true
		}
		if !got[suback(1, "\x00")] || !got[puback(2)] || !got[pubrec(3)] || !got[pubcomp(3)] {
			t.Errorf("%d bytes a frame: %v", size, got)
		}
		c.says("\xe0\x00")
		c.shut("DISCONNECT")
	}
}

func Test_v311_MQTT_6_0_0_3(t *testing.T) { t.Parallel(); subprotocol(t) } // the client offers "mqtt"
func Test_v311_MQTT_6_0_0_4(t *testing.T) { t.Parallel(); subprotocol(t) } // and the server picks it

func subprotocol(t *testing.T) {
	t.Helper()
	r := start(t)
	for _, offer := range []string{"mqtt", "chat, mqtt", "mqtt, chat", "tidegate.json.v1, mqtt"} {
		c := r.open(mqtt.V311, r.ws)
		c.framed = true
		if _, err := c.conn.Write(ws.AppendHandshake(nil, r.ws, "/mqtt", offer, testKey)); err != nil {
			t.Fatal(err)
		}
		if status := c.handshaken("mqtt"); status != 101 { // which fails unless "mqtt" is picked
			t.Errorf("%q: status %d", offer, status)
		}
		c.says(connect311(flagClean, str("c")), accepted311)
	}
	for _, offer := range []string{"", "chat"} {
		c := r.open(mqtt.V311, r.ws)
		c.framed = true
		if _, err := c.conn.Write(ws.AppendHandshake(nil, r.ws, "/mqtt", offer, testKey)); err != nil {
			t.Fatal(err)
		}
		if status := c.handshaken(""); status == 101 {
			t.Errorf("%q is served", offer)
		}
	}
}

func Test_v311_MQTT_7_1_1_1(t *testing.T) { // ordered, lossless streams both ways: TCP, and WebSocket on it, also on one port
	t.Parallel()
	r := start(t)
	big := strings.Repeat("x", 200_000)
	for what, open := range map[string]func() *client{
		"TCP": func() *client { return r.open(mqtt.V311, r.mqtt) }, "WebSocket": func() *client { return r.openWS(mqtt.V311, "/mqtt", "mqtt") },
		"TCP on the port of both": func() *client { return r.open(mqtt.V311, r.any) },
	} {
		c := open()
		c.says(connect311(flagClean, str("c")), accepted311)
		c.takes(0, "t")
		for i := range 10 {
			p := publish311(0, "t", 0, fmt.Sprint(what, i, big))
			c.says(p, p)
		}
		c.cut()
	}
}
