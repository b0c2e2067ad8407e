package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK and PINGREQ.

// Test_v5_MQTT_2_2_1_3: a packet id of 0 is a protocol error.
func Test_v5_MQTT_2_2_1_3(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.punishes(publish5(2, "t", 0, "", "x"), mqtt.ProtocolError)
	r.punishes(publish5(4, "t", 0, "", "x"), mqtt.ProtocolError)
	r.punishes(subscribe5(0, "t", 0), mqtt.ProtocolError)
	r.punishes(unsubscribe5(0, "t"), mqtt.ProtocolError)
}

// Test_v5_MQTT_2_2_1_6: SUBACK and UNSUBACK carry the packet id of what they answer, though many are under way.
func Test_v5_MQTT_2_2_1_6(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.connect(mqtt.V5, "c")
	ids := []uint16{1, 65535, 256, 255, 4711}
	for _, packet := range []func(id uint16, filter string) string{
		func(id uint16, filter string) string { return subscribe5(id, filter, 1) }, unsubscribe5,
	} {
		var all strings.Builder
		for _, id := range ids {
			all.WriteString(packet(id, fmt.Sprint("t/", id)))
		}
		c.send(all.String())
		missing := map[uint16]bool{}
		for _, id := range ids {
			missing[id] = true
		}
		for range ids {
			g := c.must()
			if g.Type != mqtt.TypeSuback && g.Type != mqtt.TypeUnsuback || !missing[g.PacketID] {
				t.Errorf("%v %d", g.Type, g.PacketID)
			}
			delete(missing, g.PacketID)
		}
	}
}

func Test_v5_MQTT_3_8_1_1(t *testing.T) {
	t.Parallel()
	flags0010(t, 0x80, u16(1)+block("")+str("t")+"\x00")
}
func Test_v5_MQTT_3_10_1_1(t *testing.T) { t.Parallel(); flags0010(t, 0xA0, u16(1)+block("")+str("t")) }

// Test_v5_MQTT_3_8_3_1: filters are UTF-8 strings.
func Test_v5_MQTT_3_8_3_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, text := range badText {
		r.punishes(subscribe5(1, text, 0), mqtt.MalformedPacket)
		r.punishes(fixed(0x82, u16(1)+block("")+str("right")+"\x00"+str(text)+"\x00"), mqtt.MalformedPacket)
	}
	if s := r.sum(); s.filters != 0 {
		t.Errorf("%d subscriptions", s.filters)
	}
}

// Test_v5_MQTT_3_8_3_2: there is at least one, with its options.
func Test_v5_MQTT_3_8_3_2(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.punishes(fixed(0x82, u16(1)+block("")), mqtt.ProtocolError)
	r.punishes(fixed(0x82, u16(1)+block("")+str("t")), mqtt.MalformedPacket)
	r.punishes(fixed(0x82, u16(1)+block("")+str("t")+"\x00"+str("u")), mqtt.MalformedPacket)
}

// Test_v5_MQTT_3_8_3_3_Wire: No Local keeps a client's own messages from it, not those of others, and not after a reconnect either.
func Test_v5_MQTT_3_8_3_3_Wire(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.connect(mqtt.V5, "c", persistent)
	c.subscribeTo(0, mqtt.Filter{Topic: []byte("t"), QoS: 2, NoLocal: true})
	other := r.connect(mqtt.V5, "other")
	for range 2 {
		for qos := range byte(3) {
			c.publish(qos, "t", "own")
		}
		other.publish(1, "t", "another's")
		c.gets("t", "another's")
		c.disconnect()
		c, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent)
	}
}

// Test_v5_MQTT_3_8_3_3_Retained: what is kept is no exception.
func Test_v5_MQTT_3_8_3_3_Retained(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.connect(mqtt.V5, "c")
	c.publish(1, "kept/own", "own", retained)
	r.connect(mqtt.V5, "other").publish(1, "kept/another's", "another's", retained)
	for _, filter := range []string{"kept/+", "kept/own"} {
		c.subscribeTo(0, mqtt.Filter{Topic: []byte(filter), QoS: 1, NoLocal: true})
		if filter == "kept/+" {
			c.gets("kept/another's", "another's")
		}
		c.ping()
		c.cut()
		c = r.connect(mqtt.V5, "c")
	}
	c.subscribe(1, "kept/own")
	c.gets("kept/own", "own")
}

// Test_v5_MQTT_3_8_3_4_Wire: but not in a shared subscription.
func Test_v5_MQTT_3_8_3_4_Wire(t *testing.T) {
	t.Parallel()
	start(t).punishes(subscribe5(1, "$share/g/t", 0x04), mqtt.ProtocolError)
}

// Test_v5_MQTT_3_8_3_5: reserved bits of the options make a SUBSCRIBE malformed.
func Test_v5_MQTT_3_8_3_5(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, options := range []byte{0x40, 0x80, 0xC0, 0x41, 0x82, 0xED} {
		r.punishes(subscribe5(1, "t", options), mqtt.MalformedPacket)
	}
	c := r.connect(mqtt.V5, "c")
	c.send(subscribe5(1, "t", 0x2E)) // all that are not
	if g := c.expect(mqtt.TypeSuback); g.Reasons[0] != mqtt.GrantedQoS2 {
		t.Error(g.Reasons)
	}
}

func Test_v5_MQTT_3_9_2_1(t *testing.T)  { t.Parallel(); answersWithinMaximum(t, mqtt.TypeSuback) }
func Test_v5_MQTT_3_9_2_2(t *testing.T)  { t.Parallel(); answersWithinMaximum(t, mqtt.TypeSuback) }
func Test_v5_MQTT_3_11_2_1(t *testing.T) { t.Parallel(); answersWithinMaximum(t, mqtt.TypeUnsuback) }
func Test_v5_MQTT_3_11_2_2(t *testing.T) { t.Parallel(); answersWithinMaximum(t, mqtt.TypeUnsuback) }

// Test_v5_MQTT_3_9_3_2: SUBACK has its own reason codes, also where limits are reached.
func Test_v5_MQTT_3_9_3_2(t *testing.T) {
	t.Parallel()
	answersWithListedReasons(t, mqtt.TypeSuback)
	r := start(t, func(c *Config) { c.Limits.SubscriptionsMax, c.MQTT.FiltersMax = 5, 8 })
	c := r.connect(mqtt.V5, "c")
	c.send(fixed(0x82, u16(1)+block("")+str("0")+"\x00"+str("1")+"\x01"+str("2")+"\x02"+str("3")+"\x00"+str("4")+"\x00"+str("5")+"\x00"+
		str(deep)+"\x00"+str("0")+"\x01"+str("8")+"\x00"))
	g := c.expect(mqtt.TypeSuback)
	permitted(t, g)
	if want := "\x00\x01\x02\x00\x00\x97\x8f\x01\x97"; !strings.HasSuffix(string(g.raw), want) {
		t.Errorf("%x", g.raw)
	}
}

// Test_v5_MQTT_3_10_3_1: filters are UTF-8 strings here too.
func Test_v5_MQTT_3_10_3_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, text := range badText {
		r.punishes(unsubscribe5(1, text), mqtt.MalformedPacket)
	}
}

// Test_v5_MQTT_3_10_3_2: and there is at least one.
func Test_v5_MQTT_3_10_3_2(t *testing.T) {
	t.Parallel()
	start(t).punishes(fixed(0xA2, u16(1)+block("")), mqtt.ProtocolError)
}

// Test_v5_MQTT_3_11_3_2: UNSUBACK has its own reason codes, also for more filters than one packet may have.
func Test_v5_MQTT_3_11_3_2(t *testing.T) {
	t.Parallel()
	answersWithListedReasons(t, mqtt.TypeUnsuback)
	r := start(t, func(c *Config) { c.MQTT.FiltersMax = 3 })
	c := r.connect(mqtt.V5, "c")
	c.subscribe(1, "a", "b")
	c.send(fixed(0xA2, u16(9)+block("")+str("a")+str("x")+str(deep)+str("b")))
	if g := c.expect(mqtt.TypeUnsuback); !strings.HasSuffix(string(g.raw), "\x00\x11\x8f\x83") {
		t.Errorf("%x", g.raw)
	}
}

// Test_v5_MQTT_3_12_4_1: PINGREQ is answered with PINGRESP, each one, in whatever company.
func Test_v5_MQTT_3_12_4_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, way := range transports {
		c, _ := r.connectOn(r.via(way, mqtt.V5), "c")
		c.send(strings.Repeat("\xc0\x00", 50))
		for range 50 {
			if g := c.must(); string(g.raw) != "\xd0\x00" {
				t.Fatalf("%x", g.raw)
			}
		}
		c.disconnect()
	}
}
