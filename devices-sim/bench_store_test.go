package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"
)

// TestBenchStore: with nats-server's MQTT, which stores for the persistent session that was left.
func TestBenchStore(t *testing.T) {
	if testing.Short() {
		t.Skip("builds nats-server")
	}
	b := testBench(t)
	b.contenderNames, b.scenarioNames = []string{"natsmqtt"}, []string{"durable-uplink-flat-out", "durable-uplink-20k"}
	failure := b.run(t.Context(), io.Discard) // nothing could be measured, where it is not installed
	text, err := os.ReadFile(b.json)
	if err != nil {
		t.Fatal(errors.Join(failure, err))
	}
	var rep benchReport
	if err := json.Unmarshal(text, &rep); err != nil {
		t.Fatal(err)
	}
	if len(rep.Skipped) > 0 && rep.Skipped[0].Broken == "" {
		t.Skip("not installed")
	}
	if failure != nil {
		t.Fatal(failure)
	}
	for _, table := range rep.Tables {
		s := table.Rows[0].Summary
		if s["acknowledged_per_second"].Median <= 0 || s["cpu_us_per_message"].Median <= 0 || s["stored_lost"].Max != 0 {
			t.Errorf("%s: %+v", table.Scenario, s)
		}
	}
}

// TestStoreFigures: CPU is by message acknowledged, and what the stream does not hold is told.
func TestStoreFigures(t *testing.T) {
	f := map[string]float64{"cpu_us_per_message": 10}
	s := &benchScenario{far: farStore}
	s.storeFigures(f, &messageResult{Sent: 200, Acked: 100, PerSecond: 20, Stored: new(uint64(97)), AckLatency: &quantiles{P50: 1, P99: 3}})
	for key, want := range map[string]float64{"cpu_us_per_message": 20, "acknowledged_per_second": 10, "stored_lost": 3, "latency_p50_ms": 1, "latency_p99_ms": 3} {
		if f[key] != want {
			t.Errorf("%s is %v, want %v", key, f[key], want)
		}
	}
}
