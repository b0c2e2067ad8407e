package gateway

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// sharing is a gateway of three loops whose groups have a strategy.
func sharing(t *testing.T, strategy string, mods ...func(c *Config)) *rig {
	return start(t, append([]func(c *Config){func(c *Config) { c.Loops, c.MQTT.SharedStrategy = 3, strategy }}, mods...)...)
}

// members are live members of $share/g/s/#, perShard[i] of them on shard i, that hear the fence too.
func (r *rig) members(perShard ...int) (list []*client) {
	r.t.Helper()
	for shard, n := range perShard {
		for _, id := range r.ids("member", shard, n) {
			c := r.connect(mqtt.V5, id)
			c.subscribe(1, "$share/g/s/#", "fence")
			list = append(list, c)
		}
	}
	return list
}

// shares is how many messages each member got, by what name makes of one.
func (r *rig) shares(nc *nats.Conn, list []*client, name func(g *got) string) (by []map[string]int) {
	r.t.Helper()
	for _, before := range r.fence(nc, list...) {
		had := map[string]int{}
		for _, g := range before {
			had[name(g)]++
		}
		by = append(by, had)
	}
	return by
}

// owners fails unless each name is one member's alone, and returns whose, and how many names each has.
func owners(t *testing.T, by []map[string]int) (owner map[string]int, counts []int) {
	t.Helper()
	owner, counts = map[string]int{}, make([]int, len(by))
	for i, had := range by {
		for name := range had {
			if other, twice := owner[name]; twice {
				t.Errorf("%s went to member %d and to member %d", name, other, i)
			}
			owner[name] = i
			counts[i]++
		}
	}
	return owner, counts
}

func byTopic(g *got) string   { return g.topic }
func byPayload(g *got) string { return g.payload }

// TestSharedHashTopic: with members on three shards all messages of a topic, of devices and backends, go to one of them; every
// member has topics; when one goes, the topics of most others stay where they were.
func TestSharedHashTopic(t *testing.T) {
	t.Parallel()
	const topics = 60
	r := sharing(t, "hash-topic")
	nc := r.nats()
	list := r.members(2, 1, 1)
	p := r.connect(mqtt.V5, "pub")
	send := func() map[string]int {
		t.Helper()
		for i := range 2 * topics {
			topic := fmt.Sprint("s/", i%topics)
			p.publish(1, topic, "device")
			if err := nc.Publish(fmt.Sprint("s.", i%topics), []byte("backend")); err != nil {
				t.Fatal(err)
			}
		}
		owner, counts := owners(t, r.shares(nc, list, byTopic))
		if len(owner) != topics {
			t.Fatalf("%d topics came, of %d", len(owner), topics)
		}
		for i, n := range counts {
			if n < topics/len(list)/5 {
				t.Errorf("member %d has %d of %d topics: %v", i, n, topics, counts)
			}
		}
		return owner
	}
	before := send()
	list[3].disconnect()
	list = list[:3]
	r.eventually("the member is gone", func() bool { return r.sum().sessions == len(list)+1 })
	moved := 0
	for topic, who := range send() {
		if before[topic] != 3 && before[topic] != who {
			moved++
		}
	}
	if moved > 0 { // its shard has no other member, so that only its own topics move
		t.Errorf("%d topics of members that stayed have moved", moved)
	}
}

// TestSharedHashClient: all messages of a publisher go to one member, whatever their topic; those of a backend go by topic.
func TestSharedHashClient(t *testing.T) {
	t.Parallel()
	const pubs = 30
	r := sharing(t, "hash-client")
	nc := r.nats()
	list := r.members(1, 1, 1)
	for i := range pubs {
		p := r.connect(mqtt.V5, fmt.Sprint("pub", i))
		for k := range 5 {
			p.publish(1, fmt.Sprint("s/", k), fmt.Sprint("pub", i))
		}
		p.disconnect()
	}
	owner, counts := owners(t, r.shares(nc, list, byPayload))
	if len(owner) != pubs || counts[0] == 0 || counts[1] == 0 || counts[2] == 0 {
		t.Errorf("%d publishers, shared as %v", len(owner), counts)
	}
	for i := range 90 {
		if err := nc.Publish(fmt.Sprint("s.", i%30), []byte("backend")); err != nil {
			t.Fatal(err)
		}
	}
	if owner, _ = owners(t, r.shares(nc, list, byTopic)); len(owner) != 30 {
		t.Errorf("%d topics of the backend came", len(owner))
	}
}

// TestSharedSticky: one member has every message until it goes, although others are on other shards; its return changes nothing.
func TestSharedSticky(t *testing.T) {
	t.Parallel()
	r := sharing(t, "sticky")
	nc := r.nats()
	list := r.members(1, 1, 2)
	p := r.connect(mqtt.V5, "pub")
	who := func() int {
		t.Helper()
		for i := range 10 {
			p.publish(1, fmt.Sprint("s/", i), "x")
		}
		_, counts := owners(t, r.shares(nc, list, byTopic))
		at := -1
		for i, n := range counts {
			switch n {
			case 0:
			case 10:
				at = i
			default:
				t.Fatalf("shared as %v", counts)
			}
		}
		return at
	}
	for len(list) > 1 {
		at := who()
		if again := who(); again != at {
			t.Fatalf("member %d after member %d", again, at)
		}
		list[at].disconnect()
		list = append(list[:at:at], list[at+1:]...)
		r.eventually("the member is gone", func() bool { return r.sum().sessions == len(list)+1 })
	}
	who() // the last one has it now
	list = append(list, r.connect(mqtt.V5, "new"))
	list[1].subscribe(1, "$share/g/s/#", "fence")
	if at := who(); at != 0 {
		t.Errorf("member %d has it", at)
	}
}

// TestSharedLeastInflight: of two members on one shard the one that does not acknowledge gets no more than is unacknowledged at the other.
func TestSharedLeastInflight(t *testing.T) {
	t.Parallel()
	r := sharing(t, "least-inflight")
	var slow, quick *client
	for i, id := range r.ids("member", 2, 2) {
		c := r.connect(mqtt.V5, id)
		c.subscribe(1, "$share/g/s/#")
		if i == 0 {
			slow = c
		} else {
			quick = c
		}
	}
	p := r.connect(mqtt.V5, "pub")
	p.publish(1, "s/x", "0")
	p.publish(1, "s/x", "1")
	slow.expect(mqtt.TypePublish) // and is silent about it
	quick.message()
	quick.ping()
	for i := range 20 {
		p.publish(1, "s/x", fmt.Sprint("more ", i))
		quick.gets("s/x", fmt.Sprint("more ", i))
		quick.ping() // the acknowledgement was read
	}
	slow.ping()
}

// TestSharedGroups: single groups have strategies of their own, and the rest takes turns.
func TestSharedGroups(t *testing.T) {
	t.Parallel()
	r := sharing(t, "round-robin", func(c *Config) { c.MQTT.SharedGroups = []string{"one=sticky", "a=b=hash-topic"} })
	if got := r.gw.interests.shared.of("a=b"); got != session.HashTopic {
		t.Errorf("a=b has %v", got)
	}
	nc := r.nats()
	var list []*client
	for shard := range 3 {
		c := r.connect(mqtt.V5, r.ids("member", shard, 1)[0])
		c.subscribe(1, "$share/one/s/#", "$share/many/m/#", "fence")
		list = append(list, c)
	}
	p := r.connect(mqtt.V5, "pub")
	for i := range 12 {
		p.publish(1, "s/x", fmt.Sprint("s", i))
		p.publish(1, "m/x", fmt.Sprint("m", i))
	}
	sticky := 0
	for i, had := range r.shares(nc, list, byTopic) {
		if had["m/x"] != 4 {
			t.Errorf("member %d has %d messages of the group that takes turns", i, had["m/x"])
		}
		if had["s/x"] > 0 {
			sticky++
		}
	}
	if sticky != 1 {
		t.Errorf("%d members have messages of the sticky group", sticky)
	}
}
