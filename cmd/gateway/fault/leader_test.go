//go:build fault

package fault

import (
	"testing"
	"time"
)

// TestStreamLeaderKilled: the node that leads the log dies. The others need some seconds to agree on a new one; meanwhile
// PUBACKs wait, and devices notice nothing else.
func TestStreamLeaderKilled(t *testing.T) {
	needs(t, 4*time.Minute)
	x := startTopology(t, 3)
	_, js := backend(t, x.urls())
	f := newFleet(t, x.gates, 60, 1000, 200)
	f.pace()
	f.progress(1000, 30*time.Second)
	for range size(t, "FAULT_LEADERS", 5, 2) {
		n := x.leader(js, logStream)
		n.kill()
		f.progress(2000, time.Minute)
		n.start()
		eventually(t, time.Minute, n.name+" is healthy", n.healthy)
	}
	f.settle(time.Minute)
	f.check(js)
	f.unharmed(2 * time.Second)
}

// TestStreamLeaderFrozen: the leader stops in the middle of what it does, for longer than its cluster waits for it, and goes
// on as if nothing had been. The others have another leader by then.
func TestStreamLeaderFrozen(t *testing.T) {
	long(t)
	needs(t, 3*time.Minute)
	x := startTopology(t, 3)
	_, js := backend(t, x.urls())
	f := newFleet(t, x.gates, 60, 1000, 200)
	f.pace()
	f.progress(1000, 30*time.Second)
	n := x.leader(js, logStream)
	n.freeze()
	time.Sleep(15 * time.Second)
	n.thaw()
	f.progress(5000, time.Minute)
	x.settled()
	f.settle(time.Minute)
	f.check(js)
	f.unharmed(2 * time.Second)
}

// TestGatewayFrozen: a gateway stops, its devices go on at others, and it comes to itself with all that it was about to
// do. None of that may be done any more where it would do harm.
func TestGatewayFrozen(t *testing.T) {
	long(t)
	needs(t, 3*time.Minute)
	x := startTopology(t, 3)
	_, js := backend(t, x.urls())
	f := newFleet(t, x.gates, 60, 1000, 200, func(d *device) { d.slack = 3 * time.Second })
	f.pace()
	for _, g := range x.gates {
		f.progress(1000, 30*time.Second)
		g.freeze()
		time.Sleep(12 * time.Second)
		g.thaw()
		f.progress(2000, time.Minute)
	}
	x.settled()
	f.settle(time.Minute)
	f.check(js)
}

// unharmed fails when a connection ended, or a PINGREQ waited for long.
func (f *fleet) unharmed(pingWait time.Duration) {
	f.t.Helper()
	c := &f.counts
	if n := c.closedByLiving.Load() + c.givenUp.Load() + c.refusals.Load(); n > 0 {
		f.t.Errorf("%d devices closed, given up or refused", n)
	}
	if longest := time.Duration(c.pingWaitMax.Load()); longest > pingWait {
		f.t.Errorf("a PINGREQ was answered after %v", longest)
	}
}
