package gateway

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestEndedWhileSaved: a session that ends while its record is written leaves none, and nothing waits for the write.
func TestEndedWhileSaved(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Loops = 1 })
	const n = 10
	for i := range n {
		c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), fmt.Sprint("ends-", i), persistent)
		p := mqtt.AppendSubscribe(nil, c.v, 1, []mqtt.Filter{{Topic: []byte("e/#"), QoS: 1}}, 0)
		c.write(append(p, 0xE0, 7, 0, 5, byte(mqtt.PropSessionExpiry), 0, 0, 0, 0)) // DISCONNECT: it ends now
		for _, err := c.receive(); err == nil; _, err = c.receive() {
		}
	}
	for i := range n {
		r.eventually("no record is left", func() bool {
			there := make(chan bool, 1)
			r.gw.bus.LoadSession([]byte(fmt.Sprint("ends-", i)), func(s bus.SessionRecord, err error) { there <- err != nil || len(s.Value) > 0 })
			return !<-there
		})
	}
	r.eventually("nothing waits", func() bool {
		waits := make(chan int, 1)
		r.gw.shards[0].doSoon(func(s *shard) { waits <- len(s.holding) + s.saving })
		return <-waits == 0
	})
}
