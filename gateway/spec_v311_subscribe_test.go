package gateway

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Chapters 3.8 to 3.11 of MQTT 3.1.1: SUBSCRIBE and UNSUBSCRIBE.

// shuts sends each as a device with a session; it ends the connection without an answer.
func (r *rig) shuts(packets map[string]string) {
	r.t.Helper()
	for what, p := range packets {
		c := r.clean311("c")
		c.write([]byte(p))
		c.shut(what)
	}
	r.eventually("no filter is left", func() bool { return r.sum().filters == 0 })
}

func Test_v311_MQTT_3_8_3_1(t *testing.T) { // filters are UTF-8, in every place of the list
	t.Parallel()
	r := start(t)
	bad := map[string]string{}
	for name, text := range badText {
		bad[name] = subscribe311(1, "a"+text, "\x00")
		bad[name+", second"] = subscribe311(1, "a", "\x00", "b"+text, "\x00")
	}
	r.shuts(bad)
	c := r.clean311("c")
	c.takes(0, "é/\ufeff/+")
}

func Test_v311_MQTT_3_8_3_2(t *testing.T) { // wildcards are supported, so that there is nothing to refuse
	t.Parallel()
	r := start(t)
	c := r.clean311("c")
	c.says(subscribe311(1, "#", "\x00", "+", "\x01", "a/+/b", "\x02", "a/#", "\x00", "/+", "\x01", "+/+/#", "\x02"), suback(1, "\x00\x01\x02\x00\x01\x02"))
}

func Test_v311_MQTT_3_8_3_3(t *testing.T) { // a SUBSCRIBE has at least one filter, and each its QoS
	t.Parallel()
	r := start(t)
	r.shuts(map[string]string{
		"no filter":            fixed(0x82, id16(1)),
		"no id":                fixed(0x82, ""),
		"filter without QoS":   fixed(0x82, id16(1)+str("a")),
		"second without QoS":   fixed(0x82, id16(1)+str("a")+"\x00"+str("b")),
		"filter cut short":     fixed(0x82, id16(1)+"\x00\x05a\x00"),
		"half a length behind": fixed(0x82, id16(1)+str("a")+"\x00\x00"),
	})
}

func Test_v311_MQTT_3_8_3_4(t *testing.T) { // [MQTT-3-8.3-4]: reserved bits and QoS 3
	t.Parallel()
	r := start(t)
	bad := map[string]string{}
	for _, qos := range []byte{3, 4, 8, 0x10, 0x20, 0x40, 0x80, 0x81, 0xFF} {
		bad[fmt.Sprint("QoS byte ", qos)] = subscribe311(1, "a", string([]byte{qos}))
		bad[fmt.Sprint("second QoS byte ", qos)] = subscribe311(1, "a", "\x00", "b", string([]byte{qos}))
	}
	r.shuts(bad)
}

func Test_v311_MQTT_3_8_4_1_Wire(t *testing.T) { t.Parallel(); answered(t) } // SUBSCRIBE is answered with SUBACK
func Test_v311_MQTT_3_8_4_2_Wire(t *testing.T) { t.Parallel(); answered(t) } // with its packet identifier
func Test_v311_MQTT_3_8_4_5_Wire(t *testing.T) { t.Parallel(); answered(t) } // one return code for each filter
func Test_v311_MQTT_3_9_3_1_Wire(t *testing.T) { t.Parallel(); answered(t) } // in their order
func Test_v311_MQTT_3_9_3_2(t *testing.T)      { t.Parallel(); answered(t) } // of 0, 1, 2 and 0x80

func answered(t *testing.T) {
	t.Helper()
	r := start(t, func(c *Config) { c.Limits.SubscriptionsMax, c.MQTT.TopicLevelsMax = 4, 3 })
	c := r.clean311("c")
	c.says(subscribe311(0x0102, "a", "\x00"), suback(0x0102, "\x00"))
	c.says(subscribe311(65535, "b", "\x02", "a/b/c/d", "\x01", "c", "\x01", "d", "\x00", "e", "\x02", "b", "\x00"), suback(65535, "\x02\x80\x01\x00\x80\x00"))
	c.says(subscribe311(7, "e", "\x02"), suback(7, "\x80"))
	c.silent()
}

func Test_v311_MQTT_3_8_4_3_Wire(t *testing.T) { // the same filter again: new QoS, retained again, and no message missed
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	p.gives(pubRetain|pubQoS2, "t", "kept")
	c := r.clean311("c")
	for _, qos := range []byte{1, 0, 2, 2, 1} {
		c.takes(qos, "t")
		if g := c.gets("t", "kept"); !g.Retain || g.QoS != qos {
			t.Errorf("retained at QoS %d, want %d", g.QoS, qos)
		}
		p.gives(pubQoS2, "t", "live")
		if g := c.gets("t", "live"); g.QoS != qos {
			t.Errorf("live at QoS %d, want %d", g.QoS, qos)
		}
		c.silent()
	}
	const n = 300
	sent := make(chan bool)
	go func() {
		defer close(sent)
		for i := range n {
			_ = p.tryWrite([]byte(publish311(pubQoS1, "t", uint16(i+1), fmt.Sprint(i))))
		}
	}()
	next := 0
	for subscribes := 0; next < n; {
		if subscribes < 50 {
			subscribes++
			c.write([]byte(subscribe311(99, "t", "\x01")))
		}
		switch g := c.must(); {
		case g.Type == mqtt.TypeSuback, g.Retain:
			if g.Type == mqtt.TypePublish {
				c.write([]byte(puback(g.PacketID)))
			}
		case g.payload != fmt.Sprint(next):
			t.Fatalf("%q came, want %d", g.payload, next)
		default:
			c.write([]byte(puback(g.PacketID)))
			next++
		}
	}
	<-sent
	if s := r.sum(); s.filters != 1 {
		t.Errorf("%d filters", s.filters)
	}
}

func Test_v311_MQTT_3_8_4_4_Wire(t *testing.T) { // many filters are as many SUBSCRIBEs, but for the one SUBACK
	t.Parallel()
	r := start(t)
	c := r.clean311("c")
	c.says(subscribe311(5, "a", "\x00", "b", "\x01", "a", "\x02"), suback(5, "\x00\x01\x02")) // the last "a" replaces the first
	p := r.clean311("p")
	p.gives(pubQoS2, "a", "x")
	p.gives(pubQoS2, "b", "x")
	if a, b := c.gets("a", "x"), c.gets("b", "x"); a.QoS != 2 || b.QoS != 1 {
		t.Errorf("QoS %d and %d", a.QoS, b.QoS)
	}
	c.silent()
}

func Test_v311_MQTT_3_8_4_6_Wire(t *testing.T) { // the lower of the QoS published and the QoS granted
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	for _, w := range r.across("w") {
		for granted := range byte(3) {
			w.takes(granted, "t")
			for qos, flags := range []byte{0, pubQoS1, pubQoS2} {
				p.gives(flags, "t", "x")
				if g := w.gets("t", "x"); g.QoS != min(byte(qos), granted) {
					t.Errorf("QoS %d for %d of %d", g.QoS, granted, qos)
				}
			}
		}
	}
}

func Test_v311_MQTT_3_10_3_1(t *testing.T) { // filters are UTF-8, packed one after the other
	t.Parallel()
	r := start(t)
	bad := map[string]string{}
	for name, text := range badText {
		bad[name] = unsubscribe311(1, "a"+text)
		bad[name+", second"] = unsubscribe311(1, "a", "b"+text)
	}
	bad["cut short"] = fixed(0xa2, id16(1)+"\x00\x05a")
	bad["a byte between"] = fixed(0xa2, id16(1)+str("a")+"\x00"+str("b"))
	r.shuts(bad)
}

func Test_v311_MQTT_3_10_3_2(t *testing.T) { // at least one
	t.Parallel()
	r := start(t)
	r.shuts(map[string]string{"no filter": fixed(0xa2, id16(1)), "no id": fixed(0xa2, "")})
}

func Test_v311_MQTT_3_10_4_1_Wire(t *testing.T) { // compared character by character: a filter that only matches is another one
	t.Parallel()
	r := start(t)
	c := r.clean311("c")
	c.says(subscribe311(1, "a/+", "\x00", "A/b", "\x00"), suback(1, "\x00\x00"))
	c.says(unsubscribe311(2, "a/b", "a/#", "#", "+/+", "a/b", "a/+/", "A/B"), unsuback(2))
	c.says(publish311(0, "a/b", 0, "x"), publish311(0, "a/b", 0, "x"))
	c.says(unsubscribe311(3, "a/+"), unsuback(3))
	c.says(publish311(0, "a/b", 0, "x")+publish311(0, "A/b", 0, "x"), publish311(0, "A/b", 0, "x"))
	c.silent()
}

func Test_v311_MQTT_3_10_4_2_Wire(t *testing.T) { // after UNSUBACK nothing new comes, live or retained
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	for i := range 50 {
		p.gives(pubRetain|pubQoS1, fmt.Sprint("t/", i), "kept")
	}
	// From the start, and while the retained messages are on their way.
	for round := range 10 {
		for shard := range 2 {
			c := r.clean311(r.ids("c", shard, 1)[0])
			filter := []string{"t/#", fmt.Sprint("+/", round)}[round%2]
			c.write([]byte(subscribe311(1, filter, "\x02") + unsubscribe311(2, filter)))
			gone := false
			for answers := 0; answers < 2; {
				switch g := c.must(); {
				case g.Type != mqtt.TypePublish:
					answers++
					gone = gone || g.Type == mqtt.TypeUnsuback
				case gone:
					t.Fatalf("%s after UNSUBACK", g.topic)
				}
			}
			p.gives(pubQoS1, fmt.Sprint("t/", round), "live")
			c.silent()
			c.silent() // a replay goes on in the next tick
			c.cut()
		}
	}
}

func Test_v311_MQTT_3_10_4_3_Wire(t *testing.T) { // what was begun is finished, also after a reconnect
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	c := r.device311("c", 0, accepted311)
	c.takes(2, "t")
	p.gives(pubQoS1, "t", "one")
	p.gives(pubQoS2, "t", "two")
	one, two := c.expect(mqtt.TypePublish), c.expect(mqtt.TypePublish)
	c.says(unsubscribe311(9, "t"), unsuback(9))
	c.says(pubrec(two.PacketID), pubrel(two.PacketID))
	c.cut()
	c = r.device311("c", 0, accepted311Present)
	c.answers(publish311(pubDup|pubQoS1, "t", one.PacketID, "one"), pubrel(two.PacketID))
	c.says(puback(one.PacketID) + pubcomp(two.PacketID))
	c.silent()
}

func Test_v311_MQTT_3_10_4_4_Wire(t *testing.T) { t.Parallel(); unsubscribed(t) } // UNSUBACK with the id of UNSUBSCRIBE
func Test_v311_MQTT_3_10_4_5_Wire(t *testing.T) { t.Parallel(); unsubscribed(t) } // also when there was nothing to delete
func Test_v311_MQTT_3_10_4_6_Wire(t *testing.T) { t.Parallel(); unsubscribed(t) } // one for all filters

func unsubscribed(t *testing.T) {
	t.Helper()
	r := start(t)
	c := r.clean311("c")
	c.says(unsubscribe311(65535, "never"), unsuback(65535))
	c.says(unsubscribe311(256, "never/#", "+", "nor/this"), unsuback(256))
	c.says(subscribe311(1, "a", "\x00", "b", "\x00", "c", "\x00"), suback(1, "\x00\x00\x00"))
	c.says(unsubscribe311(2, "a", "never", "c"), unsuback(2))
	for _, topic := range []string{"a", "c"} {
		c.says(publish311(0, topic, 0, "x"))
	}
	c.says(publish311(0, "b", 0, "x"), publish311(0, "b", 0, "x"))
	c.silent()
}

func Test_v311_MQTT_3_10_4_6_Many(t *testing.T) { // all of them or none: UNSUBACK can't say that some are left
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.FiltersMax = 3 })
	c := r.device311("c", 0, accepted311)
	for i, filter := range []string{"a", "b", "c", "d"} {
		c.says(subscribe311(uint16(i+1), filter, "\x00"), suback(uint16(i+1), "\x00"))
	}
	c.write([]byte(unsubscribe311(9, "a", "b", "c", "d")))
	c.shut("UNSUBSCRIBE of four")
	c = r.device311("c", 0, accepted311Present)
	c.says(publish311(0, "d", 0, "x"), publish311(0, "d", 0, "x"))
	c.says(unsubscribe311(9, "b", "c", "d"), unsuback(9))
	c.says(publish311(0, "d", 0, "x")+publish311(0, "a", 0, "x"), publish311(0, "a", 0, "x"))
}
