package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBenchTables(t *testing.T) {
	table, err := os.ReadFile("contenders/table.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	readme, err := os.ReadFile("contenders/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range contenders {
		if c.tuned == "" || (c.folder != "" && !strings.Contains(string(readme), "- **"+c.name+"**: ")) {
			t.Errorf("nobody knows how %s is tuned", c.name)
		}
	}
	for _, c := range append([]contender{natsHelper}, contenders...) {
		if seen[c.name] {
			t.Errorf("two contenders %s", c.name)
		}
		seen[c.name] = true
		if c.kind == kindGateway {
			continue
		}
		if !strings.Contains(string(table), "| "+c.name+" |") {
			t.Errorf("contenders/table.md has no %s", c.name)
		}
		for _, script := range []string{"build.sh", "run.sh"} {
			info, err := os.Stat(filepath.Join("contenders", c.folder, script))
			if err != nil || info.Mode()&0o111 == 0 {
				t.Errorf("%s/%s: %v, or not executable", c.folder, script, err)
			}
		}
	}
	for i := range benchScenarios {
		s := &benchScenarios[i]
		if seen[s.name] {
			t.Errorf("two scenarios %s", s.name)
		}
		seen[s.name] = true
		rivals := 0
		for k := range contenders {
			if s.takes(&contenders[k]) {
				rivals++
			}
		}
		if rivals < 2 || !s.takes(&contenders[0]) {
			t.Errorf("%s: %d contenders, the gateway among them: %v", s.name, rivals, s.takes(&contenders[0]))
		}
		for _, s := range []*benchScenario{s, s.small()} {
			o := s.options([]target{{Kind: kindMQTT}}, s.idle[1], time.Second)
			if err := o.validate(); err != nil {
				t.Errorf("%s: %v", s.name, err)
			}
			if len(o.plans()) != 1 {
				t.Errorf("%s: %d generator processes", s.name, len(o.plans()))
			}
			if (s.idle[0] > 0) == (s.flatOut || s.rate > 0) || s.flatOut == (s.rate > 0) && s.idle[0] == 0 {
				t.Errorf("%s: want one of idle, flatOut, rate", s.name)
			}
		}
	}
}

// TestBenchLasts: what the command does without flags is done within half an hour and a little.
func TestBenchLasts(t *testing.T) {
	field, _ := pick("", contenders, func(c *contender) string { return c.name }, nil)
	tables, _ := pick("", benchScenarios, func(s *benchScenario) string { return s.name }, nil)
	b := &bench{repeat: 3, duration: benchDuration}
	if d := b.estimate(field, tables); d < 20*time.Minute || d > 33*time.Minute {
		t.Error(d)
	}
	b = &bench{repeat: 2, duration: time.Second}
	// 100 connections in 50 ms, a second, and two around it, of two contenders twice.
	if d := b.estimate(field[:2], tables[1:2]); d != 4*3050*time.Millisecond {
		t.Error(d)
	}
}

// TestBenchMusts: each must is about something that is measured; met up to its bound, missed beyond, unknown without.
func TestBenchMusts(t *testing.T) {
	for _, m := range benchMustTable {
		one := func(contender string, value float64) benchRow {
			return benchRow{Contender: contender, Runs: []trial{{Figures: map[string]float64{m.figure: value}}}}
		}
		judged := func(rows ...benchRow) must {
			rep := &benchReport{}
			rep.add(benchTable{Scenario: "another"})
			rep.add(benchTable{Scenario: m.scenario, Rows: rows})
			for _, got := range benchMusts(rep) {
				if got.Name == m.scenario+": "+m.header() {
					return got
				}
			}
			t.Fatalf("%+v is not judged", m)
			return must{}
		}
		tables, err := pick("scenarios", benchScenarios, func(s *benchScenario) string { return s.name }, []string{m.scenario})
		if err != nil {
			t.Fatal(err)
		}
		theirs := 1.0
		if m.times != "" {
			theirs = 8
			rival, err := pick("contenders", contenders, func(c *contender) string { return c.name }, []string{m.times})
			if err != nil || !tables[0].takes(rival[0]) {
				t.Errorf("%+v: %v", m, err)
			}
			if got := judged(one("tidegate", 1)); got.Verdict() != "unknown" {
				t.Errorf("%+v", got)
			}
		}
		beyond, good := m.most*1.01+0.01, m.moonshot
		if m.least {
			beyond, good = m.most*0.99, m.most*2
		}
		for value, want := range map[float64]string{m.most: "met", beyond: "MISSED", good: "met"} {
			got := judged(one("tidegate", value*theirs), one(cmp.Or(m.times, "mosquitto"), theirs))
			if got.Verdict() != want || (got.Note != "") != (value <= m.moonshot && m.moonshot > 0) {
				t.Errorf("%v: %+v", value, got)
			}
		}
		if got := judged(one("mosquitto", 1)); got.Verdict() != "unknown" {
			t.Errorf("%+v", got)
		}
	}
	rep := &benchReport{Smoke: true, Tables: []benchTable{{Scenario: "idle"}}}
	if list := benchMusts(rep); len(list) != 0 {
		t.Errorf("a smoke test is judged: %+v", list)
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
		text   string
	}{
		{[]float64{7}, spread{7, 7, 7}, "7.00"},
		{[]float64{3, 1, 200}, spread{3, 1, 200}, "3.00 (1.00 … 200)"},
		{[]float64{4, 1, 3, 2}, spread{2.5, 1, 4}, "2.50 (1.00 … 4.00)"},
		{[]float64{-2, 0}, spread{-1, -2, 0}, "-1.00 (-2.00 … 0.00)"},
	} {
		if got := spreadOf(c.values); got != c.want || got.text() != c.text {
			t.Errorf("%v: %+v, %q", c.values, got, got.text())
		}
	}
}

func TestIdleFigures(t *testing.T) {
	few := &result{Connects: connectResult{Live: 100}, Servers: []serverResult{{RSSEnd: 1_100_000}}}
	many := &result{Connects: connectResult{Live: 300}, Servers: []serverResult{{RSSEnd: 1_200_000, ConnectMicros: 12}}}
	f := idleFigures(few, many)
	if f["rss_per_connection"] != 500 || f["cpu_us_per_connect"] != 12 || f["rss_mb"] != 1.2 {
		t.Error(f)
	}
}

// fakeYard is a directory of contenders with the given scripts, by path.
func fakeYard(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	scripts["lib.sh"] = ""
	for name, text := range scripts {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// testBench is a bench whose workers are goroutines.
func testBench(t *testing.T) *bench {
	t.Setenv("BENCH_BUILD", t.TempDir())
	return &bench{
		repeat: 1, duration: time.Second, smoke: true, spawn: inProcess, now: monotonic(), command: []string{"devices-sim", "bench"},
		progress: t.Output(), json: filepath.Join(t.TempDir(), "bench.json"),
	}
}

func TestBenchSkipsWhatIsNotInstalled(t *testing.T) {
	b := testBench(t)
	var progress, out bytes.Buffer
	b.progress = &progress
	b.dir = fakeYard(t, map[string]string{
		"mochi/build.sh":     "echo first >&2; echo 'missing: go -C x mod download' >&2; exit 69",
		"mosquitto/build.sh": "echo 'does not compile' >&2; exit 2",
		"aedes/build.sh":     "echo something; echo 'version: aedes 7'",
		"aedes/run.sh":       "echo 'no such port' >&2; exit 3",
	})
	b.contenderNames, b.scenarioNames = []string{"mochi", "mosquitto", "aedes"}, []string{"qos1-30k"}
	if err := b.run(t.Context(), &out); !errors.Is(err, errBench) {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{
		"Not measured: mochi is not installed. This installs it: `go -C x mod download`", "Not measured: mosquitto could not be built.",
		"| aedes | aedes 7 | concurrency", "- aedes, run 1: no figures: aedes: ended before it was ready: exit status 3",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report has no %q:\n%s", want, &out)
		}
	}
	for _, want := range []string{"skipping mochi: not installed; this installs it: go -C x mod download\n", "does not compile", "no such port"} {
		if !strings.Contains(progress.String(), want) {
			t.Errorf("nobody was told %q:\n%s", want, &progress)
		}
	}
}

func TestBenchWithoutNATS(t *testing.T) {
	b := testBench(t)
	b.dir = fakeYard(t, map[string]string{"nats/build.sh": "echo 'missing: it' >&2; exit 69", "node-ws/build.sh": ""})
	b.contenderNames, b.scenarioNames = []string{"node-ws"}, []string{"ws-echo"}
	var out bytes.Buffer
	if err := b.run(t.Context(), &out); !errors.Is(err, errBench) || !strings.Contains(out.String(), "nats is not installed") || strings.Contains(out.String(), "## ws-echo") {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestBenchRefuses(t *testing.T) {
	for want, change := range map[string]func(*bench){
		`--contenders "mosquito": want some of tidegate,mosquitto,`: func(b *bench) { b.contenderNames = []string{"mosquito"} },
		`--scenarios "x": want some of idle,`:                       func(b *bench) { b.scenarioNames = []string{"idle", "x"} },
		"--repeat 0":                                                func(b *bench) { b.repeat = 0 },
		"--dir /: want":                                             func(b *bench) { b.dir = "/" },
	} {
		b := testBench(t)
		change(b)
		if err := b.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestBenchServerEnds(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ script, want string }{
		{"trap 'exit 0' TERM; echo ready; while :; do read x; done", ""},
		{"trap 'exit 143' TERM; echo hello; echo ready; while :; do read x; done", ""},
		{"trap 'echo ouch >&2; exit 4' TERM; echo ready; while :; do read x; done", "did not end cleanly: exit status 4\nouch"},
	} {
		cmd := exec.Command("/bin/sh", "-c", c.script)
		silence, w, err := os.Pipe() // a read that lasts until the signal
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdin = silence
		s, err := launch(t.Context(), "server", cmd, dir)
		if err == nil {
			err = s.stop()
		}
		silence.Close()
		w.Close()
		if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", c.script, err)
		}
	}
	alive, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	cmd := exec.Command("/bin/sh", "-c", `echo '{"event":"ready"}'; read x; exit 5`)
	cmd.Stdin = alive
	s, err := launch(t.Context(), "server", cmd, dir)
	end.Close()
	if err != nil {
		t.Fatal(err)
	}
	<-s.ended
	if err := s.stop(); err == nil || !strings.Contains(err.Error(), "ended during the run: exit status 5") {
		t.Error(err)
	}
	interrupted, stop := context.WithCancel(t.Context())
	stop()
	if _, err := launch(interrupted, "server", exec.Command("sleep", "60"), dir); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestBenchMarkdown(t *testing.T) {
	rep := &benchReport{
		Environment: environment{
			Kernel: "6.1", Processor: "Some CPU", Cores: 2, Memory: 16e9, Go: "go1.26", Version: "v1", Begun: "2026-01-02T03:04:05Z",
			Command: []string{"devices-sim", "bench", "--out", "docs/benchmarks.md"},
		},
		Repeat: 2, Contenders: []builtContender{{"tidegate", "gateway v1", ""}, {"mosquitto", "mosquitto 2", "no persistence"}},
		Musts:   []must{held("qos0: p99, ms", "≤ 1 × mosquitto", 2, false, "2.00: 2.00 × 1.00"), notMeasured("idle: x", "≤ 600", "tidegate has no figure")},
		Skipped: []skippedContender{{Contender: "aedes", Install: "npm ci"}},
	}
	rep.add(benchTable{Scenario: "qos0", Text: "QoS 0", Parameters: "two devices", Rows: []benchRow{
		{Contender: "tidegate", Runs: []trial{
			{Figures: map[string]float64{"cpu_us_per_message": 1, "latency_p99_ms": 2}},
			{Figures: map[string]float64{"cpu_us_per_message": 2, "latency_p99_ms": 2}, Warnings: []string{"the generator was late"}},
		}},
		{Contender: "mochi", Runs: []trial{
			{Figures: map[string]float64{"cpu_us_per_message": 3}, Wrong: []string{"1 messages arrived twice"}},
			{Error: "mochi: ended\nand more"},
		}},
		{Contender: "mosquitto", Runs: []trial{{Figures: map[string]float64{"cpu_us_per_message": 2, "latency_p99_ms": 1}}}},
		{Contender: "aedes", Runs: []trial{{Figures: map[string]float64{"latency_p99_ms": 1}}}},
	}})
	var out bytes.Buffer
	rep.markdown(&out)
	want, err := os.ReadFile("testdata/bench.md")
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("got\n%s\nwant testdata/bench.md", &out)
	}
	if err := rep.err(); !errors.Is(err, errBench) {
		t.Errorf("a run without figures: %v", err)
	}
	keepsWhatIsByHand(t, rep, out.String())
}

// keepsWhatIsByHand: a page is written anew, but for what somebody wrote between the marks.
func keepsWhatIsByHand(t *testing.T, rep *benchReport, page string) {
	t.Helper()
	before, after, _ := strings.Cut(page, "\n## Must hold")
	want := before + "\n<!-- by hand -->\n## TLS\n\nMeasured otherwise.\n<!-- end -->\n\n## Must hold" + after
	name := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(name, []byte(strings.ReplaceAll(want, "0.", "9.")), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := (&bench{out: name}).write(io.Discard, rep); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Fatalf("%v: got\n%s\nwant\n%s", err, got, want)
		}
	}
}

// TestBenchSmoke is the command against the real gateway, without the others. The scenarios with a NATS server beside it
// take part where that can be built.
func TestBenchSmoke(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the gateway")
	}
	b := testBench(t)
	b.contenderNames = []string{"tidegate"}
	b.out = filepath.Join(t.TempDir(), "bench.md")
	if err := b.run(t.Context(), io.Discard); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(b.json)
	if err != nil {
		t.Fatal(err)
	}
	var rep benchReport
	if err := json.Unmarshal(text, &rep); err != nil {
		t.Fatal(err)
	}
	want := len(benchScenarios)
	if len(rep.Skipped) > 0 { // the NATS server beside WebSocket devices
		want -= 3
	}
	if len(rep.Tables) != want {
		t.Errorf("%d scenarios, want %d", len(rep.Tables), want)
	}
	for _, table := range rep.Tables {
		if len(table.Rows) != 1 || len(table.Rows[0].Runs) != 1 || table.Rows[0].Summary["rss_mb"].Median <= 0 {
			t.Errorf("%s: %+v", table.Scenario, table.Rows)
		}
	}
	if text, err = os.ReadFile(b.out); err != nil || !strings.Contains(string(text), "| tidegate |") {
		t.Errorf("%v\n%s", err, text)
	}
}
