package gateway

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// inNATS has retained messages kept in NATS.
func inNATS(c *Config) { c.Durable.Default = "log" }

// retainedBucket is the bucket as a backend sees it; it is made if need be.
func retainedBucket(t *testing.T, nc *nats.Conn) nats.KeyValue {
	t.Helper()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.AddStream(&nats.StreamConfig{
		Name: "KV_TG_retained", Subjects: []string{"$KV.TG_retained.>"}, MaxMsgsPerSubject: 1, Discard: nats.DiscardNew,
		AllowDirect: true, AllowRollup: true, DenyDelete: true, AllowMsgTTL: true,
	})
	if err != nil && !errors.Is(err, nats.ErrStreamNameAlreadyInUse) {
		t.Fatal(err)
	}
	kv, err := js.KeyValue("TG_retained")
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// mirrored waits until a gateway knows all that the bucket has, and nothing is on its way.
func (r *rig) mirrored() {
	r.t.Helper()
	r.eventually("the mirror is whole", func() bool {
		s := &r.gw.retained
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.mirror != nil && s.mirror.whole && len(s.mirror.own) == 0 && len(s.mirror.settling) == 0
	})
}

// mirrorOf is what a gateway would send for "#".
func (r *rig) mirrorOf() map[string]string {
	s := &r.gw.retained
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]string{}
	bytes := 0
	s.topics.Scan(func(topic string, m *retainedMsg) bool {
		all[topic] = string(m.payload)
		bytes += m.size(topic)
		return true
	})
	if bytes != s.bytes {
		r.t.Errorf("the store counts %d bytes and has %d", s.bytes, bytes)
	}
	return all
}

// bucketHas is what a backend finds in the bucket, for topics that are their keys with "/" for ".".
func bucketHas(t *testing.T, kv nats.KeyValue) map[string]string {
	t.Helper()
	w, err := kv.WatchAll(nats.IgnoreDeletes())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Stop() }()
	all := map[string]string{}
	for e := range w.Updates() {
		if e == nil {
			break
		}
		topic := []byte(e.Key())
		for i, c := range topic {
			if c == '.' {
				topic[i] = '/'
			}
		}
		all[string(topic)] = string(e.Value())
	}
	return all
}

// TestRetainedBackend: a backend reads what devices retain, and sets and deletes it, with nothing but the bucket. What it puts is
// a publish to whoever is subscribed, with the flag only for those who want it; what a gateway puts is not delivered twice.
func TestRetainedBackend(t *testing.T) {
	t.Parallel()
	r := start(t, inNATS)
	kv := retainedBucket(t, r.nats())
	r.mirrored()
	live := r.connect(mqtt.V5, r.ids("live", 0, 1)[0])
	live.subscribe(2, "devices/#")
	asking := r.connect(mqtt.V5, r.ids("asking", 1, 1)[0])
	asking.subscribeTo(3, mqtt.Filter{Topic: []byte("devices/+/conf"), QoS: 1, RetainAsPublished: true, RetainHandling: 2})
	p := r.connect(mqtt.V5, "pub")
	p.publish(2, "devices/d1/conf", "from a device", retained, func(o *mqtt.PublishOut) {
		o.Props = mqtt.AppendContentType(nil, []byte("text/plain"))
	})
	for _, c := range []*client{live, asking} {
		c.gets("devices/d1/conf", "from a device")
	}
	r.mirrored()
	e, err := kv.Get("devices.d1.conf")
	if err != nil || string(e.Value()) != "from a device" {
		t.Fatal(e, err)
	}
	if _, err = kv.PutString("devices.d1.conf", "on"); err != nil {
		t.Fatal(err)
	}
	if g := live.gets("devices/d1/conf", "on"); g.Retain || g.QoS != 1 {
		t.Errorf("live: flag %v, QoS %d", g.Retain, g.QoS)
	}
	if g := asking.gets("devices/d1/conf", "on"); !g.Retain {
		t.Error("retain as published: no flag")
	}
	late := r.connect(mqtt.V5, "late")
	late.subscribe(1, "devices/+/conf")
	if g := late.gets("devices/d1/conf", "on"); !g.Retain || g.QoS != 1 {
		t.Errorf("late: flag %v, QoS %d", g.Retain, g.QoS)
	}
	if err = kv.Delete("devices.d1.conf"); err != nil {
		t.Fatal(err)
	}
	r.eventually("it is deleted", func() bool { return r.retainedTopics() == 0 })
	p.publish(1, "devices/d2/conf", "x", retained)
	p.publish(1, "devices/d2/conf", "", retained)
	r.mirrored()
	if all := bucketHas(t, kv); len(all) != 0 || r.retainedTopics() != 0 {
		t.Errorf("the bucket has %q, the gateway %q", all, r.mirrorOf())
	}
	for _, c := range []*client{live, asking} { // each once
		c.gets("devices/d2/conf", "x")
		c.gets("devices/d2/conf", "")
		c.ping()
	}
	late.gets("devices/d2/conf", "x")
	late.gets("devices/d2/conf", "")
	late.ping()
}

// TestRetainedTwoGateways: whatever is retained through one gateway is sent to new subscriptions at the other.
func TestRetainedTwoGateways(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	kv := retainedBucket(t, s.Conn(t))
	a, b := twoInNATS(t, s)
	pa, pb := a.connect(mqtt.V5, "pa"), b.connect(mqtt.V311, "pb")
	for i := range 50 {
		pa.publish(1, fmt.Sprintf("c/a/%d", i), "a", retained)
		pb.publish(0, fmt.Sprintf("c/b/%d", i), "b", retained)
	}
	pb.ping()
	pa.publish(1, "c/a/0", "", retained)
	both(a, b, kv, 99)
	for _, r := range []*rig{a, b} {
		c := r.connect(mqtt.V5, "c")
		c.subscribe(1, "c/#")
		for range 99 {
			if m := c.message(); !m.Retain {
				t.Fatal("without the flag")
			}
		}
		c.ping()
		c.disconnect()
	}
}

// twoInNATS is two gateways on one NATS, which keep retained messages there.
func twoInNATS(t *testing.T, s *bustest.Server) (a, b *rig) {
	t.Helper()
	inside := s.Conn(t).ConnectedUrl()
	a = start(t, inNATS, func(c *Config) { c.NATS.URL, c.Node = inside, "a" })
	b = start(t, inNATS, func(c *Config) { c.NATS.URL, c.Node = s.URL(), "b" })
	meet(a, b)
	a.mirrored()
	b.mirrored()
	return a, b
}

// both waits until both gateways have what the bucket has, and that is n topics.
func both(a, b *rig, kv nats.KeyValue, n int) {
	a.t.Helper()
	var want map[string]string
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		a.mirrored()
		b.mirrored()
		want = bucketHas(a.t, kv)
		if (n < 0 || len(want) == n) && maps.Equal(a.mirrorOf(), want) && maps.Equal(b.mirrorOf(), want) {
			return
		}
		if time.Now().After(end) {
			a.t.Fatalf("bucket %d topics, want %d; a %d, b %d:\n%.500q\n%.500q\n%.500q",
				len(want), n, len(a.mirrorOf()), len(b.mirrorOf()), want, a.mirrorOf(), b.mirrorOf())
		}
	}
}

// TestRetainedEarly: a device that subscribes before the gateway knows what is retained gets all of it.
func TestRetainedEarly(t *testing.T) {
	t.Parallel()
	const topics = 5000
	s := bustest.Start(t)
	nc := s.Conn(t)
	kv := retainedBucket(t, nc)
	for i := range topics {
		if err := nc.Publish(fmt.Sprintf("$KV.TG_retained.early.%04d", i), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kv.PutString("early.last", "x"); err != nil { // behind all of them
		t.Fatal(err)
	}
	s.Shut()
	r := start(t, inNATS, func(c *Config) { c.NATS.URL = s.URL() })
	c := r.connect(mqtt.V5, "early")
	c.write(mqtt.AppendSubscribe(nil, c.v, 1, []mqtt.Filter{{Topic: []byte("early/#"), QoS: 1}}, 0))
	s.Reopen()
	c.expect(mqtt.TypeSuback)
	for i := range topics {
		if g := c.gets(fmt.Sprintf("early/%04d", i), "x"); !g.Retain {
			t.Fatal("without the flag")
		}
	}
	c.gets("early/last", "x")
	c.ping()
}

// TestRetainedBetween: a device that subscribes after the live message of another gateway has passed, and before the bucket has told it, gets it as
// a retained one.
func TestRetainedBetween(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	nc := s.Conn(t)
	retainedBucket(t, nc)
	_, b := twoInNATS(t, s)
	for i := range 5 {
		c := b.connect(mqtt.V5, fmt.Sprint("c", i))
		c.subscribe(1, "between/#")
		topic := fmt.Sprint("between/", i)
		put := nats.NewMsg(fmt.Sprint("$KV.TG_retained.between.", i))
		put.Header.Set("TG", "1r c=elsewhere")
		put.Data = []byte("x")
		if _, err := nc.RequestMsg(put, patience); err != nil {
			t.Fatal(err)
		}
		for g := c.message(); g.topic != topic; g = c.message() {
			if !g.Retain {
				t.Errorf("%s is not retained", g.topic)
			}
		}
		c.ping()
		c.disconnect()
	}
}

// TestRetainedRace: two gateways and a backend set and delete the same topics at the same time, thousands of times, while one of the gateways loses
// NATS again and again; when all is quiet both have what the bucket has.
func TestRetainedRace(t *testing.T) {
	t.Parallel()
	const topics, rounds = 64, 4000
	s := bustest.Start(t)
	kv := retainedBucket(t, s.Conn(t))
	a, b := twoInNATS(t, s)
	var storm sync.WaitGroup
	for i, r := range []*rig{a, a, b, b} {
		name := fmt.Sprint("writer-", i)
		p := r.connect(mqtt.V5, r.ids(name, i%2, 1)[0])
		storm.Go(func() {
			var out []byte
			for n := range rounds {
				o := mqtt.PublishOut{Topic: fmt.Appendf(nil, "race/%d", n%topics), Payload: fmt.Appendf(nil, "%s-%d", name, n), Retain: true}
				if n%17 == 5 {
					o.Payload = nil
				}
				if out = mqtt.AppendPublish(out, mqtt.V5, &o); n%50 == 49 {
					p.write(out)
					p.ping()
					out = out[:0]
				}
			}
		})
	}
	storm.Go(func() {
		for n := range rounds / 10 {
			key := fmt.Sprintf("race.%d", n%topics)
			if n%7 == 3 {
				_ = kv.Delete(key)
			} else if _, err := kv.PutString(key, fmt.Sprint("backend-", n)); err != nil {
				t.Error(err)
			}
		}
	})
	storm.Go(func() {
		for range 3 {
			b.eventually("it is connected", func() bool { return b.gw.bus.Status().Connected() })
			s.Sever()
		}
	})
	storm.Wait()
	both(a, b, kv, -1)
	x := a.gw.retained.mirror
	t.Logf("a: %+v, %+v", x.count, a.gw.bus.RetainedCounters())
	x = b.gw.retained.mirror
	t.Logf("b: %+v, %+v", x.count, b.gw.bus.RetainedCounters())
}

// TestRetainedNeverGoesBack: while a message of ours is on its way, older ones that the bucket tells do not show, nor do they when it is
// stored and they come late; a later one does.
func TestRetainedNeverGoesBack(t *testing.T) {
	type put struct {
		payload string
		done    func(uint64, error)
	}
	var puts []put
	setup := func() *retainedStore {
		puts = nil
		return mirroredStore(func(payload string, done func(uint64, error)) { puts = append(puts, put{payload, done}) })
	}
	shown := func(r *retainedStore, want string) {
		t.Helper()
		got := ""
		if m := r.get("x"); m != nil {
			got = string(m.payload)
		}
		if got != want {
			t.Errorf("shows %q, want %q", got, want)
		}
	}
	r := setup()
	tell(r, 1, "first")
	r.set(1, &session.Message{Topic: []byte("x"), Payload: []byte("ours")})
	tell(r, 2, "older")
	shown(r, "ours")
	puts[0].done(3, nil)
	shown(r, "ours")
	tell(r, 3, "ours")
	shown(r, "ours")
	tell(r, 4, "later")
	shown(r, "later")

	r = setup()
	r.set(1, &session.Message{Topic: []byte("x"), Payload: []byte("ours")})
	tell(r, 5, "older")
	tell(r, 6, "ours")
	tell(r, 7, "later")
	shown(r, "ours")
	puts[0].done(6, nil)
	shown(r, "later")
	if r.mirror.count.overruled != 1 || len(r.mirror.own) != 0 {
		t.Errorf("%+v, %d own", r.mirror.count, len(r.mirror.own))
	}

	r = setup()
	tell(r, 1, "first")
	r.set(1, &session.Message{Topic: []byte("x")})
	shown(r, "")
	tell(r, 2, "older")
	puts[0].done(3, nil)
	shown(r, "")
	tell(r, 3, "")
	shown(r, "")

	r = setup()
	tell(r, 1, "first")
	r.set(1, &session.Message{Topic: []byte("x"), Payload: []byte("refused")})
	shown(r, "refused")
	puts[0].done(0, errors.New("full"))
	shown(r, "first")
	r.set(1, &session.Message{Topic: []byte("x"), Payload: []byte("good")})
	r.set(1, &session.Message{Topic: []byte("x"), Payload: []byte("bad")})
	puts[1].done(2, nil)
	puts[2].done(0, errors.New("full"))
	shown(r, "bad")
	tell(r, 2, "good")
	shown(r, "good")
	if r.mirror.count.failed != 2 || len(r.mirror.own) != 0 {
		t.Errorf("%+v, %d own", r.mirror.count, len(r.mirror.own))
	}
}

// TestRetainedRestart: retained messages outlive the gateway with its data directory, and a subscriber that connects as soon as it is back gets all
// of them, wills and messages with a bound on their time included.
func TestRetainedRestart(t *testing.T) {
	t.Parallel()
	const topics = 3000
	data := t.TempDir()
	again := func(c *Config) { c.Data, c.MQTT.RetainedExpiryMax = data, time.Hour }
	r := start(t, inNATS, again)
	nc := r.nats()
	retainedBucket(t, nc)
	p := r.connect(mqtt.V5, "pub")
	for i := range topics {
		p.publish(0, fmt.Sprintf("all/%04d", i), fmt.Sprint(i), retained)
	}
	p.publish(1, "all/gone", "x", retained)
	p.publish(1, "all/gone", "", retained)
	dying := r.connect(mqtt.V5, "dying", func(c *mqtt.ConnectOut) {
		c.HasWill, c.WillTopic, c.WillPayload, c.WillRetain, c.WillQoS = true, []byte("all/will"), []byte("w"), true, 1
	})
	dying.cut()
	r.eventually("the will", func() bool { return r.retainedTopics() == topics+1 })
	r.mirrored()
	js, _ := nc.JetStream()
	if m, err := js.GetLastMsg("KV_TG_retained", "$KV.TG_retained.all.will"); err != nil || m.Header.Get("Nats-TTL") != "3600" {
		t.Errorf("bound of the will: %v, %v", m, err)
	}
	p.publish(0, "all/~", "in the last moment", retained)
	p.ping()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = start(t, inNATS, again)
	c := r.connect(mqtt.V5, "first")
	c.subscribe(1, "all/#")
	for i := range topics {
		if g := c.gets(fmt.Sprintf("all/%04d", i), fmt.Sprint(i)); !g.Retain {
			t.Fatal("without the flag")
		}
	}
	c.gets("all/will", "w")
	c.gets("all/~", "in the last moment")
	c.ping()
	m := r.gw.retained.get("all/will")
	if left := m.untilSec - epoll.NowSec(); left > 3600 || left < 3000 {
		t.Errorf("%d s left of an hour", left)
	}
}

// TestRetainedBeforeBucket: without a bucket retained messages are in memory; what was set meanwhile is put when there is one.
func TestRetainedBeforeBucket(t *testing.T) {
	t.Parallel()
	r := start(t, inNATS)
	p := r.connect(mqtt.V5, "pub")
	p.publish(1, "m/1", "one", retained)
	p.publish(1, "m/2", "two", retained)
	p.publish(1, "m/2", "", retained)
	c := r.connect(mqtt.V5, "c")
	c.subscribe(1, "m/#")
	c.gets("m/1", "one") // after loadTime
	kv := retainedBucket(t, r.nats())
	r.mirrored()
	if all := bucketHas(t, kv); len(all) != 1 || all["m/1"] != "one" {
		t.Errorf("the bucket has %q", all)
	}
	if _, err := kv.PutString("m.3", "three"); err != nil {
		t.Fatal(err)
	}
	for g := c.message(); g.topic != "m/3"; g = c.message() { // all of it once more, as it may have been incomplete
		if g.topic != "m/1" || g.payload != "one" {
			t.Errorf("got %q %q", g.topic, g.payload)
		}
	}
}

// TestRetainDurably: the answer comes when the bucket has the message, not while NATS is away, and is no when it will not have it.
func TestRetainDurably(t *testing.T) {
	s := bustest.Start(t)
	nc := s.Conn(t)
	kv := retainedBucket(t, nc)
	r := start(t, inNATS, func(c *Config) { c.NATS.URL = s.URL() })
	r.mirrored()
	answers := make(chan bool, 1)
	ask := func(topic, payload string) {
		r.gw.retainDurably(&session.Message{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, Retain: true}, func(ok bool) { answers <- ok })
	}
	ask("d/1", "stored")
	if !<-answers {
		t.Error("not stored")
	} else if e, err := kv.Get("d.1"); err != nil || string(e.Value()) != "stored" {
		t.Errorf("answered, but the bucket says %v, %v", e, err)
	}
	s.Stop()
	ask("d/1", "away")
	select {
	case <-answers:
		t.Fatal("answered without NATS")
	case <-time.After(50 * time.Millisecond):
	}
	s.Restart()
	if !<-answers {
		t.Error("not stored")
	}
	js, _ := nc.JetStream()
	info, err := js.StreamInfo("KV_TG_retained")
	if err != nil {
		t.Fatal(err)
	}
	info.Config.MaxMsgs = 1
	if _, err = js.UpdateStream(&info.Config); err != nil {
		t.Fatal(err)
	}
	ask("d/2", "too much")
	if <-answers {
		t.Error("the bucket is full, but it was stored")
	}
	r.mirrored()
	if all := r.mirrorOf(); len(all) != 1 || all["d/1"] != "away" {
		t.Errorf("the gateway has %q", all)
	}
	bare := start(t, func(c *Config) { c.Durable.Default = "memory" })
	bare.gw.retainDurably(&session.Message{Topic: []byte("d/1"), Payload: []byte("memory")}, func(ok bool) { answers <- ok })
	if !<-answers || bare.retainedTopics() != 1 {
		t.Error("in memory only: not kept")
	}
}

// TestRetainedLimitsOfMirror: what others retain is held to this gateway's limits.
func TestRetainedLimitsOfMirror(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	kv := retainedBucket(t, s.Conn(t))
	for i := range 5 {
		if _, err := kv.PutString(fmt.Sprint("l.", i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, inNATS, func(c *Config) { c.NATS.URL, c.MQTT.RetainedMax = s.URL(), 3 })
	r.mirrored()
	x := r.gw.retained.mirror
	if n := r.retainedTopics(); n != 3 || x.count.unkept != 2 {
		t.Errorf("%d topics, %+v", n, x.count)
	}
}

// mirroredStore is a store whose puts go to f; tell has it hear of topic x.
func mirroredStore(f func(payload string, done func(uint64, error))) *retainedStore {
	r := &retainedStore{max: 100, bytesMax: 1 << 20}
	r.mirror = &retainedMirror{store: r, own: map[string]*ownPut{}, owed: map[string]struct{}{}}
	r.mirror.bucket = func(m *bus.Message, _ uint32, done func(uint64, error)) error {
		f(string(m.Payload), done)
		return nil
	}
	return r
}

func tell(r *retainedStore, rev uint64, payload string) {
	u := bus.RetainedUpdate{Kind: bus.RetainedSet, Revision: rev}
	u.Topic, u.Payload = []byte("x"), []byte(payload)
	if payload == "" {
		u.Kind = bus.RetainedDeleted
	}
	r.mirror.hear(1, []bus.RetainedUpdate{u})
}
