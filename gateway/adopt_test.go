package gateway

import (
	"errors"
	"testing"

	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// generationOf is that of the connect which has a session.
func (r *rig) generationOf(id string) uint64 {
	r.t.Helper()
	found := make(chan uint64, 1)
	s := r.gw.home([]byte(id))
	s.doSoon(func(s *shard) { found <- keeperOf(s.table.Get([]byte(id))).generation })
	return <-found
}

// TestSessionOfLostGateway: the will of a session whose gateway died is published by the one that finds out, at once or after its delay, and the
// session waits for its device there. One that was closed, or that a newer connection has, is left alone.
func TestSessionOfLostGateway(t *testing.T) {
	t.Parallel()
	a, b := twoDurable(t, bustest.Start(t))
	watcher := b.connect(mqtt.V5, "watcher")
	watcher.subscribe(1, "will/#")
	will := func(topic string, delaySec uint32) func(*mqtt.ConnectOut) {
		return func(o *mqtt.ConnectOut) {
			o.HasWill, o.WillTopic, o.WillPayload, o.WillQoS, o.WillDelaySec = true, []byte(topic), []byte("gone"), 1, delaySec
		}
	}
	a.connectOn(a.open(mqtt.V5, a.mqtt), "at-once", persistent, will("will/at-once", 0))
	late, _ := a.connectOn(a.open(mqtt.V5, a.mqtt), "late", persistent, will("will/late", 1))
	late.subscribe(1, "for/late")
	closed, _ := a.connectOn(a.open(mqtt.V5, a.mqtt), "closed", persistent, will("will/closed", 0))
	generation := a.generationOf("closed")
	closed.disconnect()
	a.eventually("the records are written", func() bool { return a.gw.durable.saves.Load() == 0 })

	b.gw.adoptLost("closed", generation)
	b.gw.adoptLost("at-once", a.generationOf("at-once")-1) // of a connection before
	b.gw.adoptLost("nobody", generation)
	b.gw.adoptLost("late", a.generationOf("late"))
	watcher.gets("will/late", "gone")
	b.gw.adoptLost("at-once", a.generationOf("at-once"))
	watcher.gets("will/at-once", "gone")
	if n := b.sum().adopted; n != 2 {
		t.Errorf("%d sessions adopted, want 2", n)
	}
	pub := b.connect(mqtt.V5, "pub")
	pub.publish(1, "for/late", "kept")
	back, ack := b.connectOn(b.open(mqtt.V5, b.mqtt), "late", persistent)
	if !ack.SessionPresent {
		t.Error("the session was lost with its gateway")
	}
	back.gets("for/late", "kept")
}

// TestSessionAdoptedOnce: a loss may be told twice, and while the first who hears it has only claimed the record. The will must not come twice.
func TestSessionAdoptedOnce(t *testing.T) {
	t.Parallel()
	a, b := twoDurable(t, bustest.Start(t))
	a.connectOn(a.open(mqtt.V5, a.mqtt), "lost", persistent)
	a.eventually("the record is written", func() bool { return a.gw.durable.saves.Load() == 0 })
	adopt := func(r *rig) error {
		o, done := adoption("lost", a.generationOf("lost")), make(chan struct{})
		r.gw.openRecord(o, openTries, func() { close(done) })
		<-done
		return o.err
	}
	if err := adopt(b); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*rig{b, a} {
		if err := adopt(r); !errors.Is(err, errNotLost) {
			t.Errorf("taken up twice: %v", err)
		}
	}
}
