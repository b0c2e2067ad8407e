package gateway

import (
	"testing"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// adoptAlive has b take up a session whose gateway it takes for dead, and is not.
func adoptAlive(b *rig, id string, generation uint64) {
	b.t.Helper()
	before := b.sum().adopted
	b.gw.adoptLost(id, generation)
	b.eventually("the session is taken up", func() bool { return b.sum().adopted == before+1 && b.gw.durable.saves.Load() == 0 })
}

// TestSessionRegained: a gateway that was taken for dead while NATS did not hear it keeps its devices: it takes their sessions back from the one that
// had taken them up, with what the device has done since, and that one has no part in them any more.
func TestSessionRegained(t *testing.T) {
	t.Parallel()
	a, b := twoDurable(t, bustest.Start(t))
	device, _ := a.connectOn(a.open(mqtt.V5, a.mqtt), "cut-off", persistent)
	device.subscribe(1, "before")
	a.eventually("the record is written", func() bool { return a.gw.durable.saves.Load() == 0 })
	adoptAlive(b, "cut-off", a.generationOf("cut-off"))

	device.subscribe(1, "since") // SUBACK comes when the record is written
	b.eventually("who had taken the session up lets it go", func() bool { return b.sum().sessions == 0 })
	pub := b.connect(mqtt.V5, "pub")
	pub.publish(1, "before", "one")
	device.gets("before", "one")
	pub.publish(1, "since", "two")
	device.gets("since", "two")
	if n := a.sum().regained; n != 1 {
		t.Errorf("%d sessions taken back, want 1", n)
	}
	device.cut()
	pub.publish(1, "since", "three")
	back, ack := b.connectOn(b.open(mqtt.V5, b.mqtt), "cut-off", persistent)
	if !ack.SessionPresent {
		t.Error("the session was lost")
	}
	back.gets("since", "three")
}

// TestAdoptionMarked: the record of a session that was taken up says so until a connection has it, as only then it is not to be taken back.
func TestAdoptionMarked(t *testing.T) {
	t.Parallel()
	a, b := twoDurable(t, bustest.Start(t))
	a.connectOn(a.open(mqtt.V5, a.mqtt), "moved", persistent)
	a.eventually("the record is written", func() bool { return a.gw.durable.saves.Load() == 0 })
	marked := func() bool {
		found := make(chan byte, 1)
		b.gw.bus.LoadSession([]byte("moved"), func(r bus.SessionRecord, _ error) {
			head, _ := cutRecord(r.Value)
			found <- head.flags
		})
		return <-found&recordAdopted != 0
	}
	if marked() {
		t.Error("marked before it was taken up")
	}
	adoptAlive(b, "moved", a.generationOf("moved"))
	if !marked() {
		t.Error("not marked when it was taken up")
	}
	next, _ := b.connectOn(b.open(mqtt.V5, b.mqtt), "moved", persistent)
	next.subscribe(1, "there")
	if marked() {
		t.Error("marked although a connection has it")
	}
}
