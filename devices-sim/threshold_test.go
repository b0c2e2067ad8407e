package main

import (
	"strings"
	"testing"
	"time"
)

func thresholdSubject() *result {
	n := func(v uint64) *uint64 { return &v }
	return &result{
		Telemetry: messageResult{
			PerSecond: 100, PerSecondR: 90, Expected: n(2000), Received: n(1998), Lost: n(2), Duplicates: n(0), OutOfOrder: n(5),
			Latency: &quantiles{P50: 1, P90: 2, P99: 19.9, P999: 30, Max: 40},
		},
		Connects: connectResult{Latency: &quantiles{P99: 7}},
		Closes:   map[string]uint64{"a": 1, "b": 2},
		Servers:  []serverResult{{MicrosPerMessage: 3, RSSPerDevice: 400, ConnectMicros: 10}, {MicrosPerMessage: 1.5, RSSPerDevice: 100}},
	}
}

func TestThresholds(t *testing.T) {
	for text, want := range map[string]string{
		"latency.p99<20ms": "met: 19.9 ms", "latency.p99 < 19ms": "CROSSED", "latency.p99.9<=30ms": "met: 30 ms", "latency.max>1s": "CROSSED",
		"loss==2": "met: 2", "loss<0.1%": "CROSSED", "loss<=0.1%": "met: 0.1 %", "duplicates==0": "met: 0", "order<5": "CROSSED",
		"closes<=3": "met: 3", "rate>=90": "met: 90", "cpu<5us": "met: 4.5 us", "rss<=500B": "met: 500 B", "rss<0.5kB": "CROSSED",
		"connect.p99<10ms": "met: 7 ms", "connect_cpu<9us": "CROSSED", "ack.p50<1s": "not measured", "lag.p99<5ms": "not measured",
		"command.p50<1s": "not measured", "storm<30s": "not measured",
	} {
		th, err := parseThreshold(text)
		if err != nil {
			t.Error(err)
			continue
		}
		res := thresholdSubject()
		met := res.checkThresholds([]threshold{th})
		if got := res.Thresholds[0].text(); !strings.Contains(got, want) || met != strings.Contains(want, "met:") {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	empty := &result{}
	for name := range metrics {
		if v, ok := metrics[name].of(empty); ok && v != 0 {
			t.Errorf("%s of nothing is %v", name, v)
		}
	}
}

func TestParseThresholdErrors(t *testing.T) {
	for text, want := range map[string]string{
		"latency": "want METRIC", "latency<5ms": "no metric", "p99<5ms": "latency.p99", "latency.p99=5ms": "want one of <", "latency.p99<5": "no time",
		"latency.p99<-5ms": "no time", "loss<x": "no number", "rss<5%": "no number", "closes<5%": "only loss", "loss<NaN": "no number", "loss<": "no number",
	} {
		if _, err := parseThreshold(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestExitCodes: 0 for a good run, 1 for a broken invariant, 99 for a threshold alone.
func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		r         *responder
		threshold string
		want      int
	}{
		{&responder{}, "ack.p99<1m", 0}, {&responder{}, "rate>1000000", 99}, {&responder{}, "storm<1s", 99},
		{&responder{dropEach: 5}, "closes>=0", 1}, {&responder{dropEach: 5}, "closes==0", 1},
	} {
		addr := newResponder(t, c.r)
		f := &flags{options: testOptions(addr, "mqtt")}
		f.Devices, f.Publishers, f.Rate, f.Duration = 5, 5, 50, time.Second/2
		th, err := parseThreshold(c.threshold)
		if err != nil {
			t.Fatal(err)
		}
		r := &runner{o: f.options, spawn: inProcess, now: monotonic(), view: newView(t.Output())}
		res, err := r.run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := exitCode(outcome(res, []threshold{th})); got != c.want {
			t.Errorf("%s: exit code %d, want %d (%v)", c.threshold, got, c.want, res.Failures)
		}
	}
}
