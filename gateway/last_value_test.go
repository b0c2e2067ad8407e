package gateway

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// TestLastValue: of topics of a configured filter the newest message waits for an absent device, from devices of any shard and from NATS; other
// topics keep all.
func TestLastValue(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, func(c *Config) { c.Session.LastValue = []string{"q/+/state"} })
	nc := r.nats()
	id := r.ids("away", 1, 1)[0]
	r.away(mqtt.V5, id)
	for shard := range 2 {
		p := r.connect(mqtt.V5, r.ids("pub", shard, 1)[0])
		for i := range 5 {
			p.publish(1, "q/door/state", fmt.Sprint(shard, i))
			p.publish(1, "q/door/log", fmt.Sprint(shard, i))
		}
		p.disconnect()
		r.eventually("they wait", func() bool { return r.sum().queued == 6+5*shard })
	}
	if err := nc.Publish("q.door.state", []byte("backend")); err != nil {
		t.Fatal(err)
	}
	r.eventually("the older are superseded", func() bool { return r.sum().drops[session.DropSuperseded] == 10 })
	c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), id, persistent)
	for shard := range 2 {
		for i := range 5 {
			c.gets("q/door/log", fmt.Sprint(shard, i))
		}
	}
	c.gets("q/door/state", "backend")
	c.ping()
}
