package gateway

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Delivery: QoS 1 and 2 both ways, acknowledgements that refuse, and flow control, over the wire.

// Test_v5_MQTT_2_2_1_4_Wire: packet ids of the server are not 0 and not in use, though some are never acknowledged.
func Test_v5_MQTT_2_2_1_4_Wire(t *testing.T) { t.Parallel(); idsAreFree(t, 1) }
func Test_v5_MQTT_4_3_2_1_Wire(t *testing.T) { t.Parallel(); idsAreFree(t, 1) }
func Test_v5_MQTT_4_3_3_1_Wire(t *testing.T) { t.Parallel(); idsAreFree(t, 2) }

func idsAreFree(t *testing.T, qos byte) {
	t.Helper()
	r := start(t)
	c := r.watch("t")
	p := r.connect(mqtt.V5, "p")
	held := map[uint16]bool{}
	for i := range 300 {
		p.publish(qos, "t", "x")
		g := c.expect(mqtt.TypePublish)
		if g.PacketID == 0 || held[g.PacketID] || g.Dup || g.QoS != qos {
			t.Fatalf("message %d has id %d, DUP %v, QoS %d", i, g.PacketID, g.Dup, g.QoS)
		}
		switch {
		case i%3 == 0 && len(held) < 100:
			held[g.PacketID] = true
		case qos == 1:
			c.write(mqtt.AppendPuback(nil, c.v, g.PacketID, mqtt.Success))
		default:
			c.write(mqtt.AppendPubrec(nil, c.v, g.PacketID, mqtt.Success))
			c.acknowledged(mqtt.TypePubrel, g.PacketID)
			c.write(mqtt.AppendPubcomp(nil, c.v, g.PacketID, mqtt.Success))
		}
	}
}

// Test_v5_MQTT_2_2_1_5_Wire: acknowledgements carry the id of the PUBLISH, whatever it is.
func Test_v5_MQTT_2_2_1_5_Wire(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.connect(mqtt.V5, "c")
	for _, id := range []uint16{1, 255, 256, 32768, 65535} {
		c.send(publish5(2, "t", id, "", "x") + publish5(4, "t", id-1|1<<9, "", "x"))
		c.acknowledged(mqtt.TypePuback, id)
		c.acknowledged(mqtt.TypePubrec, id-1|1<<9)
		c.send(fixed(0x62, u16(id-1|1<<9)))
		c.acknowledged(mqtt.TypePubcomp, id-1|1<<9)
	}
}

// Test_v5_MQTT_4_3_2_5_Wire: after PUBACK the same id is a new message, with DUP too.
func Test_v5_MQTT_4_3_2_5_Wire(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.watch("t")
	c := r.connect(mqtt.V5, "c")
	for i, flags := range []byte{0x02, 0x0A, 0x02} {
		c.send(publish5(flags, "t", 7, "", fmt.Sprint(i)))
		c.acknowledged(mqtt.TypePuback, 7)
		if g := w.gets("t", fmt.Sprint(i)); g.Dup {
			t.Error("the publisher's DUP is sent on")
		}
	}
}

func Test_v5_MQTT_4_3_3_8_Wire(t *testing.T)  { t.Parallel(); qos2IsOnce(t) }
func Test_v5_MQTT_4_3_3_10_Wire(t *testing.T) { t.Parallel(); qos2IsOnce(t) }
func Test_v5_MQTT_4_3_3_11_Wire(t *testing.T) { t.Parallel(); qos2IsOnce(t) }
func Test_v5_MQTT_4_3_3_12_Wire(t *testing.T) { t.Parallel(); qos2IsOnce(t) }

// qos2IsOnce: until PUBREL an id is the same message, answered each time and delivered once, also after a reconnect; PUBREL is
// answered, each time too; and then the id is a new message.
func qos2IsOnce(t *testing.T) {
	t.Helper()
	r := start(t)
	w := r.watch("t")
	c := r.connect(mqtt.V5, "c", persistent)
	for round := range 2 {
		payload := fmt.Sprint("round ", round)
		c.send(publish5(0x04, "t", 9, "", payload))
		c.acknowledged(mqtt.TypePubrec, 9)
		w.gets("t", payload)
		c.send(publish5(0x0C, "t", 9, "", payload) + publish5(0x04, "t", 9, "", payload))
		c.acknowledged(mqtt.TypePubrec, 9)
		c.acknowledged(mqtt.TypePubrec, 9)
		c.cut()
		c, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent)
		c.send(publish5(0x0C, "t", 9, "", payload))
		if reason := c.acknowledged(mqtt.TypePubrec, 9); reason != mqtt.Success {
			t.Error(reason)
		}
		c.send(fixed(0x62, u16(9)))
		if reason := c.acknowledged(mqtt.TypePubcomp, 9); reason != mqtt.Success {
			t.Error(reason)
		}
		c.send(fixed(0x62, u16(9)))
		if reason := c.acknowledged(mqtt.TypePubcomp, 9); reason != mqtt.PacketIdentifierNotFound {
			t.Error(reason)
		}
	}
	w.hearsNothingBut(r, "t", "the end")
}

// Test_v5_MQTT_4_3_3_9_Wire: after a PUBREC that refuses, the id is a new message.
func Test_v5_MQTT_4_3_3_9_Wire(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.watch("t")
	c := r.connect(mqtt.V5, "c")
	c.send(publish5(0x04, "t", 9, formatProp+"\x01", "\xff"))
	if reason := c.acknowledged(mqtt.TypePubrec, 9); !reason.Failed() {
		t.Error(reason)
	}
	c.send(publish5(0x04, "t", 9, formatProp+"\x01", "text"))
	if reason := c.acknowledged(mqtt.TypePubrec, 9); reason.Failed() {
		t.Error(reason)
	}
	w.gets("t", "text")
}

// Test_v5_MQTT_4_4_0_2_Wire: what the client refused is not sent again, and a PUBREC that refuses gets no PUBREL.
func Test_v5_MQTT_4_4_0_2_Wire(t *testing.T) { t.Parallel(); refusedIsDone(t) }
func Test_v5_MQTT_4_3_3_4_Wire(t *testing.T) { t.Parallel(); refusedIsDone(t) }

func refusedIsDone(t *testing.T) {
	t.Helper()
	r := start(t)
	c := r.connect(mqtt.V5, "c", persistent)
	c.subscribe(2, "t")
	p := r.connect(mqtt.V5, "p")
	p.publish(1, "t", "one")
	g := c.expect(mqtt.TypePublish)
	c.write(mqtt.AppendPuback(nil, c.v, g.PacketID, mqtt.QuotaExceeded))
	p.publish(2, "t", "two")
	g = c.expect(mqtt.TypePublish)
	c.write(mqtt.AppendPubrec(nil, c.v, g.PacketID, mqtt.UnspecifiedError))
	p.publish(2, "t", "three")
	g = c.expect(mqtt.TypePublish)
	c.write(mqtt.AppendPubrec(nil, c.v, g.PacketID, mqtt.NoMatchingSubscribers)) // that is no refusal
	c.acknowledged(mqtt.TypePubrel, g.PacketID)
	c.ping()
	c.cut()
	c, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent)
	c.acknowledged(mqtt.TypePubrel, g.PacketID)
	c.ping()
}

func Test_v5_MQTT_3_3_4_9_Wire(t *testing.T)  { t.Parallel(); quotaHolds(t) }
func Test_v5_MQTT_3_3_4_10_Wire(t *testing.T) { t.Parallel(); quotaHolds(t) }
func Test_v5_MQTT_4_9_0_1_Wire(t *testing.T)  { t.Parallel(); quotaHolds(t) }
func Test_v5_MQTT_4_9_0_2_Wire(t *testing.T)  { t.Parallel(); quotaHolds(t) }
func Test_v5_MQTT_4_9_0_3_Wire(t *testing.T)  { t.Parallel(); quotaHolds(t) }

// quotaHolds: the client's Receive Maximum is never exceeded, also after a reconnect with a lower one; at the limit everything else goes
// on, QoS 0 included; PUBACK, PUBCOMP and a PUBREC that refuses make room, PUBREC with success does not.
func quotaHolds(t *testing.T) {
	t.Helper()
	r := start(t)
	few := func(n uint16) func(o *mqtt.ConnectOut) {
		return func(o *mqtt.ConnectOut) { o.CleanStart, o.SessionExpirySec, o.ReceiveMax = false, 3600, n }
	}
	c := r.connect(mqtt.V5, "c", few(2))
	c.subscribe(2, "t")
	p := r.connect(mqtt.V5, "p")
	for i := range 6 {
		p.publish(1+byte(i%2), "t", fmt.Sprint(i))
	}
	next := func(payload string) *got {
		t.Helper()
		g := c.expect(mqtt.TypePublish)
		if g.payload != payload {
			t.Fatalf("%q, want %q", g.payload, payload)
		}
		return g
	}
	one, two := next("0"), next("1")
	c.ping()
	c.subscribe(0, "other")
	p.publish(0, "other", "at once")
	c.gets("other", "at once")
	c.publish(2, "elsewhere", "x")
	c.write(mqtt.AppendPubrec(nil, c.v, two.PacketID, mqtt.Success))
	c.acknowledged(mqtt.TypePubrel, two.PacketID)
	c.ping()
	c.write(mqtt.AppendPubcomp(nil, c.v, two.PacketID, mqtt.Success))
	three := next("2")
	c.ping()
	c.write(mqtt.AppendPuback(nil, c.v, one.PacketID, mqtt.Success))
	four := next("3")
	c.ping()
	c.write(mqtt.AppendPubrec(nil, c.v, four.PacketID, mqtt.UnspecifiedError))
	next("4")
	c.ping()
	c.cut()
	c, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "c", few(1))
	if g := next("2"); !g.Dup || g.PacketID != three.PacketID {
		t.Errorf("id %d, DUP %v", g.PacketID, g.Dup)
	}
	c.ping()
	c.write(mqtt.AppendPuback(nil, c.v, three.PacketID, mqtt.Success))
	five := next("4")
	c.ping()
	c.write(mqtt.AppendPuback(nil, c.v, five.PacketID, mqtt.Success))
	next("5")
}

// Test_v5_MQTT_4_6_0_5_Wire: messages of one client keep their order by topic and quality, to subscribers on every loop, and for one that
// comes back.
func Test_v5_MQTT_4_6_0_5_Wire(t *testing.T) {
	t.Parallel()
	r := start(t)
	var subs []*client
	for shard := range 2 {
		c := r.connect(mqtt.V5, r.ids("sub", shard, 1)[0])
		c.subscribe(2, "t/#")
		subs = append(subs, c)
	}
	away := r.connect(mqtt.V5, "away", persistent)
	away.subscribe(2, "t/#")
	away.cut()
	p := r.connect(mqtt.V5, "p")
	const n = 60
	for i := range n {
		p.publish(1+byte(i%2), fmt.Sprint("t/", i%3), fmt.Sprint(i))
	}
	away, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "away", persistent)
	for _, c := range append(subs, away) {
		last := map[string]int{}
		for range n {
			g := c.message()
			var i int
			if _, err := fmt.Sscan(g.payload, &i); err != nil {
				t.Fatal(err)
			}
			key := fmt.Sprint(g.topic, " ", g.QoS)
			if before, some := last[key]; some && before >= i {
				t.Errorf("%s: %d after %d", key, i, before)
			}
			last[key] = i
		}
	}
}
