package main

import (
	"encoding/json"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidegate/tidegate/bus/bustest"
)

// TestBinaryPresence: a gateway that stands still for longer than its lease has its devices offline, and online again when it goes on; when it
// is killed, they are offline for good, but for those that connect to the other one.
func TestBinaryPresence(t *testing.T) {
	const devices = 100
	path, nats := binary(t), bustest.Start(t)
	env := []string{"GATEWAY_NATS_URL=" + nats.URL(), "GATEWAY_PRESENCE_LEASE_TIME=2s"}
	a := startGateway(t, path, append(env, "GATEWAY_NODE=a")...)
	b := startGateway(t, path, append(env, "GATEWAY_NODE=b")...)
	for _, s := range []*started{a, b} {
		s.metric(t, "gateway_presence_active 1")
	}
	js, err := jetstream.New(nats.Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "TG_presence")
	if err != nil {
		t.Fatal(err)
	}
	// count is how many records are as they should be.
	count := func(online bool, reason, gateway string) (n int) {
		for i := range devices {
			var r struct {
				Online          bool
				Reason, Gateway string
			}
			if e, err := kv.Get(t.Context(), fmt.Sprintf("dev-%03d", i)); err == nil && json.Unmarshal(e.Value(), &r) == nil &&
				r.Online == online && r.Reason == reason && r.Gateway == gateway {
				n++
			}
		}
		return n
	}
	become := func(what string, want int, online bool, reason, gateway string) {
		t.Helper()
		deadline := time.Now().Add(wiredPatience)
		for n := count(online, reason, gateway); n != want; n = count(online, reason, gateway) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d of %d", what, n, want)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	connect := func(s *started, n int) {
		t.Helper()
		for i := range n {
			d, err := plug(s.listenerOf(), fmt.Sprintf("dev-%03d", i))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.conn.Close() }) // and not before
		}
	}
	connect(b, devices)
	become("connected", devices, true, "", "b")
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := b.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	become("b stands still", devices, false, "gateway_lost", "b")
	signal(syscall.SIGCONT)
	become("b goes on", devices, true, "", "b")
	signal(syscall.SIGKILL)
	connect(a, devices/2)
	become("b is dead", devices/2, false, "gateway_lost", "b")
	become("half have moved", devices/2, true, "", "a")
}
