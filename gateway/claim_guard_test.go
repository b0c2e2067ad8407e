package gateway

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestClaimOfThePast: a session that waits for its device does not end by an older claim, which is disputed; it ends by a
// newer one.
func TestClaimOfThePast(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	r := start(t, func(c *Config) { c.NATS.URL = s.URL() })
	r.eventually("NATS is there", func() bool { return r.gw.bus.Status().Connected() })
	e := newEar(t, s)
	r.eventually("it is heard", func() bool { // the gateway may not have subscribed yet
		e.say()
		return r.gw.claims.peers() == 1
	})
	c, _ := r.connectOn(r.via("tcp", mqtt.V5), "sleepy", persistent)
	c.subscribe(1, "sleepy/#")
	e.hears("its claim", func(m *message) bool { return m.has("sleepy") })
	c.disconnect()
	r.eventually("it is parked", func() bool { x := r.sum(); return x.sessions == 1 && x.sessionsLive == 0 })
	e.say(claim{id: []byte("sleepy"), at: 5})
	e.hears("the claim of the parked session", func(m *message) bool { return m.has("sleepy") })
	if x := r.sum(); x.sessions != 1 || x.filters != 1 {
		t.Errorf("%d sessions, %d filters are left", x.sessions, x.filters)
	}
	e.say(claim{id: []byte("sleepy"), at: uint64(time.Now().UnixNano())})
	r.eventually("it is gone", func() bool { return r.sum().sessions == 0 })
}

// TestClaimsOfTheAbsent: a device moves away from a gateway that is cut off, and sleeps. When NATS is back, its older
// connection ends, and the newer session stays.
func TestClaimsOfTheAbsent(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	a, b := two(t, s)
	old, _ := b.connectOn(b.via("tcp", mqtt.V5), "sleepy", persistent)
	s.Shut()
	b.eventually("b is cut off", func() bool { return !b.gw.bus.Status().Connected() })
	c, _ := a.connectOn(a.via("tcp", mqtt.V5), "sleepy", persistent)
	c.disconnect()
	a.eventually("it is parked", func() bool { x := a.sum(); return x.sessions == 1 && x.sessionsLive == 0 })
	s.Reopen()
	old.endsWith(mqtt.SessionTakenOver, 0)
	if x, y := a.sum().sessions, b.sum().sessions; x != 1 || y != 0 {
		t.Errorf("%d and %d sessions", x, y)
	}
}

// TestClaimTimePoisoned: a time that would stop the clock, or carry it to where others refuse it, is refused and counted.
func TestClaimTimePoisoned(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	a, b := two(t, s)
	e := newEar(t, s)
	now := time.Now()
	for _, clock := range []uint64{1<<62 - 1, ^uint64(0), uint64(now.Add(claimAheadMax + time.Minute).UnixNano())} {
		e.self.clock = clock
		e.say()
	}
	for _, r := range []*rig{a, b} {
		r.eventually("they are refused", func() bool { return r.gw.claims.refused.Load() == 3 })
		if n := r.gw.claims.peers(); n != 1 {
			t.Errorf("%d others", n)
		}
	}
	old := a.connect(mqtt.V5, "mover")
	here := b.connect(mqtt.V5, "mover")
	old.endsWith(mqtt.SessionTakenOver, 0)
	here.ping()
	if ahead := a.gw.claims.clock.Load(); ahead > uint64(time.Now().UnixNano()) {
		t.Errorf("the clock is at %d", ahead)
	}
	e.self.clock = uint64(now.UnixNano())
	p := make([]byte, messageHead)
	writeHead(p, &e.self)
	if err := e.nc.Publish("_TG.gateways", appendClaim(p, "mover", e.self.clock+1, false)); err != nil { // later than it is there
		t.Fatal(err)
	}
	b.eventually("it is refused", func() bool { return b.gw.claims.refused.Load() == 4 })
	here.ping()
}

// TestClaimsOfStrangers: whoever can write to NATS can pretend to be any number of gateways; what is kept of them is bounded, and
// a question costs its head only.
func TestClaimsOfStrangers(t *testing.T) {
	cfg := Default()
	cfg.NATS.URL = "nats://127.0.0.1:4222"
	x := newClaims(&Gateway{cfg: cfg})
	const n = 5000
	p := make([]byte, messageHead)
	for range n {
		by := rand.Uint64()
		for _, m := range []message{{by: by, seq: 7}, {by: by, flags: messageBye}, {by: by, seq: 7}} {
			writeHead(p, &m)
			x.hear(p)
		}
	}
	if x.peers() != othersMax || len(x.asks) != othersMax || x.refused.Load() != 2*(n-othersMax) {
		t.Errorf("%d others, %d questions, %d refused", x.peers(), len(x.asks), x.refused.Load())
	}
	for _, p := range x.outgoing(x.asks, nil) {
		if cap(p) > 2*messageHead {
			t.Fatalf("a question of %d bytes", cap(p))
		}
	}
}

// TestClaimAllIsRare: everything is claimed again at most once in claimBeatTime, whatever is wished, but for gateways that
// were not known; a wish is not forgotten, and a scan ends before another begins.
func TestClaimAllIsRare(t *testing.T) {
	x := &claims{wake: make(chan struct{}, 1)}
	now := time.Unix(1_000_000, 0)
	expect := func(what string, yes bool, wait time.Duration) {
		t.Helper()
		if got, rest := x.due(now); got != yes || rest != wait {
			t.Fatalf("%s: %v, in %v", what, got, rest)
		}
	}
	expect("no wish", false, 0)
	x.all(false)
	expect("the first", true, 0)
	expect("it is done", false, 0)
	now = now.Add(time.Second)
	x.all(false)
	expect("too soon", false, claimBeatTime-time.Second)
	now = now.Add(claimBeatTime - time.Second)
	x.scanning.Store(2)
	expect("the other one runs", false, 0)
	x.scanned()
	expect("it still runs", false, 0)
	<-x.wake
	x.scanned()
	select {
	case <-x.wake:
	default:
		t.Error("the end of a scan rouses nobody")
	}
	expect("remembered", true, 0)
	for range greetMax {
		x.all(true)
		expect("somebody new", true, 0)
	}
	x.all(true)
	expect("too many", false, claimBeatTime)
	now = now.Add(claimBeatTime)
	expect("remembered, too", true, 0)
	x.all(true)
	expect("somebody new again", true, 0)
}

// TestClaimAllOnQuestion: many questions are one answer, and the answer does not fail to come.
func TestClaimAllOnQuestion(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	r := start(t, func(c *Config) { c.NATS.URL = s.URL() })
	r.eventually("NATS is there, and has our subscription", func() bool { return r.gw.bus.Status().Connected() && r.gw.bus.Flush(t.Context()) == nil })
	r.connect(mqtt.V5, "mine")
	e := newEar(t, s)
	began := time.Now()
	e.say()
	e.hears("all that it has", func(m *message) bool { return m.has("mine") })
	x := r.gw.claims
	r.eventually("that was all", func() bool { return x.sent.Load() > 0 && x.scanning.Load() == 0 })
	before := x.sent.Load()
	e.self.asks = x.self
	for range 50 {
		e.say()
		r.eventually("it is heard", func() bool {
			x.mu.Lock()
			defer x.mu.Unlock()
			return x.others[e.self.by].seq == e.self.seq
		})
	}
	if n := x.sent.Load() - before; n > 1 && time.Since(began) < claimBeatTime { // one may have been remembered
		t.Errorf("%d claims of one device", n)
	}
	e.hears("the answer", func(m *message) bool { return m.has("mine") })
}
