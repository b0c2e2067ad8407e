package main

import (
	"strings"
	"testing"
)

func TestBlotted(t *testing.T) {
	got := strings.Join(blotted([]string{
		"devices-sim", "run", "--password", "secret", "--password=secret", "--verify", "nats://user:secret@host:4222", "--verify=nats://token@h",
		"--target", "mqtt://host", "--threshold", "latency.p99<20ms",
	}), " ")
	want := "devices-sim run --password … --password=… --verify nats://…@host:4222 --verify=nats://…@h --target mqtt://host --threshold 'latency.p99<20ms'"
	if got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestThisEnvironment(t *testing.T) {
	e := thisEnvironment([]string{"x"}, 0)
	if e.Kernel == "" || e.Cores < 1 || e.Memory == 0 || e.Go == "" || e.Begun != "1970-01-01T00:00:00Z" {
		t.Fatalf("%+v", e)
	}
	if procField("/proc/none", "x") != "" || procField("/proc/meminfo", "none") != "" {
		t.Fatal("a field from nowhere")
	}
}
