package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestCountersAdd sets every field to 1 and adds twice, so that a new field cannot be forgotten.
func TestCountersAdd(t *testing.T) {
	one := newCounters()
	v := reflect.ValueOf(&one).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Int64:
			f.SetInt(1)
		case reflect.Uint64:
			f.SetUint(1)
		}
	}
	one.Closes["x"], one.Failures["y"] = 1, 1
	sum := newCounters()
	sum.add(&one)
	sum.add(&one)
	v = reflect.ValueOf(sum)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		switch f := v.Field(i); f.Kind() {
		case reflect.Int64:
			if f.Int() != 2 {
				t.Errorf("%s is not added", name)
			}
		case reflect.Uint64:
			if f.Uint() != 2 {
				t.Errorf("%s is not added", name)
			}
		case reflect.Map:
			for _, n := range f.Seq2() {
				if n.Uint() != 2 {
					t.Errorf("%s is not added", name)
				}
			}
		}
	}
	c := sum.clone()
	sum.Closes["x"]++
	if c.Closes["x"] != 2 {
		t.Error("a clone shares its maps")
	}
}

func TestHistogramTravels(t *testing.T) {
	h := newHistograms()
	for i := range int64(1000) {
		h.Ack.record((i + 1) * int64(time.Millisecond) / 10)
	}
	h.Ack.record(-5)
	h.Ack.record(10 * int64(time.Minute))
	text, err := json.Marshal(&partial{Hist: h, Sent: []uint32{1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	var back partial
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	sum := newHistograms()
	sum.merge(&back.Hist)
	sum.merge(&h)
	q := sum.Ack.quantiles()
	if q.Count != 2004 || q.P50 < 49 || q.P50 > 51 || q.P99 < 98 || q.P99 > 100 || q.Max < 59_000 {
		t.Fatalf("%+v", q)
	}
	if sum.Connect.quantiles() != nil {
		t.Error("an empty histogram has quantiles")
	}
}

func TestParseStatm(t *testing.T) {
	if rss, err := parseStatm([]byte("1000 300 200 50 0 400 0\n")); err != nil || rss != 300*int64(os.Getpagesize()) {
		t.Fatal(rss, err)
	}
	for _, bad := range []string{"", "1000", "1000 abc 3"} {
		if _, err := parseStatm([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestProcessUsage: the CPU time of another process, in steps finer than a tick of the kernel, and after its end no more.
func TestProcessUsage(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo; read x")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has counted
		t.Fatal(err)
	}
	u, err := processUsage(cmd.Process.Pid)
	if err != nil || u.CPU < time.Millisecond || u.CPU > time.Minute || u.CPU%(10*time.Millisecond) == 0 || u.RSS == 0 {
		t.Errorf("%+v %v", u, err)
	}
	in.Close()
	_ = cmd.Wait() // 1: nothing to read
	if all := cmd.ProcessState.SystemTime() + cmd.ProcessState.UserTime(); all < u.CPU {
		t.Errorf("%v in all, after %v", all, u.CPU)
	}
	if _, err := processUsage(cmd.Process.Pid); err == nil {
		t.Error("a process that has ended is counted")
	}
	if own := selfUsage(); own.CPU == 0 || own.RSS == 0 {
		t.Fatalf("ourselves: %+v", own)
	}
}

func TestServerResult(t *testing.T) {
	w := watched{
		pid: 5, command: "x",
		idle:  usage{CPU: time.Second, RSS: 10_000_000},
		ready: usage{CPU: 2 * time.Second, RSS: 16_000_000},
		begun: usage{CPU: 2 * time.Second}, ended: usage{CPU: 5 * time.Second, RSS: 17_000_000},
	}
	s := w.result(100_000, 10_000, 10_000, 10)
	if s.CPUSec != 3 || s.CPUPercent != 30 || s.MicrosPerMessage != 30 || s.ConnectMicros != 100 || s.RSSPerDevice != 600 {
		t.Fatalf("%+v", s)
	}
	if s := w.result(0, 0, 0, 0); s.MicrosPerMessage != 0 || s.RSSPerDevice != 0 {
		t.Fatalf("without messages: %+v", s)
	}
}

// TestJudge: each invariant, broken alone, fails the run, and nothing else does.
func TestJudge(t *testing.T) {
	n := func(v uint64) *uint64 { return &v }
	for _, c := range []struct {
		name  string
		qos   byte
		edit  func(r *runner, res *result, c *counters, storm *int64)
		fails string
	}{
		{"nothing", 1, func(*runner, *result, *counters, *int64) {}, ""},
		{"a close", 0, func(_ *runner, _ *result, c *counters, _ *int64) { c.Unexpected = 2 }, "2 connections closed"},
		{"not connected", 0, func(_ *runner, res *result, _ *counters, _ *int64) { res.Connects.Live = 9 }, "1 devices were not connected"},
		{"never back", 0, func(_ *runner, _ *result, _ *counters, storm *int64) { *storm = -1 }, "not all devices came back"},
		{"acked lost", 1, func(_ *runner, res *result, _ *counters, _ *int64) { res.Telemetry.AckedLost = n(3) }, "3 acknowledged"},
		{"QoS 0 lost", 0, func(_ *runner, res *result, _ *counters, _ *int64) {
			res.Telemetry.Lost, res.Telemetry.AckedLost = n(3), n(0)
		}, ""},
		{"unacked", 1, func(_ *runner, res *result, _ *counters, _ *int64) { res.Telemetry.Unacked = 1 }, "never acknowledged"},
		{"refused", 2, func(_ *runner, res *result, _ *counters, _ *int64) { res.Telemetry.Refused = 1 }, "refused"},
		{"unsent", 1, func(_ *runner, res *result, _ *counters, _ *int64) { res.Telemetry.Unsent = 1 }, "could not be sent"},
		{"unsent QoS 0", 0, func(_ *runner, res *result, _ *counters, _ *int64) { res.Telemetry.Unsent = 1 }, ""},
		{"order", 0, func(_ *runner, res *result, _ *counters, _ *int64) { res.Telemetry.OutOfOrder = n(1) }, "out of order"},
		{"twice at QoS 1", 1, func(_ *runner, res *result, _ *counters, _ *int64) { res.Telemetry.Duplicates = n(1) }, ""},
		{"twice at QoS 2", 2, func(_ *runner, res *result, _ *counters, _ *int64) { res.Telemetry.Duplicates = n(1) }, "twice"},
		{"command lost", 1, func(_ *runner, res *result, _ *counters, _ *int64) {
			res.Commands = &messageResult{Lost: n(1), OutOfOrder: n(0)}
		}, "commands were lost"},
		{"command lost in a storm without session", 1, func(_ *runner, res *result, _ *counters, _ *int64) {
			res.Commands, res.StormSec = &messageResult{Lost: n(1), OutOfOrder: n(0)}, 1
		}, ""},
		{"command order", 0, func(_ *runner, res *result, _ *counters, _ *int64) {
			res.Commands = &messageResult{Lost: n(0), OutOfOrder: n(4)}
		}, "4 commands arrived out of order"},
	} {
		r := &runner{o: options{Devices: 10, QoS: c.qos, Scenario: "steady"}}
		res, count, storm := &result{Connects: connectResult{Live: 10}}, newCounters(), int64(0)
		c.edit(r, res, &count, &storm)
		r.judge(res, &count, storm)
		got := strings.Join(res.Failures, "; ")
		if res.Passed != (c.fails == "") || !strings.Contains(got, c.fails) || len(res.Failures) > 1 {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

func TestLagWarning(t *testing.T) {
	r := &runner{o: options{Scenario: "steady"}}
	res, c := &result{Generator: generator{Lag: &quantiles{P99: 50}}}, newCounters()
	r.judge(res, &c, 0)
	if len(res.Warnings) != 1 || !res.Passed {
		t.Fatalf("%+v", res)
	}
}

func TestFigures(t *testing.T) {
	for in, want := range map[float64]string{0: "0.00", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234567: "1,234,567"} {
		if got := decimal(in); got != want {
			t.Errorf("%v: %s, want %s", in, got, want)
		}
	}
	for in, want := range map[int64]string{600: "600 B", 12_000: "12.0 kB", 12_345_678: "12.3 MB"} {
		if got := bytesText(in); got != want {
			t.Errorf("%v: %s, want %s", in, got, want)
		}
	}
	if got := byCount(map[string]uint64{"a": 1, "b": 5, "c": 1}); strings.Join(got, "") != "bac" {
		t.Errorf("order %v", got)
	}
}
