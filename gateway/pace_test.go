package gateway

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/coder/websocket"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// TestPaceSize holds what a bounded device costs more, and that one without a bound costs nothing.
func TestPaceSize(t *testing.T) {
	if n := unsafe.Sizeof(pace{}); n > 40 {
		t.Errorf("a pace takes %d bytes", n)
	}
	cfg := Default()
	if newPacer(&Gateway{bounds: []Bounds{cfg.bounds()}}) != nil {
		t.Error("loops of the default configuration remember paces")
	}
}

// TestFaultD4PacketFlood: a device that is too fast is not read meanwhile. It loses nothing, it has exactly the rate in the end, and its
// neighbours, of other listeners and of its own, notice nothing.
func TestFaultD4PacketFlood(t *testing.T) {
	t.Parallel()
	const rate, burst, sent = 100, 50, 150
	r := bounded(t, fmt.Sprintf("packet_rate=%d&rate_burst=500ms", rate), memoryOnly)
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		neighbour, _ := r.connectOn(r.tight(transport, mqtt.V5), "neighbour-"+transport)
		free := r.connect(mqtt.V5, "free-"+transport)
		free.subscribe(0, transport+"/#")
		flood, _ := r.connectOn(r.tight(transport, mqtt.V311), "flood-"+transport)
		paused := r.sum().rests
		began := time.Now()
		var all []byte
		for i := range sent {
			all = mqtt.AppendPublish(all, flood.v, &mqtt.PublishOut{Topic: []byte(transport + "/x"), Payload: fmt.Append(nil, i)})
		}
		flood.write(all)
		neighbour.ping()
		for i := range sent {
			free.gets(transport+"/x", fmt.Sprint(i))
		}
		if took, least := time.Since(began), time.Second*(sent-burst)/rate; took < least*9/10 {
			t.Errorf("%d packets in %v", sent, took)
		}
		flood.ping()
		if n := r.sum().rests; n == paused {
			t.Error("no pause is counted")
		}
	})
}

// TestByteRate: what counts are bytes; a packet larger than the burst passes, and is paid for afterwards.
func TestByteRate(t *testing.T) {
	t.Parallel()
	r := bounded(t, "byte_rate=100000&rate_burst=100ms", memoryOnly)
	hears := r.connect(mqtt.V5, "hears")
	hears.subscribe(0, "b/#")
	c, _ := r.connectOn(r.tight("tcp", mqtt.V5), "c")
	began := time.Now()
	c.publish(0, "b/1", strings.Repeat("x", 60_000))
	c.publish(0, "b/2", "y")
	hears.message()
	hears.gets("b/2", "y")
	if took := time.Since(began); took < 450*time.Millisecond {
		t.Errorf("after %v", took)
	}
}

// TestRateDisconnect: with rate_policy disconnect a device that is too fast is told so and closed, each in its own words.
func TestRateDisconnect(t *testing.T) {
	t.Parallel()
	r := bounded(t, "packet_rate=1&rate_burst=5s&rate_policy=disconnect", memoryOnly)
	pings := bytes.Repeat(mqtt.AppendPingreq(nil), 20)
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		before := r.closedBy(reasonRate)
		for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			c, _ := r.connectOn(r.tight(transport, v), fmt.Sprint("fast-", transport, v))
			c.write(pings)
			want := mqtt.Success
			if v == mqtt.V5 {
				want = mqtt.MessageRateTooHigh
			}
			c.pongsThenEnds(want)
		}
		r.closesBy(reasonRate, before, 2)
	})
	plain := r.dialWS("/ws/fast")
	before := r.closedBy(reasonRate)
	for range 20 {
		if plain.Write(t.Context(), websocket.MessageText, []byte("x")) != nil {
			break
		}
	}
	if code := closeCodeWS(t, plain); code != websocket.StatusPolicyViolation {
		t.Errorf("close code %v", code)
	}
	r.closesBy(reasonRate, before, 1)
}

// pongsThenEnds reads answers to PINGREQ until the end, which has to say why.
func (c *client) pongsThenEnds(want mqtt.Reason) {
	c.t.Helper()
	defer c.cut()
	for {
		g, err := c.next()
		switch {
		case err != nil && want == mqtt.Success:
			return
		case err != nil:
			c.t.Fatalf("ended without %v: %v", want, err)
		case g.Type == mqtt.TypeDisconnect:
			if g.Reason != want {
				c.t.Errorf("DISCONNECT %v, want %v", g.Reason, want)
			}
			return
		case g.Type != mqtt.TypePingresp:
			c.t.Fatalf("%v", g.Type)
		}
	}
}

// TestConnectionTime: a connection is closed when it is as old as it may become, up to a tenth earlier, also one that is silent and has no keep-alive.
func TestConnectionTime(t *testing.T) {
	t.Parallel()
	r := bounded(t, "connection_time=2s")
	other := r.connect(mqtt.V5, "other")
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		t.Parallel()
		c, _ := r.connectOn(r.tight(transport, mqtt.V5), "old-"+transport)
		began := time.Now()
		c.endsWith(mqtt.MaximumConnectTime, ws.GoingAway)
		if took := time.Since(began); took < 500*time.Millisecond {
			t.Errorf("after %v", took)
		}
	})
	other.ping()
}

// TestRests: connections are read again when it is time, not before, however long they rest, and the alarm is that time.
func TestRests(t *testing.T) {
	var r rests
	now := int64(7_777_777)
	until := map[epoll.Handle]int64{}
	for i := range 1000 {
		h := epoll.Handle(i + 1)
		until[h] = now + int64(i*i)*3_000
		r.add(h, now, until[h])
	}
	for len(until) > 0 {
		alarm := r.alarm(0)
		if alarm <= now {
			t.Fatalf("alarm at %d, and it is %d", alarm, now)
		}
		r.due(alarm-1, func(h epoll.Handle) { t.Fatalf("%d before the alarm", h) })
		now = alarm
		r.due(now, func(h epoll.Handle) {
			if at := until[h]; now < at || now > at+2*restNanos {
				t.Fatalf("at %d, and it rests until %d", now, at)
			}
			delete(until, h)
		})
	}
	if r.n != 0 || r.alarm(0) != 0 || r.alarm(5) != 5 {
		t.Errorf("%d are left", r.n)
	}
}
