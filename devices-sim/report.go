package main

import (
	"fmt"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// resultVersion is the version of the JSON format. Fields may be added to a version; what changes or goes away makes a
// new one.
const resultVersion = 1

// result is what a run found, as it is written with --json. Durations are seconds or, in quantiles, milliseconds.
type result struct {
	Passed      bool        `json:"passed"`
	Failures    []string    `json:"failures"` // the invariants that did not hold
	Warnings    []string    `json:"warnings"` // what makes the figures doubtful
	Version     int         `json:"version"`  // of this format: resultVersion
	Seed        uint64      `json:"seed"`
	Environment environment `json:"environment"`
	Asked       asked       `json:"asked"`

	Connects  connectResult  `json:"connects"`
	Telemetry messageResult  `json:"telemetry"`
	Calm      *calmResult    `json:"calm,omitempty"`  // in a run with a storm, what came before it
	Storm     *stormResult   `json:"storm,omitempty"` // and after
	Commands  *messageResult `json:"commands,omitempty"`
	Bad       *badResult     `json:"bad_devices,omitempty"`
	StormSec  float64        `json:"storm_sec,omitempty"` // from the drop until all were back
	Servers   []serverResult `json:"servers,omitempty"`
	Generator generator      `json:"generator"`

	Closes map[string]uint64 `json:"unexpected_closes"` // by reason

	Thresholds []thresholdResult `json:"thresholds,omitempty"`
	Musts      []must            `json:"musts,omitempty"` // of the headline

	Curves  curves   `json:"curves"`
	Samples []sample `json:"samples"`
}

// asked is what was asked for, so that a result can be repeated.
type asked struct {
	Profile      string   `json:"profile,omitempty"`
	Scenario     string   `json:"scenario"`
	Targets      []string `json:"targets"`
	Devices      int      `json:"devices"`
	Publishers   int      `json:"publishers"`
	Subscribers  int      `json:"subscribers"`
	Route        string   `json:"route,omitempty"`
	Stages       []leg    `json:"stages,omitempty"`
	FlatOut      bool     `json:"flat_out"`
	Workers      int      `json:"workers"`
	Rate         float64  `json:"rate"`
	QoS          byte     `json:"qos"`
	PayloadBytes int      `json:"payload_bytes"`
	DurationSec  float64  `json:"duration_sec"`
	ConnectRate  float64  `json:"connect_rate"`
	KeepAliveSec uint16   `json:"keepalive_sec"`
	Protocol     string   `json:"protocol"`
	Window       uint16   `json:"window"`
	Persistent   bool     `json:"persistent"`
	CommandsRate float64  `json:"commands_rate"`
}

type connectResult struct {
	Live     int64             `json:"live"` // when the traffic began
	Connects uint64            `json:"connects"`
	Seconds  float64           `json:"seconds"` // from the first dial until all were connected
	Latency  *quantiles        `json:"latency,omitempty"`
	Failures map[string]uint64 `json:"failures"`
}

// messageResult is one direction. What the far end saw is nil where nobody watches it: without subscribers and --verify.
// A message to several subscribers is received once by each, and lost as often as it is not.
type messageResult struct {
	Sent       uint64     `json:"sent"`
	PerSecond  float64    `json:"per_second"`
	Acked      uint64     `json:"acked"`
	Unacked    uint64     `json:"unacked"`
	Refused    uint64     `json:"refused"`
	Unsent     uint64     `json:"unsent"`
	Skipped    uint64     `json:"skipped"`
	Resent     uint64     `json:"resent"`
	Expected   *uint64    `json:"expected,omitempty"` // copies that should arrive
	Received   *uint64    `json:"received,omitempty"` // copies that did, each once
	PerSecondR float64    `json:"received_per_second,omitempty"`
	Lost       *uint64    `json:"lost,omitempty"`
	AckedLost  *uint64    `json:"acked_lost,omitempty"`
	Duplicates *uint64    `json:"duplicates,omitempty"`
	OutOfOrder *uint64    `json:"out_of_order,omitempty"`
	Stored     *uint64    `json:"stored,omitempty"` // messages that the server's stream holds; where that was looked at
	AckLatency *quantiles `json:"ack_latency,omitempty"`
	Latency    *quantiles `json:"latency,omitempty"` // to the far end
}

// badResult is about devices that misbehave on purpose.
type badResult struct {
	Role      string     `json:"role"`
	Closed    uint64     `json:"closed_by_server"`
	StillOpen uint64     `json:"still_open"`
	Silence   *quantiles `json:"silence_until_close,omitempty"`
}

type serverResult struct {
	PID              int     `json:"pid"`
	Command          string  `json:"command"`
	CPUSec           float64 `json:"cpu_sec"` // during the traffic
	CPUPercent       float64 `json:"cpu_percent"`
	MicrosPerMessage float64 `json:"cpu_us_per_message"` // of its CPU time, by message received; by message sent where nobody watches
	ConnectMicros    float64 `json:"cpu_us_per_connect"`
	RSSIdle          int64   `json:"rss_before"`
	RSSReady         int64   `json:"rss_connected"`
	RSSEnd           int64   `json:"rss_end"`
	RSSPerDevice     float64 `json:"rss_per_device"`
	CalmCPUSec       float64 `json:"calm_cpu_sec,omitempty"` // until the storm
	CalmRSS          int64   `json:"calm_rss,omitempty"`     // when it began
}

// generator is about ourselves: a slow generator makes a slow server.
type generator struct {
	CPUSec           float64    `json:"cpu_sec"`
	TrafficCPUSec    float64    `json:"traffic_cpu_sec"`
	MicrosPerMessage float64    `json:"cpu_us_per_message"`
	BusyPercent      float64    `json:"busiest_worker_percent"` // of one core, while the traffic ran
	Stalls           uint64     `json:"stalls,omitempty"`       // flat out at QoS 0: windows given up for lost
	RSS              int64      `json:"rss"`
	Pings            uint64     `json:"pings"`
	Lag              *quantiles `json:"lag,omitempty"` // intended send to when its turn came
	LiveMax          int64      `json:"live_max"`
}

// result makes one result of the workers' and the far end's.
func (r *runner) result() *result {
	c, h := r.sum(), newHistograms()
	res := &result{Version: resultVersion, Seed: r.o.Seed, Environment: thisEnvironment(r.command, r.startedAt), Asked: r.asked(), Closes: c.Closes, Failures: []string{}, Warnings: []string{}}
	var lost, broken uint64
	for i := range r.latest {
		p := r.latest[i].Result
		h.merge(&p.Hist)
		if r.ledger != nil {
			l, b, _ := r.ledger.loss(p)
			lost, broken = lost+l, broken+b
		}
	}
	took := seconds(r.begunAt, r.endedAt)
	if r.o.Duration > 0 {
		took = min(took, r.o.Duration.Seconds())
	}
	res.Connects = connectResult{r.readyLive, c.Connects, seconds(r.startedAt, r.readyAt), h.Connect.quantiles(), c.Failures}
	res.Telemetry = messageResult{
		Sent: c.Sent, PerSecond: float64(c.Sent) / took, Acked: c.Acked, Unacked: c.Unacked, Refused: c.Refused,
		Unsent: c.Unsent, Skipped: c.Skipped, Resent: c.Resent, AckLatency: h.Ack.quantiles(),
	}
	storm := r.stormNanos()
	res.StormSec = time.Duration(storm).Seconds()
	if r.ledger != nil {
		r.addFarEnd(res, &c, &h, lost, broken, took)
	}
	if r.o.Subscribers > 0 {
		r.addSubscribers(res, &c, &h)
	}
	res.Telemetry.rate(max(took, seconds(r.begunAt, r.lastArrival())))
	res.Curves = curves{h.Latency.curve(), h.Ack.curve(), h.Connect.curve()}
	res.Samples = r.samples
	if sc, err := findScenario(r.o.Scenario); err == nil && sc.bad != good {
		res.Bad = &badResult{Role: sc.name, Closed: c.BadClosed, StillOpen: c.BadOpen, Silence: h.Silence.quantiles()}
	}
	messages := c.Sent
	if res.Telemetry.Received != nil {
		messages = *res.Telemetry.Received
	}
	if res.Commands != nil {
		messages += *res.Commands.Received
	}
	r.addGenerator(res, &c, &h, messages)
	for _, w := range r.servers {
		res.Servers = append(res.Servers, w.result(messages, c.Connects, r.readyLive, seconds(r.begunAt, r.endedAt)))
	}
	r.addStorm(res, &c)
	r.judge(res, &c, storm)
	return res
}

// addFarEnd adds what the witness saw.
func (r *runner) addFarEnd(res *result, c *counters, h *histograms, lost, broken uint64, took float64) {
	l := r.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &res.Telemetry
	t.Expected, t.Received, t.Lost, t.AckedLost = new(c.Sent), new(l.unique), &lost, &broken
	t.Duplicates, t.OutOfOrder = new(l.duplicates), new(l.late)
	t.Latency = l.latency.quantiles()
	h.Latency.merge(l.latency)
	for problem, n := range l.problems {
		res.Warnings = append(res.Warnings, fmt.Sprintf("verifier: %s (%d times)", problem, n))
	}
	if l.damaged > 0 {
		res.Failures = append(res.Failures, fmt.Sprintf("%d messages arrived damaged", l.damaged))
	}
	if sent := r.commander.sent.Load(); sent > 0 {
		missing := sent - min(c.Commands, sent)
		res.Commands = &messageResult{
			Sent: sent, PerSecond: float64(sent) / took, PerSecondR: float64(c.Commands) / took, Expected: &sent, Received: &c.Commands, Lost: &missing,
			Duplicates: &c.CommandTwice, OutOfOrder: &c.CommandLate, Latency: h.Command.quantiles(),
		}
	}
}

// addSubscribers adds what the fleet's own subscribers saw: lost is what was sent and did not arrive, publisher by
// publisher, acked lost what of it the server had acknowledged.
func (r *runner) addSubscribers(res *result, c *counters, h *histograms) {
	sc, err := findScenario(r.o.Scenario)
	if err != nil {
		return // impossible: it was found before
	}
	received := make([]uint64, r.o.Publishers)
	for i := range r.latest {
		for p, n := range r.latest[i].Result.Received {
			received[p] += uint64(n)
		}
	}
	copies := r.o.copies(sc)
	var lost, broken uint64
	for i := range r.latest {
		part := r.latest[i].Result
		for k := range part.Sent {
			p := part.First + k
			lost += uint64(copies[p])*uint64(part.Sent[k]) - min(received[p], uint64(copies[p])*uint64(part.Sent[k]))
			broken += uint64(copies[p])*uint64(part.Acked[k]) - min(received[p], uint64(copies[p])*uint64(part.Acked[k]))
		}
	}
	t := &res.Telemetry
	t.Expected, t.Received, t.Lost, t.AckedLost = &c.Expected, &c.Arrived, &lost, &broken
	t.Duplicates, t.OutOfOrder = &c.Twice, &c.Late
	t.Latency = h.Latency.quantiles()
	if c.Damaged > 0 {
		res.Failures = append(res.Failures, fmt.Sprintf("%d messages arrived damaged", c.Damaged))
	}
}

// lastArrival is when the last message reached the far end: a server that fell behind has taken so long.
func (r *runner) lastArrival() (at int64) {
	for i := range r.latest {
		at = max(at, r.latest[i].Result.LastAt)
	}
	if r.ledger != nil {
		at = max(at, r.ledger.lastAt)
	}
	return at
}

// rate fills in how much arrived in a second.
func (m *messageResult) rate(took float64) {
	if m.Received != nil {
		m.PerSecondR = float64(*m.Received) / took
	}
}

// addGenerator adds what the run cost ourselves.
func (r *runner) addGenerator(res *result, c *counters, h *histograms, messages uint64) {
	u := r.generatorUsage()
	g := &res.Generator
	g.CPUSec, g.RSS = u.CPU.Seconds(), u.RSS
	g.Pings, g.LiveMax, g.Stalls, g.Lag = c.Pings, c.LiveMax, c.Stalls, h.Lag.quantiles()
	g.TrafficCPUSec = (r.self[1].CPU - r.self[0].CPU).Seconds()
	for i := range r.latest {
		k := r.latest[i].Result.Cost
		g.TrafficCPUSec += k.CPU.Seconds()
		if k.Nanos > 0 {
			g.BusyPercent = max(g.BusyPercent, 100*float64(k.CPU)/float64(k.Nanos))
		}
	}
	if messages > 0 {
		g.MicrosPerMessage = g.TrafficCPUSec * 1e6 / float64(messages)
	}
}

// merge adds another worker's durations.
func (h *histograms) merge(o *histograms) {
	h.Connect.merge(o.Connect)
	h.Ack.merge(o.Ack)
	h.Lag.merge(o.Lag)
	h.Command.merge(o.Command)
	h.Silence.merge(o.Silence)
	h.Latency.merge(o.Latency)
}

// result is a watched process' cost.
func (w *watched) result(messages, connects uint64, live int64, trafficSec float64) serverResult {
	s := serverResult{
		PID: w.pid, Command: w.command, CPUSec: (w.ended.CPU - w.begun.CPU).Seconds(),
		RSSIdle: w.idle.RSS, RSSReady: w.ready.RSS, RSSEnd: w.ended.RSS,
	}
	if w.calm.RSS > 0 {
		s.CalmCPUSec, s.CalmRSS = (w.calm.CPU - w.begun.CPU).Seconds(), w.calm.RSS
	}
	if trafficSec > 0 {
		s.CPUPercent = 100 * s.CPUSec / trafficSec
	}
	if messages > 0 {
		// What was still on its way when the sending ended has to be paid for as well.
		s.MicrosPerMessage = max(s.CPUSec, (w.settled.CPU-w.begun.CPU).Seconds()) * 1e6 / float64(messages)
	}
	if connects > 0 {
		s.ConnectMicros = (w.ready.CPU - w.idle.CPU).Seconds() * 1e6 / float64(connects)
	}
	if live > 0 {
		s.RSSPerDevice = float64(w.ready.RSS-w.idle.RSS) / float64(live)
	}
	return s
}

func (r *runner) asked() asked {
	a := asked{
		Profile: r.profile, Scenario: r.o.Scenario, Devices: r.o.Devices, Workers: len(r.workers), Rate: r.o.Rate, QoS: r.o.QoS,
		PayloadBytes: r.o.PayloadBytes, DurationSec: r.o.Duration.Seconds(), ConnectRate: r.o.ConnectRate,
		KeepAliveSec: r.o.KeepAliveSec, Protocol: versionText(r.o.Version), Window: r.o.Window,
		Persistent: r.o.Persistent, CommandsRate: r.commandsRate,
		Publishers: r.o.Publishers, Subscribers: r.o.Subscribers, Stages: r.o.Stages, FlatOut: r.o.FlatOut,
	}
	if r.o.Subscribers > 0 {
		a.Route = r.o.Route.String()
	}
	for _, t := range r.o.Targets {
		a.Targets = append(a.Targets, fmt.Sprintf("%s %s%s", t.Kind, t.Host, t.Path))
	}
	return a
}

func versionText(v mqtt.Version) string {
	return map[mqtt.Version]string{mqtt.V31: "3.1", mqtt.V311: "3.1.1", mqtt.V5: "5"}[v]
}

func seconds(from, to int64) float64 { return time.Duration(to - from).Seconds() }
