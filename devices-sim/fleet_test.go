package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// inProcess is a worker in a goroutine, with pipes for its standard streams.
func inProcess() (*worker, error) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := runWorker(inR, outW)
		_ = outW.Close()
		_ = inR.Close()
		ended <- err
	}()
	return &worker{orders: inW, reports: outR, wait: func() error { return <-ended }}, nil
}

// testOptions is a small, quick run.
func testOptions(addr netip.AddrPort, schemes ...string) options {
	o := options{
		Scenario: "steady", Devices: 40, Publishers: 40, Rate: 400, QoS: 1, PayloadBytes: 40, Duration: time.Second / 2, ConnectRate: 2000,
		KeepAliveSec: 60, Version: mqtt.V311, Telemetry: "devices/{id}/telemetry", Subscribe: "devices/{id}/cmd",
		Window: 16, Prefix: "t-", Seed: 1, Run: 99,
	}
	for _, s := range schemes {
		targets, err := parseTargets([]string{s + "://" + addr.String()}, true)
		if err != nil {
			panic(err)
		}
		o.Targets = append(o.Targets, targets...)
	}
	return o
}

// simulate makes one run against a responder, with an MQTT witness.
func simulate(t *testing.T, addr netip.AddrPort, o options, commands float64) *result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	r := &runner{
		o: o, commandsRate: commands, verifyURL: "mqtt://" + addr.String(), spawn: inProcess, now: monotonic(),
		view: &view{out: io.Discard}, settleNanos: settleMax,
	}
	res, err := r.run(ctx)
	if err != nil {
		t.Fatalf("seed %d: %v", o.Seed, err)
	}
	return res
}

// testPlans is the plan of a fleet without subscribers.
func testPlans(devices int) []plan {
	o := options{Devices: devices, Publishers: devices}
	return o.plans()
}

func newTestFleet(t *testing.T, o *options) *fleet {
	t.Helper()
	*o = testOptions(netip.MustParseAddrPort("127.0.0.1:1"), "mqtt")
	f, err := newFleet(&o.plans()[0], monotonic(), make(chan report, 1000))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.loop.Stop()
		_ = f.loop.Run() // disposes of a loop that never ran
	})
	return f
}

// TestRun: every protocol, QoS and transport; all messages arrive, none twice, in order, and commands come down.
func TestRun(t *testing.T) {
	for _, version := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		for qos := range byte(3) {
			t.Run(fmt.Sprintf("%s qos %d", versionText(version), qos), func(t *testing.T) {
				t.Parallel()
				addr := newResponder(t, &responder{})
				o := testOptions(addr, "mqtt", "any")
				o.Version, o.QoS, o.Workers = version, qos, 2
				res := simulate(t, addr, o, 200)
				m := res.Telemetry
				if !res.Passed || m.Sent != 200 || *m.Received != 200 || *m.Lost != 0 || *m.Duplicates != 0 || len(res.Asked.Targets) != 4 {
					t.Fatalf("%+v", res)
				}
				if plain := uint64(50); qos > 0 && m.Acked != 200-plain {
					t.Fatalf("acked %d", m.Acked)
				}
				if res.Commands == nil || res.Commands.Sent != 100 || *res.Commands.Received != 100 {
					t.Fatalf("commands %+v", res.Commands)
				}
				if res.Connects.Live != 40 || res.Connects.Latency.Count != 40 || m.Latency.Count != 200 {
					t.Fatalf("%+v", res.Connects)
				}
				var text strings.Builder
				res.text(&text)
				if !strings.Contains(text.String(), "200 sent (400/s)") || !strings.Contains(text.String(), "passed      seed 1") {
					t.Fatal(text.String())
				}
			})
		}
	}
}

// TestFindsFaults: what a bad server does is found and fails the run.
func TestFindsFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		r     *responder
		qos   byte
		fails string
	}{
		{"loss", &responder{loseEach: 10}, 1, "20 acknowledged messages were lost"},
		{"loss at QoS 0 is counted only", &responder{loseEach: 10}, 0, ""},
		{"order", &responder{swapEach: 41}, 1, ""}, // neighbours are of different devices: no violation
		{"twice at QoS 2", &responder{twiceEach: 10}, 2, "20 messages arrived twice"},
		{"drops", &responder{dropEach: 50}, 1, "connections closed unexpectedly"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr := newResponder(t, c.r)
			o := testOptions(addr, "mqtt")
			o.QoS = c.qos
			res := simulate(t, addr, o, 0)
			if got := strings.Join(res.Failures, "; "); res.Passed != (c.fails == "") || !strings.Contains(got, c.fails) {
				t.Fatalf("%q, want %q", got, c.fails)
			}
			if c.name == "drops" && (res.Telemetry.Resent == 0 || *res.Telemetry.AckedLost != 0) {
				t.Fatalf("after a drop nothing is resent: %+v", res.Telemetry)
			}
		})
	}
}

// TestOrderFault: with one device, neighbours are its own.
func TestOrderFault(t *testing.T) {
	t.Parallel()
	addr := newResponder(t, &responder{swapEach: 7})
	o := testOptions(addr, "mqtt")
	o.Devices, o.Publishers = 1, 1
	if res := simulate(t, addr, o, 0); res.Passed || *res.Telemetry.OutOfOrder == 0 {
		t.Fatalf("%+v", res.Telemetry)
	}
}

// stopAt is where a view writes to that ends the run at a line it waits for.
type stopAt struct {
	line *regexp.Regexp
	stop context.CancelFunc
}

func (s stopAt) Write(p []byte) (int, error) {
	if s.line.Match(p) {
		s.stop()
	}
	return len(p), nil
}

func TestRefused(t *testing.T) {
	t.Parallel()
	addr := newResponder(t, &responder{refuse: true})
	o := testOptions(addr, "mqtt", "ws")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &runner{o: o, spawn: inProcess, now: monotonic(), view: &view{out: stopAt{regexp.MustCompile("live 20/40 .*failures [1-9]"), cancel}}}
	res, err := r.run(ctx) // ends in order when ctx does
	if err != nil {
		t.Fatal(err)
	}
	if res.Passed || res.Connects.Live != 20 || res.Connects.Failures["connecting: refused: not authorized"] == 0 {
		t.Fatalf("%+v %v", res.Connects, res.Failures)
	}
}

// TestScenarios runs each way to use a fleet.
func TestScenarios(t *testing.T) {
	t.Run("reconnect-storm", func(t *testing.T) {
		t.Parallel()
		addr := newResponder(t, &responder{})
		o := testOptions(addr, "mqtt", "ws")
		o.Scenario, o.Duration = "reconnect-storm", time.Second
		res := simulate(t, addr, o, 0)
		if !res.Passed || res.StormSec <= 0 || res.Connects.Connects != 80 || *res.Telemetry.Lost != 0 {
			t.Fatalf("%+v %+v", res.Failures, res)
		}
		c, s := res.Calm, res.Storm
		if c.Sent < 132 || c.Sent > 134 || *c.Received != c.Sent || *c.Lost != 0 || *c.Duplicates != 0 || c.Latency.Count != int64(c.Sent) || c.Closes != 0 {
			t.Errorf("calm %+v: %d received, %d lost, %d twice", c, *c.Received, *c.Lost, *c.Duplicates)
		}
		if s.RecoverySec != res.StormSec || s.Connects != 40 || s.Sent+s.Skipped != 400-c.Sent || *s.Received != s.Sent || *s.Lost != 0 {
			t.Errorf("storm %+v", s)
		}
	})
	t.Run("half-open", func(t *testing.T) {
		t.Parallel()
		addr := newResponder(t, &responder{muteSec: 7})
		o := testOptions(addr, "mqtt")
		o.Scenario, o.Duration, o.KeepAliveSec = "half-open", 10*time.Second, 4
		res := simulate(t, addr, o, 0)
		if !res.Passed || res.Bad.Closed != 4 || res.Bad.StillOpen != 0 || res.Bad.Silence.Count != 4 {
			t.Fatalf("%+v %+v", res.Failures, res.Bad)
		}
	})
	t.Run("garbage", func(t *testing.T) {
		t.Parallel()
		addr := newResponder(t, &responder{})
		o := testOptions(addr, "mqtt")
		o.Scenario, o.Duration = "garbage", time.Second
		if res := simulate(t, addr, o, 0); !res.Passed || res.Bad.Closed == 0 {
			t.Fatalf("%+v %+v", res.Failures, res.Bad)
		}
	})
	t.Run("slow-reader", func(t *testing.T) {
		t.Parallel()
		addr := newResponder(t, &responder{})
		o := testOptions(addr, "mqtt")
		o.Scenario, o.BadShare = "slow-reader", 0.1
		res := simulate(t, addr, o, 0)
		if !res.Passed || res.Bad.StillOpen != 4 || res.Connects.Live != 36 {
			t.Fatalf("%+v %+v", res.Failures, res.Bad)
		}
	})
}

// TestKeepAlive: a fleet without traffic pings, and stays.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	addr := newResponder(t, &responder{muteSec: 6})
	o := testOptions(addr, "mqtt")
	o.Rate, o.KeepAliveSec, o.Duration = 0, 4, 8*time.Second // a ping every 3 s
	r := &runner{o: o, spawn: inProcess, now: monotonic(), view: &view{out: io.Discard}}
	res, err := r.run(context.Background())
	if err != nil || !res.Passed || res.Generator.Pings < 80 {
		t.Fatalf("%v %+v", err, res)
	}
}

// TestInterrupted: an endless run ends in order.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	addr := newResponder(t, &responder{})
	o := testOptions(addr, "mqtt")
	o.Duration = 0
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &runner{
		o: o, verifyURL: "mqtt://" + addr.String(), spawn: inProcess, now: monotonic(), settleNanos: settleMax,
		view: &view{out: stopAt{regexp.MustCompile("sent [1-9]"), cancel}},
	}
	res, err := r.run(ctx)
	if err != nil || !res.Passed || res.Telemetry.Sent == 0 || *res.Telemetry.Lost != 0 {
		t.Fatalf("%v %+v", err, res)
	}
}

// TestWorkerDies: a worker that ends early ends the run with its error.
func TestWorkerDies(t *testing.T) {
	o := testOptions(netip.MustParseAddrPort("127.0.0.1:1"), "mqtt")
	r := &runner{o: o, now: monotonic(), view: &view{out: io.Discard}}
	r.spawn = func() (*worker, error) {
		inR, inW := io.Pipe()
		outR, outW := io.Pipe()
		go func() {
			_, _ = io.Copy(io.Discard, inR)
		}()
		_ = outW.Close()
		return &worker{orders: inW, reports: outR, wait: func() error { return errors.New("exit status 2") }}, nil
	}
	if _, err := r.run(context.Background()); err == nil || !strings.Contains(err.Error(), "exit status 2") {
		t.Fatal(err)
	}
}

func TestDeviceSize(t *testing.T) {
	if size := unsafe.Sizeof(device{}); size > 208 {
		t.Fatalf("device has %d bytes", size)
	}
}

// TestFreeID: identifiers are never 0 and never those of a message under way.
func TestFreeID(t *testing.T) {
	f := newTestFleet(t, &options{})
	d := &device{packetID: 0xFFFE, flights: []flight{{id: 0xFFFF}, {id: 1}}}
	if id := f.freeID(d); id != 2 {
		t.Fatalf("id %d", id)
	}
}
