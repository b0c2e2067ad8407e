//go:build fault

package fault

import (
	"strings"
	"testing"
	"time"
)

// TestPartition: the network between one gateway and NATS takes packets and delivers none. The gateway's devices stay,
// what they were told is true, and a device that went elsewhere meanwhile has one connection soon after the network is whole:
// the new one.
func TestPartition(t *testing.T) {
	away := time.Duration(size(t, "FAULT_DOWN_SECONDS", 25, 8)) * time.Second
	needs(t, 3*time.Minute+away)
	if !inOwnNetwork(t) {
		return
	}
	x, i := startIsland(t)
	_, js := backend(t, x.urls())
	f := newFleet(t, x.gates, 60, 1000, 200)
	f.pace()
	f.progress(1000, 30*time.Second)
	old := dialSession(t, i.gate, "wanderer")
	i.cut(t)
	time.Sleep(away / 2)
	newer := dialSession(t, x.gates[0], "wanderer")
	time.Sleep(away / 2)
	f.progress(500, 10*time.Second) // at the others
	i.heal(t)
	healed := time.Now()
	select {
	case <-old.ended:
	case <-time.After(30 * time.Second):
		t.Error("two connections of one client id, 30 s after the network was whole")
	}
	t.Logf("the older connection ended %v after the network was whole", time.Since(healed).Round(time.Millisecond))
	if !newer.alive() {
		t.Error("the newer connection ended, not the older one")
	}
	f.progress(1000, time.Minute)
	x.settled()
	f.settle(time.Minute)
	f.check(js)
	f.unharmed(2 * time.Second)
}

// TestSlowLine: the line between one gateway and NATS is too slow for what its devices publish.
func TestSlowLine(t *testing.T) {
	long(t)
	needs(t, 3*time.Minute)
	if !inOwnNetwork(t) {
		return
	}
	x, i := startIsland(t)
	_, js := backend(t, x.urls())
	f := newFleet(t, x.gates, 60, 1000, 200)
	f.pace()
	f.progress(1000, 30*time.Second)
	i.slow(t, 300)
	time.Sleep(20 * time.Second)
	i.fast(t)
	f.progress(1000, time.Minute)
	x.settled()
	f.settle(time.Minute)
	f.check(js)
	f.unharmed(2 * time.Second)
}

// startIsland is the topology with the third gateway on an island.
func startIsland(t *testing.T) (*topology, *island) {
	t.Helper()
	x := &topology{t: t, nodes: startNATS(t, natsHost, 3)}
	env := "GATEWAY_NATS_URL=" + x.urls()
	for _, name := range []string{"gateway-1", "gateway-2"} {
		g := newGate(t, name, "127.0.0.1", env)
		g.start()
		x.gates = append(x.gates, g)
	}
	i := newIsland(t, env)
	x.gates = append(x.gates, i.gate)
	for _, g := range x.gates {
		eventually(t, time.Minute, strings.TrimSpace(g.name+" is ready"), g.ready)
	}
	return x, i
}
