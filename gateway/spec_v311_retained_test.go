package gateway

import (
	"fmt"
	"testing"
)

// Retained messages in MQTT 3.1.1 (§3.3.1.3).

// sees subscribes a new device and expects exactly these packets after SUBACK.
func (r *rig) sees(filter string, want ...string) {
	r.t.Helper()
	for shard := range len(r.gw.shards) {
		c := r.clean311(r.ids("sees", shard, 1)[0])
		c.takes(0, filter)
		c.answers(want...)
		c.silent()
		c.says("\xe0\x00")
		c.shut("DISCONNECT")
	}
}

// kept is a retained message as a subscription of QoS 0 gets it.
func kept(topic, payload string) string { return publish311(pubRetain, topic, 0, payload) }

func Test_v311_MQTT_3_3_1_5(t *testing.T) { // stored with its QoS, the last one of each topic
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	for qos, flags := range []byte{0, pubQoS1, pubQoS2} {
		p.gives(pubRetain|flags, "t", fmt.Sprint(qos))
		p.gives(pubRetain|flags, fmt.Sprint("u/", qos), "x")
		for granted := range byte(3) {
			c := r.clean311("c")
			c.takes(granted, "t")
			if g := c.gets("t", fmt.Sprint(qos)); g.QoS != min(byte(qos), granted) || !g.Retain {
				t.Errorf("QoS %d for %d of %d, retain %v", g.QoS, granted, qos, g.Retain)
			}
			c.silent()
		}
	}
	if n := r.retainedTopics(); n != 4 {
		t.Errorf("%d topics", n)
	}
}

func Test_v311_MQTT_3_3_1_6(t *testing.T) { // a new subscription gets the last one of every topic that matches
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	for _, topic := range []string{"a", "a/b", "a/b/c", "b", "/a"} {
		p.gives(pubRetain|pubQoS1, topic, "old")
		p.gives(pubRetain|pubQoS1, topic, "new")
	}
	r.sees("a", kept("a", "new"))
	r.sees("a/+", kept("a/b", "new"))
	r.sees("a/#", kept("a", "new"), kept("a/b", "new"), kept("a/b/c", "new"))
	r.sees("+", kept("a", "new"), kept("b", "new"))
	r.sees("+/a", kept("/a", "new"))
	r.sees("c")
	// Each filter of one SUBSCRIBE is a new subscription.
	c := r.clean311("c")
	c.says(subscribe311(1, "a", "\x00", "b", "\x00"), suback(1, "\x00\x00"))
	got := map[string]bool{string(c.packet()): true, string(c.packet()): true}
	if !got[kept("a", "new")] || !got[kept("b", "new")] {
		t.Errorf("got %v", got)
	}
	c.silent()
}

func Test_v311_MQTT_3_3_1_7(t *testing.T) { // one of QoS 0 takes the place of what was there, whatever its QoS
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	p.gives(pubRetain|pubQoS2, "t", "two")
	p.gives(pubRetain, "t", "zero")
	r.sees("t", kept("t", "zero"))
	full := start(t, func(c *Config) { c.MQTT.RetainedBytesMax = 10 }) // and what it replaces is gone, though there is no room for it
	p = full.clean311("p")
	p.gives(pubRetain|pubQoS2, "t", "two")
	p.gives(pubRetain, "t", "far too long for it")
	full.sees("t")
}

func Test_v311_MQTT_3_3_1_8(t *testing.T) { // sent because of a new subscription: RETAIN 1; also of one that is repeated
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	p.gives(pubRetain, "t", "x")
	c := r.clean311("c")
	for range 3 {
		c.takes(0, "t")
		c.answers(kept("t", "x"))
	}
	p.gives(pubRetain, "$share", "x")
	c.silent()
}

func Test_v311_MQTT_3_3_1_9(t *testing.T) { // sent to a subscription that is there: RETAIN 0, at once or queued
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	watch := r.across("w")
	for _, w := range watch {
		w.takes(0, "t")
	}
	away := r.device311("away", 0, accepted311)
	away.takes(1, "t")
	away.cut()
	r.left(3)
	p.gives(pubRetain|pubQoS1, "t", "x")
	for _, w := range watch {
		w.answers(publish311(0, "t", 0, "x"))
	}
	away = r.device311("away", 0, accepted311Present)
	if g := away.gets("t", "x"); g.Retain || g.QoS != 1 {
		t.Errorf("retain %v, QoS %d", g.Retain, g.QoS)
	}
	away.silent()
}

func Test_v311_MQTT_3_3_1_10(t *testing.T) { t.Parallel(); emptyRetained(t) } // an empty one is delivered and deletes
func Test_v311_MQTT_3_3_1_11(t *testing.T) { t.Parallel(); emptyRetained(t) } // and is not stored

func emptyRetained(t *testing.T) {
	t.Helper()
	r := start(t)
	p := r.clean311("p")
	back := r.onNATS("t")
	w := r.clean311("w")
	w.takes(2, "t")
	for _, flags := range []byte{0, pubQoS1, pubQoS2} {
		p.gives(pubRetain|flags, "t", "x")
		back.gets("t", "x")
		w.gets("t", "x")
		r.sees("t", kept("t", "x"))
		for range 2 { // the second one has nothing to delete
			p.gives(pubRetain|flags, "t", "")
			back.gets("t", "")
			if g := w.gets("t", ""); g.Retain {
				t.Error("RETAIN on a live message")
			}
			r.sees("t")
		}
	}
	if n := r.retainedTopics(); n != 0 {
		t.Errorf("%d retained", n)
	}
}

func Test_v311_MQTT_3_3_1_12(t *testing.T) { // without the flag nothing is stored, replaced or deleted
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	p.gives(pubQoS1, "t", "x")
	r.sees("t")
	p.gives(pubRetain|pubQoS1, "t", "kept")
	for _, payload := range []string{"other", ""} {
		for _, flags := range []byte{0, pubQoS1, pubQoS2} {
			p.gives(flags, "t", payload)
			r.sees("t", kept("t", "kept"))
		}
	}
}
