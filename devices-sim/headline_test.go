package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testHeadline is a small one whose workers are goroutines.
func testHeadline(t *testing.T) *headline {
	t.Setenv("BENCH_BUILD", t.TempDir())
	return &headline{
		gateways: 1, devices: 200, quiet: -1, workers: 2, rate: 200, qos: 1, connectRate: 500, keepAlive: 6 * time.Second, duration: time.Second,
		afterStorm: 500 * time.Millisecond, subscribe: "devices/{id}/cmd", seed: 1,
		spawn: inProcess, now: monotonic(), command: []string{"devices-sim", "headline"}, errOut: t.Output(),
	}
}

// TestHeadline is the whole command against real processes.
func TestHeadline(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts gateways and a NATS server")
	}
	for _, gateways := range []int{1, 2} {
		h := testHeadline(t)
		if h.gateways = gateways; gateways > 1 {
			h.duration = 6 * time.Second // more than a keep-alive
		}
		h.reports = reports{json: filepath.Join(t.TempDir(), "h.json"), html: filepath.Join(t.TempDir(), "h.html")}
		var out bytes.Buffer
		err := h.run(t.Context(), &out)
		var missing *missingError
		switch {
		case errors.As(err, &missing):
			t.Skip(err)
		case err != nil && !errors.Is(err, errCrossed):
			t.Fatalf("%d gateways: %v\n%s", gateways, err, &out)
		}
		text, err := os.ReadFile(h.reports.json)
		if err != nil {
			t.Fatal(err)
		}
		var res result
		if err := json.Unmarshal(text, &res); err != nil {
			t.Fatal(err)
		}
		if !res.Passed || len(res.Servers) != gateways+1 || res.Servers[gateways].Command != "nats" || res.Asked.Workers != 2 || len(res.Asked.Targets) != 3 {
			t.Errorf("%v %+v", res.Failures, res.Servers)
		}
		for _, m := range res.Musts {
			// What depends on the machine may be anything; what is a number of messages or connections may not.
			timing := strings.HasPrefix(m.Name, "latency") || strings.HasPrefix(m.Name, "CPU") || strings.HasPrefix(m.Name, "memory")
			if (m.Verdict() == "MISSED" && !timing) || !strings.Contains(out.String(), m.Name) {
				t.Errorf("%s: must %s, measured %s, %s", m.Name, m.Bound, m.Measured, m.Verdict())
			}
		}
		if res.Calm.Sent != uint64(200*h.duration.Seconds()) || (gateways > 1 && res.Calm.Pings == 0) || res.Storm.Connects != 200 || res.Storm.PerSecond <= 0 {
			t.Errorf("%+v %+v", res.Calm, res.Storm)
		}
		for _, s := range res.Servers {
			if s.CalmCPUSec <= 0 || s.CalmRSS <= 0 {
				t.Errorf("%+v", s)
			}
		}
		page, err := os.ReadFile(h.reports.html)
		if err != nil || !strings.Contains(string(page), "headline: 200 devices, QoS 1") || !strings.Contains(string(page), "storm: all devices back") {
			t.Errorf("%v: the page does not have the table", err)
		}
	}
}

// TestHeadlineMusts: each must is met up to its bound, and missed beyond.
func TestHeadlineMusts(t *testing.T) {
	h := &headline{gateways: 2, devices: 1000, quiet: 100, rate: 100, qos: 1, keepAlive: time.Minute, duration: 10 * time.Second}
	subject := func() *result {
		const cpu = 10 * float64(machinePercentMax) / 100 / 2 // of a machine of one core
		return &result{
			Connects: connectResult{Live: 1000, Seconds: 2},
			Calm: &calmResult{
				Seconds: 10, Sent: 1000, Received: new(uint64(1000)), Lost: new(uint64(0)), Duplicates: new(uint64(0)), OutOfOrder: new(uint64(0)),
				Latency: &quantiles{Count: 1000, P50: 1, P99: 5, P999: 50, Max: 500}, Pings: 3,
			},
			Storm: &stormResult{RecoverySec: 30, Connects: 1000, PerSecond: 33, Received: new(uint64(5)), Lost: new(uint64(0)), Duplicates: new(uint64(3)), Failures: map[string]uint64{"refused": 7}},
			Servers: []serverResult{
				{CalmCPUSec: 0.99 * cpu, RSSIdle: 1e6, RSSReady: 1_100_000, CalmRSS: 1_200_000},
				{CalmCPUSec: 0.99 * cpu, RSSIdle: 1e6, RSSReady: 1_100_000, CalmRSS: 1_250_000},
				{CalmCPUSec: 100},
			},
		}
	}
	for name, change := range map[string]func(res *result, node *nodeMemory){
		"":                          func(*result, *nodeMemory) {},
		"live devices":              func(res *result, _ *nodeMemory) { res.Connects.Live-- },
		"messages received on NATS": func(res *result, _ *nodeMemory) { res.Calm.Received = new(uint64(990)) },
		"lost":                      func(res *result, _ *nodeMemory) { res.Calm.Lost = new(uint64(1)) },
		"received twice":            func(res *result, _ *nodeMemory) { res.Calm.Duplicates = new(uint64(1)) },
		"out of order at a device":  func(res *result, _ *nodeMemory) { res.Calm.OutOfOrder = new(uint64(1)) },
		"unexpected closes":         func(res *result, _ *nodeMemory) { res.Calm.Closes = 1 },
		"CPU of the gateways (2)":   func(res *result, _ *nodeMemory) { res.Servers[1].CalmCPUSec *= 100 },
		"latency p99":               func(res *result, _ *nodeMemory) { res.Calm.Latency.P99 = 5.01 },
		"memory of a connection":    func(_ *result, node *nodeMemory) { node.bytes = 1799 },
		"storm: all devices back":   func(res *result, _ *nodeMemory) { res.Storm.RecoverySec = 30.1 },
		"storm: unexpected closes":  func(res *result, _ *nodeMemory) { res.Storm.Closes = 1 },
		"storm: lost":               func(res *result, _ *nodeMemory) { res.Storm.Lost = new(uint64(1)) },
	} {
		res, node := subject(), nodeMemory{bytes: 2000}
		change(res, &node)
		list := h.musts(res, node)
		for _, m := range list {
			want := map[bool]string{true: "MISSED", false: "met"}[m.Name == name]
			if m.Bound != "" && m.Verdict() != want {
				t.Errorf("%q: %s: must %s, measured %s: %s", name, m.Name, m.Bound, m.Measured, m.Verdict())
			}
		}
		if n, unknown := missed(list); (n == 0) != (name == "") || n > 1 || unknown != 0 {
			t.Errorf("%q: %d missed, %d unknown", name, n, unknown)
		}
	}

	gone := subject()
	gone.Storm.RecoverySec = 0
	if n, _ := missed(h.musts(gone, nodeMemory{bytes: 2000})); n != 1 {
		t.Error("devices that never came back did")
	}
	if n, unknown := missed(h.musts(subject(), nodeMemory{why: "npm ci installs it"})); n != 0 || unknown != 1 {
		t.Errorf("without Node: %d missed, %d unknown", n, unknown)
	}
	gone.Calm = nil
	if n, _ := missed(h.musts(gone, nodeMemory{})); n != 1 {
		t.Error("an interrupted run has held everything")
	}
}

func TestWriteMusts(t *testing.T) {
	var out bytes.Buffer
	note := told("c", 3, "3")
	note.Note = "a word"
	writeMusts(&out, []must{held("latency p99", "<= 5 ms", 4, true, "4 ms"), none("b", 2, "2"), note, notMeasured("d", "<= 1", "no way")})
	want := strings.Join([]string{
		"             must     measured      verdict",
		"latency p99  <= 5 ms  4 ms          met",
		"b            0        2             MISSED",
		"c                     3",
		"d            <= 1     not measured  unknown",
		"  c: a word",
		"  d: no way",
		"",
	}, "\n")
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}

func TestHeadlineRefuses(t *testing.T) {
	for want, change := range map[string]func(*headline){
		"--gateways 0":                        func(h *headline) { h.gateways = 0 },
		"--duration 0":                        func(h *headline) { h.duration = 0 },
		"--keepalive":                         func(h *headline) { h.keepAlive = time.Second },
		"on 3 --gateways: a process may have": func(h *headline) { h.gateways, h.devices = 3, 1<<40 },
		"--publishers":                        func(h *headline) { h.quiet = 200 },
		"--qos 3":                             func(h *headline) { h.qos = 3 },
	} {
		h := testHeadline(t)
		change(h)
		if err := h.run(t.Context(), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
