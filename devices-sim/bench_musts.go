package main

import (
	"fmt"
	"slices"
)

// benchMust is what the gateway has to reach in a scenario: a figure that is at most so much, or at most so many times
// that of another contender in the same run; or at least.
type benchMust struct {
	scenario, figure string
	most, moonshot   float64 // 0: none
	times            string  // contender; "": most is the figure itself
	least            bool    // most is the least
}

// benchMustTable is what has to hold on two cores that the generator shares.
var benchMustTable = []benchMust{
	{"idle", "rss_per_connection", 600, 350, "", false},
	{"idle", "cpu_us_per_connect", 18, 12, "", false},
	{"qos0-flat-out", "cpu_us_per_message", 1.1, 0.7, "", false},
	{"qos1-flat-out", "cpu_us_per_message", 1.6, 1.0, "", false},
	{"qos0-100k", "cpu_us_per_message", 0.9, 0.6, "mosquitto", false},
	{"qos0-100k", "latency_p99_ms", 1, 0, "mosquitto", false},
	{"qos1-30k", "cpu_us_per_message", 0.9, 0.6, "mosquitto", false},
	{"qos1-30k", "latency_p99_ms", 1, 0, "mosquitto", false},
	{"many", "cpu_us_per_message", 1, 0.8, "mosquitto", false},
	{"many", "latency_p99_ms", 1, 0, "mosquitto", false},
	{"fan-out", "cpu_us_per_message", 3.4, 2.8, "", false},
	{"uplink-flat-out", "cpu_us_per_message", 1.3, 1.0, "", false},
	{"uplink-50k", "cpu_us_per_message", 9, 6, "", false},
	{"durable-uplink-flat-out", "acknowledged_per_second", 1.3, 0, "natsmqtt", true},
	{"durable-uplink-flat-out", "cpu_us_per_message", 0.75, 0, "natsmqtt", false},
	{"durable-uplink-flat-out", "stored_lost", 0, 0, "", false},
	{"durable-uplink-20k", "cpu_us_per_message", 0.5, 0, "natsmqtt", false},
	{"durable-uplink-20k", "latency_p99_ms", 1, 0, "natsmqtt", false},
	{"durable-uplink-20k", "stored_lost", 0, 0, "", false},
}

// bound is a limit of the must in words.
func (m *benchMust) bound(limit float64) string {
	sign := "≤"
	if m.least {
		sign = "≥"
	}
	if m.times != "" {
		return fmt.Sprintf("%s %v × %s", sign, limit, m.times)
	}
	return fmt.Sprintf("%s %v", sign, limit)
}

// within tells whether a value is.
func (m *benchMust) within(limit, value float64) bool {
	return value == limit || (value < limit) != m.least
}

// benchMusts holds the table against what was measured, scenarios that were not asked for left out. A smoke test measures
// nothing.
func benchMusts(rep *benchReport) (list []must) {
	for _, m := range benchMustTable {
		at := slices.IndexFunc(rep.Tables, func(t benchTable) bool { return t.Scenario == m.scenario })
		if at < 0 || rep.Smoke {
			continue
		}
		name := m.scenario + ": " + m.header()
		ours, ok := rep.Tables[at].median(contenders[0].name, m.figure)
		if !ok {
			list = append(list, notMeasured(name, m.bound(m.most), contenders[0].name+" has no figure"))
			continue
		}
		value, measured := ours, signed(ours)
		if m.times != "" {
			theirs, ok := rep.Tables[at].median(m.times, m.figure)
			if !ok || theirs <= 0 {
				list = append(list, notMeasured(name, m.bound(m.most), m.times+" has no figure"))
				continue
			}
			value = ours / theirs
			measured = fmt.Sprintf("%s: %.2f × %s", measured, value, signed(theirs))
		}
		got := held(name, m.bound(m.most), value, m.within(m.most, value), measured)
		if m.moonshot > 0 && m.within(m.moonshot, value) {
			got.Note = "moonshot reached: " + m.bound(m.moonshot)
		}
		list = append(list, got)
	}
	return list
}

// header is what the figure is called.
func (m *benchMust) header() string {
	at := slices.IndexFunc(benchFigures, func(f benchFigure) bool { return f.key == m.figure })
	return benchFigures[at].header
}

// median is a contender's figure in the scenario.
func (t *benchTable) median(contender, figure string) (v float64, ok bool) {
	for _, row := range t.Rows {
		if s, has := row.Summary[figure]; has && row.Contender == contender {
			return s.Median, true
		}
	}
	return 0, false
}

// markdownMusts writes what has to hold.
func (rep *benchReport) markdownMusts(p func(format string, args ...any)) {
	if len(rep.Musts) == 0 {
		return
	}
	p("\n## Must hold\n\n| %s | Must | Measured | |\n|---|---|---|---|", contenders[0].name)
	for _, m := range rep.Musts {
		verdict := m.Verdict()
		if m.Note != "" {
			verdict += "; " + m.Note
		}
		p("| %s | %s | %s | %s |", m.Name, m.Bound, m.Measured, verdict)
	}
}
