package main

import (
	"fmt"
	"io"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// result is what a run found, as it is written with --json. Durations are seconds or, in quantiles, milliseconds.
type result struct {
	Passed      bool        `json:"passed"`
	Failures    []string    `json:"failures"` // the invariants that did not hold
	Warnings    []string    `json:"warnings"` // what makes the figures doubtful
	Seed        uint64      `json:"seed"`
	Environment environment `json:"environment"`
	Asked       asked       `json:"asked"`

	Connects  connectResult  `json:"connects"`
	Telemetry messageResult  `json:"telemetry"`
	Commands  *messageResult `json:"commands,omitempty"`
	Bad       *badResult     `json:"bad_devices,omitempty"`
	StormSec  float64        `json:"storm_sec,omitempty"` // from the drop until all were back
	Servers   []serverResult `json:"servers,omitempty"`
	Generator generator      `json:"generator"`

	Closes map[string]uint64 `json:"unexpected_closes"` // by reason
}

// asked is what was asked for, so that a result can be repeated.
type asked struct {
	Scenario     string   `json:"scenario"`
	Targets      []string `json:"targets"`
	Devices      int      `json:"devices"`
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

// messageResult is one direction. Lost, Duplicates and OutOfOrder are nil without --verify.
type messageResult struct {
	Sent       uint64     `json:"sent"`
	PerSecond  float64    `json:"per_second"`
	Acked      uint64     `json:"acked"`
	Unacked    uint64     `json:"unacked"`
	Refused    uint64     `json:"refused"`
	Unsent     uint64     `json:"unsent"`
	Skipped    uint64     `json:"skipped"`
	Resent     uint64     `json:"resent"`
	Received   *uint64    `json:"received,omitempty"`
	Lost       *uint64    `json:"lost,omitempty"`
	AckedLost  *uint64    `json:"acked_lost,omitempty"`
	Duplicates *uint64    `json:"duplicates,omitempty"`
	OutOfOrder *uint64    `json:"out_of_order,omitempty"`
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
	MicrosPerMessage float64 `json:"cpu_us_per_message"` // of its CPU time, by message sent, either way
	ConnectMicros    float64 `json:"cpu_us_per_connect"`
	RSSIdle          int64   `json:"rss_before"`
	RSSReady         int64   `json:"rss_connected"`
	RSSEnd           int64   `json:"rss_end"`
	RSSPerDevice     float64 `json:"rss_per_device"`
}

// generator is about ourselves: a slow generator makes a slow server.
type generator struct {
	CPUSec  float64    `json:"cpu_sec"`
	RSS     int64      `json:"rss"`
	Pings   uint64     `json:"pings"`
	Lag     *quantiles `json:"lag,omitempty"` // intended send to when its turn came
	LiveMax int64      `json:"live_max"`
}

// result makes one result of the workers' and the far end's.
func (r *runner) result() *result {
	c, h := r.sum(), newHistograms()
	res := &result{Seed: r.o.Seed, Environment: thisEnvironment(), Asked: r.asked(), Closes: c.Closes, Failures: []string{}, Warnings: []string{}}
	var lost, broken uint64
	storm := int64(0)
	for i := range r.latest {
		p := r.latest[i].Result
		h.merge(&p.Hist)
		if storm >= 0 {
			storm = max(storm, p.StormNanos)
		}
		if p.StormNanos < 0 {
			storm = -1
		}
		if r.ledger != nil {
			l, b, _ := r.ledger.loss(p)
			lost, broken = lost+l, broken+b
		}
		res.Generator.CPUSec += r.latest[i].Resources.CPU.Seconds()
		res.Generator.RSS += r.latest[i].Resources.RSS
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
	res.Generator.Pings, res.Generator.LiveMax, res.Generator.Lag = c.Pings, c.LiveMax, h.Lag.quantiles()
	res.StormSec = time.Duration(storm).Seconds()
	if r.ledger != nil {
		r.addFarEnd(res, &c, &h, lost, broken, took)
	}
	if sc, err := findScenario(r.o.Scenario); err == nil && sc.bad != good {
		res.Bad = &badResult{Role: sc.name, Closed: c.BadClosed, StillOpen: c.BadOpen, Silence: h.Silence.quantiles()}
	}
	messages := c.Sent
	if res.Commands != nil {
		messages += res.Commands.Sent
	}
	for _, w := range r.servers {
		res.Servers = append(res.Servers, w.result(messages, c.Connects, r.readyLive, seconds(r.begunAt, r.endedAt)))
	}
	r.judge(res, &c, storm)
	return res
}

// addFarEnd adds what the witness saw.
func (r *runner) addFarEnd(res *result, c *counters, h *histograms, lost, broken uint64, took float64) {
	l := r.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &res.Telemetry
	t.Received, t.Lost, t.AckedLost = new(l.unique), &lost, &broken
	t.Duplicates, t.OutOfOrder = new(l.duplicates), new(l.late)
	t.Latency = l.latency.quantiles()
	for problem, n := range l.problems {
		res.Warnings = append(res.Warnings, fmt.Sprintf("verifier: %s (%d times)", problem, n))
	}
	if l.damaged > 0 {
		res.Failures = append(res.Failures, fmt.Sprintf("%d messages arrived damaged", l.damaged))
	}
	if sent := r.commander.sent.Load(); sent > 0 {
		missing := sent - min(c.Commands, sent)
		res.Commands = &messageResult{
			Sent: sent, PerSecond: float64(sent) / took, Received: &c.Commands, Lost: &missing,
			Duplicates: &c.CommandTwice, OutOfOrder: &c.CommandLate, Latency: h.Command.quantiles(),
		}
	}
}

// merge adds another worker's durations.
func (h *histograms) merge(o *histograms) {
	h.Connect.merge(o.Connect)
	h.Ack.merge(o.Ack)
	h.Lag.merge(o.Lag)
	h.Command.merge(o.Command)
	h.Silence.merge(o.Silence)
}

// result is a watched process' cost.
func (w *watched) result(messages, connects uint64, live int64, trafficSec float64) serverResult {
	s := serverResult{
		PID: w.pid, Command: w.command, CPUSec: (w.ended.CPU - w.begun.CPU).Seconds(),
		RSSIdle: w.idle.RSS, RSSReady: w.ready.RSS, RSSEnd: w.ended.RSS,
	}
	if trafficSec > 0 {
		s.CPUPercent = 100 * s.CPUSec / trafficSec
	}
	if messages > 0 {
		s.MicrosPerMessage = s.CPUSec * 1e6 / float64(messages)
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
		Scenario: r.o.Scenario, Devices: r.o.Devices, Workers: len(r.workers), Rate: r.o.Rate, QoS: r.o.QoS,
		PayloadBytes: r.o.PayloadBytes, DurationSec: r.o.Duration.Seconds(), ConnectRate: r.o.ConnectRate,
		KeepAliveSec: r.o.KeepAliveSec, Protocol: versionText(r.o.Version), Window: r.o.Window,
		Persistent: r.o.Persistent, CommandsRate: r.commandsRate,
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

// Latencies from which on a generator's own delay makes a measurement doubtful.
const lagWarnMS = 5

// judge decides whether the invariants held.
func (r *runner) judge(res *result, c *counters, storm int64) {
	fail := func(n uint64, format string) {
		if n > 0 {
			res.Failures = append(res.Failures, fmt.Sprintf(format, n))
		}
	}
	fail(c.Unexpected, "%d connections closed unexpectedly")
	if sc, err := findScenario(r.o.Scenario); err == nil {
		var want int64
		for i := range r.o.Devices {
			if sc.roleOf(uint32(i), r.o.Devices, r.o.BadShare) == good {
				want++
			}
		}
		fail(uint64(max(0, want-res.Connects.Live)), "%d devices were not connected when the traffic began")
	}
	if storm < 0 {
		res.Failures = append(res.Failures, "not all devices came back after the storm")
	}
	t := &res.Telemetry
	if r.o.QoS > 0 {
		fail(t.Unacked, "%d messages were never acknowledged")
		fail(t.Refused, "%d messages were refused")
		fail(t.Unsent, "%d messages could not be sent in time")
		if t.AckedLost != nil {
			fail(*t.AckedLost, "%d acknowledged messages were lost")
		}
	}
	if t.OutOfOrder != nil {
		fail(*t.OutOfOrder, "%d messages arrived out of order")
	}
	if t.Duplicates != nil && (r.o.QoS != 1) {
		fail(*t.Duplicates, "%d messages arrived twice")
	}
	if m := res.Commands; m != nil {
		if r.o.QoS > 0 && (res.StormSec == 0 || r.o.Persistent) {
			fail(*m.Lost, "%d commands were lost")
		}
		fail(*m.OutOfOrder, "%d commands arrived out of order")
	}
	if lag := res.Generator.Lag; lag != nil && lag.P99 > lagWarnMS && c.Unsent == 0 {
		res.Warnings = append(res.Warnings, fmt.Sprintf("the generator was late itself (p99 %.1f ms): the latencies say as much about it as about the server", lag.P99))
	}
	res.Passed = len(res.Failures) == 0
}

// text writes the result for people.
func (res *result) text(out io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	p("")
	p("connects    %s live in %.1f s%s", grouped(uint64(res.Connects.Live)), res.Connects.Seconds, res.Connects.Latency.text("  latency"))
	printReasons(out, "  failed", res.Connects.Failures)
	res.Telemetry.text(out, "telemetry")
	if res.Commands != nil {
		res.Commands.text(out, "commands ")
	}
	if res.StormSec > 0 {
		p("storm       all back after %.2f s", res.StormSec)
	}
	if b := res.Bad; b != nil {
		p("bad devices %s: %d closed by the server, %d still open%s", b.Role, b.Closed, b.StillOpen, b.Silence.text("  silence until close"))
	}
	for _, s := range res.Servers {
		p("server      pid %d %s: %.2f CPU s (%.0f %%), %.2f us a message, %.1f us a connect; RSS %s -> %s -> %s, %.0f B a device",
			s.PID, s.Command, s.CPUSec, s.CPUPercent, s.MicrosPerMessage, s.ConnectMicros,
			bytesText(s.RSSIdle), bytesText(s.RSSReady), bytesText(s.RSSEnd), s.RSSPerDevice)
	}
	p("generator   %.2f CPU s, %s%s", res.Generator.CPUSec, bytesText(res.Generator.RSS), res.Generator.Lag.text("  lag"))
	printReasons(out, "  closed", res.Closes)
	for _, w := range res.Warnings {
		p("warning     %s", w)
	}
	for _, f := range res.Failures {
		p("FAILED      %s", f)
	}
	if res.Passed {
		p("passed      seed %d", res.Seed)
	}
}

// text writes one direction.
func (m *messageResult) text(out io.Writer, name string) {
	fmt.Fprintf(out, "%s   %s sent (%s/s)", name, grouped(m.Sent), decimal(m.PerSecond))
	for _, part := range []struct {
		n    uint64
		name string
	}{{m.Acked, "acked"}, {m.Unacked, "unacked"}, {m.Refused, "refused"}, {m.Unsent, "unsent"}, {m.Skipped, "skipped"}, {m.Resent, "resent"}} {
		if part.n > 0 {
			fmt.Fprintf(out, ", %s %s", grouped(part.n), part.name)
		}
	}
	if m.Received != nil {
		fmt.Fprintf(out, "; %s arrived, %s lost, %s twice, %s out of order",
			grouped(*m.Received), grouped(*m.Lost), grouped(*m.Duplicates), grouped(*m.OutOfOrder))
	}
	fmt.Fprintln(out)
	if m.AckLatency != nil {
		fmt.Fprintf(out, "         %s\n", m.AckLatency.text("  ack"))
	}
	if m.Latency != nil {
		fmt.Fprintf(out, "         %s\n", m.Latency.text("  end to end"))
	}
}

func (q *quantiles) text(name string) string {
	if q == nil {
		return ""
	}
	return fmt.Sprintf("%s p50 %s, p90 %s, p99 %s, p99.9 %s, max %s ms", name, decimal(q.P50), decimal(q.P90), decimal(q.P99), decimal(q.P999), decimal(q.Max))
}

func printReasons(out io.Writer, name string, reasons map[string]uint64) {
	for _, reason := range byCount(reasons) {
		fmt.Fprintf(out, "  %s %d: %s\n", name, reasons[reason], reason)
	}
}
