package gateway

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// TestCatchUpOfManyOverRestart: a session that missed more than is read at a time gets all of it from a gateway that was just started, whose tail has
// brought nothing yet.
func TestCatchUpOfManyOverRestart(t *testing.T) {
	t.Parallel()
	const n = 2*catchUpCount + 50
	dir := t.TempDir()
	r := start(t, inDir(dir))
	sub, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "sleeper", persistent)
	sub.subscribe(1, "for/sleeper/#")
	sub.disconnect()
	pub := r.connect(mqtt.V5, "pub")
	for from := 0; from < n; from += 64 { // many at once, and fewer than the gateway takes unacknowledged
		var packets []byte
		for i := from; i < min(n, from+64); i++ {
			packets = mqtt.AppendPublish(packets, mqtt.V5, &mqtt.PublishOut{Topic: []byte("for/sleeper/a"), Payload: fmt.Append(nil, i), QoS: 1, PacketID: uint16(i + 1)})
		}
		pub.write(packets)
		for i := from; i < min(n, from+64); i++ {
			pub.acknowledged(mqtt.TypePuback, uint16(i+1))
		}
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = start(t, inDir(dir))
	sub, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "sleeper", persistent)
	for i := range n {
		if m := sub.message(); m.payload != fmt.Sprint(i) {
			t.Fatalf("%s, want %d", m.payload, i)
		}
	}
}

// TestComesBackWhileLeaving: a claim from elsewhere wants a session away as soon as the write of its record is done, and the device connects
// here before that. The session stays.
func TestComesBackWhileLeaving(t *testing.T) {
	t.Parallel()
	r := start(t)
	old, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "one", persistent)
	s := r.gw.home([]byte("one"))
	var again *epoll.Conn
	find := func(s *shard) bool {
		s.loop.EachFrom(1, 1000, func(c *epoll.Conn) {
			if s.devices.At(c.Slot()).state == stateOpening {
				again = c
			}
		})
		return again != nil
	}
	r.eventually("a connection that the device comes back with is at the home of the session", func() bool {
		r.open(mqtt.V5, r.mqtt)
		return r.onLoop(s, find)
	})
	var sess *session.Session
	r.onLoop(s, func(s *shard) bool {
		sess = s.table.Get([]byte("one"))
		k := keeperOf(sess)
		s.save(k, nil)
		s.yield(&claim{id: []byte("one")})
		if !k.moving {
			t.Error("it does not wait for the write of its record")
		}
		s.out.Reset()
		in := session.Connect{ClientID: []byte("one"), ExpirySec: 3600, Version: uint8(mqtt.V5), ReceiveMax: 10, Durable: true}
		sess, _ = s.openSession(again, &in, &opening{id: in.ClientID, before: k.revision, revision: k.revision, generation: k.generation})
		d := s.devices.At(again.Slot())
		d.sess, d.state, d.version = sess, stateLive, mqtt.V5
		s.count.live[d.kind()]++
		s.out.Reset()
		return true
	})
	old.endsWith(mqtt.SessionTakenOver, 0)
	r.eventually("the record is written", func() bool { return r.onLoop(s, func(s *shard) bool { return s.saving == 0 }) })
	if !r.onLoop(s, func(s *shard) bool { return s.table.Get([]byte("one")) == sess && keeperOf(sess) != nil }) {
		t.Error("the session is gone under its connection")
	}
}

// onLoop runs f on a loop and waits for it.
func (r *rig) onLoop(s *shard, f func(s *shard) bool) bool {
	r.t.Helper()
	result := make(chan bool, 1)
	r.gw.tellShard(s, func(s *shard) { result <- f(s) })
	return <-result
}
