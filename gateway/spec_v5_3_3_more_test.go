package gateway

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// PUBLISH, part 2: topic aliases, and what a PUBLISH of a client must not be.

// Test_v5_MQTT_3_3_2_7: aliases end with their connection, though the session goes on.
func Test_v5_MQTT_3_3_2_7(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.watch("t")
	c := r.connect(mqtt.V5, "c", persistent)
	c.send(publish5(0, "t", 0, aliasProp+u16(1), "by name"))
	c.send(publish5(0, "", 0, aliasProp+u16(1), "by alias"))
	w.gets("t", "by name")
	w.gets("t", "by alias")
	c.disconnect()
	c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent)
	if !ack.SessionPresent {
		t.Error("the session is gone")
	}
	c.send(publish5(0, "", 0, aliasProp+u16(1), "by an old alias"))
	c.dismissed(mqtt.ProtocolError)
	w.hearsNothingBut(r, "t", "by name again")
}

// Test_v5_MQTT_3_3_2_8: alias 0 does not exist.
func Test_v5_MQTT_3_3_2_8(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.punishes(publish5(0, "t", 0, aliasProp+u16(0), "x"), mqtt.TopicAliasInvalid)
	r.punishes(publish5(0, "", 0, aliasProp+u16(0), "x"), mqtt.TopicAliasInvalid)
}

// Test_v5_MQTT_3_3_2_12: every alias that CONNACK promised works, and may be given another topic.
func Test_v5_MQTT_3_3_2_12(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.watch("t/#")
	c, ack := r.accepts(connect5(0x02, "", str("c")))
	most := ack.Props.TopicAliasMax
	if most == 0 {
		t.Fatal("no aliases")
	}
	for round := range 2 {
		for alias := uint16(1); alias <= most; alias++ {
			c.send(publish5(0, fmt.Sprintf("t/%d/%d", round, alias), 0, aliasProp+u16(alias), "set"))
		}
		for alias := most; alias >= 1; alias-- {
			c.send(publish5(2, "", alias, aliasProp+u16(alias), "used"))
		}
		for alias := uint16(1); alias <= most; alias++ {
			if g := w.gets(fmt.Sprintf("t/%d/%d", round, alias), "set"); g.Props.Has(mqtt.PropTopicAlias) {
				t.Error("the publisher's alias is sent on")
			}
		}
		for alias := most; alias >= 1; alias-- {
			w.gets(fmt.Sprintf("t/%d/%d", round, alias), "used")
			c.acknowledged(mqtt.TypePuback, alias)
		}
	}
	r.punishes(publish5(0, "", 0, aliasProp+u16(1), "never set"), mqtt.ProtocolError)
}

// Test_v5_MQTT_3_3_2_13: the response topic is a UTF-8 string.
func Test_v5_MQTT_3_3_2_13(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, text := range badText {
		r.punishes(publish5(0, "t", 0, "\x08"+str(text), "x"), mqtt.MalformedPacket)
	}
}

// Test_v5_MQTT_3_3_2_14: without wildcards, also in a will.
func Test_v5_MQTT_3_3_2_14(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, topic := range wildcards {
		r.punishes(publish5(0, "t", 0, "\x08"+str(topic), "x"), mqtt.ProtocolError)
		r.refuses(connect5(0x06, "", str("c")+block("\x08"+str(topic))+str("w")+str("x")), mqtt.ProtocolError)
	}
}

// Test_v5_MQTT_3_3_2_19: the content type is a UTF-8 string.
func Test_v5_MQTT_3_3_2_19(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, text := range badText {
		r.punishes(publish5(0, "t", 0, "\x03"+str(text), "x"), mqtt.MalformedPacket)
	}
}

// Test_v5_MQTT_3_3_4_1_Wire: nothing answers QoS 0, PUBACK answers QoS 1, and PUBREC QoS 2, with nobody listening and with a refusal too.
func Test_v5_MQTT_3_3_4_1_Wire(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.connect(mqtt.V5, "c")
	for _, topic := range []string{"nobody/listens", "$JS/refused"} {
		c.send(publish5(0, topic, 0, "", "x"))
		c.ping()
		c.send(publish5(2, topic, 11, "", "x"))
		c.acknowledged(mqtt.TypePuback, 11)
		c.send(publish5(4, topic, 12, "", "x"))
		if c.acknowledged(mqtt.TypePubrec, 12).Failed() {
			continue
		}
		c.send(fixed(0x62, u16(12)))
		c.acknowledged(mqtt.TypePubcomp, 12)
	}
	c.ping()
}

// Test_v5_MQTT_3_3_4_6: a client's PUBLISH has no subscription identifier.
func Test_v5_MQTT_3_3_4_6(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.watch("t")
	for _, props := range []string{"\x0b\x01", "\x0b\xff\xff\xff\x7f", "\x0b\x01\x0b\x02"} {
		r.punishes(publish5(0, "t", 0, props, "x"), mqtt.ProtocolError)
	}
	w.hearsNothingBut(r, "t", "without")
}

// Test_v5_MQTT_3_3_4_7_Wire: nor does a client have more messages under way than it was told.
func Test_v5_MQTT_3_3_4_7_Wire(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, func(c *Config) { c.MQTT.ReceiveMax = 3 }) // which has acknowledged three before it reads the fourth
	c, ack := r.accepts(connect5(0x02, "", str("c")))
	if ack.Props.ReceiveMax != 3 {
		t.Errorf("Receive Maximum %d", ack.Props.ReceiveMax)
	}
	for id := range uint16(4) {
		c.send(publish5(4, "t", id+1, "", "x"))
	}
	for id := range uint16(3) {
		c.acknowledged(mqtt.TypePubrec, id+1)
	}
	c.dismissed(mqtt.ReceiveMaximumExceeded)
}
