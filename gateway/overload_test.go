package gateway

import (
	"maps"
	"math"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestMeter: more is done at once, less after a while, and nothing only once there is some distance.
func TestMeter(t *testing.T) {
	var m meter
	at := time.Unix(0, 0)
	for i, row := range []struct {
		value int64
		after time.Duration
		want  stage
	}{
		{99, 0, stageCalm}, {100, 0, stageRefusing}, {97, 0, stageRefusing}, {97, time.Hour, stageRefusing}, {94, 0, stageRefusing},
		{94, calmTime - 1, stageRefusing}, {96, 0, stageRefusing}, {94, 1, stageRefusing}, {94, calmTime, stageCalm}, {99, time.Hour, stageCalm},
		{105, 0, stageShedding}, {101, 0, stageShedding}, {101, calmTime, stageRefusing}, {200, 0, stageShedding}, {97, 0, stageShedding},
		{97, calmTime, stageRefusing}, {200, 0, stageShedding}, {0, 0, stageShedding}, {0, calmTime, stageCalm},
	} {
		at = at.Add(row.after)
		if m.take(row.value, 100, 105, 95, at); m.stage != row.want {
			t.Fatalf("row %d, %d: %v, want %v", i, row.value, m.stage, row.want)
		}
	}
}

// TestMemoryMax: the setting, or what Go or the machine has.
func TestMemoryMax(t *testing.T) {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		t.Skip("GOMEMLIMIT is set")
	}
	if n := memoryMax(-1); n != 0 {
		t.Errorf("off: %d", n)
	}
	if n := memoryMax(7 << 20); n != 7<<20 {
		t.Errorf("7 MiB: %d", n)
	}
	if n := memoryMax(0); n < 64<<20 || n > 1<<50 {
		t.Errorf("of the machine: %d", n)
	}
	before := debug.SetMemoryLimit(1 << 50)
	defer debug.SetMemoryLimit(before)
	if n := memoryMax(0); n/1000 != (1<<50)/10*9/1000 {
		t.Errorf("of the limit: %d", n)
	}
}

// TestMemoryUse: garbage is not in use, what is held is.
func TestMemoryUse(t *testing.T) {
	var u memoryUse
	now := time.Now()
	runtime.GC() // what other tests left
	before := u.bytes(now, 1)
	held := make([][]byte, 128)
	for i := range held {
		held[i] = make([]byte, 1<<20)
		held[i][i] = 1
	}
	with := u.bytes(now.Add(collectTime), 1)
	if with < before+64<<20 {
		t.Errorf("%d, and with 128 MiB %d", before, with)
	}
	clear(held)
	if n := u.bytes(now.Add(2*collectTime), 1); n > with-64<<20 {
		t.Errorf("%d, and without them %d", with, n)
	}
}

// short of memory is what a gateway is with this watermark, whatever it uses.
const tinyWatermark = 1 << 10

// TestOverloadMemory: at the watermark nobody new is let in, each told when to come again; beyond it devices leave, those first that lose least, each told
// so; who has messages under way stays; once it is over devices come back.
func TestOverloadMemory(t *testing.T) {
	t.Parallel()
	log := &logText{}
	r := startLogging(t, log, memoryOnly, func(c *Config) { c.Overload.MemoryBytesMax = 1 << 50 })
	lasting := func(o *mqtt.ConnectOut) { o.SessionExpirySec = 3600 }
	id := r.ids("d", 0, 6) // of one loop, so that their order is told
	kept, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), id[0], lasting)
	early, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), id[1])
	late, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), id[2])
	busy, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), id[3])
	busy.subscribe(1, "news")
	old, _ := r.connectOn(r.open(mqtt.V311, r.mqtt), id[4])
	old.publish(1, "news", "1")
	if m := busy.expect(mqtt.TypePublish); string(m.Payload) != "1" { // and it is not acknowledged
		t.Fatalf("%q", m.Payload)
	}
	talker := r.json(id[5])
	var order []string
	r.onLoop(r.gw.shards[0], func(s *shard) bool {
		ranks := map[uint64]string{}
		s.loop.Each(func(c *epoll.Conn) {
			if rank, may := s.devices.At(c.Slot()).rank(); may {
				ranks[rank] = s.devices.At(c.Slot()).sess.ClientID()
			}
		})
		for _, rank := range slices.Sorted(maps.Keys(ranks)) {
			order = append(order, ranks[rank])
		}
		return true
	})
	if want := []string{id[5], id[4], id[2], id[1], id[0]}; !slices.Equal(order, want) {
		t.Errorf("they leave as %v, want %v", order, want)
	}

	r.gw.guard.max[0].Store(tinyWatermark)
	r.eventually("nobody new is let in", func() bool { return r.gw.guard.turns() == turnedMemory })
	hints(t, r.open(mqtt.V5, r.any).refusesConnect(mqtt.QuotaExceeded))
	r.open(mqtt.V311, r.mqtt).refusesConnect(mqtt.ServerUnavailable)
	r.open(mqtt.V5, r.ws).refusesHTTP(http.StatusServiceUnavailable)
	if status, body := r.page("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "[-]load") {
		t.Errorf("readiness is %d, %q", status, body)
	}

	for i, c := range []*client{late, early, kept} {
		g := c.must()
		if g.Type != mqtt.TypeDisconnect || g.Reason != mqtt.QuotaExceeded {
			t.Fatalf("device %d hears %v %v", i, g.Type, g.Reason)
		}
		hints(t, g)
	}
	if code, text := talker.ends(); code != 4111 || !strings.HasPrefix(text, "memory retry_ms=") {
		t.Errorf("the plain device hears %d %q", code, text)
	}
	busy.ping()
	r.eventually("only one is left", func() bool { return r.sum().sessionsLive == 1 })
	if n := r.closedBy(reasonMemory); n < 5 {
		t.Errorf("%d were sent away", n)
	}

	r.gw.guard.max[0].Store(1 << 50)
	r.eventually("it is over", func() bool { return r.gw.guard.turns() == welcome })
	if _, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), id[0], lasting, func(o *mqtt.ConnectOut) { o.CleanStart = false }); !ack.SessionPresent {
		t.Error("a session is gone")
	}
	if n := strings.Count(log.String(), `"message":"overload: `); n != 1 { // the log begins at warnings
		t.Errorf("%d lines in the log: %s", n, log.String())
	}
	_, body := r.page("/metrics")
	for _, want := range []string{`gateway_overload_stage{of="memory"} 0`, `gateway_overload_stage{of="lag"} 0`, "gateway_overload_memory_bytes ", "gateway_overload_lag_seconds ",
		`gateway_accept_refused_total{reason="memory"} 3`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
}

// TestOverloadLag: while a loop is late nobody new is let in, at any.
func TestOverloadLag(t *testing.T) {
	t.Parallel()
	r := start(t, unrecorded, func(c *Config) { c.Overload.LagMax = 100 * time.Millisecond })
	r.eventually("it is calm", func() bool { return r.gw.guard.turns() == welcome })
	held := make(chan struct{})
	r.gw.shards[0].doSoon(func(*shard) { <-held })
	r.eventually("nobody new is let in", func() bool { return r.gw.guard.turns() == turnedLag })
	close(held)
	hints(t, r.open(mqtt.V5, r.mqtt).refusesConnect(mqtt.ServerBusy))
	r.eventually("it is over", func() bool { return r.gw.guard.turns() == welcome })
	if n := r.sum().turnedAway[turnedLag]; n == 0 {
		t.Error("nobody was refused")
	}
}

// TestOverloadElsewhere: who is refused or sent away is told of another gateway, if there is one.
func TestOverloadElsewhere(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, func(c *Config) { c.Overload.MemoryBytesMax, c.MQTT.ServerReference = 1<<50, "other.example:1883" })
	c := r.connect(mqtt.V5, "here")
	r.gw.guard.max[0].Store(tinyWatermark)
	if g := c.must(); g.Type != mqtt.TypeDisconnect || g.Reason != mqtt.UseAnotherServer {
		t.Errorf("it hears %v %v", g.Type, g.Reason)
	}
	r.open(mqtt.V5, r.any).refusesConnect(mqtt.UseAnotherServer)
}

// TestOverloadOff: without bounds there is no guard, and settings that make no sense are refused.
func TestOverloadOff(t *testing.T) {
	t.Parallel()
	r := start(t, unrecorded, func(c *Config) { c.Overload = OverloadCfg{MemoryBytesMax: -1} })
	if r.gw.guard != nil {
		t.Error("there is a guard")
	}
	r.connect(mqtt.V5, "here").ping()
	for _, o := range []OverloadCfg{{MemoryBytesMax: -2}, {LagMax: time.Millisecond}, {LagMax: -1}} {
		cfg := Default()
		cfg.Overload = o
		if errs := cfg.Validate(); len(errs) != 1 || !strings.HasPrefix(errs[0].Path, "overload.") {
			t.Errorf("%+v: %v", o, errs)
		}
	}
}
