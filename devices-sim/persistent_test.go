package main

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestPersistent: devices that stay away for a while get their commands when they come back, and do not subscribe again; a
// server that has forgotten them, or what they are owed, is found out.
func TestPersistent(t *testing.T) {
	for _, c := range []struct {
		name       string
		r          *responder
		subscribes int
		passed     bool
	}{
		{"kept", &responder{keep: true}, 40 + 1, true}, // and the witness
		{"forgotten", &responder{keep: true, forget: true}, 2*40 + 1, false},
		{"spilt", &responder{keep: true, spill: true}, 40 + 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr := newResponder(t, c.r)
			o := testOptions(addr, "mqtt")
			o.Scenario, o.Duration, o.Persistent, o.Away, o.Rate = "reconnect-storm", 900*time.Millisecond, true, 300*time.Millisecond, 0
			res := simulate(t, addr, o, 200)
			if res.Passed != c.passed || c.r.subscribes != c.subscribes {
				t.Errorf("passed %v, %d subscribes; %v", res.Passed, c.r.subscribes, res.Failures)
			}
			if c.passed && (res.StormSec < 0.3 || res.Commands.Sent != *res.Commands.Received) {
				t.Errorf("back after %v s; %+v", res.StormSec, res.Commands)
			}
		})
	}
}

// TestRoam: a device that has lost its server goes to another one that speaks as it does.
func TestRoam(t *testing.T) {
	t.Parallel()
	dropping, addr := newResponder(t, &responder{dropEach: 1}), newResponder(t, &responder{})
	o := testOptions(dropping, "mqtt", "ws")
	o.Targets = append(o.Targets, testOptions(addr, "mqtt").Targets...)
	o.Roam, o.Gather = true, true
	res := simulate(t, addr, o, 0)
	if m := res.Telemetry; m.Unacked != 0 || *m.Lost != 0 || res.Closes == nil || len(res.Failures) != 1 || res.Asked.Devices != 40 {
		t.Errorf("%v %+v %v", res.Failures, m, res.Closes)
	}
}

// TestStoredCommands: they go into the log, in which the stream finds them below its prefix.
func TestStoredCommands(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("no NATS server")
	}
	conn, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "LOG", Subjects: []string{"$TG.log.>"}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := newWitness(s.ClientURL(), nil, &options{}, newLedger(1, testPlans(1)), monotonic(), true)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := w.send("devices/d1/cmd", []byte("go")); err != nil {
			t.Fatal(err)
		}
	}
	<-w.(*natsWitness).log.PublishAsyncComplete()
	w.close()
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("$TG.log.devices.d1.cmd"))
	if err != nil || info.State.Subjects["$TG.log.devices.d1.cmd"] != 3 {
		t.Errorf("%v %+v", err, info)
	}
}
