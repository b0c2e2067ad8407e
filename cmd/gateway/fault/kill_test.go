//go:build fault

package fault

import (
	"testing"
	"time"
)

// TestKillAnything: any gateway or NATS node is killed with -9, at random moments, during QoS 1 and QoS 2 traffic that goes
// through all of them. Nothing acknowledged is lost, no QoS 2 message comes twice, the order is kept.
//
// At most one NATS node is away at a time: two would be no quorum, which is another test. Gateways die without regard to the rest.
func TestKillAnything(t *testing.T) {
	kills := size(t, "FAULT_KILLS", 50, 5)
	needs(t, time.Minute+time.Duration(kills)*6*time.Second)
	r := chance(t)
	x := startTopology(t, 3)
	_, js := backend(t, x.urls())
	f := newFleet(t, x.gates, size(t, "FAULT_PUBLISHERS", 200, 60), size(t, "FAULT_QOS1", 5000, 1000), size(t, "FAULT_QOS2", 1000, 200))
	f.pace()
	f.progress(100, 30*time.Second)
	began, before := time.Now(), f.counts.acks.Load()
	var gateways, nodes int
	for range kills {
		time.Sleep(time.Duration(500+r.IntN(2500)) * time.Millisecond)
		away := time.Duration(r.IntN(1500)) * time.Millisecond
		if i := r.IntN(6); i < 3 {
			g := x.gates[i]
			gateways++
			g.kill()
			time.Sleep(away)
			g.start()
			f.progress(100, time.Minute)
			continue
		}
		n := x.nodes[r.IntN(3)]
		nodes++
		n.kill()
		time.Sleep(away)
		n.start()
		f.progress(100, time.Minute)
		eventually(t, time.Minute, n.name+" is healthy", n.healthy)
	}
	seconds := time.Since(began).Seconds()
	t.Logf("killed %d gateways and %d NATS nodes in %.0f s, %.0f messages acknowledged a second, %d not sent in time",
		gateways, nodes, seconds, float64(f.counts.acks.Load()-before)/seconds, f.late.Load())
	x.settled()
	f.settle(2 * time.Minute)
	f.check(js)
}
