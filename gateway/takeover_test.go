package gateway

import (
	"io"
	"runtime"
	"sync"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// TestTakeover: a second connection with the same client id ends the first with 0x8E [MQTT-3.1.4-3], whichever transports
// they use; the session goes on, with its subscriptions, or ends with clean start.
func TestTakeover(t *testing.T) {
	t.Parallel()
	r := start(t)
	var takeovers uint64
	for _, first := range transports {
		for _, second := range transports {
			a, _ := r.connectOn(r.via(first, mqtt.V5), "one", persistent)
			a.subscribe(1, "t/x")
			b, ack := r.connectOn(r.via(second, mqtt.V5), "one", persistent)
			a.endsWith(mqtt.SessionTakenOver, ws.PolicyViolation)
			if !ack.SessionPresent {
				t.Error("the session did not go on")
			}
			b.publish(0, "t/x", "mine")
			b.gets("t/x", "mine")
			c, ack := r.connectOn(r.via(first, mqtt.V311), "one")
			b.endsWith(mqtt.SessionTakenOver, ws.PolicyViolation)
			if ack.SessionPresent {
				t.Error("clean start kept the session")
			}
			c.disconnect()
			takeovers += 2
			r.closesBy(reasonTakenOver, 0, takeovers)
		}
	}
	r.eventually("nothing is left", func() bool { s := r.sum(); return s.sessions == 0 && s.filters == 0 })
}

// TestTakeoverStorm hammers one client id from 8 goroutines. Exactly one connection survives, and nothing of the others
// is left: no socket, no session, no goroutine.
func TestTakeoverStorm(t *testing.T) {
	const workers, each = 8, 80
	r := start(t)
	keeper := r.connect(mqtt.V5, "keeper") // somebody else, who must not notice
	r.eventually("JetStream has begun to copy what is recorded", func() bool {
		_, ok, err := r.gw.presence.Lookup(t.Context(), "keeper")
		return ok && err == nil
	})
	goroutines := runtime.NumGoroutine()
	var storm sync.WaitGroup
	last := make([]*client, workers)
	for w := range workers {
		storm.Go(func() {
			for i := range each {
				way, v := transports[(w+i)%8/7], []mqtt.Version{mqtt.V311, mqtt.V5}[i%2]
				c := r.via(way, v)
				if last[w] != nil {
					last[w].conn.Close()
				}
				last[w] = c
				c.write(c.connectPacket("storm", func(o *mqtt.ConnectOut) { o.CleanStart = i%3 == 0; o.SessionExpirySec = 10 }))
				if g, err := c.next(); err == nil && g.Type != mqtt.TypeConnack {
					t.Errorf("%v before CONNACK", g.Type)
				}
			}
		})
	}
	storm.Wait()
	keeper.ping()
	survivors := 0
	for _, c := range last {
		// Whoever is closed reads its end; the survivor answers. A CONNACK may still be unread.
		if c.tryWrite(mqtt.AppendPingreq(nil)) != nil {
			continue
		}
		for {
			g, err := c.next()
			if err != nil {
				break
			}
			if g.Type == mqtt.TypePingresp {
				survivors++
				break
			}
		}
	}
	if survivors != 1 {
		t.Errorf("%d of %d connections survive, want 1", survivors, workers)
	}
	r.eventually("no sockets, sessions or moves are left", func() bool {
		s := r.sum()
		return r.sockets() == 2 && s.sessions == 2 && s.sessionsLive == 2
	})
	for _, c := range last {
		c.conn.Close()
	}
	r.eventually("no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
	s := r.sum()
	if s.connects != workers*each+1 {
		t.Errorf("%d connects, want %d", s.connects, workers*each+1)
	}
	if live := s.live[live311] + s.live[live5] + s.live[liveWS311] + s.live[liveWS5]; live > 2 {
		t.Errorf("gauges say %d live", live)
	}
}

// sockets is how many the loops hold, closing ones included.
func (r *rig) sockets() (n int) {
	r.t.Helper()
	all, ok := r.gw.snapshots()
	if !ok {
		r.t.Fatal("a loop does not answer")
	}
	for i := range all {
		n += all[i].loop.Conns
	}
	return n
}

// TestConnectDisconnectFlood: thousands of connections that come and go by RST leave nothing; see fault D5.
func TestConnectDisconnectFlood(t *testing.T) {
	t.Parallel()
	r := start(t)
	keeper := r.connect(mqtt.V5, "keeper")
	var flood sync.WaitGroup
	for w := range 8 {
		flood.Go(func() {
			for i := range 250 {
				c := r.open(mqtt.V5, r.mqtt)
				switch i % 4 {
				case 0: // nothing
				case 1:
					c.write(c.connectPacket("half")[:5])
				case 2:
					c.write(c.connectPacket(r.ids("flood", w%2, 1)[0]))
				case 3:
					c.write(c.connectPacket(r.ids("flood", w%2, 1)[0]))
					if g, err := c.next(); err != nil && err != io.EOF {
						t.Errorf("%v, %v", g, err)
					}
				}
				c.reset()
			}
		})
	}
	flood.Wait()
	keeper.ping()
	r.eventually("nothing is left", func() bool { s := r.sum(); return r.sockets() == 1 && s.sessions == 1 })
}
