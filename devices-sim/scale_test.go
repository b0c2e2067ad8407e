package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// testCosts is round numbers.
func testCosts() costs {
	c := costs{}
	for _, u := range unitCosts {
		c[u.name] = 100
	}
	c["log_small_rate"], c["log3_small_rate"], c["record3_put_rate"] = 100_000, 50_000, 40_000
	c["tail_cpu"], c["log3_small_cpu"], c["uplink_cpu"], c["durable_cpu"], c["core_copy_cpu"] = 1, 10, 5, 20, 1
	c["tail_skip_cpu"] = 0.5
	c["return_writes"] = 1
	c["uplink_cpu_1k"], c["durable_cpu_1k"] = 5, 20
	return c
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-6*math.Abs(want) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// TestScaleLoad: the sums, worked out by hand.
func TestScaleLoad(t *testing.T) {
	p := &scaleProfile{everySec: 10, stored: 0.5, commands: scaleDay / 100}
	l := loadOf(testCosts(), 10_000_000, p)
	near(t, "gateways", l.gateways, 100)
	near(t, "messages", l.messages, 1_000_000)
	near(t, "stored", l.stored, 500_000)
	near(t, "commands", l.commands, 100_000)
	near(t, "logs", l.logs, 12) // 600,000 at half of 100,000 each
	near(t, "logs3", l.logs3, 24)
	near(t, "tail", l.tail, 10_000_000)
	near(t, "gateway cores", l.gatewayCores, 2.5+10)
	near(t, "NATS cores", l.natsCores, 6)
	near(t, "NATS cores, tail", l.tailCores, 10+0.5*50)
	near(t, "NATS cores, whole log", l.tailAllCores, 60)
	near(t, "all of it", l.tailAll, 60_000_000)
	if l := loadOf(testCosts(), 100, p); l.gateways != 2 || l.logs != 1 {
		t.Errorf("the smallest: %+v", l)
	}
}

// TestCoresAt: a message at a few a second costs what it does at 1,000, and between the two rates something between.
func TestCoresAt(t *testing.T) {
	near(t, "few", coresAt(10, 100, 10, 100_000), 10*100/1e6)
	near(t, "1,000", coresAt(1000, 100, 10, 100_000), 1000*100/1e6)
	near(t, "half-way", coresAt(10_000, 1000, 10, 100_000), 10_000*100/1e6)
	near(t, "many", coresAt(1e6, 100, 10, 100_000), 1e6*10/1e6)
	if got := coresAt(0, 100, 10, 100_000); got != 0 {
		t.Errorf("nothing costs %v", got)
	}
}

func TestScaleStorm(t *testing.T) {
	s := stormOf(testCosts(), 6_000_000)
	near(t, "rate", s.rate, 100_000)
	near(t, "puts", s.puts, 200_000)
	near(t, "buckets", s.buckets, 5) // at half of 40,000 each
	near(t, "with one", s.oneBucketSec, 150)
	near(t, "claims", s.claimBytes, 100_000*100*59)
	near(t, "copies", s.claimsCopies, 60*scaleClaimsRate*59)
}

// TestScalePage: docs/scaling.md has the tables that the command makes of the costs that were checked in.
func TestScalePage(t *testing.T) {
	page, err := os.ReadFile("../docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "scaling.md")
	if err := os.WriteFile(file, page, 0o644); err != nil {
		t.Fatal(err)
	}
	s := &scaling{out: file}
	if err := s.run(t.Context(), io.Discard); err != nil {
		t.Fatal(err)
	}
	renewed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page, renewed) {
		t.Error("its tables are old: devices-sim scale --page docs/scaling.md")
	}
}

// TestScaleCosts: every cost comes from a measurement that there is, and what was not measured is named.
func TestScaleCosts(t *testing.T) {
	for _, u := range unitCosts {
		if !slices.ContainsFunc(measurements, func(m measurement) bool { return m.name == u.measurement }) {
			t.Errorf("%s comes from %s, which nobody measures", u.name, u.measurement)
		}
	}
	sheet := &costSheet{}
	sheet.put(costGroup{Measurement: "log", Values: map[string]float64{"log_rate": 1}})
	sheet.put(costGroup{Measurement: "log", Values: map[string]float64{"log_rate": 2, "log_cpu": 1, "log_disk": 1, "log_small_rate": 1, "log_small_cpu": 1}})
	if _, err := sheet.values(); err == nil || len(sheet.Groups) != 1 || strings.Contains(err.Error(), "log,") || !strings.Contains(err.Error(), "log3,tail") {
		t.Errorf("%v %+v", err, sheet)
	}
	for want, s := range map[string]*scaling{
		"--measure needs --costs":          {names: []string{"log"}},
		`--measure "logs": want some of`:   {names: []string{"logs"}, costs: filepath.Join(t.TempDir(), "new.json")},
		"no such file":                     {costs: filepath.Join(t.TempDir(), "none.json")},
		"no place for the table costs: wa": {out: "scale_test.go"},
	} {
		if err := s.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestScaleMeasures: one measurement with a real nats-server, where that can be built, ends up in the file and in the tables.
func TestScaleMeasures(t *testing.T) {
	if testing.Short() {
		t.Skip("builds nats-server and measures for seconds")
	}
	t.Setenv("BENCH_BUILD", t.TempDir())
	s := &scaling{names: []string{"log"}, costs: filepath.Join(t.TempDir(), "costs.json"), spawn: inProcess, now: monotonic(), command: []string{"devices-sim"}, progress: t.Output()}
	err := s.run(t.Context(), io.Discard)
	var missing *missingError
	if errors.As(err, &missing) {
		t.Skip(missing)
	}
	if err == nil || !strings.Contains(err.Error(), "not measured") { // all the others
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.costs)
	if err != nil {
		t.Fatal(err)
	}
	var sheet costSheet
	if err := json.Unmarshal(text, &sheet); err != nil || len(sheet.Groups) != 1 {
		t.Fatal(err, string(text))
	}
	v := sheet.Groups[0].Values
	if v["log_rate"] < 100 || v["log_cpu"] <= 0 || v["log_disk"] < labPayload || sheet.Groups[0].Environment.Command[3] != "log" {
		t.Errorf("%+v", sheet.Groups[0])
	}
}

func TestScaleWords(t *testing.T) {
	for got, want := range map[string]string{
		rounded(999.4): "999", rounded(12_345): "12,000", rounded(1_950_000): "2,000,000", rounded(0): "0",
		size(12): "12 B", size(1234): "1.2 kB", size(3.4e13): "34 TB", size(3.4e15): "3 PB", share(0.123): "0.12", share(1): "**1**", share(1234): "**1,200**",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestReturnRefuses(t *testing.T) {
	for _, k := range []comeback{
		{gateways: 1, devices: 1, messages: 1, rate: 1}, {gateways: 2, devices: 0, messages: 1, rate: 1}, {gateways: 2, devices: 1, messages: trackWindow + 1, rate: 1},
	} {
		if err := k.run(context.Background(), io.Discard); err == nil || !strings.Contains(err.Error(), "want at least 2") {
			t.Errorf("%+v: %v", k, err)
		}
	}
	for _, a := range []absence{{sessions: 10, wave: 10}, {sessions: 10, wave: 0}} {
		if err := a.run(context.Background(), io.Discard); err == nil || !strings.Contains(err.Error(), "want more than a wave") {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

// TestOfflineMusts: memory is that of what came after the first wave.
func TestOfflineMusts(t *testing.T) {
	a := &absence{sessions: 3000, wave: 1000}
	few, many := stock{nats: 10_000_000, consumers: 1, disk: 1000, records: 1000}, stock{nats: 10_800_000, consumers: 1, disk: 601_000, records: 3000}
	for _, m := range a.musts(&few, &many) {
		if m.Verdict() == "MISSED" || (strings.HasPrefix(m.Name, "memory of NATS") && *m.Value != 400) || (strings.HasPrefix(m.Name, "files") && *m.Value != 300) {
			t.Errorf("%+v", m)
		}
	}
	many = stock{nats: 13_000_000, consumers: 2, records: 2999}
	if n, _ := missed(a.musts(&few, &many)); n != 3 {
		t.Errorf("%d missed", n)
	}
}
