package gateway

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"weak"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// TestReplayHoldsNothing: a replay that waits keeps no message that was replaced meanwhile, goes on with those that topics have now, and leaves
// out topics that are new, since they come live.
func TestReplayHoldsNothing(t *testing.T) {
	const topics = 300
	store := retainedStore{max: 2 * topics, bytesMax: 1 << 20}
	set := func(topic, payload string) {
		store.set(1, &session.Message{Topic: []byte(topic), Payload: []byte(payload)})
	}
	var old [topics]weak.Pointer[retainedMsg]
	for i := range topics {
		topic := fmt.Sprintf("a/%03d", i)
		set(topic, "old")
		old[i] = weak.Make(store.get(topic))
	}
	table := session.NewTable(&session.Limits{})
	sess, _ := table.Open(1, &session.Connect{ClientID: []byte("c"), Version: 5}, 1, &session.Out{})
	p := store.begin(sess, session.Replay{Filter: "a/#"})
	exact := store.begin(sess, session.Replay{Filter: "a/new"})
	got := map[string]string{}
	take := func(topic string) bool {
		got[topic] += string(store.get(topic).payload)
		return len(got) != 100 // blocked there, and asked again
	}
	for len(got) < 100 {
		p.step(&store, replayShare, take)
	}
	for i := range topics {
		set(fmt.Sprintf("a/%03d", i), "now")
		set(fmt.Sprintf("a/%03d/new", i), "new")
	}
	set("a/new", "new")
	runtime.GC()
	kept := 0
	for _, was := range old {
		if was.Value() != nil {
			kept++
		}
	}
	if kept > topics/4 { // the tree itself has some in unused room; a snapshot would have all
		t.Errorf("%d messages that were replaced are still kept", kept)
	}
	for done := false; !done; {
		_, done = p.step(&store, replayShare, func(topic string) bool { take(topic); return true })
	}
	if len(got) != topics || got["a/000"] != "old" || got["a/099"] != "oldnow" || got["a/299"] != "now" {
		t.Errorf("%d topics, %q %q %q", len(got), got["a/000"], got["a/099"], got["a/299"])
	}
	if _, done := exact.step(&store, 1, func(string) bool { t.Error("a topic that is new"); return true }); !done {
		t.Error("one topic is not enough for a filter without wildcards")
	}
	runtime.KeepAlive(p)
}

// TestRetainedReplayWithinQueueBytes: large retained messages for a device that acknowledges one after the other wait in the store, not in a queue
// that has no room for them; also those that no queue could take.
func TestRetainedReplayWithinQueueBytes(t *testing.T) {
	t.Parallel()
	const topics = 30
	r := start(t, func(c *Config) { c.MQTT.InflightMax, c.Session.QueueBytesMax = 2, 64<<10 })
	p := r.connect(mqtt.V5, "pub")
	size := func(i int) int { return []int{20 << 10, 100 << 10}[i%2] }
	for i := range topics {
		p.publish(1, fmt.Sprintf("large/%02d", i), strings.Repeat("x", size(i)), retained)
	}
	c := r.connect(mqtt.V5, "c")
	c.subscribe(1, "large/+")
	for i := range topics {
		if g := c.message(); g.topic != fmt.Sprintf("large/%02d", i) || len(g.payload) != size(i) {
			t.Fatalf("message %d is %s with %d bytes", i, g.topic, len(g.payload))
		}
	}
	c.ping()
	if drops := r.sum().drops; drops != (snapshot{}).drops {
		t.Errorf("dropped %v", drops)
	}
}

// TestRetainedExpiryMax: a retained message is forgotten after the longest time, with an expiry beyond it or without; what a subscriber
// is told of its expiry is the publisher's own.
func TestRetainedExpiryMax(t *testing.T) {
	t.Parallel()
	store := retainedStore{max: 10, bytesMax: 1 << 20, expirySec: 100}
	for topic, expiry := range map[string]uint32{"none": 0, "long": 5000, "short": 50} {
		store.set(1000, &session.Message{Topic: []byte(topic), Payload: []byte("x"), ExpiresAtSec: map[bool]uint32{true: 1000 + expiry}[expiry > 0]})
	}
	for _, step := range []struct {
		at   uint32
		left int
	}{{1049, 3}, {1050, 2}, {1099, 2}, {1100, 0}} {
		store.sweep(step.at, 100)
		if n, _ := store.size(); n != step.left {
			t.Errorf("%d messages at %d, want %d", n, step.at, step.left)
		}
	}

	r := start(t, func(c *Config) { c.MQTT.RetainedExpiryMax = 2e9 })
	p := r.connect(mqtt.V5, "pub")
	p.publish(1, "r/none", "x", retained)
	p.publish(1, "r/long", "x", retained, func(o *mqtt.PublishOut) { o.HasExpiry, o.ExpirySec = true, 1000 })
	c := r.connect(mqtt.V5, "c")
	c.subscribe(1, "r/#")
	if g := c.gets("r/long", "x"); g.Props.MessageExpirySec < 990 {
		t.Errorf("expiry %d", g.Props.MessageExpirySec)
	}
	if g := c.gets("r/none", "x"); g.Props.Has(mqtt.PropMessageExpiry) {
		t.Error("an expiry that the publisher did not give")
	}
	r.eventually("both are forgotten", func() bool { return r.retainedTopics() == 0 })
}

// TestRetainedSweep: among very many topics what has expired is forgotten within two minutes all the same.
func TestRetainedSweep(t *testing.T) {
	const topics = 200_000
	store := retainedStore{max: topics, bytesMax: 64 << 20}
	for i := range topics {
		store.set(1, &session.Message{Topic: fmt.Appendf(nil, "t/%d", i), Payload: []byte("x"), ExpiresAtSec: uint32(5 + i%2*1000)})
	}
	for sec := range uint32(2 * sweepSec) {
		n, _ := store.size()
		store.sweep(10+sec, max(sweepTopics, n/sweepSec+1))
	}
	if n, _ := store.size(); n > topics/2+topics/20 {
		t.Errorf("%d of %d topics are left", n, topics)
	}
}

// TestReplaysThatWait: devices that acknowledge nothing keep neither their loop busy nor the replays of others back; each gets the rest
// when it goes on, also when it went away meanwhile, and nothing once it has unsubscribed.
func TestReplaysThatWait(t *testing.T) {
	t.Parallel()
	const topics, devices = 300, 40
	r := start(t, func(c *Config) { c.Loops, c.MQTT.InflightMax, c.Session.QueueCountMax = 1, 10, 20 })
	p := r.connect(mqtt.V5, "pub")
	for i := range topics {
		p.publish(1, fmt.Sprintf("r/%03d", i), "x", retained)
	}
	var silent []*client
	for i := range devices {
		c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), fmt.Sprint("silent", i), persistent)
		c.subscribe(1, "r/#")
		silent = append(silent, c)
	}
	r.eventually("all wait", func() bool {
		s := r.sum()
		return s.queued == 10*devices && s.replays == 0
	})
	before := r.sum().loop.Ticks
	other := r.connect(mqtt.V5, "other")
	other.subscribe(1, "r/#")
	for i := range topics {
		other.gets(fmt.Sprintf("r/%03d", i), "x")
	}
	other.ping()
	if ticks := r.sum().loop.Ticks - before; ticks > 10*topics {
		t.Errorf("%d ticks", ticks)
	}
	gone, leaves, stays := silent[0], silent[1], silent[2]
	gone.reset()
	r.eventually("it is away", func() bool { return r.sum().sessionsLive == devices+1 })
	gone, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "silent0", persistent)
	for i := range topics {
		gone.gets(fmt.Sprintf("r/%03d", i), "x")
	}
	gone.ping()
	leaves.write(mqtt.AppendUnsubscribe(nil, mqtt.V5, 77, []mqtt.Filter{{Topic: []byte("r/#")}}))
	for i := range 20 { // what was sent and queued before
		if i == 10 {
			leaves.expect(mqtt.TypeUnsuback)
		}
		leaves.gets(fmt.Sprintf("r/%03d", i), "x")
	}
	leaves.ping()
	for i := range topics {
		stays.gets(fmt.Sprintf("r/%03d", i), "x")
	}
	stays.ping()
	if drops := r.sum().drops; drops != (snapshot{}).drops {
		t.Errorf("dropped %v", drops)
	}
}

// TestReplayWithoutQueue: where no message may wait, retained ones wait in the store until they can be sent.
func TestReplayWithoutQueue(t *testing.T) {
	t.Parallel()
	const topics = 100
	r := start(t, func(c *Config) { c.MQTT.InflightMax, c.Session.QueueCountMax = 4, 0 })
	p := r.connect(mqtt.V5, "pub")
	for i := range topics {
		p.publish(1, fmt.Sprintf("r/%03d", i), "x", retained)
	}
	c := r.connect(mqtt.V5, "c")
	c.subscribe(1, "r/#")
	for i := range topics {
		c.gets(fmt.Sprintf("r/%03d", i), "x")
	}
	c.ping()
	if drops := r.sum().drops; drops != (snapshot{}).drops {
		t.Errorf("dropped %v", drops)
	}
}

// TestReplayOptionsChange: a SUBSCRIBE that wants no retained messages changes the options of those still to come: QoS and identifier
// are the newer subscription's [MQTT-3.8.4-3].
func TestReplayOptionsChange(t *testing.T) {
	t.Parallel()
	const topics = 100
	r := start(t, func(c *Config) { c.MQTT.InflightMax, c.Session.QueueCountMax = 4, 8 })
	p := r.connect(mqtt.V5, "pub")
	for i := range topics {
		p.publish(1, fmt.Sprintf("r/%03d", i), "x", retained)
	}
	c := r.connect(mqtt.V5, "c")
	filter := mqtt.Filter{Topic: []byte("r/#"), QoS: 1}
	c.subscribeTo(1, filter)
	r.eventually("it waits", func() bool { s := r.sum(); return s.queued == 4 && s.replays == 0 })
	filter.QoS, filter.RetainHandling = 0, 2
	c.write(mqtt.AppendSubscribe(nil, mqtt.V5, 77, []mqtt.Filter{filter}, 2))
	// Each topic once; in no order between the two QoS.
	seen := map[string]bool{}
	for len(seen) < topics {
		g := c.must()
		if g.Type == mqtt.TypeSuback {
			continue
		}
		if g.QoS == 1 {
			c.write(mqtt.AppendPuback(nil, c.v, g.PacketID, mqtt.Success))
		}
		if newer := g.topic >= "r/008"; seen[g.topic] || newer != (g.Props.SubscriptionIDs[0] == 2) || newer != (g.QoS == 0) {
			t.Fatalf("%s: QoS %d, ids %v, seen before: %v", g.topic, g.QoS, g.Props.SubscriptionIDs, seen[g.topic])
		}
		seen[g.topic] = true
	}
	c.ping()
}

// TestReplayAfterHeldSuback: the retained messages of a subscription whose connection ended before NATS knew it come to the next
// connection of the session.
func TestReplayAfterHeldSuback(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Loops = 1 })
	p := r.connect(mqtt.V5, "pub")
	p.publish(1, "r/x", "kept", retained)
	c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent)
	r.gw.shards[0].doSoon(func(s *shard) {
		// As SUBSCRIBE does it while NATS is slow: the connection ends before the interest is confirmed.
		sess := s.table.Get([]byte("c"))
		conn := s.loop.Conn(epoll.Handle(sess.Owner()))
		s.filters = append(s.filters[:0], session.Filter{Topic: []byte("r/#"), QoS: 1})
		s.event = session.Event{Kind: session.Subscribe, PacketID: 1, Filters: s.filters}
		s.out.Reset()
		sess.Step(s.loop.NowSec(), &s.event, &s.out)
		s.finishOrHold(conn, nil)
		s.close(conn, s.devices.At(conn.Slot()), reasonKeepAlive)
	})
	c.endsWith(mqtt.KeepAliveTimeout, 0)
	c, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent)
	c.gets("r/x", "kept")
	c.ping()
}
