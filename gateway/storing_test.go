package gateway

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestRefusedIsTriedAgain: a 3.1.1 device whose message the stream had no room for is closed without an acknowledgement. When it sends
// the message again, in the same session, and there is room, it is stored and acknowledged.
func TestRefusedIsTriedAgain(t *testing.T) {
	t.Parallel()
	n := bustest.Start(t)
	js, err := jetstream.New(n.Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "FULL", Subjects: []string{"full.>"}, MaxMsgs: 1, Discard: jetstream.DiscardNew})
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, func(c *Config) { c.NATS.URL, c.Durable.Routes = n.URL(), []string{"full/#=stream FULL"} })
	r.eventually("NATS can store", func() bool { ok, _ := r.gw.bus.Ready(); return ok })
	for qos, ack := range map[byte]mqtt.Type{1: mqtt.TypePuback, 2: mqtt.TypePubrec} {
		if err := stream.Purge(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(ctx, "full.0", []byte("the only one")); err != nil {
			t.Fatal(err)
		}
		id := "refused-" + string('0'+qos)
		m := mqtt.PublishOut{Topic: []byte("full/1"), Payload: []byte("x"), QoS: qos, PacketID: 7}
		c, _ := r.connectOn(r.open(mqtt.V311, r.mqtt), id, persistent)
		c.write(mqtt.AppendPublish(nil, mqtt.V311, &m))
		if got, err := c.receive(); err == nil {
			t.Fatalf("QoS %d, refused: %v", qos, got.Type)
		}
		if err := stream.Purge(ctx); err != nil {
			t.Fatal(err)
		}
		c, _ = r.connectOn(r.open(mqtt.V311, r.mqtt), id, persistent)
		m.Dup = true
		c.write(mqtt.AppendPublish(nil, mqtt.V311, &m))
		if got := c.expect(ack); got.PacketID != 7 {
			t.Errorf("QoS %d: %d", qos, got.PacketID)
		}
		if info, err := stream.Info(ctx); err != nil || info.State.Msgs != 1 {
			t.Errorf("QoS %d: acknowledged, but not stored: %v, %v", qos, info, err)
		}
	}
}

// TestRetainedIsReleased: a QoS 2 message that is retained as well is stored under its packet id, so its release is marked too, whichever
// of the two is stored last. Otherwise the next message with this packet id would be taken for it after a crash.
func TestRetainedIsReleased(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "both", persistent)
	for range 10 {
		before := logged(t, nc)
		c.publish(2, "both/1", "x", retained)
		if n := logged(t, nc) - before; n != 2 {
			t.Fatalf("%d in the log, want the message and the mark of its release", n)
		}
	}
}
