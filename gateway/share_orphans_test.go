package gateway

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// unacknowledged lets a member take what the device publishes and say nothing: in flight and queued.
func (r *rig) unacknowledged(c *client, from, n int) {
	r.t.Helper()
	p := r.connect(mqtt.V5, "pub")
	p.publishes(n, func(i int) (topic, payload string) { return "s/x", fmt.Sprint(from + i) })
	p.disconnect()
	r.eventually("they are with the member", func() bool {
		s := r.sum()
		return s.queued+s.messagesTo(1) == n
	})
}

// endSession is a DISCONNECT that sets the session expiry to 0.
func (c *client) endSession() {
	c.t.Helper()
	c.write([]byte{0xE0, 7, 0, 5, byte(mqtt.PropSessionExpiry), 0, 0, 0, 0})
}

func (s *snapshot) messagesTo(qos int) int { return int(s.messagesOut[qos]) }

// collected are the payloads of the next n messages of these members, sorted.
func collected(list []*client, n int) (payloads []int) {
	each := n / len(list)
	for _, c := range list {
		for range each {
			var i int
			_, _ = fmt.Sscan(c.message().payload, &i)
			payloads = append(payloads, i)
		}
	}
	slices.Sort(payloads)
	return payloads
}

// TestSharedMemberGoes: when a member's session ends, or its connection while it stays, all that it was given and did not acknowledge,
// in flight and queued, more than one tick may carry, goes to the members on its own and on other shards, each once.
func TestSharedMemberGoes(t *testing.T) {
	t.Parallel()
	const n = 900
	for name, mods := range map[string][]func(*mqtt.ConnectOut){"session ends": nil, "connection ends": {persistent}} {
		t.Run(name, func(t *testing.T) {
			r := sharing(t, "round-robin", func(c *Config) { c.MQTT.InflightMax = 100 })
			leaves, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), r.ids("leaves", 0, 1)[0], mods...)
			leaves.subscribe(1, "$share/g/s/#")
			r.unacknowledged(leaves, 0, n)
			var list []*client
			for shard := range 3 {
				c := r.connect(mqtt.V5, r.ids("stays", shard, 1)[0])
				c.subscribe(1, "$share/g/s/#")
				list = append(list, c)
			}
			leaves.reset()
			got := collected(list, n)
			for i, payload := range got {
				if payload != i {
					t.Fatalf("message %d is %d", i, payload)
				}
			}
			for _, c := range list {
				c.ping()
			}
			s := r.sum()
			if s.redelivered != n || s.orphans != 0 || s.queued != 0 || s.drops != (snapshot{}).drops {
				t.Errorf("%d redelivered, %d orphans, %d queued, dropped %v", s.redelivered, s.orphans, s.queued, s.drops)
			}
			if mods == nil {
				return
			}
			back, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), r.ids("leaves", 0, 1)[0], mods...)
			if !ack.SessionPresent {
				t.Error("the session is gone")
			}
			back.ping() // nothing is sent again
		})
	}
}

// TestSharedLastMemberGoes: while nobody else is live the messages wait for the member; when its session ends they go to one that
// is away, and are dropped when there is none.
func TestSharedLastMemberGoes(t *testing.T) {
	t.Parallel()
	r := sharing(t, "round-robin")
	id, other := r.ids("leaves", 0, 1)[0], r.ids("away", 1, 1)[0]
	leaves, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), id, persistent)
	leaves.subscribe(1, "$share/g/s/#")
	r.unacknowledged(leaves, 0, 10)
	leaves.reset()
	r.eventually("it is away", func() bool { return r.sum().sessionsLive == 0 })
	back, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), id, persistent)
	for i := range 10 {
		if g := back.expect(mqtt.TypePublish); !g.Dup || g.payload != fmt.Sprint(i) {
			t.Fatalf("%q, dup %v", g.payload, g.Dup)
		}
	}
	away, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), other, persistent)
	away.subscribe(1, "$share/g/s/#")
	away.disconnect()
	r.eventually("the other is away", func() bool { return r.sum().sessionsLive == 1 })
	// It ends its session itself: what it has waits for the other.
	back.endSession()
	r.eventually("they wait for the other", func() bool { return r.sum().queued == 10 })
	away, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), other, persistent)
	for i := range 10 {
		if g := away.expect(mqtt.TypePublish); g.payload != fmt.Sprint(i) {
			t.Fatalf("%q, want %d", g.payload, i)
		}
	}
	away.endSession()
	r.eventually("nobody is left", func() bool { return r.sum().drops[session.DropSessionGone] == 10 })
	if s := r.sum(); s.orphans != 0 || s.keptBytes != 0 {
		t.Errorf("%d orphans, %d bytes kept", s.orphans, s.keptBytes)
	}
}

// TestSharedQoS2Stays: a QoS 2 message that a member was sent is completed with it when it returns [MQTT-4.8.2-4], and is never sent to
// another, also not when its session ends [MQTT-4.8.2-5]. One that was refused with 0x80 or more is nobody's any more [MQTT-4.8.2-6].
func TestSharedQoS2Stays(t *testing.T) {
	t.Parallel()
	r := sharing(t, "sticky")
	id := r.ids("leaves", 0, 1)[0]
	leaves, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), id, persistent)
	leaves.subscribe(2, "$share/g/s/#")
	stays := r.connect(mqtt.V5, r.ids("stays", 1, 1)[0])
	stays.subscribe(2, "$share/g/s/#")
	p := r.connect(mqtt.V5, "pub")
	p.publish(2, "s/x", "refused")
	p.publish(2, "s/x", "sent")
	refused := leaves.expect(mqtt.TypePublish)
	leaves.write(mqtt.AppendPubrec(nil, leaves.v, refused.PacketID, mqtt.QuotaExceeded))
	sent := leaves.expect(mqtt.TypePublish)
	leaves.ping()
	leaves.reset()
	r.eventually("it is away", func() bool { return r.sum().sessionsLive == 2 })
	stays.ping()
	leaves, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), id, persistent)
	if g := leaves.expect(mqtt.TypePublish); g.payload != "sent" || !g.Dup || g.PacketID != sent.PacketID {
		t.Errorf("%q, dup %v, id %d", g.payload, g.Dup, g.PacketID)
	}
	leaves.endSession()
	r.eventually("it ends with the session", func() bool { return r.sum().drops[session.DropSessionGone] == 1 })
	stays.ping()
}

// TestSharedTakesNoMoreThanItsQueue: what a member leaves behind comes under the limits of the next: what is beyond its queue is dropped and
// counted, and with the policy disconnect it is not closed for it.
func TestSharedTakesNoMoreThanItsQueue(t *testing.T) {
	t.Parallel()
	r := sharing(t, "round-robin", func(c *Config) {
		c.MQTT.InflightMax, c.Session.QueueCountMax, c.Session.QueuePolicy = 5, 20, "disconnect"
	})
	leaves := r.connect(mqtt.V5, r.ids("leaves", 0, 1)[0])
	leaves.subscribe(1, "$share/g/s/#")
	r.unacknowledged(leaves, 0, 25)
	stays := r.connect(mqtt.V5, r.ids("stays", 2, 1)[0])
	stays.subscribe(1, "$share/g/s/#", "own")
	p := r.connect(mqtt.V5, "other-pub")
	for range 10 {
		p.publish(1, "own", "x")
	}
	// They have to be in its queue before what the other leaves: that is only dropped, but they close who has no room for them.
	r.eventually("its own wait", func() bool { s := r.sum(); return s.queued+s.messagesTo(1) == 25+10 })
	leaves.reset()
	r.eventually("what is too much is dropped", func() bool { return r.sum().drops[session.DropQueueFull] == 10 })
	for range 10 {
		stays.gets("own", "x")
	}
	for i := range 15 {
		stays.gets("s/x", fmt.Sprint(i))
	}
	stays.ping()
}

// TestSharedMemberLeavesAhead: a message whose shard lost its last member while it was on its way goes to a member on another shard; when
// there is none either it is dropped and counted.
func TestSharedMemberLeavesAhead(t *testing.T) {
	t.Parallel()
	r := sharing(t, "round-robin")
	stays := r.connect(mqtt.V5, r.ids("stays", 1, 1)[0])
	stays.subscribe(1, "$share/g/s/#")
	x := r.gw.interests
	x.mu.Lock()
	id := x.byKey[string(interestKey(nil, "s/#", "g"))].id
	x.mu.Unlock()
	late := func(payload string) {
		b := r.gw.downPool.take()
		g := b.add(&session.Message{Topic: []byte("s/x"), Payload: []byte(payload), QoS: 1})
		g.interest, g.shard = id, 0
		b.refs.Store(1)
		r.gw.putNote(r.gw.shards[0], note{batch: b}, b.release)
	}
	late("one")
	stays.gets("s/x", "one")
	stays.disconnect()
	r.eventually("it is gone", func() bool { return r.sum().sessions == 0 })
	late("two")
	r.eventually("it is dropped", func() bool { return r.sum().drops[session.DropSessionGone] == 1 })
	if s := r.sum(); s.orphans != 0 || s.keptBytes != 0 {
		t.Errorf("%d orphans, %d bytes kept", s.orphans, s.keptBytes)
	}
}
