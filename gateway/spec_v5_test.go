package gateway

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// The files spec_v5_*_test.go hold the statements of MQTT 5.0 against a running gateway, as a conformance suite would: raw packets over
// a socket, and what must come back. A test's name is the number of its statement; docs/protocol.md is the list of all. This file
// has what they share.

// Properties that a raw packet carries, by identifier.
const (
	userProp   = "\x26"
	aliasProp  = "\x23"
	formatProp = "\x01"
)

// publish5 is a raw PUBLISH of MQTT 5; id is left out at QoS 0.
func publish5(flags byte, topic string, id uint16, props, payload string) string {
	body := str(topic)
	if flags&0x06 != 0 {
		body += u16(id)
	}
	return fixed(0x30|flags, body+block(props)+payload)
}

// subscribe5 and unsubscribe5 are raw packets for one filter.
func subscribe5(id uint16, filter string, options byte) string {
	return fixed(0x82, u16(id)+block("")+str(filter)+string([]byte{options}))
}

func unsubscribe5(id uint16, filter string) string {
	return fixed(0xA2, u16(id)+block("")+str(filter))
}

func u16(n uint16) string { return string([]byte{byte(n >> 8), byte(n)}) }

// ill is a string that MQTT does not allow: a lone surrogate in UTF-8 [MQTT-1.5.4-1].
const ill = "a\xed\xa0\x80"

// send writes raw bytes.
func (c *client) send(raw string) {
	c.t.Helper()
	c.write([]byte(raw))
}

// over expects the end of the connection, and nothing before it.
func (c *client) over() {
	c.t.Helper()
	g, err := c.next()
	var timeout net.Error
	switch {
	case err == nil:
		c.t.Fatalf("%v (reason %v), want the end of the connection", g.Type, g.Reason)
	case errors.As(err, &timeout) && timeout.Timeout():
		c.t.Fatal("the connection is not closed")
	}
	c.conn.Close()
}

// dismissed expects DISCONNECT with a reason of want, and then the end.
func (c *client) dismissed(want mqtt.Reason) *got {
	c.t.Helper()
	g := c.expect(mqtt.TypeDisconnect)
	if g.Reason != want {
		c.t.Errorf("DISCONNECT with %#x %v, want %#x %v", byte(g.Reason), g.Reason, byte(want), want)
	}
	c.over()
	return g
}

// refuses expects that a first packet is answered with CONNACK of reason want and the end.
func (r *rig) refuses(connect string, want mqtt.Reason) *got {
	r.t.Helper()
	c := r.open(mqtt.V5, r.mqtt)
	c.send(connect)
	g := c.expect(mqtt.TypeConnack)
	if g.Reason != want {
		r.t.Errorf("CONNACK %#x %v to %q, want %#x %v", byte(g.Reason), g.Reason, connect, byte(want), want)
	}
	answered := time.Now()
	c.over()
	if time.Since(answered) > r.gw.cfg.Limits.ConnectTime/2 {
		r.t.Errorf("%q: only the time that CONNECT may take ended the connection", connect)
	}
	return g
}

// punishes expects that packets of a connected client end its connection with DISCONNECT of reason want.
func (r *rig) punishes(packets string, want mqtt.Reason) {
	r.t.Helper()
	c := r.connect(mqtt.V5, "punished")
	c.send(packets)
	c.dismissed(want)
}

// accepts sends a raw CONNECT and expects a session.
func (r *rig) accepts(connect string) (*client, *got) {
	r.t.Helper()
	c := r.open(mqtt.V5, r.mqtt)
	c.send(connect)
	g := c.expect(mqtt.TypeConnack)
	if g.Reason != mqtt.Success {
		r.t.Fatalf("CONNACK %v to %q", g.Reason, connect)
	}
	return c, g
}

// watch is a subscriber that proves what was not published; see hearsNothingBut.
func (r *rig) watch(filter string) *client {
	r.t.Helper()
	c := r.connect(mqtt.V5, "watch")
	if granted := c.subscribe(2, filter); granted[0] != mqtt.GrantedQoS2 {
		r.t.Fatal(granted)
	}
	return c
}

// hearsNothingBut expects that the next message of a watcher is this one, published now.
func (c *client) hearsNothingBut(r *rig, topic, payload string) {
	c.t.Helper()
	p := r.connect(mqtt.V5, "fence")
	p.publish(1, topic, payload)
	c.gets(topic, payload)
	p.disconnect()
}

// reasons5 are the reason codes that a server may put into each packet, as the standard lists them in the tables of 3.2.2.2,
// 3.4.2.1, 3.5.2.1, 3.6.2.1, 3.7.2.1, 3.9.3, 3.11.3 and 3.14.2.1.
var reasons5 = map[mqtt.Type][]byte{
	mqtt.TypeConnack: {
		0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
	},
	mqtt.TypePuback:   {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
	mqtt.TypePubrec:   {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
	mqtt.TypePubrel:   {0x00, 0x92},
	mqtt.TypePubcomp:  {0x00, 0x92},
	mqtt.TypeSuback:   {0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2},
	mqtt.TypeUnsuback: {0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91},
	mqtt.TypeDisconnect: {
		0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C,
		0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
	},
}

// permitted holds the reason codes of a packet against the standard's list, and not against our codec's.
func permitted(t *testing.T, g *got) {
	t.Helper()
	all := append([]mqtt.Reason{g.Reason}, g.Reasons...)
	if len(g.Reasons) > 0 {
		all = g.Reasons
	}
	for _, code := range all {
		if !bytes.Contains(reasons5[g.Type], []byte{byte(code)}) {
			t.Errorf("%v with %#x, which it can't carry", g.Type, byte(code))
		}
	}
}

// provocation is a packet of a client that is answered with a reason code other than success.
type provocation struct {
	name   string
	packet string
	answer mqtt.Type
}

// provocations has one or more for every packet with which the gateway answers.
var provocations = []provocation{
	{"PUBACK for a payload that is not text", publish5(0x02, "a", 9, formatProp+"\x01", "\xff"), mqtt.TypePuback},
	{"PUBACK for a topic of the server's", publish5(0x02, "$JS/x", 9, "", "x"), mqtt.TypePuback},
	{"PUBREC for a payload that is not text", publish5(0x04, "a", 9, formatProp+"\x01", "\xff"), mqtt.TypePubrec},
	{"PUBREC for a topic of the server's", publish5(0x04, "$JS/x", 9, "", "x"), mqtt.TypePubrec},
	{"PUBREL for an unknown id", fixed(0x50, u16(4711)), mqtt.TypePubrel},
	{"PUBCOMP for an unknown id", fixed(0x62, u16(4711)), mqtt.TypePubcomp},
	{"SUBACK for a filter that is too deep", subscribe5(9, deep, 1), mqtt.TypeSuback},
	{"UNSUBACK for no subscription", unsubscribe5(9, "nowhere"), mqtt.TypeUnsuback},
	{"UNSUBACK for a filter that is too deep", unsubscribe5(9, deep), mqtt.TypeUnsuback},
	{"DISCONNECT for an empty SUBSCRIBE", fixed(0x82, u16(9)+block("")), mqtt.TypeDisconnect},
	{"DISCONNECT for a wildcard", publish5(0, "a/#", 0, "", "x"), mqtt.TypeDisconnect},
}

// deep has more levels than mqtt.topic_levels_max allows.
const deep = "////////////////////////////////////////////////////////////////"

// provoked runs f on the answer to every provocation that is answered with a packet of this type.
func provoked(t *testing.T, answer mqtt.Type, f func(r *rig, p provocation)) {
	t.Helper()
	r := start(t)
	n := 0
	for _, p := range provocations {
		if p.answer == answer {
			n++
			t.Run(p.name, func(t *testing.T) { f(r.in(t), p) })
		}
	}
	if n == 0 {
		t.Fatalf("no provocation for %v", answer)
	}
}

// answersWithListedReasons: whatever provokes it, the answer has a reason code that the standard lists for its type.
func answersWithListedReasons(t *testing.T, answer mqtt.Type) {
	t.Helper()
	provoked(t, answer, func(r *rig, p provocation) {
		c := r.connect(mqtt.V5, "c")
		c.send(p.packet)
		g := c.expect(answer)
		permitted(r.t, g)
		if len(g.Reasons) == 0 && g.Reason == mqtt.Success {
			r.t.Error("the answer says success")
		}
	})
}

// answersWithinMaximum: an answer comes, and is never longer than the client's Maximum Packet Size, whatever that is: reason string
// and user properties are left out sooner.
func answersWithinMaximum(t *testing.T, answer mqtt.Type) {
	t.Helper()
	provoked(t, answer, func(r *rig, p provocation) {
		tried := 0
		for size := uint32(16); size <= 160; size += 8 {
			c := r.open(mqtt.V5, r.mqtt)
			c.write(c.connectPacket("c", func(o *mqtt.ConnectOut) { o.MaxPacketBytes = size }))
			g, err := c.next()
			if err != nil {
				continue // CONNACK itself is longer
			}
			if g.Type != mqtt.TypeConnack || g.Reason != mqtt.Success {
				r.t.Fatalf("%v %v", g.Type, g.Reason)
			}
			tried++
			c.send(p.packet)
			if g = c.expect(answer); len(g.raw) > int(size) {
				r.t.Errorf("%d bytes for a client that takes %d: %x", len(g.raw), size, g.raw)
			}
		}
		if tried < 5 {
			r.t.Errorf("CONNACK fits into %d of the sizes", tried)
		}
	})
}
