package gateway

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// The life of sessions, their wills and their messages, with real time.

// Test_v5_MQTT_4_1_0_2_Wire: a session ends with its expiry after its connection; one without expiry, at once.
func Test_v5_MQTT_4_1_0_2_Wire(t *testing.T)  { t.Parallel(); sessionsExpire(t) }
func Test_v5_MQTT_3_1_2_23_Wire(t *testing.T) { t.Parallel(); sessionsExpire(t) }

func sessionsExpire(t *testing.T) {
	t.Helper()
	r := start(t)
	expiry := func(sec uint32) func(o *mqtt.ConnectOut) {
		return func(o *mqtt.ConnectOut) { o.CleanStart, o.SessionExpirySec = false, sec }
	}
	for id, sec := range map[string]uint32{"none": 0, "short": 1, "long": 1000, "endless": 0xFFFFFFFF} {
		r.connect(mqtt.V5, id, expiry(sec)).cut()
	}
	r.eventually("two sessions are over", func() bool { return r.sum().sessions == 2 })
	for id, there := range map[string]bool{"none": false, "short": false, "long": true, "endless": true} {
		c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), id, expiry(0))
		if ack.SessionPresent != there {
			t.Errorf("%s: session present %v", id, ack.SessionPresent)
		}
		c.disconnect()
	}
	r.eventually("expiry 0 of the last CONNECT counts", func() bool { return r.sum().sessions == 0 })
}

// Test_v5_MQTT_3_3_2_5_Wire: a message is not delivered to who comes after its expiry; the others are, with what is left of theirs.
func Test_v5_MQTT_3_3_2_5_Wire(t *testing.T) { t.Parallel(); messagesExpire(t) }
func Test_v5_MQTT_3_3_2_6_Wire(t *testing.T) { t.Parallel(); messagesExpire(t) }

func messagesExpire(t *testing.T) {
	t.Helper()
	r := start(t)
	c := r.connect(mqtt.V5, "c", persistent)
	c.subscribe(2, "t")
	c.cut()
	p := r.connect(mqtt.V5, "p")
	for _, m := range []struct {
		payload string
		sec     uint32
	}{{"short", 1}, {"long", 1000}, {"short too", 1}} {
		p.publish(1, "t", m.payload, func(o *mqtt.PublishOut) { o.HasExpiry, o.ExpirySec = true, m.sec })
		p.publish(2, "kept/"+m.payload, m.payload, retained, func(o *mqtt.PublishOut) { o.HasExpiry, o.ExpirySec = true, m.sec })
	}
	p.publish(1, "t", "endless")
	from := r.nowSec()
	// Two clocks tell the age, in whole seconds: one second of three is theirs.
	r.eventually("three seconds pass", func() bool { return r.nowSec() >= from+3 })
	c, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent)
	left := func(g *got) {
		t.Helper()
		if !g.Props.Has(mqtt.PropMessageExpiry) || g.Props.MessageExpirySec > 998 || g.Props.MessageExpirySec < 980 {
			t.Errorf("%q has %d s left", g.payload, g.Props.MessageExpirySec)
		}
	}
	left(c.gets("t", "long"))
	if g := c.gets("t", "endless"); g.Props.Has(mqtt.PropMessageExpiry) {
		t.Errorf("%d s are left of none", g.Props.MessageExpirySec)
	}
	c.subscribe(2, "kept/#")
	left(c.gets("kept/long", "long"))
	c.ping()
	p.publish(1, "t", "now", func(o *mqtt.PublishOut) { o.HasExpiry, o.ExpirySec = true, 5 })
	if g := c.gets("t", "now"); g.Props.MessageExpirySec > 5 || g.Props.MessageExpirySec < 3 {
		t.Errorf("%d s left", g.Props.MessageExpirySec)
	}
}

func Test_v5_MQTT_3_1_2_8_Wire(t *testing.T)  { t.Parallel(); willsAreTold(t) }
func Test_v5_MQTT_3_1_2_10_Wire(t *testing.T) { t.Parallel(); willsAreTold(t) }
func Test_v5_MQTT_3_1_3_9_Wire(t *testing.T)  { t.Parallel(); willsAreTold(t) }
func Test_v5_MQTT_3_14_4_3_Wire(t *testing.T) { t.Parallel(); willsAreTold(t) }

// willsAreTold: a will comes once: after its delay, or with the end of its session if that is sooner, and not at all if the client is back
// before, or said goodbye.
func willsAreTold(t *testing.T) {
	t.Helper()
	r := start(t)
	w := r.watch("w/x")
	with := func(expirySec uint32) func(o *mqtt.ConnectOut) {
		return func(o *mqtt.ConnectOut) { o.CleanStart, o.SessionExpirySec = false, expirySec }
	}
	r.connect(mqtt.V5, "bye", with(1000), will("said goodbye", 0)).disconnect()
	r.connect(mqtt.V5, "back", with(1000), will("came back", 2)).cut()
	r.connect(mqtt.V5, "back", with(1000)).ping()
	r.connect(mqtt.V5, "at once", with(1000), will("at once", 0)).cut()
	w.gets("w/x", "at once")
	r.connect(mqtt.V5, "session", with(1), will("end of the session", 1000)).cut()
	w.gets("w/x", "end of the session")
	r.connect(mqtt.V5, "clean", with(1000), will("clean start", 1000)).cut()
	r.connect(mqtt.V5, "clean").ping()
	w.gets("w/x", "clean start")
	r.connect(mqtt.V5, "later", with(1000), will("later", 1)).cut()
	w.gets("w/x", "later")
	r.connect(mqtt.V5, "later", with(1000)).cut() // it has none any more
	from := r.nowSec()
	r.eventually("the delays are over", func() bool { return r.nowSec() >= from+3 })
	w.hearsNothingBut(r, "w/x", "nothing more")
}

func Test_v5_MQTT_3_1_2_7_Wire(t *testing.T)  { t.Parallel(); willsAsAsked(t) }
func Test_v5_MQTT_3_1_2_14_Wire(t *testing.T) { t.Parallel(); willsAsAsked(t) }
func Test_v5_MQTT_3_1_2_15_Wire(t *testing.T) { t.Parallel(); willsAsAsked(t) }

// willsAsAsked: a will is kept with its session, and becomes a retained message if Will Retain asked for that, a common one if not.
func willsAsAsked(t *testing.T) {
	t.Helper()
	r := start(t)
	w := r.watch("w/x")
	for _, retain := range []bool{true, false} { // the second leaves the retained message as it is
		r.connect(mqtt.V5, "c", will(fmt.Sprint(retain), 0, func(o *mqtt.ConnectOut) { o.WillRetain = retain })).cut()
		w.gets("w/x", fmt.Sprint(retain))
		late := r.connect(mqtt.V5, "late")
		late.subscribe(1, "w/x")
		if g := late.gets("w/x", "true"); !g.Retain {
			t.Error("the retained will is not marked as one")
		}
	}
}
