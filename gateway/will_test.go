package gateway

import (
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// will asks for a will on w/x.
func will(payload string, delaySec uint32, mods ...func(c *mqtt.ConnectOut)) func(c *mqtt.ConnectOut) {
	return func(c *mqtt.ConnectOut) {
		c.HasWill, c.WillQoS, c.WillTopic, c.WillPayload, c.WillDelaySec = true, 1, []byte("w/x"), []byte(payload), delaySec
		for _, mod := range mods {
			mod(c)
		}
	}
}

// TestWill: every way a connection can end, and whether its will is published [MQTT-3.1.2-8], [MQTT-3.1.2-10],
// [MQTT-3.14.4-3]. It comes to devices of both shards and to NATS, once.
func TestWill(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	back, err := nc.SubscribeSync("w.x")
	if err != nil {
		t.Fatal(err)
	}
	var watch []*client
	for shard := range 2 {
		c := r.connect(mqtt.V5, r.ids("watch", shard, 1)[0])
		c.subscribe(1, "w/x", "fence")
		watch = append(watch, c)
	}
	for _, tc := range []struct {
		name string
		v    mqtt.Version
		ways []string
		end  func(c *client)
		will bool
	}{
		{"FIN", mqtt.V311, transports, (*client).cut, true},
		{"RST", mqtt.V5, transports, (*client).reset, true},
		{"DISCONNECT 3.1.1", mqtt.V311, transports, (*client).disconnect, false},
		{"DISCONNECT 0x00", mqtt.V5, transports, (*client).disconnect, false},
		{"DISCONNECT 0x04", mqtt.V5, transports, func(c *client) {
			c.write(mqtt.AppendDisconnect(nil, c.v, mqtt.DisconnectWithWillMessage, nil))
			c.end()
		}, true},
		{"DISCONNECT 0x80", mqtt.V5, transports, func(c *client) {
			c.write(mqtt.AppendDisconnect(nil, c.v, mqtt.UnspecifiedError, nil))
			c.end()
		}, true},
		{"protocol error", mqtt.V5, transports, func(c *client) {
			c.write(c.connectPacket("again"))
			c.endsWith(mqtt.ProtocolError, 1002)
		}, true},
		{"malformed", mqtt.V31, transports, func(c *client) {
			c.write([]byte{0xFF, 0xFF})
			c.end()
		}, true},
	} {
		for _, way := range tc.ways {
			for shard := range 2 {
				c, _ := r.connectOn(r.via(way, tc.v), r.ids("dies", shard, 1)[0], will(tc.name+way, 0))
				tc.end(c)
				r.eventually("the end of "+tc.name, func() bool { return r.sum().sessionsLive == len(watch) })
				want := 0
				if tc.will {
					want = 1
				}
				for i, before := range r.fence(nc, watch...) {
					if len(before) != want || want == 1 && (before[0].payload != tc.name+way || before[0].Retain) {
						t.Errorf("%s over %s: watcher %d got %d messages, want %d", tc.name, way, i, len(before), want)
					}
				}
				for range want {
					if m, err := back.NextMsg(answerTime); err != nil || string(m.Data) != tc.name+way {
						t.Errorf("%s: NATS got %v, %v", tc.name, m, err)
					}
				}
			}
		}
	}
	if n, _, _ := back.Pending(); n != 0 {
		t.Errorf("%d more wills on NATS", n)
	}
}

// TestWillDelay: a will waits its delay, is cancelled by a return within it [MQTT-3.1.3-9], and comes with the end of the
// session if that is sooner [MQTT-3.1.2-8]. A takeover publishes a will without delay.
func TestWillDelay(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	watch := r.connect(mqtt.V5, "watch")
	watch.subscribe(1, "w/x", "fence")
	keep := func(sec uint32) func(*mqtt.ConnectOut) {
		return func(c *mqtt.ConnectOut) { c.SessionExpirySec = sec }
	}
	gone := func(c *client) {
		c.cut()
		r.eventually("the session is away", func() bool { return r.sum().sessionsLive == 1 })
	}
	c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "delayed", will("late", 2, keep(100)))
	began := r.nowSec()
	gone(c)
	watch.gets("w/x", "late")
	if waited := r.nowSec() - began; waited < 2 || waited > 4 {
		t.Errorf("the will came after %d s, want 2", waited)
	}
	c, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "back", will("cancelled", 2, keep(100)))
	began = r.nowSec()
	gone(c)
	c, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "back", func(c *mqtt.ConnectOut) { c.CleanStart = false })
	c.disconnect()
	c, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "short", will("with the session", 1000, keep(1)))
	gone(c)
	watch.gets("w/x", "with the session")
	r.eventually("the cancelled will would have come", func() bool { return r.nowSec() >= began+4 })
	c, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "taken", will("at takeover", 0, keep(100)))
	second := r.connect(mqtt.V5, "taken")
	c.endsWith(mqtt.SessionTakenOver, 0)
	watch.gets("w/x", "at takeover")
	second.disconnect()
	if before := r.fence(nc, watch)[0]; len(before) != 0 {
		t.Errorf("also came %q %q", before[0].topic, before[0].payload)
	}
}

// TestWillRetained: a will may be retained, and carries its properties and expiry.
func TestWillRetained(t *testing.T) {
	t.Parallel()
	r := start(t)
	props := mqtt.AppendUserProperty(mqtt.AppendContentType(nil, []byte("t")), []byte("k"), []byte("v"))
	c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "dies", will("offline", 0, func(c *mqtt.ConnectOut) {
		c.WillRetain, c.WillProps, c.HasWillExpiry, c.WillExpirySec = true, props, true, 500
	}))
	c.cut()
	r.eventually("the will is kept", func() bool { return r.retainedTopics() == 1 })
	late := r.connect(mqtt.V5, "late")
	late.subscribe(1, "w/#")
	g := late.gets("w/x", "offline")
	if !g.Retain || string(g.Props.ContentType) != "t" || g.Props.UserCount != 1 || g.Props.MessageExpirySec > 500 || g.Props.MessageExpirySec < 490 {
		t.Errorf("will: retain %v, %+v", g.Retain, g.Props)
	}
}

// TestWillRefused: a will on a topic that no device may publish to is refused at CONNECT; see faults B7 and class 11.
func TestWillRefused(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, topic := range []string{"$SYS/x", "$JS/API/x", "_INBOX/x"} {
		c := r.open(mqtt.V5, r.mqtt)
		c.write(c.connectPacket("w", will("x", 0, func(c *mqtt.ConnectOut) { c.WillTopic = []byte(topic) })))
		if g := c.expect(mqtt.TypeConnack); g.Reason != mqtt.TopicNameInvalid {
			t.Errorf("%s: CONNACK %v", topic, g.Reason)
		}
		c.end()
	}
	if n := r.sum().sessions; n != 0 {
		t.Errorf("%d sessions", n)
	}
}
