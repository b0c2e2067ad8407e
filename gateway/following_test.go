package gateway

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestNothingOlderThanTheSubscription: the first one that subscribes at a gateway has nothing of what the log had before, also after it
// was away: nobody has told the gateway until then how far the log is.
func TestNothingOlderThanTheSubscription(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// TestFedOfThePast: what tells a shard that the tails run may be late, and the tails have ended since: who begins to wait meanwhile waits for the
// next time. A message stored before that would be lost otherwise.
func TestFedOfThePast(t *testing.T) {
	t.Parallel()
	r := start(t)
	if !r.durable() {
		t.Skip("there are no tails")
	}
	x := r.gw.interests
	tails := func() (on bool, times uint64) {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.tails.on, x.tails.times
	}
	onLoop := func(f func(s *shard)) {
		done := make(chan struct{})
		r.gw.shards[0].doSoon(func(s *shard) { defer close(done); f(s) })
		<-done
	}
	fed := func() (on bool) {
		onLoop(func(s *shard) { on = s.feeding.on })
		return on
	}
	onLoop(func(s *shard) { s.feeds(+1) })
	r.eventually("the tails run", fed)
	onLoop(func(s *shard) {
		_, before := tails()
		s.feeds(-1)
		for on, _ := tails(); on; on, _ = tails() { // another goroutine ends them; the loop is ours
			runtime.Gosched()
		}
		s.feeds(+1)
		s.fed(nil, before)
		if s.feeding.on {
			t.Error("fed by what has ended")
		}
	})
	r.eventually("they run again", fed)
	onLoop(func(s *shard) { s.feeds(-1) })
}
