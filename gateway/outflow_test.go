package gateway

import (
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// TestDeliverRate: a device is sent so many messages a second and no more; QoS 1 and 2 wait for it in their order, however quickly it acknowledges, from
// other devices, from the log and of retained messages; QoS 0 is dropped and counted. Who has no such limit notices nothing.
func TestDeliverRate(t *testing.T) {
	t.Parallel()
	const rate, burst, sent = 100, 20, 100
	for _, mod := range []func(c *Config){func(*Config) {}, memoryOnly} {
		r := bounded(t, fmt.Sprintf("deliver_rate=%d&rate_burst=%dms", rate, burst*1000/rate), mod)
		speaks, free := r.connect(mqtt.V5, "speaks"), r.connect(mqtt.V5, "free")
		free.subscribe(0, "#")
		for _, transport := range []string{"tcp", "ws"} {
			slow, _ := r.connectOn(r.tight(transport, mqtt.V5), "slow-"+transport, func(o *mqtt.ConnectOut) { o.SessionExpirySec = 60 })
			topic := transport + "/x"
			slow.subscribe(2, topic)
			began := time.Now()
			for i := range sent {
				speaks.publish(1, topic, fmt.Sprint(i))
				free.gets(topic, fmt.Sprint(i))
			}
			for i := range sent {
				slow.gets(topic, fmt.Sprint(i))
			}
			if took, least := time.Since(began), time.Second*(sent-burst)/rate; took < least*9/10 {
				t.Errorf("%s, durable %v: %d messages in %v", transport, r.durable(), sent, took)
			}
			slow.ping()
		}
	}
}

// TestDeliverRateQoS0: what is beyond the rate is dropped, and what comes later arrives.
func TestDeliverRateQoS0(t *testing.T) {
	t.Parallel()
	r := bounded(t, "deliver_rate=10&rate_burst=1s", memoryOnly)
	speaks := r.connect(mqtt.V5, "speaks")
	slow, _ := r.connectOn(r.tight("tcp", mqtt.V311), "slow")
	slow.subscribe(0, "x")
	for i := range 200 {
		speaks.publish(0, "x", fmt.Sprint(i))
	}
	speaks.ping()
	for i := range 10 { // the burst
		slow.gets("x", fmt.Sprint(i))
	}
	r.eventually("some are dropped", func() bool { return r.sum().drops[session.DropCongested] > 0 })
	r.eventually("it hears again", func() bool {
		speaks.publish(0, "x", "last")
		speaks.ping()
		slow.write(mqtt.AppendPingreq(nil))
		return slow.must().Type == mqtt.TypePublish
	})
}

// TestDeliverRateRetained: retained messages of a new subscription come at the rate, and all of them, also with QoS 0.
func TestDeliverRateRetained(t *testing.T) {
	t.Parallel()
	r := bounded(t, "deliver_rate=50&rate_burst=200ms", memoryOnly)
	speaks := r.connect(mqtt.V5, "speaks")
	const topics = 40
	for i := range topics {
		speaks.publish(1, fmt.Sprint("kept/", i), "x", func(p *mqtt.PublishOut) { p.Retain = true })
	}
	slow, _ := r.connectOn(r.tight("tcp", mqtt.V5), "slow")
	began := time.Now()
	slow.subscribe(0, "kept/#")
	got := map[string]bool{}
	for range topics {
		got[string(slow.message().Topic)] = true
	}
	if took := time.Since(began); len(got) != topics || took < 500*time.Millisecond {
		t.Errorf("%d topics in %v", len(got), took)
	}
	if r.sum().slowed == 0 {
		t.Error("no pause is counted")
	}
}

// TestOutflowSize holds what a bounded device costs more, and that one without a bound costs nothing.
func TestOutflowSize(t *testing.T) {
	if n := unsafe.Sizeof(outPace{}); n > 16 {
		t.Errorf("a pace takes %d bytes", n)
	}
	cfg := Default()
	if newOutflow([]Bounds{cfg.bounds()}, nil) != nil {
		t.Error("loops of the default configuration remember what they sent")
	}
}
