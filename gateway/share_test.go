package gateway

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestSharedSubscription: three devices in two shards and a NATS queue subscriber are one group: each message, of a
// device or a backend, reaches exactly one of the four; all get a fair part; when members leave, the rest goes on.
func TestSharedSubscription(t *testing.T) {
	t.Parallel()
	const each = 400
	r := start(t)
	nc := r.nats()
	seen := map[string]int{}
	var members []*client
	for i, id := range append(r.ids("m", 0, 2), r.ids("m", 1, 1)...) {
		c := r.connect([]mqtt.Version{mqtt.V5, mqtt.V311, mqtt.V5}[i], id)
		c.subscribe(1, "$share/g/s/#", "fence")
		members = append(members, c)
	}
	var byNATS atomic.Int64
	queue := make(chan string, 2*each)
	sub, err := nc.QueueSubscribe("s.>", "g", func(m *nats.Msg) {
		byNATS.Add(1)
		queue <- string(m.Data)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	pubs := []*client{r.connect(mqtt.V5, r.ids("p", 0, 1)[0]), r.connect(mqtt.V5, r.ids("p", 1, 1)[0])}
	send := func(prefix string) {
		t.Helper()
		for i := range each {
			switch i % 4 {
			case 0, 1:
				pubs[i%2].publish(1, "s/x", fmt.Sprint(prefix, i))
			case 2:
				pubs[0].publish(0, "s/x", fmt.Sprint(prefix, i))
			case 3:
				if err := nc.Publish("s.x", fmt.Append(nil, prefix, i)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	collect := func(list []*client) (parts []int) {
		t.Helper()
		for _, before := range r.fence(nc, list...) {
			parts = append(parts, len(before))
			for _, g := range before {
				seen[g.payload]++
			}
		}
		parts = append(parts, int(byNATS.Swap(0)))
		for range parts[len(parts)-1] {
			seen[<-queue]++
		}
		return parts
	}
	total := func(parts []int) (n int) {
		for _, p := range parts {
			n += p
		}
		return n
	}
	send("four ")
	parts := collect(members)
	if total(parts) != each {
		t.Errorf("%v: %d messages for %d sent", parts, total(parts), each)
	}
	// NATS chooses between the gateway (one member to it) and the backend at random, the gateway then takes turns.
	for i, p := range parts {
		if p < each/16 {
			t.Errorf("member %d got %d of %d: %v", i, p, each, parts)
		}
	}
	members[0].disconnect()
	if err := sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r.eventually("the member is gone", func() bool { return r.sum().sessions == 4 })
	send("two ")
	parts = collect(members[1:])
	if total(parts) != each || parts[0] < each/3 || parts[1] < each/3 {
		t.Errorf("%v of %d", parts, each)
	}
	for payload, n := range seen {
		if n != 1 {
			t.Errorf("%q came %d times", payload, n)
		}
	}
}

// TestSharedAndNormal: a device that holds both a shared and a normal subscription gets a message once for each;
// unsubscribing one leaves the other; see fault class 9.
func TestSharedAndNormal(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	c := r.connect(mqtt.V5, "both")
	c.subscribe(1, "$share/g/s/x", "s/x", "fence")
	p := r.connect(mqtt.V5, r.ids("p", 1-r.homeOf("both"), 1)[0])
	count := func(want int) {
		t.Helper()
		p.publish(1, "s/x", "m")
		if err := nc.Publish("s.x", []byte("n")); err != nil {
			t.Fatal(err)
		}
		if got := len(r.fence(nc, c)[0]); got != want {
			t.Errorf("%d messages, want %d", got, want)
		}
	}
	count(4)
	c.id++
	c.write(mqtt.AppendUnsubscribe(nil, c.v, c.id, []mqtt.Filter{{Topic: []byte("s/x")}}))
	c.expect(mqtt.TypeUnsuback)
	count(2)
	c.id++
	c.write(mqtt.AppendUnsubscribe(nil, c.v, c.id, []mqtt.Filter{{Topic: []byte("$share/g/s/x")}, {Topic: []byte("$share/h/s/x")}}))
	if g := c.expect(mqtt.TypeUnsuback); fmt.Sprint(g.Reasons) != fmt.Sprint([]mqtt.Reason{0, mqtt.NoSubscriptionExisted}) {
		t.Errorf("UNSUBACK %v", g.Reasons)
	}
	count(0)
}

// TestSharedPrefersLive: while a member of a group is live, messages do not wait in the queue of one that is away.
func TestSharedPrefersLive(t *testing.T) {
	t.Parallel()
	r := start(t)
	away, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), r.ids("away", 0, 1)[0], persistent)
	away.subscribe(1, "$share/g/s/x")
	away.disconnect()
	c := r.connect(mqtt.V5, r.ids("live", 1, 1)[0])
	c.subscribe(1, "$share/g/s/x")
	p := r.connect(mqtt.V5, "p")
	for i := range 20 {
		p.publish(1, "s/x", fmt.Sprint(i))
		c.gets("s/x", fmt.Sprint(i))
	}
	if n := r.sum().queued; n != 0 {
		t.Errorf("%d messages wait", n)
	}
}
