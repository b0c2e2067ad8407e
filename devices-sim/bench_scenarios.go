package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// benchScenario is one thing that contenders are compared by.
type benchScenario struct {
	name, text  string
	far         farEnd
	publishers  int
	subscribers int
	route       route
	qos         byte
	rate        float64 // messages a second
	flatOut     bool
	window      uint16
	payload     int // bytes; 0: benchPayload
	// idle: instead of traffic, that many connections, and as many in a second run; the slope between them is what a
	// connection costs, without what the process itself does.
	idle [2]int
}

// farEnd is who receives, and so who can be a contender.
type farEnd uint8

const (
	farDevices farEnd = iota // MQTT devices receive: every broker
	farNATS                  // a subscriber of the server's own NATS: those that have one
	farEcho                  // plain WebSocket devices get their message back, and a NATS beside the server gets it too
	farStore                 // a JetStream stream on file: those that acknowledge what is stored
)

const (
	benchPayload     = 64
	benchConnectRate = 2000 // a second: no server of the list is late with it
	benchKeepAlive   = 60
	benchDeepWindow  = trackWindow
	benchIdleHold    = 3 * time.Second // from the last connect until memory is read
)

// benchScenarios is the list that --scenarios takes.
var benchScenarios = []benchScenario{
	{name: "idle", text: "Connections that say nothing: memory of one, CPU of its CONNECT", idle: [2]int{5000, 18000}, window: 1},
	{name: "qos0-flat-out", text: "QoS 0, 50 → 50, flat out", publishers: 50, subscribers: 50, flatOut: true, window: benchDeepWindow},
	{name: "qos1-flat-out", text: "QoS 1, 50 → 50, flat out with a window of 16", publishers: 50, subscribers: 50, qos: 1, flatOut: true, window: 16},
	{name: "qos0-100k", text: "QoS 0, 100 → 100 at 100,000 a second", publishers: 100, subscribers: 100, rate: 100_000, window: benchDeepWindow},
	{name: "qos1-30k", text: "QoS 1, 100 → 100 at 30,000 a second", publishers: 100, subscribers: 100, qos: 1, rate: 30_000, window: benchDeepWindow},
	{name: "many", text: "10,000 devices, 5,000 → 5,000, QoS 0 at 10,000 a second", publishers: 5000, subscribers: 5000, rate: 10_000, window: 16},
	{name: "fan-out", text: "QoS 0, 1 → 500 at 600 a second: 300,000 deliveries a second", publishers: 1, subscribers: 500, route: routeAll, rate: 600, window: benchDeepWindow},
	{name: "uplink-flat-out", text: "QoS 0, 50 devices → a NATS subscriber, flat out", far: farNATS, publishers: 50, flatOut: true, window: benchDeepWindow},
	{name: "uplink-50k", text: "QoS 0, 50 devices → a NATS subscriber at 50,000 a second", far: farNATS, publishers: 50, rate: 50_000, window: benchDeepWindow},
	{name: "durable-uplink-flat-out", text: "QoS 1, 200 devices → a stream on file, flat out with a window of 16", far: farStore, publishers: 200, qos: 1, flatOut: true, window: 16},
	{name: "durable-uplink-20k", text: "QoS 1, 200 devices → a stream on file at 20,000 a second", far: farStore, publishers: 200, qos: 1, rate: 20_000, window: benchDeepWindow},
	{name: "ws-idle", text: "Plain WebSocket connections that say nothing: memory of one, CPU of its handshake", far: farEcho, idle: [2]int{5000, 18000}, window: 1},
	{name: "ws-echo", text: "1,000 plain WebSocket devices, echo and publish to NATS at 10,000 a second", far: farEcho, publishers: 1000, rate: 10_000, window: 16},
	{name: "ws-flat-out", text: "50 plain WebSocket devices, echo and publish to NATS, flat out", far: farEcho, publishers: 50, flatOut: true, window: benchDeepWindow},
}

func (s *benchScenario) payloadBytes() int { return cmp.Or(s.payload, benchPayload) }

// takes tells whether a contender can do the scenario.
func (s *benchScenario) takes(c *contender) bool {
	switch s.far {
	case farNATS:
		return c.uplink
	case farEcho:
		return c.kind != kindBroker
	case farStore:
		return c.stream != ""
	}
	return c.kind != kindWebSocket
}

// small is the scenario for a smoke test, which looks at results and not at time.
func (s *benchScenario) small() *benchScenario {
	t := *s
	t.text = "Smoke test of: " + s.text
	t.publishers, t.subscribers = min(s.publishers, 8), min(s.subscribers, 8)
	t.rate = min(s.rate, 400)
	for i, n := range s.idle {
		t.idle[i] = n / 250
	}
	return &t
}

// options is the run of this scenario; connections is the number of them when it is idle.
func (s *benchScenario) options(to []target, connections int, duration time.Duration) options {
	o := options{
		Targets: to, Scenario: "steady", Publishers: s.publishers, Subscribers: s.subscribers, Route: s.route,
		Rate: s.rate, FlatOut: s.flatOut, QoS: s.qos, PayloadBytes: s.payloadBytes(), Duration: duration, ConnectRate: benchConnectRate,
		KeepAliveSec: benchKeepAlive, Version: mqtt.V311, Telemetry: "devices/{id}/telemetry", Window: s.window, Prefix: "sim-",
	}
	if connections > 0 {
		o.Publishers = connections
	}
	o.Devices = o.Publishers + o.Subscribers
	return o
}

// parameters are all that a run of the scenario is made of, in words.
func (s *benchScenario) parameters(duration time.Duration) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	speaks := "MQTT 3.1.1"
	if s.far == farEcho {
		speaks = "WebSocket"
	}
	if s.idle[0] > 0 {
		p("%s connections and %s in a second run, without subscriptions, memory read %v after the last of them", grouped(uint64(s.idle[0])),
			grouped(uint64(s.idle[1])), min(duration, benchIdleHold))
		p("; connects %s/s; %s", grouped(benchConnectRate), speaks)
	} else {
		p("%s devices", grouped(uint64(s.publishers+s.subscribers)))
		switch {
		case s.subscribers > 0:
			p(" (%d publishers, %d subscribers, route %s)", s.publishers, s.subscribers, s.route)
		case s.far == farNATS:
			p(", one NATS subscriber")
		case s.far == farStore:
			p(", a persistent session that is away and is owed every message")
		default:
			p(", one NATS subscriber, every message sent back")
		}
		if s.flatOut {
			p("; flat out, window %d a publisher", s.window)
		} else {
			p("; %s messages/s in all, window %d", grouped(uint64(s.rate)), s.window)
		}
		p("; payload %d B; %v; connects %s/s; %s", s.payloadBytes(), duration, grouped(benchConnectRate), speaks)
	}
	if s.far != farEcho {
		p(", QoS %d, keep-alive %d s", s.qos, benchKeepAlive)
	}
	return b.String()
}

// benchFigure is one figure of a run, a column of its table.
type benchFigure struct {
	key, header string
}

// benchFigures are all there are, in the order of the columns.
var benchFigures = []benchFigure{
	{"rss_per_connection", "RSS per connection, B"},
	{"cpu_us_per_connect", "CPU per connect, µs"},
	{"cpu_us_per_message", "CPU per message, µs"},
	{"nats_cpu_us_per_message", "NATS beside it, µs"},
	{"received_per_second", "received/s"},
	{"acknowledged_per_second", "acknowledged/s"},
	{"stored_lost", "acknowledged, not stored"},
	{"lost_percent", "lost, %"},
	{"latency_p50_ms", "p50, ms"},
	{"latency_p99_ms", "p99, ms"},
	{"rss_mb", "RSS, MB"},
}

// figuresOf are the figures of a run with traffic. The first server is the contender, the second, if any, the NATS beside
// it.
func (s *benchScenario) figuresOf(r *runner, res *result) map[string]float64 {
	f, t := map[string]float64{}, &res.Telemetry
	f["cpu_us_per_message"] = res.Servers[0].MicrosPerMessage
	f["rss_mb"] = float64(res.Servers[0].RSSEnd) / 1e6
	if len(res.Servers) > 1 {
		f["nats_cpu_us_per_message"] = res.Servers[1].MicrosPerMessage
	}
	if s.far == farStore {
		s.storeFigures(f, t)
		return f
	}
	f["received_per_second"] = t.PerSecondR
	if t.Lost != nil && *t.Expected > 0 {
		f["lost_percent"] = 100 * float64(*t.Lost) / float64(*t.Expected)
	}
	latency := t.Latency
	if s.far == farEcho {
		latency = r.echoes()
	}
	if latency != nil && !s.flatOut { // flat out it tells how full the window was
		f["latency_p50_ms"], f["latency_p99_ms"] = latency.P50, latency.P99
	}
	return f
}

// echoes are the round trips of a fleet whose messages come back to their devices.
func (r *runner) echoes() *quantiles {
	all := newHistogram()
	for i := range r.latest {
		all.merge(r.latest[i].Result.Hist.Command)
	}
	return all.quantiles()
}

// idleFigures are what the connections cost by which two runs differ.
func idleFigures(few, many *result) map[string]float64 {
	a, b := &few.Servers[0], &many.Servers[0]
	return map[string]float64{
		"rss_per_connection": float64(b.RSSEnd-a.RSSEnd) / float64(max(1, many.Connects.Live-few.Connects.Live)),
		"cpu_us_per_connect": b.ConnectMicros,
		"rss_mb":             float64(b.RSSEnd) / 1e6,
	}
}

// wrong is what a smoke test does not forgive beside the invariants: at its pace everything arrives.
func (s *benchScenario) wrong(r *runner, res *result) (list []string) {
	if s.idle[0] > 0 {
		return nil
	}
	t := &res.Telemetry
	if s.far == farStore {
		return nil // the store has been looked into
	}
	if t.Received == nil || *t.Received == 0 {
		list = append(list, "nothing arrived")
	}
	if t.Lost != nil && *t.Lost > 0 {
		list = append(list, fmt.Sprintf("%d of %d messages were lost", *t.Lost, *t.Expected))
	}
	if t.Duplicates != nil && *t.Duplicates > 0 && s.qos == 1 { // allowed, but nothing was sent again
		list = append(list, fmt.Sprintf("%d messages arrived twice", *t.Duplicates))
	}
	if echoed := r.sum().Commands; s.far == farEcho && echoed != t.Sent {
		list = append(list, fmt.Sprintf("%d of %d messages came back", echoed, t.Sent))
	}
	return list
}
