package gateway

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// TestNobodyAtNATS: while nobody is there, NATS is given nothing; who comes misses nothing that a device publishes after
// the subscription stands, however often they come and go, and devices hear each other all the time.
func TestNobodyAtNATS(t *testing.T) {
	t.Parallel()
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
			r.eventually("nobody is at NATS", r.gw.bus.Alone)
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

// TestGathering: what is for NATS only waits for 0.5 ms after the batch before, or until it is large; what another shard
// wants does not wait.
func TestGathering(t *testing.T) {
	const now = int64(1e9)
	var offered []int // messages of each batch
	someone := false
	var u uplink
	u.outlets = []outlet{
		{offer: func(b *batch) bool { offered = append(offered, b.Len()); b.release(); return true }, alone: func(*batch) bool { return false }},
		{offer: func(b *batch) bool { b.release(); return true }, wants: func([]byte) bool { return someone }},
	}
	tick := func(at int64, payload int) {
		u.add(&session.Message{Topic: []byte("t"), Payload: make([]byte, payload)}, "c")
		if _, gathers := u.gathers(at); !gathers {
			u.flush(at)
		}
	}
	tick(now, 1)                         // after a pause: at once
	tick(now+1, 1)                       // waits
	tick(now+gatherNanos-1, 1)           // and so does what comes meanwhile
	tick(now+gatherNanos, 1)             // all three go
	tick(now+gatherNanos+1, gatherBytes) // large: at once
	someone = true                       //
	tick(now+gatherNanos+2, 1)           // for another shard: at once
	if want := []int{1, 3, 1, 1}; !slices.Equal(offered, want) {
		t.Errorf("batches of %v messages, want %v", offered, want)
	}
	if until, _ := u.gathers(now); until != now+2*gatherNanos+2 {
		t.Errorf("gathers until %d after %d", until-now, 2*gatherNanos+2)
	}
}

// TestUplinkGathers: what follows soon goes to NATS together, and nothing waits for a message that does not come.
func TestUplinkGathers(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, func(c *Config) { c.Loops = 1 })
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
	// Nothing else happens now: only the alarm ends the gathering. The tick of each second would, too, 20 seconds in all.
	began := time.Now()
	for range 20 {
		c.write(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("a/first"), Payload: []byte("x")}))
		if m, err := sub.NextMsg(answerTime); err != nil || m.Subject != "a.first" {
			t.Fatal(m, err)
		}
		c.publish(1, "a/second", "x")
		c.publish(1, "a/third", "x")
		for _, subject := range []string{"a.second", "a.third"} {
			if m, err := sub.NextMsg(answerTime); err != nil || m.Subject != subject {
				t.Fatalf("%s: %v, %v", subject, m, err)
			}
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("%v for 20 rounds", took)
	}
}

// TestWillsAtTheEnd: wills of devices that a drain leaves no time for reach NATS with the last flush.
func TestWillsAtTheEnd(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	r := start(t, func(c *Config) {
		c.NATS.URL, c.NATS.Listen = server.URL(), ""
		c.Drain.Rate, c.Drain.Time = 1, time.Millisecond
	})
	sub, err := server.Conn(t).SubscribeSync("gone.*")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		r.connect(mqtt.V311, fmt.Sprint("d", i), func(c *mqtt.ConnectOut) {
			c.HasWill, c.WillTopic, c.WillPayload = true, fmt.Appendf(nil, "gone/%d", i), []byte("x")
		})
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for range 15 { // a few may have been told to go
		if _, err := sub.NextMsg(answerTime); err != nil {
			t.Fatal(err)
		}
	}
}
