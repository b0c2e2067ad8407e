package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// reported is a result with something in every part.
func reported() *result {
	res := thresholdSubject()
	res.Version, res.Seed, res.Environment = resultVersion, 5, thisEnvironment([]string{"devices-sim", "<run>"}, 0)
	res.Asked = asked{Scenario: "steady", Devices: 20, Publishers: 10, Subscribers: 10, Route: "pairs", Stages: []leg{{0, 5, second}}}
	res.Servers[0].PID, res.Servers[0].Command, res.Servers[1].PID, res.Servers[1].Command = 7, "one", 8, "<two>"
	res.Warnings = []string{"a <warning>"}
	res.Samples = []sample{
		{At: 1, Stage: "connecting", Live: 5, Connects: 5, Servers: []serverSample{{1, 1e6}, {2, 2e6}}},
		{At: 2, Stage: "running", Live: 20, Sent: 10, Received: 10, LatencyP50: 1, LatencyP99: 3, Servers: []serverSample{{10, 1e6}, {20, 3e6}}},
		{At: 3, Stage: "running", Live: 20, Servers: []serverSample{{10, 1e6}, {20, 3e6}}},
		{At: 4, Stage: "draining", Live: 20, Servers: []serverSample{{10, 1e6}}},
	}
	h := newHistogram()
	for i := range int64(5000) {
		h.record(i * 10_000)
	}
	res.Curves.Latency = h.curve()
	th, _ := parseThreshold("latency.p99<1ms") // tested elsewhere
	res.checkThresholds([]threshold{th})
	res.Musts = []must{none("a <must>", 1, "1 of 2"), notMeasured("another", "≤ 3", "a <note>")}
	return res
}

// TestPage: one file, nothing fetched, every word of ours or the server's escaped, every drawing well-formed.
func TestPage(t *testing.T) {
	var out bytes.Buffer
	if err := reported().writeHTML(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{
		"steady: 10 to 10 devices, QoS 0", "Latency by percentile", "Messages a second", "Resident memory", "&lt;two&gt; 8", "a &lt;warning&gt;",
		"latency.p99&lt;1ms", ">failed<", "99.9 %", "0 to 5 a second in 1 s", ">traffic<", ">end<", "a &lt;must&gt;", ">MISSED<", "a &lt;note&gt;",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	for _, never := range []string{"<two>", "<warning>", "<run>", "<must>", "<note>", "NaN", "Inf", "src=", "href=", "url(", "@import", "<script"} {
		if strings.Contains(text, never) {
			t.Errorf("%q is in the page", never)
		}
	}
	drawings := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(text, -1)
	if len(drawings) != 6 {
		t.Errorf("%d drawings", len(drawings))
	}
	for _, d := range drawings {
		dec := xml.NewDecoder(strings.NewReader(d))
		for {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in %s", err, d)
			}
		}
	}
	out.Reset()
	if err := new(result).writeHTML(&out); err != nil || strings.Contains(out.String(), "<svg") {
		t.Errorf("an empty result: %v", err)
	}
}

func TestPlotScales(t *testing.T) {
	for _, c := range []struct {
		log    bool
		ys     []float64
		lowY   float64
		highY  float64
		ticksY int
	}{
		{false, []float64{0, 37}, 0, 40, 5}, {false, []float64{0, 0}, 0, 1, 6}, {false, []float64{100, 101}, 0, 150, 4},
		{true, []float64{0.2, 37}, 0.1, 100, 4}, {true, []float64{5, 5}, 1, 10, 2}, {true, []float64{0, 0}, 0.001, 0.01, 2},
	} {
		p := plot{log: c.log, lines: []line{{xs: []float64{1, 2}, ys: c.ys}}}
		_, y := p.scales()
		if y.low != c.lowY || y.high != c.highY || len(y.ticks(plotTicksY)) != c.ticksY {
			t.Errorf("%+v: %v to %v, ticks %v", c, y.low, y.high, y.ticks(plotTicksY))
		}
		if y.at(y.low) != y.from || y.at(y.high) != y.to {
			t.Errorf("%+v: ends at %v and %v", c, y.at(y.low), y.at(y.high))
		}
	}
	for least, want := range map[float64]float64{0.9: 1, 1: 1, 1.1: 2, 30: 50, 70: 100, 0.03: 0.05} {
		if got := niceStep(least); got < want*0.999 || got > want*1.001 {
			t.Errorf("niceStep(%v) is %v", least, got)
		}
	}
}

func TestCSV(t *testing.T) {
	var out bytes.Buffer
	if err := reported().writeCSV(&out); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 5 || rows[0][0] != "t_sec" || rows[0][17] != "rss_7" || rows[2][4] != "10.000" || rows[2][17] != "1000000" {
		t.Fatalf("%v %v", err, rows)
	}
}

// TestJSONAndCompare: what is written is read again, and told apart.
func TestJSONAndCompare(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, res *result) string {
		var text bytes.Buffer
		if err := res.writeJSON(&text); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	a, b, old := reported(), reported(), reported()
	b.Asked.QoS, b.Telemetry.PerSecondR, b.Telemetry.Latency.P99 = 1, 180, 9.95
	b.Telemetry.AckLatency = &quantiles{P50: 3}
	old.Version = 0
	cmd, out := command(), new(bytes.Buffer)
	cmd.SetOut(out)
	cmd.SetArgs([]string{"compare", write("a", a), write("b", b)})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"asked differently: qos 0, then 1\n", "+100.0 %", "-50.0 %", "A: a <warning>", "ack.p50"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	cmd.SetArgs([]string{"compare", write("a", a), write("old", old)})
	if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), "version 0") {
		t.Errorf("an old result: %v", err)
	}
	for _, name := range compared {
		if _, ok := metrics[name]; !ok {
			t.Errorf("no metric %s", name)
		}
	}
}

// TestJSONIsStable: fields of version 1 keep their names. A change here is a new resultVersion.
func TestJSONIsStable(t *testing.T) {
	text, err := json.Marshal(reported())
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{
		`"version":1`, `"passed":`, `"failures":`, `"warnings":`, `"seed":`, `"environment":{"kernel":`, `"asked":{`, `"connects":{"live":`,
		`"telemetry":{"sent":`, `"received_per_second":`, `"p99_9_ms":`, `"servers":[{"pid":`, `"cpu_us_per_message":`, `"rss_per_device":`,
		`"generator":{"cpu_sec":`, `"unexpected_closes":`, `"thresholds":[{"threshold":`, `"curves":{"latency":[{"percentile":`, `"samples":[{"t_sec":`,
	} {
		if !bytes.Contains(text, []byte(field)) {
			t.Errorf("no %s", field)
		}
	}
}
