package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestFilterWhileReading: while what a session missed is read for the filters that it had, it makes another. What comes for that one is not
// passed over because the read, which did not look for it, got that far.
func TestFilterWhileReading(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Loops, c.Session.QueueCountMax, c.MQTT.InflightMax = 1, 2, 1 })
	sub, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "reader", persistent)
	sub.subscribe(1, "read/old")
	sub.disconnect()
	pub := r.connect(mqtt.V5, "pub")
	for range 10 {
		pub.publish(1, "read/old", "missed")
	}
	sub, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "reader", persistent)
	first := sub.expect(mqtt.TypePublish) // it has more than fits, and is behind as long as this is not acknowledged
	s := r.gw.shards[0]
	done := make(chan struct{})
	s.doSoon(func(s *shard) {
		k := keeperOf(s.table.Get([]byte("reader")))
		k.reads++
		k.read, k.gained = k.reads, false // a read that takes long
		done <- struct{}{}
	})
	<-done
	sub.subscribe(1, "read/new")
	pub.publish(1, "read/new", "after SUBACK")
	s.doSoon(func(s *shard) {
		k := keeperOf(s.table.Get([]byte("reader")))
		b := s.gw.downPool.take()
		b.refs.Store(1)
		s.takeMissed(k, k.read, b, 0, 1<<20, nil)
		done <- struct{}{}
	})
	<-done
	sub.write(mqtt.AppendPuback(nil, mqtt.V5, first.PacketID, mqtt.Success))
	for range 9 {
		sub.gets("read/old", "missed")
	}
	sub.gets("read/new", "after SUBACK")
}

// TestBehindWithNothingUnderWay: a device is behind because what came was too much for its queue while its batch was full. It goes on when the
// batch is written, though it has nothing to acknowledge.
func TestBehindWithNothingUnderWay(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Loops, c.Session.QueueBytesMax, c.Limits.BatchBytesMax = 1, 1000, 4<<10 })
	sub, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "narrow", persistent)
	sub.subscribe(0, "n/0")
	sub.subscribe(1, "n/1")
	pub := r.connect(mqtt.V5, "pub")
	many, large := strings.Repeat("x", 16<<10), strings.Repeat("y", 2000)
	for range 20 {
		p := mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("n/0"), Payload: []byte(many), QoS: 1, PacketID: 1})
		pub.write(mqtt.AppendPublish(p, mqtt.V5, &mqtt.PublishOut{Topic: []byte("n/1"), Payload: []byte(large), QoS: 1, PacketID: 2}))
		pub.acknowledged(mqtt.TypePuback, 1)
		pub.acknowledged(mqtt.TypePuback, 2)
		sub.gets("n/0", many)
		sub.gets("n/1", large)
	}
}

// TestComesBackWithoutFilters: a session that had no filters, and was away, has missed nothing: a filter that it makes then brings nothing older.
func TestComesBackWithoutFilters(t *testing.T) {
	t.Parallel()
	r := start(t)
	c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "bare", persistent)
	c.disconnect()
	p := r.connect(mqtt.V5, "p")
	for i := range 20 {
		p.publish(1, "o/x", fmt.Sprint("old", i))
	}
	c, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "bare", persistent)
	c.subscribe(1, "o/#")
	c.ping()
	p.publish(1, "o/x", "new")
	c.gets("o/x", "new")
}
