package gateway

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// TestDrain: a gateway that stops tells its devices (MQTT 5: 0x8B, WebSocket: 1001), publishes no will that a stopping
// gateway need not, hands everything acknowledged to NATS, and Run returns nil.
func TestDrain(t *testing.T) {
	t.Parallel()
	for _, rate := range []int{0, 100} {
		t.Run(fmt.Sprint("rate ", rate), func(t *testing.T) {
			s := bustest.Start(t)
			r := start(t, func(c *Config) { c.NATS.URL, c.Drain.Rate = s.URL(), rate })
			nc := s.Conn(t)
			sub, err := nc.SubscribeSync("d.>")
			if err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			v5 := r.connect(mqtt.V5, "v5")
			v311 := r.connect(mqtt.V311, "v311")
			framed, _ := r.connectOn(r.openWS(mqtt.V5, "/mqtt", "mqtt"), "framed")
			opening := r.open(mqtt.V5, r.mqtt)
			plain, echo := r.dialWS("/ws/plain"), r.dialWS("/echo")
			var many []*client
			for i := range 40 {
				many = append(many, r.connect(mqtt.V5, fmt.Sprint("many", i)))
			}
			v5.publishes(500, func(i int) (topic, payload string) { return "d/x", fmt.Sprint(i) })
			var ends sync.WaitGroup
			ends.Go(func() { v5.endsWith(mqtt.ServerShuttingDown, 0) })
			ends.Go(func() { v311.endsWith(mqtt.Success, 0) })
			ends.Go(func() { framed.endsWith(mqtt.ServerShuttingDown, ws.GoingAway) })
			ends.Go(func() { opening.endsWith(mqtt.Success, 0) })
			for _, c := range []*websocket.Conn{plain, echo} {
				ends.Go(func() {
					if code := closeCodeWS(t, c); code != websocket.StatusGoingAway {
						t.Errorf("close code %v", code)
					}
				})
			}
			for _, c := range many {
				ends.Go(func() { c.endsWith(mqtt.ServerShuttingDown, 0) })
			}
			began := time.Now()
			if err := r.stop(); err != nil {
				t.Errorf("Run: %v", err)
			}
			took := time.Since(began)
			if took > 10*time.Second || rate > 0 && took < 200*time.Millisecond {
				t.Errorf("the drain took %v", took)
			}
			ends.Wait()
			for i := range 500 {
				if m, err := sub.NextMsg(answerTime); err != nil || string(m.Data) != fmt.Sprint(i) {
					t.Fatalf("message %d: %v, %v", i, m, err)
				}
			}
			if c, err := net.DialTimeout("tcp", r.mqtt, time.Second); err == nil {
				c.Close()
				t.Error("still listening")
			}
		})
	}
}

// TestDrainBounded: a device that does not go is closed when the drain time is over; meanwhile readiness is off.
func TestDrainBounded(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Drain.Time = 1500 * time.Millisecond; c.Drain.Rate = 1 })
	for i := range 20 {
		r.connect(mqtt.V5, fmt.Sprint("slow", i))
	}
	ready := func() int {
		resp, err := http.Get(fmt.Sprintf("http://%v/readyz", r.gw.Addrs().Admin))
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := ready(); got != http.StatusOK {
		t.Errorf("readyz %d before", got)
	}
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- r.stop() }()
	r.eventually("readiness is off", func() bool { return ready() == http.StatusServiceUnavailable })
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(began); took < time.Second || took > 10*time.Second {
		t.Errorf("the drain took %v, want 1.5 s and a little", took)
	}
}
