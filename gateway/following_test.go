package gateway

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestNothingOlderThanTheSubscription: the first one that subscribes at a gateway has nothing of what the log had before, also after it
// was away: nobody has told the gateway until then how far the log is.
func TestNothingOlderThanTheSubscription(t *testing.T) {
	r := start(t)
	p := r.connect(mqtt.V5, "p")
	for i := range 20 {
		p.publish(1, "o/x", fmt.Sprint("old", i))
	}
	c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent)
	c.subscribe(1, "o/#")
	c.reset()
	r.eventually("it is away", func() bool { return r.sum().sessionsLive == 1 })
	p.publish(1, "o/x", "new")
	c, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent)
	c.gets("o/x", "new")
	c.ping()
}

// TestSubscribedForAMoment: the SUBACK of a filter that is gone before the tails run comes all the same.
func TestSubscribedForAMoment(t *testing.T) {
	r := start(t)
	for i := range 20 {
		c := r.connect(mqtt.V5, fmt.Sprint("c", i%3))
		p := mqtt.AppendSubscribe(nil, c.v, 1, []mqtt.Filter{{Topic: []byte("m/#"), QoS: 1}}, 0)
		c.write(mqtt.AppendUnsubscribe(p, c.v, 2, []mqtt.Filter{{Topic: []byte("m/#")}}))
		for answers := map[mqtt.Type]bool{}; !answers[mqtt.TypeSuback] || !answers[mqtt.TypeUnsuback]; {
			answers[c.must().Type] = true
		}
		c.disconnect()
	}
}
