package gateway

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// two runs two gateways on one NATS. Their mqtt and ws ports are their own, any is one port that they share; the second
// reaches NATS through the door of the server.
//
// They keep sessions and messages in memory, so that claims are all there is between them.
func two(t *testing.T, s *bustest.Server) (a, b *rig) {
	t.Helper()
	return twoWith(t, s, "memory")
}

// twoDurable is two with messages in the log and sessions that move.
func twoDurable(t *testing.T, s *bustest.Server) (a, b *rig) {
	t.Helper()
	a, b = twoWith(t, s, "log")
	for _, r := range []*rig{a, b} {
		r.eventually("NATS can store", func() bool { ok, _ := r.gw.bus.Ready(); return ok })
	}
	return a, b
}

func twoWith(t *testing.T, s *bustest.Server, durable string) (a, b *rig) {
	t.Helper()
	inside := s.Conn(t).ConnectedUrl()
	a = start(t, func(c *Config) { c.NATS.URL, c.Node, c.SharePort, c.Durable.Default = inside, "a", true, durable })
	b = start(t, func(c *Config) {
		c.NATS.URL, c.Node, c.SharePort, c.Durable.Default = s.URL(), "b", true, durable
		c.Listeners[2] = "any://" + a.any
	})
	meet(a, b)
	return a, b
}

// meet waits until both gateways hear each other.
func meet(a, b *rig) {
	a.t.Helper()
	for _, r := range []*rig{a, b} {
		r.eventually("the gateways hear each other", func() bool { return r.gw.claims.peers() == 1 && !r.gw.claims.alone.Load() })
	}
}

// TestTakeoverElsewhere: a client id that connects to another gateway has its connection at the first one ended with
// 0x8E [MQTT-3.1.4-3]; its session there is gone with its filters, and nothing is queued for it any more.
func TestTakeoverElsewhere(t *testing.T) {
	t.Parallel()
	a, b := two(t, bustest.Start(t))
	n := uint64(0)
	for _, first := range transports {
		for _, second := range transports {
			n++
			old, _ := a.connectOn(a.via(first, mqtt.V5), "mover", persistent)
			old.subscribe(1, "mover/#")
			now, ack := b.connectOn(b.via(second, mqtt.V5), "mover", persistent)
			if ack.SessionPresent {
				t.Error("the session moved, but sessions do not")
			}
			old.endsWith(mqtt.SessionTakenOver, ws.PolicyViolation)
			a.closesBy(reasonTakenOver, 0, n)
			if s := a.sum(); s.takenElsewhere != n || s.sessions != 0 || s.filters != 0 {
				t.Errorf("%d taken, %d sessions, %d filters are left", s.takenElsewhere, s.sessions, s.filters)
			}
			now.ping()
			now.disconnect()
			back := a.connect(mqtt.V5, "mover")
			b.eventually("the parked session is gone", func() bool { return b.sum().sessions == 0 })
			back.disconnect()
		}
	}
	parked, _ := a.connectOn(a.via("tcp", mqtt.V5), "mover", persistent)
	b.eventually("the parked session is gone", func() bool { return b.sum().sessions == 0 })
	parked.subscribe(1, "mover/#")
	parked.disconnect()
	here := b.connect(mqtt.V5, "mover")
	a.eventually("the parked session is gone", func() bool { s := a.sum(); return s.sessions == 0 && s.filters == 0 })
	here.publish(1, "mover/x", "late")
	here.ping()
	if s := a.sum(); s.queued != 0 {
		t.Errorf("%d messages are queued for a session that is elsewhere", s.queued)
	}
	// A plain device is in the same space of ids.
	plain := a.dialWS("/ws/mover")
	here.endsWith(mqtt.SessionTakenOver, 0)
	_ = plain.CloseNow()
}

// TestWillElsewhere: the will of a connection that ends because its client id connected to another gateway is treated as
// in any takeover: published, unless it has a delay and the session would go on.
func TestWillElsewhere(t *testing.T) {
	t.Parallel()
	a, b := two(t, bustest.Start(t))
	watcher := b.connect(mqtt.V5, "watcher")
	watcher.subscribe(1, "wills/#")
	for i, c := range []struct {
		delay uint32
		clean bool
		want  bool
	}{{0, true, true}, {0, false, true}, {60, true, true}, {60, false, false}} {
		id := fmt.Sprint("will-", i)
		old, _ := a.connectOn(a.open(mqtt.V5, a.mqtt), id, persistent, func(o *mqtt.ConnectOut) {
			o.HasWill, o.WillTopic, o.WillPayload = true, []byte("wills/"+id), []byte("gone")
			o.WillDelaySec = c.delay
		})
		b.connectOn(b.open(mqtt.V5, b.mqtt), id, persistent, func(o *mqtt.ConnectOut) { o.CleanStart = c.clean })
		old.endsWith(mqtt.SessionTakenOver, 0)
		if c.want {
			watcher.gets("wills/"+id, "gone")
		}
		a.connect(mqtt.V5, "fence").publish(1, "wills/fence", id) // behind whatever the takeover published
		watcher.gets("wills/fence", id)
	}
}

// TestClaimRace: 200 client ids connect to both gateways at the same time, again and again: of each exactly one
// connection survives, and both gateways agree.
func TestClaimRace(t *testing.T) {
	t.Parallel()
	const ids, rounds = 200, 5
	a, b := two(t, bustest.Start(t))
	for round := range rounds {
		var list [2][ids]*client
		var storm sync.WaitGroup
		for g, r := range []*rig{a, b} {
			for w := range 8 {
				storm.Go(func() {
					for i := w; i < ids; i += 8 {
						c := r.open([]mqtt.Version{mqtt.V311, mqtt.V5}[i%2], r.mqtt)
						c.write(c.connectPacket(fmt.Sprint("racer-", i)))
						list[g][i] = c
					}
				})
			}
		}
		storm.Wait()
		a.eventually("one of each pair is left", func() bool { return a.sum().sessionsLive+b.sum().sessionsLive == ids })
		for i := range ids {
			a.eventually(fmt.Sprintf("round %d: one connection of %d survives", round, i), func() bool { // some CONNECT may not have been looked at yet
				return survivors(list[0][i], list[1][i]) == 1
			})
		}
		for g := range list {
			for _, c := range list[g] {
				c.conn.Close()
			}
		}
		a.eventually("all are gone", func() bool { return a.sum().sessions+b.sum().sessions == 0 && a.sockets()+b.sockets() == 0 })
	}
	if x, y := a.sum(), b.sum(); x.takenElsewhere+y.takenElsewhere != ids*rounds {
		t.Errorf("%d and %d were taken over, %d in all expected", x.takenElsewhere, y.takenElsewhere, ids*rounds)
	}
}

// survivors is how many of the connections answer a PINGREQ.
func survivors(list ...*client) (n int) {
	for _, c := range list {
		if c.tryWrite(mqtt.AppendPingreq(nil)) != nil {
			continue
		}
		for {
			g, err := c.next()
			if err != nil {
				break
			}
			if g.Type == mqtt.TypePingresp {
				n++
				break
			}
		}
	}
	return n
}

// TestOneGateway: devices come in at one port, which two gateways share; both get some, and everybody hears everybody, at
// each quality, exactly once.
func TestOneGateway(t *testing.T) {
	t.Parallel()
	const devices = 40
	a, b := two(t, bustest.Start(t))
	var all []*client
	for i := range devices {
		c, _ := a.connectOn(a.open([]mqtt.Version{mqtt.V311, mqtt.V5}[i%2], a.any), fmt.Sprint("dev-", i))
		c.subscribe(1, "all/#", fmt.Sprintf("dev-%d/#", i))
		all = append(all, c)
	}
	if x, y := a.sum().sessionsLive, b.sum().sessionsLive; x == 0 || y == 0 || x+y != devices {
		t.Fatalf("%d and %d devices", x, y)
	}
	for qos := range byte(2) {
		for i, c := range all {
			to := (i + 7) % devices
			c.write(mqtt.AppendPublish(nil, c.v, &mqtt.PublishOut{Topic: fmt.Appendf(nil, "dev-%d/x", to), Payload: fmt.Append(nil, i), QoS: qos, PacketID: 1000}))
		}
		for i, c := range all {
			from := (i + devices - 7) % devices
			if qos > 0 { // its own PUBACK may come before or after
				c.getsAmong(fmt.Sprintf("dev-%d/x", i), fmt.Sprint(from))
				continue
			}
			c.gets(fmt.Sprintf("dev-%d/x", i), fmt.Sprint(from))
		}
	}
	all[0].write(mqtt.AppendPublish(nil, all[0].v, &mqtt.PublishOut{Topic: []byte("all/x"), Payload: []byte("hello")}))
	for _, c := range all {
		c.gets("all/x", "hello")
		c.ping()
	}
}

// getsAmong expects a message and a PUBACK, in any order.
func (c *client) getsAmong(topic, payload string) {
	c.t.Helper()
	var message, ack bool
	for range 2 {
		switch g := c.must(); {
		case g.Type == mqtt.TypePuback:
			ack = true
		case g.Type == mqtt.TypePublish && g.topic == topic && g.payload == payload:
			message = true
			c.write(mqtt.AppendPuback(nil, c.v, g.PacketID, mqtt.Success))
		}
	}
	if !message || !ack {
		c.t.Errorf("message %v, PUBACK %v", message, ack)
	}
}

// TestClaimsAfterPartition: while a gateway is cut off from NATS, devices move in both directions, and nobody is told.
// When NATS is back, the older connection of each ends, and the newer one stays.
func TestClaimsAfterPartition(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	a, b := two(t, s)
	toB, toA := a.connect(mqtt.V5, "to-b"), b.connect(mqtt.V5, "to-a")
	s.Shut()
	b.eventually("b is cut off", func() bool { return !b.gw.bus.Status().Connected() })
	atB, atA := b.connect(mqtt.V5, "to-b"), a.connect(mqtt.V5, "to-a")
	for _, c := range []*client{toB, toA, atB, atA} {
		c.ping()
	}
	s.Reopen()
	toB.endsWith(mqtt.SessionTakenOver, 0)
	toA.endsWith(mqtt.SessionTakenOver, 0)
	atB.ping()
	atA.ping()
}

// TestClaimsAtFirstSight: a gateway that was alone until now hears which ids a new one has, and the other way round.
func TestClaimsAtFirstSight(t *testing.T) {
	t.Parallel()
	a := start(t, unrecorded, func(c *Config) { c.Listeners = c.Listeners[:1] })
	before := a.connect(mqtt.V5, "before")
	if n := a.gw.claims.sent.Load(); n != 0 {
		t.Errorf("%d claims of a gateway that is alone", n)
	}
	if a.gw.claims.timed.Load() {
		t.Error("a gateway that is alone keeps the times of connects")
	}
	b := start(t, func(c *Config) { c.NATS.URL = a.gw.Addrs().NATS })
	meet(a, b)
	here := b.connect(mqtt.V5, "before")
	before.endsWith(mqtt.SessionTakenOver, 0)
	here.ping()
	if err := b.stop(); err != nil {
		t.Error(err)
	}
	a.eventually("it is alone again at once", func() bool { return a.gw.claims.peers() == 0 && a.gw.claims.alone.Load() })
}

// TestClaimClocks: a device that moves on from a gateway whose clock is half an hour ahead is not called back there.
func TestClaimClocks(t *testing.T) {
	t.Parallel()
	a, b := two(t, bustest.Start(t))
	ahead := uint64(time.Now().Add(claimAheadMax / 2).UnixNano())
	a.gw.claims.passed(ahead)
	old := a.connect(mqtt.V5, "mover")
	b.eventually("b has heard of it", func() bool { return b.gw.claims.clock.Load() > ahead })
	now := b.connect(mqtt.V5, "mover")
	old.endsWith(mqtt.SessionTakenOver, 0)
	now.ping()
}

// ear hears what gateways tell, and speaks as one.
type ear struct {
	t    *testing.T
	nc   *nats.Conn
	sub  *nats.Subscription
	self message
}

func newEar(t *testing.T, s *bustest.Server) *ear {
	t.Helper()
	e := &ear{t: t, nc: s.Conn(t), self: message{by: 4711, clock: uint64(time.Now().UnixNano())}}
	var err error
	if e.sub, err = e.nc.SubscribeSync("_TG.gateways"); err != nil {
		t.Fatal(err)
	}
	if err := e.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *ear) say(claims ...claim) {
	e.t.Helper()
	e.self.seq++
	for _, k := range claims {
		e.self.clock = max(e.self.clock, k.at)
	}
	p := make([]byte, messageHead)
	writeHead(p, &e.self)
	for _, k := range claims {
		p = appendClaim(p, string(k.id), k.at, k.clean)
	}
	if err := e.nc.Publish("_TG.gateways", p); err != nil {
		e.t.Fatal(err)
	}
}

// hears waits for a message that f accepts.
func (e *ear) hears(what string, f func(m *message) bool) {
	e.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		p, err := e.sub.NextMsg(patience)
		if err != nil {
			e.t.Fatal(err)
		}
		if m, ok := readMessage(p.Data, ^uint64(0)); ok && m.by != e.self.by && f(&m) {
			return
		}
	}
	e.t.Fatalf("never heard: %s", what)
}

// claims tells whether a message claims id.
func (m *message) has(id string) bool {
	for rest := m.claims; len(rest) > 0; {
		k, more, ok := readClaim(rest)
		if !ok {
			return false
		}
		if string(k.id) == id {
			return true
		}
		rest = more
	}
	return false
}

// TestClaimProtocol: a gateway answers a stranger with all it has, asks one whose words it missed to say them again, claims
// again what an older claim disputes, and yields to a newer one. Nonsense moves nothing.
func TestClaimProtocol(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	r := start(t, func(c *Config) { c.NATS.URL = s.URL() })
	r.eventually("NATS is there, and has our subscription", func() bool { return r.gw.bus.Status().Connected() && r.gw.bus.Flush(t.Context()) == nil })
	c := r.connect(mqtt.V5, "mine")
	e := newEar(t, s)
	e.say()
	e.hears("all that it has", func(m *message) bool { return m.has("mine") })
	e.self.seq += 3 // words that are lost
	e.say()
	r.connect(mqtt.V5, "other")
	e.hears("a question", func(m *message) bool { return m.asks == e.self.by })
	e.self.asks = r.gw.claims.self
	e.say()
	left := map[string]bool{"mine": true, "other": true} // each of them in a message of its own, perhaps
	e.hears("the answer to mine", func(m *message) bool {
		for id := range left {
			if m.has(id) {
				delete(left, id)
			}
		}
		return len(left) == 0
	})
	e.self.asks = 0
	late := r.connect(mqtt.V5, "late")
	e.hears("its claim", func(m *message) bool { return m.has("late") })
	e.say(claim{id: []byte("late"), at: 5})
	e.hears("the same claim again", func(m *message) bool { return m.has("late") })
	late.ping()
	s.Shut()
	r.eventually("NATS is away", func() bool { return !r.gw.bus.Status().Connected() })
	s.Reopen()
	e.hears("everything again, unasked", func(m *message) bool { return m.has("late") })
	e.say()
	r.eventually("it hears again", func() bool {
		e.say(claim{id: []byte("late"), at: uint64(time.Now().UnixNano())})
		return r.sum().takenElsewhere == 1
	})
	late.endsWith(mqtt.SessionTakenOver, 0)
	for _, p := range [][]byte{nil, {1}, bytes.Repeat([]byte{0xFF}, 500), append(make([]byte, messageHead), 1, 2, 3)} {
		if err := e.nc.Publish("_TG.gateways", p); err != nil {
			t.Fatal(err)
		}
	}
	before := e.self.clock
	e.self.clock = 1 << 62
	e.say(claim{id: []byte("mine"), at: 1 << 62})
	e.self.clock = before
	c.ping()
	e.say(claim{id: []byte("nobody"), at: uint64(time.Now().UnixNano())}, claim{id: []byte("mine"), at: uint64(time.Now().UnixNano())})
	c.endsWith(mqtt.SessionTakenOver, 0)
	if n := r.gw.bus.Counters().InReserved; n != 0 {
		t.Errorf("%d reserved messages", n)
	}
}

// TestClaimsAreReserved: a device can neither claim nor hear claims.
func TestClaimsAreReserved(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	r := start(t, unrecorded, func(c *Config) { c.NATS.URL = s.URL() })
	r.eventually("NATS is there, and has our subscription", func() bool { return r.gw.bus.Status().Connected() && r.gw.bus.Flush(t.Context()) == nil })
	e := newEar(t, s)
	after, err := e.nc.SubscribeSync("after")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r.eventually("the gateway has its key", func() bool { return r.gw.keys.shared.Load() != nil }) // with that it speaks to JetStream no more
	c := r.connect(mqtt.V5, "thief")
	c.subscribe(1, "#", "_TG/#", "+/gateways")
	if got := c.publish(1, "_TG/gateways", "mine"); !got.Failed() {
		t.Errorf("PUBACK %v", got)
	}
	e.say()
	e.say(claim{id: []byte("victim"), at: 7})
	c.publish(0, "after", "x") // its own "#" brings it back
	c.gets("after", "x")
	if _, err := after.NextMsg(patience); err != nil { // all that it published before is at NATS, too
		t.Fatal(err)
	}
	for n, _, _ := e.sub.Pending(); n > 0; n-- {
		m, err := e.sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := readMessage(m.Data, ^uint64(0)); !ok {
			t.Errorf("a device told %q", m.Data)
		}
	}
	if n := r.gw.bus.Counters().InReserved; n != 0 {
		t.Errorf("claims count as reserved messages of devices: %d", n)
	}
}

// TestManyClaims: with more claims than one message, or the memory for them, holds, everything arrives in the end.
func TestManyClaims(t *testing.T) {
	t.Parallel()
	a, b := two(t, bustest.Start(t))
	x := a.gw.claims
	const n = 40_000 // two megabytes
	x.mu.Lock()
	for i := range n {
		x.append(fmt.Sprintf("somebody-with-a-long-client-id-%06d", i), uint64(i+1), false)
	}
	messages := len(x.pending)
	x.mu.Unlock()
	if messages < n*45/claimBytes {
		t.Fatalf("%d messages", messages)
	}
	live := a.connect(mqtt.V5, "live") // its claim may be lost, and is made up for
	b.eventually("all were heard", func() bool { return b.gw.claims.heard.Load() > n })
	now := b.connect(mqtt.V5, "live")
	live.endsWith(mqtt.SessionTakenOver, 0)
	now.ping()
}

// TestClaimsWithoutRoom: what waits is bounded; a claim beyond it counts as lost, and everything is to be claimed again.
func TestClaimsWithoutRoom(t *testing.T) {
	x := &claims{wake: make(chan struct{}, 1)}
	kept := 0
	for ; x.lost.Load() == 0; kept++ {
		if x.again || x.roomy() != (len(x.pending) < claimPendingMax/2) {
			t.Fatal("too early")
		}
		x.add("somebody-with-a-long-client-id", 1, false)
	}
	if !x.again || len(x.pending) != claimPendingMax || kept < claimPendingMax*claimBytes/45 || kept > claimPendingMax*claimBytes/40 {
		t.Errorf("%d claims in %d messages", kept, len(x.pending))
	}
}

// TestClaimMessages: what is written is read, at every cut only whole claims, and nothing else makes trouble.
func TestClaimMessages(t *testing.T) {
	head := message{flags: messageBye, by: 1, seq: 2, clock: 3, asks: 4}
	p := make([]byte, messageHead)
	writeHead(p, &head)
	want := []claim{{id: []byte("a"), at: 5, clean: true}, {id: []byte{}, at: 6}, {id: bytes.Repeat([]byte{'x'}, 60000), at: 7}}
	for _, k := range want {
		p = appendClaim(p, string(k.id), k.at, k.clean)
	}
	if n := claimCount(p); n != len(want) {
		t.Errorf("%d claims", n)
	}
	for _, cut := range []int{0, messageHead - 1, messageHead, messageHead + claimHead, messageHead + claimHead + 1, len(p) - 1, len(p)} {
		m, ok := readMessage(p[:cut], 3)
		if ok != (cut >= messageHead) {
			t.Fatalf("cut at %d: %v", cut, ok)
		}
		got := 0
		for rest := m.claims; len(rest) > 0; got++ {
			var k claim
			if k, rest, ok = readClaim(rest); !ok {
				break
			}
			if w := want[got]; !bytes.Equal(k.id, w.id) || k.at != w.at || k.clean != w.clean {
				t.Errorf("cut at %d: claim %d is %v", cut, got, k)
			}
		}
		if cut == len(p) && got != len(want) {
			t.Errorf("%d claims", got)
		}
	}
	if _, ok := readMessage(p, 2); ok {
		t.Error("a clock too late is read")
	}
	if _, ok := readMessage(append(p, make([]byte, messageBytesMax+1-len(p))...), 3); ok {
		t.Error("a message that no gateway sends is read")
	}
	m, _ := readMessage(p, 3)
	if m.claims = nil; fmt.Sprint(m) != fmt.Sprint(head) {
		t.Errorf("%v, want %v", m, head)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		q := make([]byte, random.IntN(80))
		for i := range q {
			q[i] = byte(random.Uint32())
		}
		m, _ := readMessage(append([]byte{messageVersion}, q...), ^uint64(0))
		for rest, ok := m.claims, true; ok && len(rest) > 0; {
			_, rest, ok = readClaim(rest)
		}
	}
}

// BenchmarkClaimsHeard is what claims of others cost: read, sorted by home, looked up there, and not found, as most are.
func BenchmarkClaimsHeard(b *testing.B) {
	const each = 100 // claims in a message
	cfg := Default()
	cfg.Loops = 2
	g := &Gateway{cfg: cfg, stopped: make(chan struct{})}
	g.claims = newClaims(g)
	for i := range cfg.Loops {
		s, err := newShard(g, i)
		if err != nil {
			b.Fatal(err)
		}
		defer func() {
			s.loop.Stop()
			_ = s.loop.Run()
		}()
		g.shards = append(g.shards, s)
	}
	p := make([]byte, messageHead)
	for i := range each {
		p = appendClaim(p, fmt.Sprintf("device-%08d", i), uint64(i), false)
	}
	m := message{by: 1, clock: each}
	b.ReportAllocs()
	for b.Loop() {
		m.seq++
		writeHead(p, &m)
		g.claims.hear(p)
		for _, s := range g.shards {
			s.inbox.drain(func(n *note) { n.do(s) })
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/each, "ns/claim")
}

// BenchmarkClaim is what a CONNECT costs more among others: a time, and a place in the next message.
func BenchmarkClaim(b *testing.B) {
	x := &claims{wake: make(chan struct{}, 1)}
	b.ReportAllocs()
	for b.Loop() {
		x.add("device-00000001", x.next(), true)
		if len(x.pending) == claimPendingMax {
			x.spare, x.pending = x.pending, nil
		}
	}
}
