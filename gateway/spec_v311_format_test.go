package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Chapters 1 and 2 of MQTT 3.1.1: strings, flags, packet identifiers.

// textPlaces are the packets of a connected device that carry text, with the text given.
var textPlaces = map[string]func(text string) string{
	"PUBLISH":     func(text string) string { return publish311(0, text, 0, "x") },
	"SUBSCRIBE":   func(text string) string { return subscribe311(1, text, "\x00") },
	"UNSUBSCRIBE": func(text string) string { return unsubscribe311(1, text) },
}

// connectTexts are CONNECTs with a text in each of its places.
var connectTexts = map[string]func(text string) string{
	"client id":  func(text string) string { return connect311(flagClean, str(text)) },
	"will topic": func(text string) string { return connect311(flagClean|flagWill, str("w")+str(text)+str("")) },
	"user name":  func(text string) string { return connect311(flagClean|flagUserName, str("u")+str(text)) },
}

// refusesText sends the text in every place there is; each ends the connection without an answer.
func refusesText(t *testing.T, text string) {
	t.Helper()
	r := start(t)
	for place, make := range connectTexts {
		c := r.open(mqtt.V311, r.mqtt)
		c.write([]byte(make(text)))
		c.shut(place)
	}
	for place, make := range textPlaces {
		c := r.clean311("c")
		c.write([]byte(make(text)))
		c.shut(place)
	}
	if n := r.sum().messagesIn[0]; n != 0 {
		t.Errorf("%d messages were taken", n)
	}
}

func Test_v311_MQTT_1_5_3_1(t *testing.T) { // ill-formed UTF-8 closes the connection, surrogates included
	t.Parallel()
	for name, text := range badText {
		if name != "NUL" {
			t.Run(name, func(t *testing.T) { refusesText(t, "a"+text) })
		}
	}
}

func Test_v311_MQTT_1_5_3_2(t *testing.T) { // U+0000 closes the connection
	t.Parallel()
	for _, text := range []string{"\x00", "a\x00", "\x00a"} {
		refusesText(t, text)
	}
}

func Test_v311_MQTT_1_5_3_3(t *testing.T) { // a byte order mark is a character like others, wherever it is
	t.Parallel()
	r := start(t)
	back := r.onNATS("bom.>")
	c := r.clean311("\ufeffid")
	d := r.clean311("id") // another client
	topics := []string{"bom/\ufeff", "bom/\ufeffa", "bom/a\ufeffb", "bom/a\ufeff"}
	for _, topic := range append(topics, "bom/", "bom/a", "bom/ab") {
		c.takes(0, topic)
	}
	for _, topic := range topics {
		c.says(publish311(0, topic, 0, "x"), publish311(0, topic, 0, "x"))
		back.gets(strings.ReplaceAll(topic, "/", "."), "x")
	}
	c.silent()
	d.silent()
}

func Test_v311_MQTT_2_2_2_1(t *testing.T) { // what is reserved in the first byte is as the table says, in all we send
	t.Parallel()
	r := start(t)
	c := r.open(mqtt.V311, r.mqtt)
	c.says(connect311(flagClean, str("c")), "\x20\x02\x00\x00")
	c.says(subscribe311(1, "t", "\x02"), "\x90\x03\x00\x01\x02")
	c.says(publish311(0, "t", 0, ""), "\x30\x03\x00\x01t")
	c.says(publish311(pubQoS1, "u", 2, ""), "\x40\x02\x00\x02")
	c.says(publish311(pubQoS2, "u", 3, ""), "\x50\x02\x00\x03")
	c.says("\x62\x02\x00\x03", "\x70\x02\x00\x03")
	p := r.clean311("p")
	p.gives(pubQoS2, "t", "")
	g := c.packet()
	if len(g) != 7 || g[0] != 0x34 {
		t.Fatalf("PUBLISH %x", g)
	}
	c.says("\x50\x02"+string(g[5:]), "\x62\x02"+string(g[5:]))
	c.says("\x70\x02" + string(g[5:]))
	c.says(unsubscribe311(4, "t"), "\xb0\x02\x00\x04")
	c.says("\xc0\x00", "\xd0\x00")
}

// flagged are valid packets of a client but for their flags.
var flagged = []struct {
	kind, flags byte
	body        string
}{
	{4, 0, "\x00\x01"}, {5, 0, "\x00\x01"}, {6, 2, "\x00\x01"}, {7, 0, "\x00\x01"},
	{8, 2, "\x00\x01" + "\x00\x01t" + "\x00"}, {10, 2, "\x00\x01" + "\x00\x01t"}, {12, 0, ""}, {14, 0, ""},
}

// refusesFlags sends the packet of a type with every combination of flags but the one that is right.
func refusesFlags(t *testing.T, kinds ...byte) {
	t.Helper()
	r := start(t)
	for _, f := range flagged {
		if !slices.Contains(kinds, f.kind) {
			continue
		}
		for flags := range byte(16) {
			if flags == f.flags {
				continue
			}
			c := r.clean311("c")
			c.write([]byte(fixed(f.kind<<4|flags, f.body)))
			c.shut(fmt.Sprintf("type %d with flags %04b", f.kind, flags))
		}
	}
}

func Test_v311_MQTT_2_2_2_2(t *testing.T) { // invalid flags close the connection
	t.Parallel()
	refusesFlags(t, 4, 5, 7, 12)
	r := start(t)
	for flags := byte(1); flags < 16; flags++ {
		c := r.open(mqtt.V311, r.mqtt)
		c.write([]byte(fixed(0x10|flags, "\x00\x04MQTT\x04\x02\x00\x3c"+str("c"))))
		c.shut(fmt.Sprintf("CONNECT with flags %04b", flags))
	}
}

func Test_v311_MQTT_3_6_1_1(t *testing.T)  { t.Parallel(); refusesFlags(t, 6) }
func Test_v311_MQTT_3_8_1_1(t *testing.T)  { t.Parallel(); refusesFlags(t, 8) }
func Test_v311_MQTT_3_10_1_1(t *testing.T) { t.Parallel(); refusesFlags(t, 10) }

func Test_v311_MQTT_3_14_1_1(t *testing.T) { // DISCONNECT with flags is no goodbye: the will is published
	t.Parallel()
	refusesFlags(t, 14)
	r := start(t)
	w := r.clean311("w")
	w.takes(0, "gone")
	c := r.open(mqtt.V311, r.mqtt)
	c.says(connect311(flagClean|flagWill, str("c")+str("gone")+str("will")), accepted311)
	c.write([]byte("\xe1\x00"))
	c.shut("DISCONNECT with a flag")
	w.answers(publish311(0, "gone", 0, "will"))
}

func Test_v311_MQTT_2_3_1_1(t *testing.T) { // packet identifiers are not 0: not in what we take, and not in what we send
	t.Parallel()
	r := start(t)
	for what, p := range map[string]string{
		"SUBSCRIBE":       subscribe311(0, "t", "\x00"),
		"UNSUBSCRIBE":     unsubscribe311(0, "t"),
		"PUBLISH QoS 1":   publish311(pubQoS1, "t", 0, "x"),
		"PUBLISH QoS 2":   publish311(pubQoS2, "t", 0, "x"),
		"PUBLISH cut off": fixed(0x32, str("t")+"\x01"),
		"PUBACK":          puback(0),
		"PUBREL":          pubrel(0),
	} {
		c := r.clean311("c")
		c.write([]byte(p))
		c.shut(what)
	}
	c := r.clean311("c")
	c.takes(2, "t")
	p := r.clean311("p")
	for _, flags := range []byte{pubQoS1, pubQoS2} {
		p.gives(flags, "t", "x")
		if g := c.packet(); len(g) != 8 || g[5]|g[6] == 0 {
			t.Errorf("PUBLISH %x", g)
		}
	}
}

func Test_v311_MQTT_2_3_1_4_Wire(t *testing.T) { // the ids of messages under way are all different, and one that is done is free again
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.InflightMax = 60000 })
	c := r.clean311("c")
	c.takes(2, "t")
	p := r.clean311("p")
	seen := map[uint16]bool{}
	for i := range 50 {
		p.gives([]byte{pubQoS1, pubQoS2}[i%2], "t", "x")
		g := c.expect(mqtt.TypePublish)
		if seen[g.PacketID] || g.PacketID == 0 {
			t.Fatalf("id %d is in use", g.PacketID)
		}
		seen[g.PacketID] = true
	}
}

func Test_v311_MQTT_2_3_1_5(t *testing.T) { // QoS 0 has no packet identifier: the payload follows the topic
	t.Parallel()
	r := start(t)
	c := r.clean311("c")
	c.takes(2, "t")
	c.says("\x30\x05\x00\x01t\x00\x07", "\x30\x05\x00\x01t\x00\x07")
	c.silent()
}

func Test_v311_MQTT_2_3_1_6(t *testing.T) { // acknowledgements carry the id of their PUBLISH
	t.Parallel()
	r := start(t)
	c := r.clean311("c")
	for _, id := range []uint16{1, 255, 256, 65535, 2} {
		c.says(publish311(pubQoS1, "t", id, "x"), puback(id))
		c.says(publish311(pubQoS2, "t", id, "x"), pubrec(id))
		c.says(pubrel(id), pubcomp(id))
	}
	c.takes(2, "t")
	r.clean311("p").gives(pubQoS2, "t", "x")
	g := c.packet()
	c.says("\x50\x02"+string(g[5:7]), "\x62\x02"+string(g[5:7]))
}

func Test_v311_MQTT_2_3_1_7(t *testing.T) { // so do SUBACK and UNSUBACK
	t.Parallel()
	r := start(t)
	c := r.clean311("c")
	for _, id := range []uint16{65535, 256, 1} {
		c.says(subscribe311(id, "t", "\x01"), suback(id, "\x01"))
		c.says(unsubscribe311(id, "t"), unsuback(id))
	}
}
