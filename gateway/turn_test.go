package gateway

import (
	"fmt"
	"sync"
	"testing"

	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestTurns: CONNECTs of one client id that come while the record of the session cannot be read are answered in the order they came once it
// can, each taking over from the one before; one that has gone meanwhile is forgotten, and a clean one keeps its place.
func TestTurns(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	_, r := twoDurable(t, s)
	s.Shut()
	r.eventually("NATS is away", func() bool { return !r.gw.bus.Status().Connected() })
	waits := func(n int) { r.eventually(fmt.Sprint(n, " wait"), func() bool { return r.sum().openings == n }) }
	var list []*client
	for i, mod := range []func(*mqtt.ConnectOut){persistent, persistent, func(o *mqtt.ConnectOut) { o.CleanStart = true }, persistent} {
		c := r.open(mqtt.V5, r.mqtt)
		c.write(c.connectPacket("one", mod))
		list = append(list, c)
		waits(i + 1)
	}
	list[1].cut()
	waits(3)
	s.Reopen()
	for i, c := range list {
		if i == 1 {
			continue
		}
		if ack := c.expect(mqtt.TypeConnack); ack.Reason != mqtt.Success || ack.SessionPresent {
			t.Errorf("CONNECT %d: %v, session present %v", i, ack.Reason, ack.SessionPresent)
		}
		if i < len(list)-1 {
			c.endsWith(mqtt.SessionTakenOver, 0)
		}
	}
	list[3].ping()
	waits(0)
	if n := r.sum().takeovers; n != 2 {
		t.Errorf("%d takeovers, want 2", n)
	}
}

// TestTurnsBound: beyond so many CONNECTs of one client id that wait, the one that has waited longest is closed.
func TestTurnsBound(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	_, r := twoDurable(t, s)
	s.Shut()
	r.eventually("NATS is away", func() bool { return !r.gw.bus.Status().Connected() })
	var list []*client
	for i := range turnsMax + 2 {
		c := r.open(mqtt.V5, r.mqtt)
		c.write(c.connectPacket("one", persistent))
		list = append(list, c)
		if i < 2 {
			r.eventually("it waits", func() bool { return r.sum().openings == i+1 })
		}
	}
	if g, err := list[1].next(); err == nil {
		t.Errorf("the second got %v", g.Type)
	}
	r.closesBy(reasonTakenOver, 0, 1)
}

// TestTakeoverStormOfTwo: one client id connects at two gateways all the time. Nobody is refused: each has the session, or is told that another
// one has it; and it stays with who comes last.
func TestTakeoverStormOfTwo(t *testing.T) {
	t.Parallel()
	const workers, each = 6, 30
	a, b := twoDurable(t, bustest.Start(t))
	var storm sync.WaitGroup
	for w := range workers {
		storm.Go(func() {
			for i := range each {
				r := []*rig{a, b}[(w+i)%2]
				c := r.open(mqtt.V5, r.mqtt)
				c.write(c.connectPacket("storm", persistent))
				switch g, err := c.next(); {
				case err != nil: // another one came later
				case g.Type != mqtt.TypeConnack || g.Reason != mqtt.Success:
					t.Errorf("%v %v", g.Type, g.Reason)
				}
				c.cut()
			}
		})
	}
	storm.Wait()
	for i, r := range []*rig{a, b, a} {
		c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "storm", persistent)
		if i == 2 {
			c.ping()
		} else {
			defer c.endsWith(mqtt.SessionTakenOver, 0)
		}
	}
	a.eventually("one has it", func() bool { return a.sum().sessionsLive == 1 && b.sum().sessionsLive == 0 })
	if n := a.sum().refusedConnects + b.sum().refusedConnects; n != 0 {
		t.Errorf("%d refused", n)
	}
}
