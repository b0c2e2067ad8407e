package main

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

func startNATS(t *testing.T) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("no NATS server")
	}
	return s
}

// TestNATSWitness: what devices would have published is noted, and commands go to where they listen.
func TestNATSWitness(t *testing.T) {
	s, l := startNATS(t), newLedger(9, testPlans(10))
	now := monotonic()
	w, err := newWitness(s.ClientURL(), []string{"devices/+/telemetry", "devices/+/up"}, &options{}, l, now, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	backend, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	commands, err := backend.SubscribeSync("devices.t-000003.cmd")
	if err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(50) {
		for device, subject := range []string{"devices.t-000000.telemetry", "devices.t-000001.up"} {
			s := stamp{run: 9, device: uint32(device), sequence: seq + 1, sentAt: now()}
			if err := backend.Publish(subject, s.append(nil, 64)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := backend.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := w.send("devices/t-000003/cmd", []byte("go")); err != nil {
		t.Fatal(err)
	}
	w.flush()
	if m, err := commands.NextMsg(10 * time.Second); err != nil || string(m.Data) != "go" {
		t.Fatalf("command: %v", err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for l.seen() < 100 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unique != 100 || l.duplicates != 0 || l.late != 0 {
		t.Fatalf("%d arrived, %d twice, %d late", l.unique, l.duplicates, l.late)
	}
	if err := w.send("no.plain/topic", nil); err == nil {
		t.Error("a topic with a dot was sent")
	}
}

func TestNATSWitnessErrors(t *testing.T) {
	if _, err := newWitness("nats://127.0.0.1:1", nil, &options{}, newLedger(1, testPlans(1)), monotonic(), false); err == nil || !strings.Contains(err.Error(), "--verify") {
		t.Errorf("no server: %v", err)
	}
	s := startNATS(t)
	if _, err := newWitness(s.ClientURL(), []string{"a.b/+"}, &options{}, newLedger(1, testPlans(1)), monotonic(), false); err == nil {
		t.Error("a topic with a dot was taken")
	}
	if _, err := newWitness("mqtt://127.0.0.1:1", nil, &options{}, newLedger(1, testPlans(1)), monotonic(), false); err == nil || !strings.Contains(err.Error(), "--verify") {
		t.Errorf("no broker: %v", err)
	}
}
