package bus_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

// TestGatewayLost: after the death of a gateway its devices are offline, once, but for those that are at another one by then.
func TestGatewayLost(t *testing.T) {
	const devices = 500
	s := bustest.Start(t)
	w := watchPresence(t, s.Conn(t))
	a, b := watchman(t, s.URL(), "a"), watchman(t, s.URL(), "b")
	c := watchman(t, s.URL(), "c")
	for i := range devices {
		a.connect(fmt.Sprint("d", i), uint64(1000+i))
	}
	a.written()
	a.until("all are online", func() bool { return len(w.collect()) == devices })
	a.Abandon()
	for i := range devices / 2 {
		b.connect(fmt.Sprint("d", i), uint64(5000+i))
	}
	b.until("the others are offline", func() bool { return b.Counters().Lost+c.Counters().Lost == devices/2 })
	for i := range devices {
		r, _ := w.record(fmt.Sprint("d", i))
		if back := i < devices/2; r.Online != back || back != (r.Gateway == "b") || !back && r.Reason != bus.ReasonGatewayLost {
			t.Fatalf("record %+v", r)
		}
	}
	for client, list := range w.collect() {
		if wrong := disorder(list); wrong != "" || len(list) != 2 {
			t.Errorf("%s: %d events, %s", client, len(list), wrong)
		}
	}
	told := map[string]int{}
	for _, k := range []*keeper{b, c} {
		k.mu.Lock()
		for client, n := range k.lost {
			told[client] += n
		}
		k.mu.Unlock()
	}
	if len(told) != devices/2 {
		t.Errorf("%d of %d are told as lost", len(told), devices/2)
	}
	js, err := jetstream.New(s.Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	b.until("the dead gateway is forgotten", func() bool {
		kv, err := js.KeyValue(t.Context(), "TG_gateways")
		if err != nil {
			t.Fatal(err)
		}
		keys, err := kv.Keys(t.Context())
		return err == nil && len(keys) == 4
	})
}

// TestGatewayLostLater: when all gateways died, the first that starts turns their devices offline.
func TestGatewayLostLater(t *testing.T) {
	s := bustest.Start(t)
	w := watchPresence(t, s.Conn(t))
	a := watchman(t, s.URL(), "a")
	a.connect("d", 7)
	a.written()
	a.until("it is online", func() bool { return len(w.collect()["d"]) == 1 })
	a.Abandon()
	b := watchman(t, s.URL(), "a") // a gateway of the same name
	b.until("it is offline", func() bool { r, _ := w.record("d"); return !r.Online && r.Reason == bus.ReasonGatewayLost })
}

// TestGatewayBack: a gateway that lost NATS for longer than its lease has its devices online again when it is back, those that
// left meanwhile offline for the reason they had, and whoever moved on stays where it is.
func TestGatewayBack(t *testing.T) {
	s := bustest.Start(t)
	inside := s.Conn(t).ConnectedUrl()
	w := watchPresence(t, s.Conn(t))
	a, b := watchman(t, s.URL(), "a"), watchman(t, inside, "b")
	for i, client := range []string{"stays", "leaves", "moves"} {
		a.connect(client, uint64(10+i))
	}
	a.until("all are online", func() bool { return len(w.collect()) == 3 })
	s.Shut()
	a.until("a is cut off", func() bool { return !a.b.Status().Connected() })
	a.disconnect("leaves", "normal")
	b.connect("moves", 100)
	b.until("its devices are given up", func() bool { return b.Counters().Lost == 2 })
	s.Reopen()
	a.until("it has another lease", func() bool { return a.Counters().Leases == 2 })
	a.disconnect("moves", "taken_over")
	a.until("it is back", func() bool { r, _ := w.record("stays"); return r.Online })
	a.written()
	a.until("it has left", func() bool { r, _ := w.record("leaves"); return !r.Online && r.Reason == "normal" })
	if r, _ := w.record("moves"); !r.Online || r.Gateway != "b" {
		t.Errorf("record %+v", r)
	}
	a.disconnect("stays", "normal")
	a.until("it left, too", func() bool { r, _ := w.record("stays"); return !r.Online && r.Reason == "normal" })
	for client, list := range w.collect() {
		if wrong := disorder(list); wrong != "" {
			t.Errorf("%s: %s", client, wrong)
		}
	}
}

// TestGoodbye: a gateway that stops writes what is left to write, and nobody looks for its devices.
func TestGoodbye(t *testing.T) {
	s := bustest.Start(t)
	w := watchPresence(t, s.Conn(t))
	a := watchman(t, s.URL(), "a")
	for i := range 100 {
		a.connect(fmt.Sprint("d", i), uint64(10+i))
	}
	for i := range 100 {
		a.disconnect(fmt.Sprint("d", i), "shutdown")
	}
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.until("all are offline", func() bool {
		n := 0
		for i := range 100 {
			if r, ok := w.record(fmt.Sprint("d", i)); ok && !r.Online && r.Reason == "shutdown" {
				n++
			}
		}
		return n == 100
	})
	js, err := jetstream.New(s.Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "TG_gateways")
	if err != nil {
		t.Fatal(err)
	}
	if keys, _ := kv.Keys(t.Context()); len(keys) != 0 {
		t.Errorf("keys %v", keys)
	}
}

// TestPresenceFull: when more changes wait than there is room for, the lease is given up, and what is live is written anew.
func TestPresenceFull(t *testing.T) {
	s := bustest.Start(t)
	w := watchPresence(t, s.Conn(t))
	a := watchman(t, s.URL(), "a", func(o *bus.PresenceOptions) { o.WaitingMax = 10 })
	s.Shut()
	a.until("a is cut off", func() bool { return !a.b.Status().Connected() })
	for i := range 20 {
		a.connect(fmt.Sprint("d", i), uint64(10+i))
	}
	if n := a.Counters().Overflows; n != 1 {
		t.Errorf("%d overflows", n)
	}
	a.mu.Lock()
	for i := range 15 {
		delete(a.live, fmt.Sprint("d", i))
	}
	a.mu.Unlock()
	s.Reopen()
	a.until("those that are live are online", func() bool { return len(w.collect()) == 5 })
}
