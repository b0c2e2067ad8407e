package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"testing"
	"time"
)

// TestStormEndsTheRun: a run that is to end with its storm does not wait for its time. A message is due at the moment of the
// drop; it was sent, so it arrives, though nobody would send it again.
func TestStormEndsTheRun(t *testing.T) {
	t.Parallel()
	addr := newResponder(t, &responder{})
	o := testOptions(addr, "ws")
	o.Scenario, o.Duration, o.StormAfter, o.Publishers = "reconnect-storm", time.Hour, 300*time.Millisecond, 30
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r := &runner{
		o: o, verifyURL: "mqtt://" + addr.String(), spawn: inProcess, now: monotonic(), view: &view{out: io.Discard}, settleNanos: settleMax,
		afterStorm: 200 * time.Millisecond,
	}
	res, err := r.run(ctx)
	if err != nil || ctx.Err() != nil {
		t.Fatal(err, ctx.Err())
	}
	if !res.Passed || *res.Telemetry.Lost != 0 || res.Calm == nil || res.Calm.Sent != 120 || res.Storm.Connects != 40 || res.Storm.RecoverySec <= 0 {
		t.Errorf("%d lost; %v %+v %+v", *res.Telemetry.Lost, res.Failures, res.Calm, res.Storm)
	}
}

// TestStormThatNeverComes: a run that is interrupted before it has nothing to tell of a storm.
func TestStormThatNeverComes(t *testing.T) {
	t.Parallel()
	addr := newResponder(t, &responder{})
	o := testOptions(addr, "mqtt")
	o.Scenario, o.Duration, o.StormAfter = "reconnect-storm", 2*time.Hour, time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &runner{
		o: o, spawn: inProcess, now: monotonic(), afterStorm: time.Second, view: &view{out: stopAt{regexp.MustCompile("sent [1-9]"), cancel}},
	}
	res, err := r.run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !res.Passed || res.Calm != nil || res.Storm != nil || res.StormSec != 0 {
		t.Errorf("%v %+v %+v", res.Failures, res.Calm, res.Storm)
	}
}

// TestStormLoss: what is lost is counted on its side of the storm, by when it was due.
func TestStormLoss(t *testing.T) {
	l := newLedger(1, testPlans(2))
	l.expectStorm(1000)
	for _, m := range []struct {
		device         uint32
		sequence       uint64
		sentAt, recvAt int64
	}{
		{0, 1, 100, 500}, {1, 1, 200, 2000}, // due before, and one of them received after
		{0, 2, 999, 999}, {0, 2, 999, 999}, {0, 2, 999, 2000}, // three times, once because of the storm
		{1, 3, 1000, 3000}, {1, 2, 900, 3000}, // out of order
	} {
		s := stamp{run: 1, device: m.device, sequence: m.sequence, sentAt: m.sentAt}
		l.note(s.append(nil, stampBytes), m.recvAt)
	}
	calm, storm := &calmResult{Sent: 5}, &stormResult{Sent: 4}
	l.addStorm(calm, storm)
	if *calm.Received != 4 || *calm.Lost != 1 || *calm.Duplicates != 1 || *calm.OutOfOrder != 1 || calm.Latency.Count != 4 {
		t.Errorf("calm: %d received, %d lost, %d twice, %d late, %+v", *calm.Received, *calm.Lost, *calm.Duplicates, *calm.OutOfOrder, calm.Latency)
	}
	if *storm.Received != 1 || *storm.Lost != 3 || *storm.Duplicates != 1 {
		t.Errorf("storm: %d received, %d lost, %d twice", *storm.Received, *storm.Lost, *storm.Duplicates)
	}
}

// TestQuietDevices: devices that do not send are connected, pinged and otherwise left alone, and take commands.
func TestQuietDevices(t *testing.T) {
	for _, flat := range []bool{false, true} {
		t.Run(fmt.Sprint("flat out ", flat), func(t *testing.T) {
			t.Parallel()
			addr := newResponder(t, &responder{})
			o := testOptions(addr, "any")
			o.Publishers, o.Workers, o.KeepAliveSec, o.FlatOut = 30, 3, 4, flat
			o.Duration = 5 * time.Second   // more than a keep-alive
			res := simulate(t, addr, o, 8) // one for each device, for the quiet ones after the first ping
			m := res.Telemetry
			if !res.Passed || res.Connects.Live != 40 || *m.Lost != 0 || res.Generator.Pings == 0 || *res.Commands.Lost != 0 {
				t.Errorf("%v %+v %+v", res.Failures, m, res.Generator)
			}
			if !flat && m.Sent != 2000 {
				t.Errorf("%d sent", m.Sent)
			}
		})
	}
}
