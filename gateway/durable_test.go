package gateway

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// logged is how many messages the log has.
func logged(t *testing.T, nc *nats.Conn) uint64 {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := js.Stream(ctx, "TG_LOG")
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// inDir is a data directory that several gateways have, one after the other.
func inDir(dir string) func(c *Config) { return func(c *Config) { c.Data = dir } }

// TestPubackMeansStored: by default a QoS 1 or 2 message is in the log before it is acknowledged, one of QoS 0 is not, and a
// backend gets it under its own subject, marked.
func TestPubackMeansStored(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	got := make(chan *nats.Msg, 8)
	if _, err := nc.ChanSubscribe("up.>", got); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for i, v := range []mqtt.Version{mqtt.V5, mqtt.V311} {
		c := r.connect(v, fmt.Sprint("pub-", i))
		before := logged(t, nc)
		c.publish(0, "up/0", "nought")
		c.publish(1, "up/1", "one")
		if n := logged(t, nc); n != before+1 {
			t.Errorf("%d messages in the log after PUBACK, want 1", n-before)
		}
		c.publish(2, "up/2", "two")
		if n := logged(t, nc); n != before+2 {
			t.Errorf("%d messages in the log after PUBCOMP, want 2", n-before)
		}
		for range 3 {
			select {
			case m := <-got:
				want := map[string]string{"up.0": "0", "up.1": "1d", "up.2": "2d"}[m.Subject] + fmt.Sprint(" c=pub-", i)
				if tg := m.Header.Get("TG"); tg != want {
					t.Errorf("%s has TG %q, want %q", m.Subject, tg, want)
				}
			case <-time.After(patience):
				t.Fatal("a backend got nothing")
			}
		}
	}
}

// TestQueuedOverRestart: what was published for a persistent session is delivered after the gateway was stopped and started
// again, in order, at QoS 1 and 2, with the subscription that it had.
func TestQueuedOverRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, inDir(dir))
	sub, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "sleeper", persistent)
	sub.subscribe(2, "for/sleeper/#")
	sub.disconnect()
	pub := r.connect(mqtt.V311, "pub")
	for i := range 50 {
		pub.publish(byte(1+i%2), "for/sleeper/a", fmt.Sprint(i))
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = start(t, inDir(dir))
	sub, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "sleeper", persistent)
	if !ack.SessionPresent {
		t.Fatal("the session is gone")
	}
	next := [3]int{0, 0, 1}
	for range 50 {
		m := sub.message()
		if want := fmt.Sprint(next[m.QoS]); m.payload != want {
			t.Fatalf("QoS %d: %s, want %s", m.QoS, m.payload, want)
		}
		next[m.QoS] += 2
	}
	live := r.connect(mqtt.V5, "pub2")
	live.publish(1, "for/sleeper/b", "now")
	sub.gets("for/sleeper/b", "now")
}

// TestSessionMoves: a persistent session goes on at another gateway, with what was published meanwhile, and what backends put into
// the log while nobody was there.
func TestSessionMoves(t *testing.T) {
	t.Parallel()
	a, b := twoDurable(t, bustest.Start(t))
	first, _ := a.connectOn(a.open(mqtt.V5, a.mqtt), "mover", persistent)
	first.subscribe(1, "move/#")
	pub := b.connect(mqtt.V5, "pub")
	pub.publish(1, "move/1", "live")
	first.gets("move/1", "live")
	first.disconnect()
	pub.publish(1, "move/2", "away")
	if err := b.natsOutside(t).Publish("$TG.log.move.3", []byte("of a backend")); err != nil {
		t.Fatal(err)
	}
	second, ack := b.connectOn(b.open(mqtt.V311, b.mqtt), "mover", persistent)
	if !ack.SessionPresent {
		t.Fatal("the session did not move")
	}
	for m := second.message(); m.payload != "away"; m = second.message() {
		if m.payload != "live" { // which may come again
			t.Fatalf("%s instead of what came while it was away", m.payload)
		}
	}
	second.gets("move/3", "of a backend")
	pub.publish(1, "move/4", "live again")
	second.gets("move/4", "live again")
	second.cut()
	third, ack := a.connectOn(a.open(mqtt.V5, a.mqtt), "mover", persistent)
	if !ack.SessionPresent {
		t.Fatal("the session did not move back")
	}
	pub.publish(1, "move/5", "back")
	third.gets("move/5", "back")
}

// natsOutside is a connection to the NATS that the gateway uses.
func (r *rig) natsOutside(t *testing.T) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(r.gw.bus.Status().URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// TestStreamRoute: for a topic with a stream of the user's, PUBACK means that this stream has the message; what a backend
// publishes there reaches devices, also those that were away.
func TestStreamRoute(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	js, err := jetstream.New(s.Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, MaxMsgs: 12, Discard: jetstream.DiscardNew})
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, func(c *Config) {
		c.NATS.URL, c.Durable.Routes = s.URL(), []string{"orders/#=stream ORDERS", "loose/#=memory"}
	})
	r.eventually("NATS can store", func() bool { ok, _ := r.gw.bus.Ready(); return ok })
	sub, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "shop", persistent)
	sub.subscribe(1, "orders/#", "loose/#")
	pub := r.connect(mqtt.V5, "pub")
	pub.publish(1, "orders/1", "a")
	if info, err := stream.Info(ctx); err != nil || info.State.Msgs != 1 {
		t.Fatalf("%v, %v: the stream does not have what was acknowledged", info.State, err)
	}
	sub.gets("orders/1", "a")
	pub.publish(1, "loose/1", "b")
	sub.gets("loose/1", "b")
	if n := logged(t, s.Conn(t)); n != 0 {
		t.Errorf("the log has %d messages of other routes", n)
	}
	if _, err := js.Publish(ctx, "orders.2", []byte("of a backend")); err != nil {
		t.Fatal(err)
	}
	sub.gets("orders/2", "of a backend")
	sub.disconnect()
	if _, err := js.Publish(ctx, "orders.3", []byte("while away")); err != nil {
		t.Fatal(err)
	}
	sub, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "shop", persistent)
	sub.gets("orders/3", "while away")
	for i := 4; i <= 12; i++ {
		pub.publish(1, "orders/4", "fill")
		sub.gets("orders/4", "fill")
	}
	pub.id++
	pub.write(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("orders/13"), Payload: []byte("x"), QoS: 1, PacketID: pub.id}))
	if got := pub.expect(mqtt.TypePuback); got.Reason != mqtt.QuotaExceeded {
		t.Errorf("a full stream: %v, want 0x97", got.Reason)
	}
}
