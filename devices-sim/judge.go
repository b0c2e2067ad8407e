package main

import "fmt"

// From here on the generator's own delay, or how busy its busiest loop is, makes a measurement doubtful.
const (
	lagWarnMS = 5
	busyWarn  = 85 // percent of a core
)

// judge decides whether the invariants held.
func (r *runner) judge(res *result, c *counters, storm int64) {
	fail := func(n uint64, format string) {
		if n > 0 {
			res.Failures = append(res.Failures, fmt.Sprintf(format, n))
		}
	}
	fail(c.Unexpected, "%d connections closed unexpectedly")
	if sc, err := findScenario(r.o.Scenario); err == nil {
		fail(uint64(max(0, r.o.goodOnes(sc)-res.Connects.Live)), "%d devices were not connected when the traffic began")
	}
	fail(c.SessionsLost, "%d sessions were lost: the server did not know a device that came back")
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
	r.doubt(res)
	res.Passed = len(res.Failures) == 0
}

// doubt warns when the generator was the bottleneck: then the figures are about it.
func (r *runner) doubt(res *result) {
	warn := func(format string, args ...any) { res.Warnings = append(res.Warnings, fmt.Sprintf(format, args...)) }
	lag := res.Generator.Lag
	if res.Calm != nil {
		lag = res.Calm.Lag // a storm makes everybody late
	}
	if lag != nil && lag.P99 > lagWarnMS {
		warn("the generator was late itself (p99 %.1f ms): the latencies say as much about it as about the server", lag.P99)
	}
	if busy := res.Generator.BusyPercent; busy > busyWarn {
		warn("a generator process was busy for %.0f %% of a core: it may be the bottleneck; more --workers may help", busy)
	}
	if n := res.Generator.Stalls; n > 0 {
		warn("flat out, nothing arrived for half a second %d times, and what was missing was given up for lost", n)
	}
}
