package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// What MQTT 3.1 does otherwise than 3.1.1.

// connect31 is a CONNECT of MQTT 3.1 without keep-alive.
func connect31(flags byte, payload string) string {
	return fixed(0x10, str("MQIsdp")+"\x03"+string([]byte{flags})+"\x00\x00"+payload)
}

// device31 is connected with nothing but a client id in the payload. CONNACK tells nothing about the session.
func (r *rig) device31(id string, flags byte) *client {
	r.t.Helper()
	c := r.open(mqtt.V31, r.mqtt)
	c.says(connect31(flags, str(id)), "\x20\x02\x00\x00")
	return c
}

// TestV31Name: MQIsdp and level 3 belong together; every other pair is answered with 1.
func TestV31Name(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.device31("c", flagClean).silent()
	framed := r.openWS(mqtt.V31, "/mqtt", "mqttv3.1")
	framed.says(connect31(flagClean, str("d")), "\x20\x02\x00\x00")
	for _, tc := range []struct {
		name  string
		level byte
	}{{"MQIsdp", 4}, {"MQIsdp", 5}, {"MQIsdp", 2}, {"MQTT", 3}, {"MQISDP", 3}, {"MQIsd", 3}, {"MQIsdp", 0x83}} {
		r.refused(fmt.Sprint(tc.name, " ", tc.level), fixed(0x10, str(tc.name)+string([]byte{tc.level, flagClean})+"\x00\x00"+str("c")), 1)
	}
}

// TestV31ClientID: 1 to 23 characters, and more than these; none is refused with 2, whatever the clean session flag.
func TestV31ClientID(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, id := range []string{"a", strings.Repeat("b", 23), strings.Repeat("c", 24), strings.Repeat("d", 200)} {
		r.device31(id, flagClean).silent()
		r.device31(id, 0).silent()
	}
	r.refused("no id", connect31(flagClean, str("")), 2)
	r.refused("no id", connect31(0, str("")), 2)
	r.dropped("no payload", connect31(flagClean, ""))
}

// TestV31Connack: the first byte is reserved and 0, also when a session goes on; the return codes are those of 3.1.1.
func TestV31Connack(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Session.Max = 2 })
	c := r.device31("c", 0)
	c.takes(1, "t")
	c.cut()
	r.left(0)
	c = r.device31("c", 0)
	c.says(publish311(0, "t", 0, "x"), publish311(0, "t", 0, "x")) // it did go on
	r.refused("will topic", connect31(flagClean|flagWill, str("c")+str("$SYS/x")+str("x")), 5)
	for shard := range 2 {
		for _, id := range r.ids("fill", shard, 2) {
			o := r.open(mqtt.V31, r.mqtt)
			o.write([]byte(connect31(flagClean, str(id))))
			o.packet()
		}
	}
	r.refused("no room", connect31(flagClean, str("one more")), 3)
}

// TestV31RemainingLength: a user name or password flag whose field is not there is no fault: the remaining length has
// precedence. What is there must be whole.
func TestV31RemainingLength(t *testing.T) {
	t.Parallel()
	r := start(t)
	for what, p := range map[string]string{
		"both flags, no field":            connect31(flagClean|flagUserName|flagPassword, str("c")),
		"both flags, user name":           connect31(flagClean|flagUserName|flagPassword, str("c")+str("user")),
		"both":                            connect31(flagClean|flagUserName|flagPassword, str("c")+str("user")+str("password")),
		"user name flag, none":            connect31(flagClean|flagUserName, str("c")),
		"behind a will":                   connect31(flagClean|flagWill|flagUserName|flagPassword, str("c")+str("w")+str("x")),
		"user name of no length":          connect31(flagClean|flagUserName|flagPassword, str("c")+str("")),
		"user name that ends with nought": connect31(flagClean|flagUserName|flagPassword, str("c")+str("u")+str("")),
	} {
		c := r.open(mqtt.V31, r.mqtt)
		t.Log(what)
		c.says(p, "\x20\x02\x00\x00")
		c.silent()
		c.says("\xe0\x00")
		c.shut(what)
	}
	r.dropped("user name cut short", connect31(flagClean|flagUserName, str("c")+"\x00\x05user"))
	r.dropped("password cut short", connect31(flagClean|flagUserName|flagPassword, str("c")+str("u")+"\x00"))
	r.dropped("password without user name", connect31(flagClean|flagPassword, str("c")+str("p")))
	r.dropped("will flag, no will", connect31(flagClean|flagWill, str("c")))
	r.dropped("3.1.1 has no such rule", connect311(flagClean|flagUserName, str("c")))
}

// TestV31Dup: SUBSCRIBE, UNSUBSCRIBE and PUBREL that are sent again carry DUP in 3.1, which 3.1.1 forbids; each is answered again.
// PUBREL from the gateway is in TestRetransmissionInOrder.
func TestV31Dup(t *testing.T) {
	t.Parallel()
	r := start(t)
	again := func(p string) string { return string([]byte{p[0] | 0x08}) + p[1:] }
	sub, unsub := subscribe311(1, "t", "\x01"), unsubscribe311(2, "t")
	c := r.device31("c", flagClean)
	c.says(sub, suback(1, "\x01"))
	c.says(again(sub), suback(1, "\x01"))
	c.says(publish311(pubQoS2, "u", 3, "x"), pubrec(3))
	c.says(publish311(pubQoS2|pubDup, "u", 3, "x"), pubrec(3))
	c.says(pubrel(3), pubcomp(3))
	c.says(again(pubrel(3)), pubcomp(3))
	c.silent()
	c.says(unsub, unsuback(2))
	c.says(again(unsub), unsuback(2))
	for what, p := range map[string]string{"SUBSCRIBE": again(sub), "UNSUBSCRIBE": again(unsub), "PUBREL": again(pubrel(3))} {
		c := r.clean311("d")
		c.write([]byte(p))
		c.shut(what + " with DUP in 3.1.1")
	}
	for what, p := range map[string]string{"PUBACK": again(puback(3)), "PINGREQ": "\xc8\x00", "DISCONNECT": "\xe8\x00", "PUBLISH QoS 0": publish311(pubDup, "t", 0, "x")} {
		c := r.device31("d", flagClean)
		c.write([]byte(p))
		c.shut(what + " with DUP in 3.1")
	}
}

// TestV31Session: clean session, what waits, and what is sent again are as in 3.1.1.
func TestV31Session(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	c := r.device31("c", 0)
	c.takes(2, "t")
	p.gives(pubQoS1, "t", "sent")
	id := c.expect(mqtt.TypePublish).PacketID
	c.cut()
	r.left(1)
	p.gives(pubQoS2, "t", "queued")
	r.waits(1)
	c = r.device31("c", 0)
	c.answers(publish311(pubQoS1|pubDup, "t", id, "sent"))
	c.write([]byte(puback(id)))
	if g := c.gets("t", "queued"); g.QoS != 2 || g.Dup {
		t.Errorf("QoS %d, dup %v", g.QoS, g.Dup)
	}
	c.cut()
	c = r.device31("c", flagClean)
	p.gives(pubQoS1, "t", "x")
	c.silent()
	c.takes(1, "t")
	c = r.device31("c", 0) // takes it over, but not the clean session
	p.gives(pubQoS1, "t", "x")
	c.silent()
}

// TestV31Retained: a new subscription gets what is retained with the flag; one that is there gets it without.
func TestV31Retained(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.device31("p", flagClean)
	w := r.device31("w", flagClean)
	w.takes(0, "t")
	p.gives(pubRetain|pubQoS1, "t", "x")
	w.answers(publish311(0, "t", 0, "x"))
	late := r.device31("late", flagClean)
	late.takes(0, "t")
	late.answers(kept("t", "x"))
	p.gives(pubRetain, "t", "")
	w.answers(publish311(0, "t", 0, ""))
	later := r.device31("later", flagClean)
	later.takes(0, "t")
	later.silent()
}

// TestV31Will: with QoS and retain as CONNECT says, for every end but DISCONNECT.
func TestV31Will(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.clean311("w")
	w.takes(2, "w/x")
	for qos, flags := range []byte{0, flagWillQoS1, flagWillQoS2} {
		c := r.open(mqtt.V31, r.mqtt)
		c.says(connect31(flagClean|flagWill|flagWillRetain|flags, str("c")+str("w/x")+str("gone")), "\x20\x02\x00\x00")
		c.cut()
		if g := w.gets("w/x", "gone"); int(g.QoS) != qos {
			t.Errorf("QoS %d, want %d", g.QoS, qos)
		}
		late := r.device31("late", flagClean)
		late.takes(0, "w/x")
		late.answers(kept("w/x", "gone"))
	}
	c := r.open(mqtt.V31, r.mqtt)
	c.says(connect31(flagClean|flagWill, str("c")+str("w/x")+str("never")), "\x20\x02\x00\x00")
	c.write([]byte("\xe0\x00"))
	c.shut("DISCONNECT")
	w.silent()
}

// TestV31Subscribe: SUBACK has the granted QoS of each filter. 3.1 knows no failure; a filter that is refused gets the 0x80 of
// 3.1.1 rather than a quality that it does not have.
func TestV31Subscribe(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.TopicLevelsMax = 3 })
	c := r.device31("c", flagClean)
	c.says(subscribe311(1, "a", "\x02", "b/+", "\x01", "a/b/c/d", "\x01", "#", "\x00"), suback(1, "\x02\x01\x80\x00"))
	c.says(unsubscribe311(2, "a", "b/+", "#"), unsuback(2))
	for _, qos := range []string{"\x03", "\x04", "\x80"} {
		c := r.device31("d", flagClean)
		c.write([]byte(subscribe311(1, "a", qos)))
		c.shut("QoS byte " + qos)
	}
}

// TestV31OverWebSocket: "mqttv3.1" is the subprotocol of its time; "mqtt" carries it as well.
func TestV31OverWebSocket(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, offer := range []string{"mqttv3.1", "mqtt", "mqttv3.1, chat"} {
		c := r.open(mqtt.V31, r.ws)
		c.framed = true
		if _, err := c.conn.Write(ws.AppendHandshake(nil, r.ws, "/mqtt", offer, testKey)); err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(offer, ",")
		if status := c.handshaken(first); status != 101 {
			t.Errorf("%q: status %d", offer, status)
		}
		c.says(connect31(flagClean, str("c")), "\x20\x02\x00\x00")
		c.takes(1, "t")
		c.says("\xe0\x00")
		c.shut("DISCONNECT")
	}
}
