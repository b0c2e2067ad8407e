package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// away lets a device subscribe to q/# at QoS 1 and go, keeping its session.
func (r *rig) away(v mqtt.Version, id string) {
	r.t.Helper()
	c, _ := r.connectOn(r.open(v, r.mqtt), id, persistent)
	c.subscribe(1, "q/#")
	c.disconnect()
	r.eventually("the session is away", func() bool { s := r.sum(); return s.sessionsLive == 0 && s.sessions == 1 })
}

// TestOfflineQueue: what devices publish at QoS 1 and 2 and what a backend publishes waits for an absent device and
// comes in order when it returns, also over another transport; QoS 0 from devices does not wait, and is counted.
func TestOfflineQueue(t *testing.T) {
	t.Parallel()
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		for _, way := range transports {
			t.Run(v.String()+"/"+way, func(t *testing.T) {
				r := start(t)
				nc := r.nats()
				id := r.ids("away", 1, 1)[0]
				r.away(v, id)
				var want []string
				for shard := range 2 {
					p := r.connect(mqtt.V5, r.ids("pub", shard, 1)[0])
					for i := range 20 {
						p.publish(byte(i%3), "q/x", fmt.Sprintf("%d/%d", shard, i))
						if i%3 > 0 {
							want = append(want, fmt.Sprintf("%d/%d", shard, i))
						}
					}
					p.disconnect()
					r.waits(len(want))
				}
				for i := range 10 {
					if err := nc.Publish("q.y", fmt.Append(nil, i)); err != nil {
						t.Fatal(err)
					}
				}
				r.waitsInMemory(10, len(want))
				c, ack := r.connectOn(r.via(way, v), id, persistent)
				if v != mqtt.V31 && !ack.SessionPresent {
					t.Error("no session present")
				}
				for next := 0; next < 10 || len(want) > 0; { // those of devices and of the backend, each in their order
					g := c.message()
					switch {
					case g.Dup || g.QoS != 1:
						t.Fatalf("got %q with dup %v, QoS %d", g.payload, g.Dup, g.QoS)
					case g.topic == "q/y" && g.payload == fmt.Sprint(next):
						next++
					case g.topic == "q/x" && len(want) > 0 && g.payload == want[0]:
						want = want[1:]
					default:
						t.Fatalf("got %s %q, want %d or one of %q", g.topic, g.payload, next, want)
					}
				}
				c.ping()
				if n := r.sum().drops[session.DropOffline]; n != 14 {
					t.Errorf("%d dropped as offline, want the 14 of QoS 0", n)
				}
			})
		}
	}
}

// TestQueuePolicies: beyond its count or its bytes the queue gives way as configured, and counts.
func TestQueuePolicies(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		policy       string
		count, bytes int
		want         []string
		why          session.DropReason
	}{
		{"drop-oldest", 3, 1 << 20, []string{"7", "8", "9"}, session.DropQueueFull},
		{"drop-newest", 3, 1 << 20, []string{"0", "1", "2"}, session.DropQueueFull},
		{"drop-oldest", 100, 12, []string{"7", "8", "9"}, session.DropQueueBytes}, // topic q/x and one digit: 4 bytes each
		{"drop-newest", 100, 12, []string{"0", "1", "2"}, session.DropQueueBytes},
	} {
		t.Run(fmt.Sprint(tc.policy, tc.count, tc.bytes), func(t *testing.T) {
			r := start(t, memoryOnly, func(c *Config) {
				c.Session.QueuePolicy, c.Session.QueueCountMax, c.Session.QueueBytesMax = tc.policy, tc.count, tc.bytes
			})
			r.away(mqtt.V5, "away")
			p := r.connect(mqtt.V5, "pub")
			for i := range 10 {
				p.publish(1, "q/x", fmt.Sprint(i))
			}
			p.disconnect()
			r.eventually("seven are dropped", func() bool { return r.sum().drops[tc.why] == 7 })
			c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "away", persistent)
			for _, w := range tc.want {
				c.gets("q/x", w)
			}
			c.ping()
			if s := r.sum(); s.queued != 0 || s.queuedBytes != 0 {
				t.Errorf("%d messages and %d bytes still wait", s.queued, s.queuedBytes)
			}
		})
	}
}

// TestQueuePolicyDisconnect: a live device that never acknowledges fills its window, then its queue, and is closed with
// 0x97.
func TestQueuePolicyDisconnect(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) {
		c.Session.QueuePolicy, c.Session.QueueCountMax, c.MQTT.InflightMax = "disconnect", 3, 2
	})
	c := r.connect(mqtt.V5, "mute")
	c.subscribe(1, "q/#")
	p := r.connect(mqtt.V5, "pub")
	before := r.closedBy(reasonQuota)
	for i := range 6 {
		p.publish(1, "q/x", fmt.Sprint(i))
	}
	c.endsWith(mqtt.QuotaExceeded, 0)
	r.closesBy(reasonQuota, before, 1)
	p.ping()
}

// TestWindow: no more than the device's Receive Maximum and our own limit are unacknowledged; what was sent and not
// acknowledged comes again with DUP after a reconnect, in order [MQTT-3.3.4-9], [MQTT-4.4.0-1].
func TestWindow(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.InflightMax = 5 })
	connect := func(max uint16) *client {
		c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "w", persistent, func(o *mqtt.ConnectOut) { o.ReceiveMax = max })
		return c
	}
	c := connect(2)
	c.subscribe(2, "q/#")
	p := r.connect(mqtt.V5, "pub")
	for i := range 10 {
		p.publish(1, "q/x", fmt.Sprint(i))
	}
	unacked := func(c *client, dup bool, want ...string) (ids []uint16) {
		t.Helper()
		for _, w := range want {
			g := c.expect(mqtt.TypePublish)
			if g.payload != w || g.Dup != dup {
				t.Fatalf("%q dup %v, want %q dup %v", g.payload, g.Dup, w, dup)
			}
			ids = append(ids, g.PacketID)
		}
		return ids
	}
	ids := unacked(c, false, "0", "1")
	c.ping() // and not more
	c.write(mqtt.AppendPuback(nil, c.v, ids[0], mqtt.Success))
	unacked(c, false, "2")
	c.ping()
	c.cut()
	c = connect(0)
	again := unacked(c, true, "1", "2")
	if again[0] != ids[1] {
		t.Errorf("packet id %d when sent again, was %d [MQTT-4.3.2-2]", again[0], ids[1])
	}
	unacked(c, false, "3", "4", "5")
	c.ping()
}

// TestSessionLife: clean start, expiry, its cap, its change at DISCONNECT, and what CONNACK says of it.
func TestSessionLife(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Session.ExpiryMax = time.Hour })
	connect := func(clean bool, expiry uint32) (*client, *got) {
		return r.connectOn(r.open(mqtt.V5, r.mqtt), "life", func(c *mqtt.ConnectOut) { c.CleanStart, c.SessionExpirySec = clean, expiry })
	}
	present := func(want bool, ack *got) {
		t.Helper()
		if ack.SessionPresent != want {
			t.Errorf("session present %v, want %v", ack.SessionPresent, want)
		}
	}
	c, ack := connect(false, 100)
	present(false, ack)
	c.disconnect()
	c, ack = connect(false, 100)
	present(true, ack)
	c.cut()
	c, ack = connect(true, 100) // [MQTT-3.1.2-4]
	present(false, ack)
	c.disconnect()
	c, ack = connect(false, 0) // ends with the connection
	present(true, ack)
	c.disconnect()
	r.eventually("no session", func() bool { return r.sum().sessions == 0 })
	c, ack = connect(false, 7200)
	present(false, ack)
	if ack.Props.SessionExpirySec != 3600 {
		t.Errorf("CONNACK lowers the expiry to %d, want 3600", ack.Props.SessionExpirySec)
	}
	// DISCONNECT may shorten it ...
	c.write([]byte{byte(mqtt.TypeDisconnect) << 4, 7, 0, 5, 0x11, 0, 0, 0, 1})
	c.end()
	r.eventually("expired", func() bool { return r.sum().sessions == 0 })
	// ... but not give a life to a session that had none, §3.14.2.2.2.
	c, _ = connect(true, 0)
	c.write([]byte{byte(mqtt.TypeDisconnect) << 4, 7, 0, 5, 0x11, 0, 0, 0, 1})
	c.endsWith(mqtt.ProtocolError, 0)

	old, ack := r.connectOn(r.open(mqtt.V311, r.mqtt), "old", persistent)
	present(false, ack)
	old.disconnect()
	old, ack = r.connectOn(r.open(mqtt.V311, r.mqtt), "old", persistent)
	present(true, ack)
	old.disconnect()
	old, ack = r.connectOn(r.open(mqtt.V311, r.mqtt), "old")
	present(false, ack)
	old.disconnect()
	_, ack = r.connectOn(r.open(mqtt.V311, r.mqtt), "old", persistent)
	present(false, ack)
}

// TestSessionsMax refuses further sessions with 0x97 and counts.
func TestSessionsMax(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Session.Max, c.Loops = 2, 1 })
	first := r.connect(mqtt.V5, "1")
	r.connect(mqtt.V5, "2")
	for v, code := range map[mqtt.Version]byte{mqtt.V311: 3, mqtt.V5: 0} {
		c := r.open(v, r.mqtt)
		c.write(c.connectPacket("3"))
		g := c.expect(mqtt.TypeConnack)
		if v == mqtt.V5 && g.Reason != mqtt.QuotaExceeded || g.ReturnCode != code {
			t.Errorf("%v: CONNACK %v, return code %d", v, g.Reason, g.ReturnCode)
		}
		c.end()
	}
	first.ping()
	r.closesBy(reasonQuota, 0, 2)
	if n := r.sum().refusedConnects; n != 2 {
		t.Errorf("refused connects %d", n)
	}
}
