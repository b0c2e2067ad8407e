package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// fleetOf is a small fleet with subscribers.
func fleetOf(addr netip.AddrPort, publishers, subscribers int, r route) options {
	o := testOptions(addr, "mqtt")
	o.Publishers, o.Subscribers, o.Devices, o.Route, o.Subscribe = publishers, subscribers, publishers+subscribers, r, ""
	return o
}

func simulateFleet(t *testing.T, o options) *result {
	t.Helper()
	r := &runner{o: o, spawn: inProcess, now: monotonic(), view: newView(t.Output()), settleNanos: settleMax}
	res, err := r.run(t.Context())
	if err != nil {
		t.Fatalf("seed %d: %v", o.Seed, err)
	}
	return res
}

// TestTopologies: every route, QoS and cut into workers delivers each copy once.
func TestTopologies(t *testing.T) {
	for _, c := range []struct {
		publishers, subscribers, workers int
		route                            route
		copies                           uint64 // of 200 messages
	}{
		{20, 20, 1, routePairs, 1}, {20, 20, 3, routePairs, 1}, {10, 20, 2, routePairs, 2}, {1, 25, 1, routeAll, 25},
		{1, 25, 2, routeAll, 25}, {10, 4, 2, routeAll, 4}, {20, 2, 1, routeAll, 2}, {10, 5, 1, routeShare, 1},
	} {
		for qos := range byte(3) {
			t.Run(fmt.Sprintf("%d to %d %s in %d at %d", c.publishers, c.subscribers, c.route, c.workers, qos), func(t *testing.T) {
				t.Parallel()
				o := fleetOf(newResponder(t, &responder{}), c.publishers, c.subscribers, c.route)
				o.QoS, o.Workers = qos, c.workers
				if err := o.validate(); err != nil {
					t.Fatal(err)
				}
				res := simulateFleet(t, o)
				m := res.Telemetry
				if want := 200 * c.copies; !res.Passed || m.Sent != 200 || *m.Expected != want || *m.Received != want || *m.Lost != 0 ||
					*m.Duplicates != 0 || *m.OutOfOrder != 0 || m.Latency.Count != int64(want) {
					t.Fatalf("%+v\n%v\n%v of %v", m, res.Failures, *m.Received, want)
				}
			})
		}
	}
}

// TestTopologyFaults: what subscribers find wrong is counted against the device it came from.
func TestTopologyFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		r     *responder
		qos   byte
		route route
		check func(m *messageResult) bool
		fails string
	}{
		{"loss", &responder{loseEach: 10}, 1, routeAll, func(m *messageResult) bool { return *m.Lost == 40 && *m.AckedLost == 40 }, "40 acknowledged messages were lost"},
		{"loss at QoS 0", &responder{loseEach: 10}, 0, routePairs, func(m *messageResult) bool { return *m.Lost == 20 && *m.AckedLost == 0 }, ""},
		{"loss of shared ones", &responder{loseEach: 10}, 1, routeShare, func(m *messageResult) bool { return *m.Lost == 20 }, "20 acknowledged"},
		{"twice", &responder{twiceEach: 10}, 2, routePairs, func(m *messageResult) bool { return *m.Duplicates == 20 && *m.Lost == 0 }, "20 messages arrived twice"},
		{"twice to different workers", &responder{twiceEach: 10}, 2, routeShare, func(m *messageResult) bool { return *m.Duplicates == 20 && *m.Lost == 0 }, "arrived twice"},
		{"order", &responder{swapEach: 7}, 0, routeAll, func(m *messageResult) bool { return *m.OutOfOrder > 0 && *m.Lost == 0 }, "out of order"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			publishers := 2
			if c.name == "order" {
				publishers = 1 // so that neighbours are its own
			}
			o := fleetOf(newResponder(t, c.r), publishers, 2, c.route)
			o.QoS = c.qos
			res := simulateFleet(t, o)
			if got := strings.Join(res.Failures, "; "); !c.check(&res.Telemetry) || res.Passed != (c.fails == "") || !strings.Contains(got, c.fails) {
				m := res.Telemetry
				t.Fatalf("%q; lost %d, acked lost %d, twice %d, order %d", got, *m.Lost, *m.AckedLost, *m.Duplicates, *m.OutOfOrder)
			}
		})
	}
}

// TestFlatOut: without a timetable the window is the only brake, and what is lost does not close it for good.
func TestFlatOut(t *testing.T) {
	for _, c := range []struct {
		name     string
		r        *responder
		qos      byte
		route    route
		verified bool
	}{
		{"QoS 0", &responder{}, 0, routePairs, false},
		{"QoS 0 to all", &responder{}, 0, routeAll, false},
		{"QoS 0 with loss", &responder{loseEach: 10}, 0, routePairs, false},
		{"QoS 1", &responder{}, 1, routePairs, false},
		{"QoS 2", &responder{}, 2, routePairs, false},
		{"QoS 0 to a witness", &responder{}, 0, routePairs, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr := newResponder(t, c.r)
			o := fleetOf(addr, 5, 5, c.route)
			r := &runner{o: o, spawn: inProcess, now: monotonic(), view: newView(t.Output()), settleNanos: settleMax}
			if c.verified {
				o = testOptions(addr, "mqtt")
				o.Workers = 2
				r.verifyURL = "mqtt://" + addr.String()
			}
			o.QoS, o.FlatOut, o.Rate, o.Window, o.Duration = c.qos, true, 0, 4, 1500*time.Millisecond
			r.o = o
			res, err := r.run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			m := res.Telemetry
			if !res.Passed || m.Sent < 200 {
				t.Fatalf("%v: %+v", res.Failures, m)
			}
			lossy := c.r.loseEach > 0
			if lossy != (*m.Lost > 0) || lossy != (res.Generator.Stalls > 0) {
				t.Fatalf("%d lost, %d stalls", *m.Lost, res.Generator.Stalls)
			}
		})
	}
}

func TestStagedRun(t *testing.T) {
	t.Parallel()
	o := fleetOf(newResponder(t, &responder{}), 3, 3, routePairs)
	var err error
	if o.Stages, err = parseStages("ramp 400ms to 200, hold 300ms, stop 300ms", 0); err != nil {
		t.Fatal(err)
	}
	o.Duration, o.Rate = time.Second, 200
	res := simulateFleet(t, o)
	if !res.Passed || res.Telemetry.Sent != 130 || *res.Telemetry.Received != 130 { // 40 + 60 + 30
		t.Fatalf("%v %+v", res.Failures, res.Telemetry)
	}
}

func TestParseStages(t *testing.T) {
	for in, want := range map[string]string{
		"ramp 10s to 1000, hold 30s, stop 5s": "[{0 1000 10s} {1000 1000 30s} {1000 0 5s}]",
		"hold 1m":                             "[{50 50 1m0s}]",
		"hold 1s at 7, hold 1s, ramp 1s to 9": "[{7 7 1s} {7 7 1s} {7 9 1s}]",
		"hold 1s at 7, hold 1s at 3":          "[{7 7 1s} {3 3 1s}]",
		"":                                    "error", "rest 1s": "error", "ramp 10s": "error", "ramp 10s to": "error", "ramp 10s at 5": "error",
		"hold 0s": "error", "hold -1s": "error", "stop 5s to 3": "error", "ramp x to 3": "error", "ramp 1s to -3": "error", "hold 1s at NaN": "error",
	} {
		legs, err := parseStages(in, 50)
		var list []string
		for _, l := range legs {
			list = append(list, fmt.Sprintf("{%v %v %v}", l.From, l.To, time.Duration(l.Nanos)))
		}
		got := fmt.Sprint(list)
		if err != nil {
			if got = "error"; !strings.Contains(err.Error(), "want ramp TIME to RATE") {
				t.Error(err)
			}
		}
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// TestTimetable: messages come in order, as many as the legs say, and a ramp's come ever closer.
func TestTimetable(t *testing.T) {
	legs, err := parseStages("ramp 10s to 100, hold 10s, hold 5s at 0, hold 5s at 20, stop 10s", 0)
	if err != nil {
		t.Fatal(err)
	}
	nanos, count := total(legs)
	if nanos != 40*second || count != 500+1000+100+100 {
		t.Fatal(nanos, count)
	}
	for _, workers := range []int{1, 3} {
		var n int
		for w := range workers {
			table := newTimetable(legs, 1/float64(workers), float64(w)/float64(workers))
			last := int64(-1)
			for k := range uint64(count / float64(workers)) {
				at := table.at(k)
				if at <= last || at > nanos {
					t.Fatalf("worker %d of %d: message %d at %v after %v", w, workers, k, time.Duration(at), time.Duration(last))
				}
				last = at
				n++
			}
		}
		if n < int(count)-workers {
			t.Fatalf("%d workers send %d", workers, n)
		}
	}
	table := newTimetable(legs, 1, 0)
	// Half of the ramp's messages are due at 1/sqrt(2) of its time.
	if at := table.at(250); at < 7*second || at > 7100*second/1000 {
		t.Fatalf("message 250 at %v", time.Duration(at))
	}
	if at := table.at(1500); at != 25*second {
		t.Fatalf("the pause ends at %v", time.Duration(at))
	}
}

func TestValidateTopology(t *testing.T) {
	addr := netip.MustParseAddrPort("127.0.0.1:1")
	for want, edit := range map[string]func(o *options){
		"":                       func(*options) {},
		"want at least 1 pub":    func(o *options) { o.Devices = 7 },
		"--publishers 0":         func(o *options) { o.Publishers, o.Devices = 0, 10 },
		"plain WebSocket":        func(o *options) { o.Targets[0].Kind = kindPlain },
		"pairs of publisher":     func(o *options) { o.Publishers, o.Subscribers, o.Devices, o.Route = 9000, 9000, 18000, routeAll },
		"count in one process":   func(o *options) { o.Route, o.Workers = routeShare, 2 },
		"at QoS 0, count in one": func(o *options) { o.FlatOut, o.QoS, o.Workers = true, 0, 2 },
		"misbehaves":             func(o *options) { o.Publishers, o.Devices, o.Scenario = 1, 11, "garbage" },
		"so it has no --stages":  func(o *options) { o.FlatOut, o.Stages = true, []leg{{1, 1, 1}} },
	} {
		o := fleetOf(addr, 10, 10, routePairs)
		edit(&o)
		err := o.validate()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// TestBadOnesInATopology: slow consumers are subscribers, all others are publishers, and nobody waits for their copies.
func TestBadOnesInATopology(t *testing.T) {
	for name, wantCopies := range map[string]int{"slow-reader": 90, "garbage": 100, "steady": 100} {
		sc, err := findScenario(name)
		if err != nil {
			t.Fatal(err)
		}
		o := fleetOf(netip.MustParseAddrPort("127.0.0.1:1"), 100, 100, routePairs)
		o.BadShare = 0.1
		copies := 0
		for _, n := range o.copies(sc) {
			copies += int(n)
		}
		bad := 200 - int(o.goodOnes(sc))
		if want := 10; copies != wantCopies || (name != "steady" && bad != want) {
			t.Errorf("%s: %d copies, %d bad ones", name, copies, bad)
		}
	}
}

func TestBits(t *testing.T) {
	var b bits
	for _, n := range []uint64{5, 64, 1, 1000} {
		if !b.set(n) || b.set(n) {
			t.Fatalf("%d", n)
		}
	}
	if b.set(bitsMax+1) || len(b) > 16 {
		t.Fatal("a number from nowhere made the set grow")
	}
}
