package gateway

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// stall holds up the loop of a client id until the function that it returns is called.
func (r *rig) stall(id string) (goOn func()) {
	r.t.Helper()
	held, on := make(chan struct{}), make(chan struct{})
	r.gw.tellShard(r.gw.home([]byte(id)), func(*shard) {
		close(held)
		<-on
	})
	<-held
	return func() { close(on) }
}

// TestStalledGatewayHearsFirst: a loop stops for some seconds, and the session of a device goes on at another gateway meanwhile. What the
// device had sent to the first one before it gave it up is not stored once more when the loop goes on; a device that stayed is
// served, and its PINGREQ answered.
func TestStalledGatewayHearsFirst(t *testing.T) {
	t.Parallel()
	a, b := twoDurable(t, bustest.Start(t))
	nc := b.natsOutside(t)
	old, _ := b.connectOn(b.open(mqtt.V5, b.mqtt), "one", persistent)
	stays := b.ids("stays", b.homeOf("one"), 1)[0]
	stayed, _ := b.connectOn(b.open(mqtt.V5, b.mqtt), stays, persistent)
	before := logged(t, nc)
	goOn := b.stall("one")
	defer func() {
		if goOn != nil {
			goOn()
		}
	}()
	publish := mqtt.PublishOut{Topic: []byte("up/one"), Payload: []byte("x"), QoS: 2, PacketID: 7}
	old.write(mqtt.AppendPublish(nil, mqtt.V5, &publish))
	stayed.write(mqtt.AppendPingreq(nil))
	here, _ := a.connectOn(a.open(mqtt.V5, a.mqtt), "one", persistent)
	publish.Dup = true
	here.write(mqtt.AppendPublish(nil, mqtt.V5, &publish))
	here.acknowledged(mqtt.TypePubrec, 7)
	time.Sleep((lateSec + 1) * time.Second) // what is tested is that this time passes
	goOn()
	goOn = nil
	old.endsWith(mqtt.SessionTakenOver, 0)
	stayed.expect(mqtt.TypePingresp)
	stayed.publish(1, "up/stays", "y")
	if n := logged(t, nc) - before; n != 2 {
		t.Errorf("%d messages in the log, want 2", n)
	}
	if n := b.sum().doubts; n != 1 {
		t.Errorf("%d doubts, want 1", n)
	}
}

// TestDoubtOutlastsNATS: while NATS is away, and until the others could answer afterwards, nobody knows whose a session is; then a session that
// went on elsewhere is not here any more.
func TestDoubtOutlastsNATS(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	a, b := twoDurable(t, s)
	old, _ := b.connectOn(b.open(mqtt.V5, b.mqtt), "one", persistent)
	s.Shut()
	b.eventually("NATS is away", func() bool { return !b.gw.bus.Status().Connected() })
	heard := make(chan bool, 1)
	go func() { heard <- b.gw.hearOthers(lateSec * time.Second) }()
	here, _ := a.connectOn(a.open(mqtt.V5, a.mqtt), "one", persistent)
	select {
	case <-heard:
		t.Fatal("it has heard the others without NATS")
	case <-time.After(3 * askPause):
	}
	s.Reopen()
	if !<-heard {
		t.Fatal("the gateway seems to end")
	}
	if n := b.sum().sessions; n != 0 { // the sum is taken behind what was heard
		t.Errorf("%d sessions are left", n)
	}
	old.endsWith(mqtt.SessionTakenOver, 0)
	here.ping()
}
