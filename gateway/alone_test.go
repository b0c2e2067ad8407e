package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestNobodyAtNATS: while nobody is there, NATS is given nothing; who comes misses nothing that a device publishes after
// the subscription stands, however often they come and go, and devices hear each other all the time.
func TestNobodyAtNATS(t *testing.T) {
	r := start(t)
	from := r.connect(mqtt.V311, "from")
	var to []*client
	for shard := range 2 {
		c := r.connect(mqtt.V5, r.ids("to", shard, 1)[0])
		c.subscribe(1, "a/+")
		to = append(to, c)
	}
	heard := func(payload string) {
		t.Helper()
		for _, c := range to {
			c.gets("a/b", payload)
		}
	}
	for round := range 40 {
		if round < 2 { // the others meet a gateway that may still believe the last one is there
			for !r.gw.bus.Alone() {
				time.Sleep(10 * time.Millisecond)
			}
			before := r.gw.bus.Counters()
			from.publish(1, "a/b", "for devices")
			heard("for devices")
			after := r.gw.bus.Counters()
			if after.Published != before.Published || after.Unheard != before.Unheard+1 {
				t.Errorf("published %d messages to nobody, left out %d", after.Published-before.Published, after.Unheard-before.Unheard)
			}
		}
		nc, err := nats.Connect(r.gw.Addrs().NATS)
		if err != nil {
			t.Fatal(err)
		}
		sub, err := nc.SubscribeSync("a.*")
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		payload := fmt.Sprint("round ", round)
		from.publish(1, "a/b", payload)
		heard(payload)
		if m, err := sub.NextMsg(answerTime); err != nil || string(m.Data) != payload {
			t.Fatalf("round %d: NATS got %v, %v", round, m, err)
		}
		nc.Close()
	}
}

// TestUplinkGathers: what follows soon goes to NATS together, and nothing waits for a message that does not come.
func TestUplinkGathers(t *testing.T) {
	r := start(t, func(c *Config) { c.Loops = 1 })
	nc := r.nats()
	sub, err := nc.SubscribeSync("a.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c := r.connect(mqtt.V5, "c")
	for i := range 200 {
		c.publish(byte(i%2), fmt.Sprint("a/", i), "x")
	}
	for i := range 200 {
		if m, err := sub.NextMsg(answerTime); err != nil || m.Subject != fmt.Sprint("a.", i) {
			t.Fatalf("message %d: %v, %v", i, m, err)
		}
	}
	// Alone in the gateway now: only the alarm can end the gathering.
	c.write(mqtt.AppendPublish(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("a/first"), Payload: []byte("x")}),
		mqtt.V5, &mqtt.PublishOut{Topic: []byte("a/second"), Payload: []byte("x")}))
	for _, subject := range []string{"a.first", "a.second"} {
		if m, err := sub.NextMsg(answerTime); err != nil || m.Subject != subject {
			t.Fatalf("%s: %v, %v", subject, m, err)
		}
	}
}
