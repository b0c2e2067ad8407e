package gateway

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestRetained: store, replace and delete, on either shard, and that a live message does not carry the flag [MQTT-3.3.1-5],
// [MQTT-3.3.1-6], [MQTT-3.3.1-8], [MQTT-3.3.1-12].
func TestRetained(t *testing.T) {
	t.Parallel()
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		t.Run(v.String(), func(t *testing.T) {
			r := start(t)
			p := r.connect(v, r.ids("pub", 0, 1)[0])
			live := r.connect(v, r.ids("live", 1, 1)[0])
			live.subscribe(1, "r/#")
			step := func(payload string, want ...string) {
				t.Helper()
				p.publish(1, "r/x", payload, retained)
				if g := live.gets("r/x", payload); g.Retain {
					t.Errorf("the live message %q carries the flag", payload)
				}
				for shard := range 2 {
					c := r.connect(v, r.ids("new", shard, 1)[0])
					c.subscribe(2, "r/+")
					for _, w := range want {
						if g := c.gets("r/x", w); !g.Retain || g.QoS != 1 {
							t.Errorf("retained %q: flag %v, QoS %d", w, g.Retain, g.QoS)
						}
					}
					c.ping()
					c.disconnect()
				}
			}
			step("one", "one")
			step("two", "two")
			step("")
			step("")
			step("three", "three")
			p.publish(0, "r/x", "not retained")
			live.gets("r/x", "not retained")
			c := r.connect(v, "late")
			c.subscribe(0, "r/x")
			if g := c.gets("r/x", "three"); g.QoS != 0 {
				t.Errorf("QoS %d for a subscription of 0", g.QoS)
			}
		})
	}
}

// TestRetainHandling: 0 always sends retained messages, 1 only for a new subscription, 2 never [MQTT-3.3.1-9] to
// [MQTT-3.3.1-11]; a shared subscription gets none.
func TestRetainHandling(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.connect(mqtt.V5, "pub")
	p.publish(1, "rh/x", "kept", retained)
	filter := func(handling byte) mqtt.Filter {
		return mqtt.Filter{Topic: []byte("rh/x"), QoS: 1, RetainHandling: handling}
	}
	c := r.connect(mqtt.V5, "c")
	for i, step := range []struct {
		handling byte
		sent     bool
	}{{2, false}, {1, false}, {0, true}, {1, false}, {0, true}, {2, false}} {
		c.subscribeTo(0, filter(step.handling))
		if step.sent {
			c.gets("rh/x", "kept")
		}
		c.write(mqtt.AppendPingreq(nil))
		if g := c.must(); g.Type != mqtt.TypePingresp {
			t.Errorf("step %d: %v %q", i, g.Type, g.payload)
		}
	}
	c = r.connect(mqtt.V5, "c")
	c.subscribeTo(0, filter(1))
	c.gets("rh/x", "kept")
	c.subscribe(1, "$share/g/rh/x")
	c.ping()
}

// TestRetainAsPublished keeps the flag on live messages for those who ask [MQTT-3.3.1-13]; a subscription identifier
// comes with both kinds.
func TestRetainAsPublished(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.connect(mqtt.V5, r.ids("pub", 0, 1)[0])
	for shard := range 2 {
		c := r.connect(mqtt.V5, r.ids("sub", shard, 1)[0])
		c.subscribeTo(7, mqtt.Filter{Topic: []byte("rap/#"), QoS: 1, RetainAsPublished: true, RetainHandling: 2})
		topic := fmt.Sprintf("rap/%d", shard)
		p.publish(1, topic, "yes", retained)
		if g := c.gets(topic, "yes"); !g.Retain || fmt.Sprint(g.Props.SubscriptionIDs) != "[7]" {
			t.Errorf("flag %v, ids %v", g.Retain, g.Props.SubscriptionIDs)
		}
		p.publish(1, topic, "no")
		if g := c.gets(topic, "no"); g.Retain {
			t.Error("flag on a message that had none")
		}
		c.disconnect()
	}
	c := r.connect(mqtt.V5, "late")
	c.subscribeTo(9, mqtt.Filter{Topic: []byte("rap/1"), QoS: 1})
	if g := c.gets("rap/1", "yes"); !g.Retain || fmt.Sprint(g.Props.SubscriptionIDs) != "[9]" {
		t.Errorf("flag %v, ids %v", g.Retain, g.Props.SubscriptionIDs)
	}
}

// TestRetainedReplayComplete subscribes to 5,000 retained messages by a wildcard, at QoS 0 and at QoS 1, as a device
// that reads at leisure: each comes once, in order of topics, none for lack of room in batch, window or queue.
func TestRetainedReplayComplete(t *testing.T) {
	t.Parallel()
	const topics = 5000
	r := start(t)
	p := r.connect(mqtt.V5, "pub")
	batch := []byte(nil)
	for i := range topics {
		batch = mqtt.AppendPublish(batch, mqtt.V5, &mqtt.PublishOut{
			Topic: fmt.Appendf(nil, "many/%04d/x", i), Payload: fmt.Appendf(make([]byte, 0, 256), "%0200d", i), Retain: true,
		})
	}
	p.write(batch)
	p.ping()
	for qos := range byte(3) {
		for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			c := r.connect(v, fmt.Sprintf("all-%d-%v", qos, v))
			c.subscribe(qos, "many/+/x")
			for i := range topics {
				if g := c.gets(fmt.Sprintf("many/%04d/x", i), fmt.Sprintf("%0200d", i)); !g.Retain {
					t.Fatal("without the flag")
				}
			}
			c.ping()
			c.disconnect()
		}
	}
	if drops := r.sum().drops; drops != (snapshot{}).drops {
		t.Errorf("dropped %v", drops)
	}
}

// TestRetainedReplayGoesOn: a replay that was cut with its connection goes on when the device of the session returns, in order, and with
// nothing left out but what was on its way.
func TestRetainedReplayGoesOn(t *testing.T) {
	t.Parallel()
	const topics = 5000
	r := start(t)
	p := r.connect(mqtt.V5, "pub")
	p.publishes(topics, func(i int) (topic, payload string) { return fmt.Sprintf("many/%04d", i), fmt.Sprintf("%0200d", i) }, retained)
	c, _ := r.connectOn(r.open(mqtt.V311, r.mqtt), "c", persistent)
	c.subscribe(1, "many/#")
	seen := map[string]bool{}
	for range 3 {
		for range 50 {
			seen[c.message().topic] = true
		}
		c.reset()
		r.eventually("it is away", func() bool { return r.sum().sessionsLive == 1 })
		var ack *got
		if c, ack = r.connectOn(r.open(mqtt.V311, r.mqtt), "c", persistent); !ack.SessionPresent {
			t.Fatal("the session is gone")
		}
	}
	for len(seen) < topics {
		seen[c.message().topic] = true
	}
	c.ping()
	if drops := r.sum().drops; drops != (snapshot{}).drops {
		t.Errorf("dropped %v", drops)
	}
}

// TestRetainUnavailable: with retained messages switched off CONNACK says so, and whoever does it still is closed
// with 0x9A [MQTT-3.2.2-14].
func TestRetainUnavailable(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.RetainAvailable = false })
	c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c")
	if !ack.Props.Has(mqtt.PropRetainAvailable) || ack.Props.RetainAvailable != 0 {
		t.Error("CONNACK does not say that retain is unavailable")
	}
	before := r.closedBy(reasonRetain)
	c.write(mqtt.AppendPublish(nil, c.v, &mqtt.PublishOut{Topic: []byte("x"), Payload: []byte("x"), Retain: true}))
	c.endsWith(mqtt.RetainNotSupported, 0)
	r.closesBy(reasonRetain, before, 1)
	c = r.open(mqtt.V5, r.mqtt)
	c.write(c.connectPacket("w", func(o *mqtt.ConnectOut) { o.HasWill, o.WillRetain, o.WillTopic = true, true, []byte("w") }))
	if g := c.expect(mqtt.TypeConnack); g.Reason != mqtt.RetainNotSupported {
		t.Errorf("CONNACK %v", g.Reason)
	}
	c.end()
}

// TestRetainedFull refuses to keep more topics than configured, and counts; topics known already are replaced, and
// live subscribers get everything.
func TestRetainedFull(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.RetainedMax = 2 })
	p := r.connect(mqtt.V5, "pub")
	live := r.connect(mqtt.V5, "live")
	live.subscribe(0, "f/#")
	for _, m := range [][2]string{{"f/1", "a"}, {"f/2", "b"}, {"f/3", "c"}, {"f/1", "d"}} {
		p.publish(1, m[0], m[1], retained)
		live.gets(m[0], m[1])
	}
	c := r.connect(mqtt.V5, "late")
	c.subscribe(0, "f/#")
	c.gets("f/1", "d")
	c.gets("f/2", "b")
	c.ping()
	if n := r.sum().retainedFull; n != 1 {
		t.Errorf("gateway_retained_refused_total %d, want 1", n)
	}
}
