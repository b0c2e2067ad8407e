package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// threshold is a condition that a result has to meet, as --threshold says it:
//
//	METRIC[.STATISTIC] OPERATOR VALUE[UNIT]      latency.p99<20ms   loss<=0.1%   rss<600B
//
// Operators are < <= > >= ==. Spaces do not matter. What was not measured meets no condition.
type threshold struct {
	text     string
	metric   string // with its statistic
	operator string
	value    float64 // in the metric's unit; loss in percent: of what was expected
	percent  bool
}

// thresholdResult is a threshold with what was measured.
type thresholdResult struct {
	Threshold string   `json:"threshold"`
	Measured  *float64 `json:"measured"` // milliseconds, microseconds, bytes or a number; null: not measured
	Passed    bool     `json:"passed"`
}

// metric is something that a threshold may be about.
type metric struct {
	unit string // ms, us, B, or "" for numbers
	of   func(res *result) (value float64, ok bool)
}

// metrics are all of them, by name.
var metrics = allMetrics()

func allMetrics() map[string]metric {
	m := map[string]metric{
		"loss":       {"", func(res *result) (float64, bool) { return count(res.Telemetry.Lost) }},
		"duplicates": {"", func(res *result) (float64, bool) { return count(res.Telemetry.Duplicates) }},
		"order":      {"", func(res *result) (float64, bool) { return count(res.Telemetry.OutOfOrder) }},
		"closes": {"", func(res *result) (float64, bool) {
			n := uint64(0)
			for _, c := range res.Closes {
				n += c
			}
			return float64(n), true
		}},
		"rate": {"", func(res *result) (float64, bool) {
			if res.Telemetry.Received != nil {
				return res.Telemetry.PerSecondR, true
			}
			return res.Telemetry.PerSecond, true
		}},
		"cpu":         {"us", perServer(func(s *serverResult) float64 { return s.MicrosPerMessage })},
		"connect_cpu": {"us", perServer(func(s *serverResult) float64 { return s.ConnectMicros })},
		"rss":         {"B", perServer(func(s *serverResult) float64 { return s.RSSPerDevice })},
		"storm":       {"ms", func(res *result) (float64, bool) { return 1000 * res.StormSec, res.StormSec > 0 }},
	}
	durations := map[string]func(res *result) *quantiles{
		"latency": func(res *result) *quantiles { return res.Telemetry.Latency },
		"ack":     func(res *result) *quantiles { return res.Telemetry.AckLatency },
		"connect": func(res *result) *quantiles { return res.Connects.Latency },
		"lag":     func(res *result) *quantiles { return res.Generator.Lag },
		"command": func(res *result) *quantiles {
			if res.Commands == nil {
				return nil
			}
			return res.Commands.Latency
		},
	}
	statistics := map[string]func(q *quantiles) float64{
		"p50":   func(q *quantiles) float64 { return q.P50 },
		"p90":   func(q *quantiles) float64 { return q.P90 },
		"p99":   func(q *quantiles) float64 { return q.P99 },
		"p99.9": func(q *quantiles) float64 { return q.P999 },
		"max":   func(q *quantiles) float64 { return q.Max },
	}
	for name, duration := range durations {
		for statistic, value := range statistics {
			m[name+"."+statistic] = metric{"ms", func(res *result) (float64, bool) {
				if q := duration(res); q != nil {
					return value(q), true
				}
				return 0, false
			}}
		}
	}
	return m
}

func count(n *uint64) (float64, bool) {
	if n == nil {
		return 0, false
	}
	return float64(*n), true
}

// perServer adds up the processes given by --pid: together they are the server.
func perServer(of func(s *serverResult) float64) func(res *result) (float64, bool) {
	return func(res *result) (sum float64, ok bool) {
		for i := range res.Servers {
			sum += of(&res.Servers[i])
		}
		return sum, len(res.Servers) > 0
	}
}

// parseThreshold reads one condition.
func parseThreshold(s string) (threshold, error) {
	text := strings.Join(strings.Fields(s), "")
	t := threshold{text: text}
	bad := func(format string, args ...any) (threshold, error) {
		return t, fmt.Errorf("--threshold %q: %s", s, fmt.Sprintf(format, args...))
	}
	at := strings.IndexAny(text, "<>=")
	if at < 0 {
		return bad("want METRIC OPERATOR VALUE, as in latency.p99<20ms")
	}
	t.metric = text[:at]
	end := at + 1
	if end < len(text) && text[end] == '=' {
		end++
	}
	t.operator = text[at:end]
	if t.operator == "=" {
		return bad("want one of < <= > >= ==")
	}
	m, ok := metrics[t.metric]
	if !ok {
		return bad("no metric %q; want one of %s", t.metric, strings.Join(slices.Sorted(maps.Keys(metrics)), ", "))
	}
	var err error
	if t.value, t.percent, err = parseAmount(text[end:], m.unit); err != nil {
		return bad("%v", err)
	}
	if t.percent && t.metric != "loss" {
		return bad("only loss has a percentage")
	}
	return t, nil
}

// parseAmount reads a value in a metric's unit.
func parseAmount(s, unit string) (value float64, percent bool, err error) {
	switch unit {
	case "ms", "us":
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return 0, false, fmt.Errorf("%q is no time, as 20ms or 4.5us", s)
		}
		if unit == "us" {
			return float64(d) / 1e3, false, nil
		}
		return float64(d) / 1e6, false, nil
	}
	number, factor := s, 1.0
	if unit == "B" {
		for _, u := range []struct {
			suffix string
			factor float64
		}{{"kB", 1e3}, {"MB", 1e6}, {"B", 1}} {
			if rest, ok := strings.CutSuffix(s, u.suffix); ok {
				number, factor = rest, u.factor
				break
			}
		}
	} else {
		number, percent = strings.CutSuffix(s, "%")
	}
	value, err = strconv.ParseFloat(number, 64)
	if err != nil || !(value >= 0 && value < 1e18) {
		return 0, false, fmt.Errorf("%q is no number", s)
	}
	return value * factor, percent, nil
}

// check holds a threshold against a result.
func (t *threshold) check(res *result) thresholdResult {
	r := thresholdResult{Threshold: t.text}
	value, ok := metrics[t.metric].of(res)
	if !ok {
		return r
	}
	if t.percent {
		expected, _ := count(res.Telemetry.Expected)
		value = 100 * value / max(1, expected)
	}
	r.Measured = &value
	switch t.operator {
	case "<":
		r.Passed = value < t.value
	case "<=":
		r.Passed = value <= t.value
	case ">":
		r.Passed = value > t.value
	case ">=":
		r.Passed = value >= t.value
	case "==":
		r.Passed = value == t.value
	}
	return r
}

// checkThresholds holds all of them against a result, and tells whether it meets them.
func (res *result) checkThresholds(list []threshold) (met bool) {
	met = true
	for i := range list {
		r := list[i].check(res)
		res.Thresholds = append(res.Thresholds, r)
		met = met && r.Passed
	}
	return met
}

// text is a threshold's line for people.
func (r *thresholdResult) text() string {
	if r.Passed {
		return "threshold   " + r.Line()
	}
	return "CROSSED     " + r.Line()
}

// Line is the threshold with what was measured; the page asks for it as well.
func (r thresholdResult) Line() string {
	measured := "not measured"
	if r.Measured != nil {
		measured = strconv.FormatFloat(*r.Measured, 'g', 4, 64)
		name := r.Threshold[:strings.IndexAny(r.Threshold, "<>=")]
		if unit := metrics[name].unit; unit != "" {
			measured += " " + unit
		}
		if strings.HasSuffix(r.Threshold, "%") {
			measured += " %"
		}
	}
	if r.Passed {
		return fmt.Sprintf("%s met: %s", r.Threshold, measured)
	}
	return fmt.Sprintf("%s: %s", r.Threshold, measured)
}
