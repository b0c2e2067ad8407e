package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Subscriptions over the wire: what is granted, replaced and taken away, and who gets what.

// Test_v5_MQTT_3_8_4_6_Wire: one SUBACK, with a reason for each filter in their order: the QoS granted, or why not.
func Test_v5_MQTT_3_8_4_6_Wire(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.connect(mqtt.V5, "c")
	c.send(fixed(0x82, u16(4711)+block("")+str("a")+"\x02"+str(deep)+"\x01"+str("b/#")+"\x00"+str("$share/g/c")+"\x01"+str("a")+"\x01"))
	if g := c.expect(mqtt.TypeSuback); g.PacketID != 4711 || len(g.Reasons) != 5 || !strings.HasSuffix(string(g.raw), "\x02\x8f\x00\x01\x01") {
		t.Errorf("%x", g.raw)
	}
	r.connect(mqtt.V5, "p").publish(2, "a", "x")
	if g := c.gets("a", "x"); g.QoS != 1 { // the last of the same filter counts
		t.Errorf("QoS %d", g.QoS)
	}
}

func Test_v5_MQTT_3_8_4_3_Wire(t *testing.T) { t.Parallel(); replaced(t) }
func Test_v5_MQTT_3_8_4_4_Wire(t *testing.T) { t.Parallel(); replaced(t) }

// replaced: the same filter again has other options from then on; no message is lost or comes twice meanwhile; with Retain Handling
// 0 what is retained comes again.
func replaced(t *testing.T) {
	t.Helper()
	r := start(t)
	p := r.connect(mqtt.V5, "p")
	p.publish(1, "t/kept", "kept", retained)
	c := r.connect(mqtt.V5, "c")
	for i, f := range []mqtt.Filter{
		{QoS: 2}, {QoS: 0}, {QoS: 1, RetainAsPublished: true}, {QoS: 1, RetainHandling: 1}, {QoS: 2, RetainHandling: 2}, {QoS: 1},
	} {
		f.Topic = []byte("t/+")
		c.subscribeTo(uint32(i), f)
		if f.RetainHandling == 0 {
			if g := c.gets("t/kept", "kept"); g.QoS != min(f.QoS, 1) || !g.Retain {
				t.Errorf("%+v: retained with QoS %d", f, g.QoS)
			}
		}
		p.publish(2, "t/x", fmt.Sprint(i), retained)
		g := c.gets("t/x", fmt.Sprint(i))
		if g.QoS != f.QoS || g.Retain != f.RetainAsPublished {
			t.Errorf("%+v: QoS %d, retain %v", f, g.QoS, g.Retain)
		}
		var want []uint32 // a SUBSCRIBE without an identifier takes the old one away
		if i > 0 {
			want = []uint32{uint32(i)}
		}
		if !slices.Equal(g.Props.SubscriptionIDs, want) {
			t.Errorf("%+v: identifiers %d, want %d", f, g.Props.SubscriptionIDs, want)
		}
		p.publish(1, "t/x", "", retained)
		c.gets("t/x", "")
		c.ping()
	}
	if s := r.sum(); s.filters != 1 {
		t.Errorf("%d subscriptions", s.filters)
	}
	var many strings.Builder // while messages flow
	for i := range 50 {
		many.WriteString(subscribe5(uint16(100+i), "t/+", 0x21)) // Retain Handling 2
	}
	c.send(many.String())
	for i := range 50 {
		p.publish(1, "t/x", fmt.Sprint(i))
	}
	for i := 0; i < 50; {
		if g := c.must(); g.Type == mqtt.TypePublish {
			if g.payload != fmt.Sprint(i) {
				t.Fatalf("%q, want %d", g.payload, i)
			}
			c.write(mqtt.AppendPuback(nil, c.v, g.PacketID, mqtt.Success))
			i++
		}
	}
}

func Test_v5_MQTT_3_3_4_2_Wire(t *testing.T) { t.Parallel(); overlap(t) }
func Test_v5_MQTT_3_3_4_3_Wire(t *testing.T) { t.Parallel(); overlap(t) }
func Test_v5_MQTT_3_3_4_4_Wire(t *testing.T) { t.Parallel(); overlap(t) }

// overlap: of overlapping subscriptions the highest QoS counts, and every identifier is told.
func overlap(t *testing.T) {
	t.Helper()
	r := start(t)
	c := r.connect(mqtt.V5, "c")
	for i, filter := range []string{"a/+", "a/b", "#", "+/b"} {
		c.subscribeTo([]uint32{268435455, 0, 1, 7}[i], mqtt.Filter{Topic: []byte(filter), QoS: byte(i % 3)})
	}
	p := r.connect(mqtt.V5, "p")
	for topic, want := range map[string]struct {
		qos byte
		ids []uint32
	}{"a/b": {2, []uint32{1, 7, 268435455}}, "a/c": {2, []uint32{1, 268435455}}, "x": {2, []uint32{1}}} {
		p.publish(2, topic, "x")
		g := c.gets(topic, "x")
		ids := slices.Sorted(slices.Values(g.Props.SubscriptionIDs))
		if g.QoS != want.qos || !slices.Equal(ids, want.ids) {
			t.Errorf("%s: QoS %d, identifiers %d", topic, g.QoS, ids)
		}
		c.ping()
	}
}

func Test_v5_MQTT_3_10_4_1_Wire(t *testing.T) { t.Parallel(); unsubackOf(t) }
func Test_v5_MQTT_3_10_4_2_Wire(t *testing.T) { t.Parallel(); unsubackOf(t) }
func Test_v5_MQTT_3_10_4_3_Wire(t *testing.T) { t.Parallel(); unsubackOf(t) }
func Test_v5_MQTT_3_10_4_6_Wire(t *testing.T) { t.Parallel(); unsubackOf(t) }
func Test_v5_MQTT_3_11_3_1_Wire(t *testing.T) { t.Parallel(); unsubackOf(t) }

// unsubackOf: a filter goes only by itself, wildcards are no pattern for others; deliveries that began are completed, also after a
// reconnect; nothing new comes.
func unsubackOf(t *testing.T) {
	t.Helper()
	r := start(t)
	c := r.connect(mqtt.V5, "c", persistent)
	c.subscribe(2, "a/+", "a/b", "$share/g/a/b")
	p := r.connect(mqtt.V5, "p")
	c.send(fixed(0xA2, u16(9)+block("")+str("#")+str("a/#")+str("+/b")+str("A/b")+str("$share/h/a/b")+str("$share/g/a/b")))
	if g := c.expect(mqtt.TypeUnsuback); string(g.raw) != fixed(0xB0, u16(9)+block("")+"\x11\x11\x11\x11\x11\x00") {
		t.Errorf("%x", g.raw)
	}
	p.publish(2, "a/b", "began")
	g := c.expect(mqtt.TypePublish)
	c.send(fixed(0xA2, u16(10)+block("")+str("a/+")+str("a/+")+str("a/b")))
	if g := c.expect(mqtt.TypeUnsuback); string(g.raw) != fixed(0xB0, u16(10)+block("")+"\x00\x11\x00") {
		t.Errorf("%x", g.raw)
	}
	p.publish(2, "a/b", "too late")
	c.ping()
	c.cut()
	c, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent)
	if again := c.expect(mqtt.TypePublish); !again.Dup || again.PacketID != g.PacketID || again.payload != "began" {
		t.Errorf("%q, id %d, DUP %v", again.payload, again.PacketID, again.Dup)
	}
	c.write(mqtt.AppendPubrec(nil, c.v, g.PacketID, mqtt.Success))
	c.acknowledged(mqtt.TypePubrel, g.PacketID)
	c.write(mqtt.AppendPubcomp(nil, c.v, g.PacketID, mqtt.Success))
	p.publish(2, "a/b", "too late")
	c.ping()
}

// Test_v5_MQTT_4_5_0_1_Wire: a message is added to every session with a matching subscription, whether its client is there or not.
func Test_v5_MQTT_4_5_0_1_Wire(t *testing.T) {
	t.Parallel()
	r := start(t)
	for shard := range 2 {
		for i, id := range r.ids("away", shard, 3) {
			c := r.connect(mqtt.V5, id, persistent)
			c.subscribe(byte(1+i%2), []string{"a/b", "a/+", "#"}[i])
			c.cut()
		}
	}
	r.eventually("all are away", func() bool { return r.sum().sessionsLive == 0 })
	r.connect(mqtt.V5, "p").publish(2, "a/b", "x")
	for shard := range 2 {
		for i, id := range r.ids("away", shard, 3) {
			c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), id, persistent)
			if g := c.gets("a/b", "x"); g.QoS != byte(1+i%2) {
				t.Errorf("QoS %d", g.QoS)
			}
			c.ping()
		}
	}
}

// Test_v5_MQTT_4_7_2_1_Wire: filters that begin with a wildcard get nothing from topics that begin with $, retained ones included.
func Test_v5_MQTT_4_7_2_1_Wire(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.connect(mqtt.V5, "c")
	w.subscribe(2, "#", "+/x", "+/+", "/#")
	p := r.connect(mqtt.V5, "p")
	for _, topic := range []string{"$x", "$SYS/x", "$/x"} {
		p.publish(1, topic, "x", retained)
	}
	w.hearsNothingBut(r, "x", "seen")
	late := r.connect(mqtt.V5, "late")
	late.subscribe(2, "#", "+/x")
	late.ping()
}

// Test_v5_MQTT_4_7_3_4_Wire: topics are compared as they are: neither case nor form of Unicode nor slashes nor dots nor spaces are evened out,
// on the way over NATS neither.
func Test_v5_MQTT_4_7_3_4_Wire(t *testing.T) {
	t.Parallel()
	r := start(t)
	topics := []string{
		"a", "A", "a/", "/a", "//a", "a//", " a", "a ", "a.b", "a/b", "a..b", "é", "e\u0301", "\ufeffa", "%41", "a\tb", "*", ">", "a/*", "a\u200bb", ".", "./",
	}
	p := r.connect(mqtt.V5, "p")
	for _, prefix := range []string{"", "$share/g/"} {
		c := r.connect(mqtt.V5, "c")
		for i, topic := range topics {
			c.subscribeTo(uint32(i+1), mqtt.Filter{Topic: []byte(prefix + topic), QoS: 1})
		}
		for i, topic := range topics {
			p.publish(1, topic, topic)
			if g := c.gets(topic, topic); !slices.Equal(g.Props.SubscriptionIDs, []uint32{uint32(i + 1)}) {
				t.Errorf("%q goes to %d", topic, g.Props.SubscriptionIDs)
			}
		}
		c.ping()
		c.disconnect()
	}
}

func Test_v5_MQTT_4_8_2_1_Wire(t *testing.T) {
	t.Parallel()
	illFilters(t, "$share/", "$share/g", "$share//t", "$share/g/", "$share//")
}

func Test_v5_MQTT_4_8_2_2_Wire(t *testing.T) {
	t.Parallel()
	illFilters(t, "$share/g+/t", "$share/+/t", "$share/#/t", "$share/#", "$share/g#/t")
	r := start(t)
	c := r.connect(mqtt.V5, "c")
	if granted := c.subscribe(1, "$share/g//", "$share/$x/t", "$share/ü é/+/#"); slices.ContainsFunc(granted, mqtt.Reason.Failed) {
		t.Error(granted)
	}
}

// Test_v5_MQTT_4_8_2_3_Wire: each member gets messages with the QoS that it was granted.
func Test_v5_MQTT_4_8_2_3_Wire(t *testing.T) {
	t.Parallel()
	r := start(t)
	var members []*client
	for qos := range byte(3) {
		c := r.connect(mqtt.V5, fmt.Sprint("member-", qos))
		c.subscribe(qos, "$share/g/t", fmt.Sprint("end/", qos))
		members = append(members, c)
	}
	p := r.connect(mqtt.V5, "p")
	for range 30 {
		p.publish(2, "t", "x")
	}
	total := 0
	r.eventually("all are delivered", func() bool { s := r.sum(); return s.messagesOut[0]+s.messagesOut[1]+s.messagesOut[2] >= 30 })
	for qos, c := range members {
		p.publish(2, fmt.Sprint("end/", qos), "end")
		for g := c.message(); g.topic == "t"; g = c.message() {
			total++
			if g.QoS != byte(qos) {
				t.Errorf("QoS %d for a member with %d", g.QoS, qos)
			}
		}
	}
	if total != 30 {
		t.Errorf("%d messages of 30", total)
	}
}

func Test_v5_MQTT_4_8_2_4_Wire(t *testing.T) { t.Parallel(); memberKeeps(t) }
func Test_v5_MQTT_4_8_2_5_Wire(t *testing.T) { t.Parallel(); memberKeeps(t) }
func Test_v5_MQTT_4_8_2_6_Wire(t *testing.T) { t.Parallel(); memberKeeps(t) }

// memberKeeps: a delivery of QoS 2 that began is that member's own: it goes on when it is back, and goes to no other when it refuses or
// its session ends.
func memberKeeps(t *testing.T) {
	t.Helper()
	r := start(t)
	p := r.connect(mqtt.V5, "p")
	a := r.connect(mqtt.V5, "a", persistent)
	a.subscribe(2, "$share/g/t")
	p.publish(2, "t", "cut off")
	g := a.expect(mqtt.TypePublish)
	p.publish(2, "t", "refused")
	refused := a.expect(mqtt.TypePublish)
	a.write(mqtt.AppendPubrec(nil, a.v, refused.PacketID, mqtt.QuotaExceeded))
	a.ping()
	b := r.connect(mqtt.V5, "b")
	b.subscribe(2, "$share/g/t")
	a.cut()
	b.ping()
	a, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "a", persistent)
	if again := a.expect(mqtt.TypePublish); again.PacketID != g.PacketID || !again.Dup || again.payload != "cut off" {
		t.Errorf("%q, id %d, DUP %v", again.payload, again.PacketID, again.Dup)
	}
	a.cut()
	a = r.connect(mqtt.V5, "a") // Clean Start ends the session
	a.ping()
	b.ping()
	p.publish(2, "t", "for b")
	b.gets("t", "for b")
}
