package gateway

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// outside runs the gateway on a NATS server of its own that the test can stop.
func outside(s *bustest.Server) func(c *Config) {
	return func(c *Config) {
		c.NATS.URL, c.NATS.UplinkBytesMax, c.Durable.Default = s.URL(), 64<<10, "memory"
		c.MQTT.ReceiveMax = 65535
	}
}

// TestNATSAway stops NATS under load. Devices stay connected, hear each other and get PINGRESP; publishers are read on until
// the uplink is full and then pause, with nothing lost: after the restart every message that was acknowledged at QoS 1 is
// at the backend, in the order of its publisher. Counters tell.
func TestNATSAway(t *testing.T) {
	const each = 1200
	away := bustest.Start(t)
	r := start(t, outside(away))
	r.eventually("NATS is there", func() bool { return r.gw.bus.Status().Connected() })
	back := &record{}
	nc := away.Conn(t)
	if _, err := nc.Subscribe("away.>", func(m *nats.Msg) { back.add(m.Subject, string(m.Data[:6])) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	var idle []*client
	for shard := range 2 {
		c := r.connect(mqtt.V5, r.ids("idle", shard, 1)[0])
		c.subscribe(1, "idle/#")
		idle = append(idle, c)
	}
	var pubs []*client
	for shard := range 2 {
		for _, id := range r.ids("pub", shard, 2) {
			c, _ := r.connectOn(r.via(transports[shard], []mqtt.Version{mqtt.V311, mqtt.V5}[len(pubs)%2]), id)
			pubs = append(pubs, c)
		}
	}
	padding := strings.Repeat("x", 250)
	stopped := make(chan struct{})
	var done sync.WaitGroup
	for i, c := range pubs {
		done.Go(func() {
			acked := 0
			for n := range each {
				if n == each/4 && i == 0 {
					close(stopped)
				}
				err := c.tryWrite(mqtt.AppendPublish(nil, c.v, &mqtt.PublishOut{
					Topic: fmt.Append(nil, "away/", i), Payload: fmt.Appendf(nil, "%06d%s", n, padding), QoS: 1, PacketID: uint16(n + 1),
				}))
				if err != nil {
					t.Errorf("publisher %d: %v", i, err)
					return
				}
				for acked < n-100 { // at most 100 ahead
					g, err := c.next()
					if acked++; err != nil || g.Type != mqtt.TypePuback || g.PacketID != uint16(acked) || g.Reason.Failed() {
						t.Errorf("publisher %d: %v instead of PUBACK %d, %v", i, g, acked, err)
						return
					}
				}
			}
			for ; acked < each; acked++ {
				if g, err := c.next(); err != nil || g.Type != mqtt.TypePuback {
					t.Errorf("publisher %d: %v, %v", i, g, err)
					return
				}
			}
		})
	}
	<-stopped
	away.Stop()
	r.eventually("the uplinks are full and publishers wait", func() bool { s := r.sum(); return s.pausedPublishers > 0 && s.heldBatches > 0 })
	sum := r.sum()
	if sum.pauses == 0 || r.gw.bus.Status().Connected() {
		t.Errorf("%d pauses, NATS %v", sum.pauses, r.gw.bus.Status().State)
	}
	for i, c := range idle { // nobody is closed, a device that does not publish is served, and may come and go
		c.ping()
		late := r.connect(mqtt.V311, fmt.Sprint("late", i))
		late.subscribe(1, fmt.Sprint("late/", i))
		late.ping()
		late.disconnect()
	}
	if s := r.sum(); s.closed[reasonKeepAlive]+s.closed[reasonPacketTimeout]+s.closed[reasonStalled] != 0 || s.sessionsLive != len(idle)+len(pubs) {
		t.Errorf("%d live, closed %v", s.sessionsLive, s.closed)
	}
	away.Restart()
	done.Wait()
	for i := range pubs {
		topic := fmt.Sprint("away.", i)
		r.eventually("the last message of "+topic, func() bool { return back.has(fmt.Sprintf("%s %06d", topic, each-1)) })
	}
	checkComplete(t, back.all(), len(pubs), each)
	r.eventually("nobody waits any more", func() bool { s := r.sum(); return s.pausedPublishers == 0 && s.heldBatches == 0 })
	// What devices publish goes out as soon as one of the two connections stands; backends are heard on the other.
	r.eventually("both connections are back", func() bool { s := r.gw.bus.Status(); return s.Connected() && s.Reconnects > 0 })
	n := r.gw.bus.Counters()
	if n.Disconnects == 0 || n.GivenUp != 0 || n.UnconfirmedQoS0 != 0 {
		t.Errorf("counters %+v", n)
	}
	// Backends reach the devices again, by the subscriptions from before.
	if err := nc.Publish("idle.x", []byte("again")); err != nil {
		t.Fatal(err)
	}
	for _, c := range idle {
		c.gets("idle/x", "again")
	}
}

// checkComplete: of each publisher every number came, and first came in order. One that was under way when NATS went may
// have come twice: QoS 1 promises no less and no more.
func checkComplete(t *testing.T, lines []string, publishers, each int) {
	t.Helper()
	next := make([]int, publishers)
	twice := 0
	for _, line := range lines {
		var i, n int
		if _, err := fmt.Sscanf(line, "away.%d %06d", &i, &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		switch {
		case n == next[i]:
			next[i]++
		case n > next[i]:
			t.Fatalf("publisher %d: %d came before %d", i, n, next[i])
		default:
			twice++
		}
	}
	for i, n := range next {
		if n != each {
			t.Errorf("publisher %d: %d of %d", i, n, each)
		}
	}
	t.Logf("%d came twice", twice)
}

// TestNATSHangs: a NATS that keeps the connection and does nothing is the same; and a SUBSCRIBE is answered in bounded
// time although NATS cannot confirm it.
func TestNATSHangs(t *testing.T) {
	t.Parallel()
	hung := bustest.Start(t)
	r := start(t, outside(hung))
	r.eventually("NATS is there", func() bool { return r.gw.bus.Status().Connected() })
	c := r.connect(mqtt.V5, r.ids("c", 0, 1)[0])
	c.subscribe(1, "before") // no other change of interests is under way
	hung.Pause()
	began := time.Now()
	c.subscribe(1, "hang/x")
	if took := time.Since(began); took > interestConfirmTime+5*time.Second {
		t.Errorf("SUBACK after %v", took)
	}
	p := r.connect(mqtt.V5, r.ids("p", 1, 1)[0])
	p.publish(1, "hang/x", "without NATS")
	c.gets("hang/x", "without NATS")
	hung.Resume()
	nc := hung.Conn(t)
	r.eventually("a backend reaches the device", func() bool {
		if err := nc.Publish("hang.x", []byte("with NATS")); err != nil {
			t.Fatal(err)
		}
		_ = nc.Flush()
		return r.sum().messagesOut[1] > 1
	})
	c.gets("hang/x", "with NATS")
}

// TestHeldSubacksBounded: a device that subscribes and unsubscribes in a loop while NATS hangs is not read further than a bound; all its
// answers come once NATS is back.
func TestHeldSubacksBounded(t *testing.T) {
	t.Parallel()
	const rounds = 2000
	hung := bustest.Start(t)
	r := start(t, outside(hung))
	r.eventually("NATS is there", func() bool { return r.gw.bus.Status().Connected() })
	ids := r.ids("held", 0, 2)
	other, c := r.connect(mqtt.V5, ids[0]), r.connect(mqtt.V5, ids[1])
	other.subscribe(1, "before")
	hung.Pause()
	// Another device wants it, too, so that unsubscribing does not end the wait.
	other.write(mqtt.AppendSubscribe(nil, mqtt.V5, 9, []mqtt.Filter{{Topic: []byte("hang/x")}}, 0))
	waiting := func() (n int) {
		done := make(chan int)
		r.gw.shards[0].doSoon(func(s *shard) {
			total := 0
			for _, n := range s.holding {
				total += n
			}
			done <- total
		})
		return <-done
	}
	r.eventually("the first waits", func() bool { return waiting() == 1 })
	var flood []byte
	filter := []mqtt.Filter{{Topic: []byte("hang/x")}}
	for i := range rounds {
		flood = mqtt.AppendSubscribe(flood, mqtt.V5, uint16(2*i+1), filter, 0)
		flood = mqtt.AppendUnsubscribe(flood, mqtt.V5, uint16(2*i+2), filter)
	}
	go func() { _, _ = c.conn.Write(flood) }()
	r.eventually("it is held back", func() bool { return waiting() == 1+heldSubacksMax })
	r.eventually("it is not read", func() bool { return r.sum().pauses > 0 })
	if n := waiting(); n > 1+heldSubacksMax {
		t.Errorf("%d SUBACKs wait", n)
	}
	hung.Resume()
	for subacks, unsubacks := 0, 0; subacks < rounds || unsubacks < rounds; {
		switch g := c.must(); g.Type {
		case mqtt.TypeSuback:
			subacks++
		case mqtt.TypeUnsuback:
			unsubacks++
		default:
			t.Fatalf("%v", g.Type)
		}
	}
	c.ping()
	if n := waiting(); n != 0 {
		t.Errorf("%d SUBACKs still wait", n)
	}
}

// TestPausedFrames: WebSocket devices that are paused because NATS hangs lose nothing, although the gateway has taken what
// came apart already: plain messages and fragments, and MQTT packets across frames, arrive whole and in order.
func TestPausedFrames(t *testing.T) {
	t.Parallel()
	const each = 400
	hung := bustest.Start(t)
	r := start(t, outside(hung), func(c *Config) { c.Limits.PacketTime = 2 * time.Second })
	r.eventually("NATS is there", func() bool { return r.gw.bus.Status().Connected() })
	back := &record{}
	nc := hung.Conn(t)
	for _, subject := range []string{"devices.>", "json.>", "framed.>"} {
		if _, err := nc.Subscribe(subject, func(m *nats.Msg) { back.add(m.Subject, string(m.Data[:4])) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	plain := r.openWS(mqtt.V5, "/ws/plain", "")
	json := r.openWS(mqtt.V5, "/ws/json", protocolJSON)
	framed, _ := r.connectOn(r.openWS(mqtt.V5, "/mqtt", "mqtt"), "framed")
	mask := [4]byte{3, 1, 4, 1}
	var plainOut, stream []byte
	jsonOut := ws.AppendMasked(nil, ws.OpText, []byte(`{"id":1,"op":"connect"}`), mask)
	for n := range each {
		text := fmt.Sprintf("%04d%s", n, strings.Repeat("y", 1500))
		first := ws.AppendMasked(nil, ws.OpText, []byte(text[:700]), mask)
		first[0] &^= 0x80
		plainOut = ws.AppendMasked(append(plainOut, first...), ws.OpContinuation, []byte(text[700:]), mask)
		jsonOut = ws.AppendMasked(jsonOut, ws.OpText, fmt.Appendf(nil, `{"id":%d,"op":"publish","topic":"json/x","text":%q}`, n+1, text), mask)
		stream = mqtt.AppendPublish(stream, mqtt.V5, &mqtt.PublishOut{Topic: []byte("framed/x"), Payload: []byte(text)})
	}
	var framedOut []byte
	for at := 0; at < len(stream); at += 1009 {
		framedOut = ws.AppendMasked(framedOut, ws.OpBinary, stream[at:min(at+1009, len(stream))], mask)
	}
	hung.Pause()
	var sent sync.WaitGroup
	for c, out := range map[*client][]byte{plain: plainOut, json: jsonOut, framed: framedOut} {
		sent.Go(func() {
			if _, err := c.conn.Write(out); err != nil {
				t.Error(err)
			}
		})
	}
	r.eventually("all three wait", func() bool { return r.sum().pausedPublishers == 3 })
	began := r.nowSec() // longer than a packet may take: it is not their fault
	r.eventually("the packet time is over", func() bool { return r.nowSec() > began+3 })
	hung.Resume()
	sent.Wait()
	for _, subject := range []string{"devices.plain.up", "json.x", "framed.x"} {
		r.eventually("the last message of "+subject, func() bool { return back.has(fmt.Sprintf("%s %04d", subject, each-1)) })
	}
	next := map[string]int{}
	for _, line := range back.all() {
		subject, number, _ := strings.Cut(line, " ")
		if number != fmt.Sprintf("%04d", next[subject]) {
			t.Fatalf("%s after %d", line, next[subject]-1)
		}
		next[subject]++
	}
	if s := r.sum(); s.sessionsLive != 3 || s.closed[reasonPacketTimeout] != 0 {
		t.Errorf("%d live, closed %v", s.sessionsLive, s.closed)
	}
}

// TestStartWithoutNATS: a gateway whose NATS is not there yet serves its devices and catches up.
func TestStartWithoutNATS(t *testing.T) {
	later := bustest.Start(t)
	later.Stop()
	r := start(t, outside(later))
	c := r.connect(mqtt.V5, "c")
	c.subscribe(1, "early/#")
	r.connect(mqtt.V5, "p").publish(1, "early/x", "mine")
	c.gets("early/x", "mine")
	later.Restart()
	r.eventually("NATS has it", func() bool { return r.gw.bus.Counters().Confirmed == 1 })
	nc := later.Conn(t)
	if err := nc.Publish("early.x", []byte("yours")); err != nil {
		t.Fatal(err)
	}
	c.gets("early/x", "yours")
}

// TestTooLargeForNATS: a message that NATS cannot take must not be acknowledged as if it could; see fault 19.
func TestTooLargeForNATS(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	r := start(t, func(c *Config) { c.NATS.URL = s.URL() })
	r.eventually("NATS is there", func() bool { return r.gw.bus.Status().Connected() })
	c := r.connect(mqtt.V5, "c")
	payload := strings.Repeat("x", 1<<20-20) // within packet_bytes_max, but with the header beyond NATS's max_payload
	for qos := byte(1); qos <= 2; qos++ {
		if got := c.publish(qos, "x", payload); got != mqtt.QuotaExceeded {
			t.Errorf("QoS %d: %v for a message that is too large for NATS", qos, got)
		}
	}
	users := []byte(nil)
	for range 2000 {
		users = mqtt.AppendUserProperty(users, []byte("name"), []byte(strings.Repeat("v", 40)))
	}
	if got := c.publish(1, "x", "p", func(p *mqtt.PublishOut) { p.Props = users }); got != mqtt.QuotaExceeded {
		t.Errorf("%v for properties that are too large for NATS", got)
	}
	c.publish(0, "x", payload)
	c.publish(1, "x", "small")
	if n := r.gw.bus.Counters(); n.DropPayload+n.DropHeader != 0 {
		t.Errorf("the bus dropped %d and %d", n.DropPayload, n.DropHeader)
	}
	if n := r.sum().refused; n != 4 {
		t.Errorf("gateway_messages_refused_total %d, want 4", n)
	}
	c.ping()
}

// TestPingWhileTheUplinkIsFull: a device whose messages wait for NATS is answered when it asks whether anybody is there, also
// when it does so again and again, and what waited arrives in order when NATS is back.
func TestPingWhileTheUplinkIsFull(t *testing.T) {
	away := bustest.Start(t)
	r := start(t, outside(away))
	r.eventually("NATS is there", func() bool { return r.gw.bus.Status().Connected() })
	back := &record{}
	nc := away.Conn(t)
	if _, err := nc.Subscribe("full.>", func(m *nats.Msg) { back.add(m.Subject, string(m.Data[:6])) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	away.Stop()
	r.eventually("NATS is away", func() bool { return !r.gw.bus.Status().Connected() })
	sent := 0
	var pubs []*client
	for i, way := range transports {
		c, _ := r.connectOn(r.via(way, mqtt.V311), fmt.Sprint("full", i))
		pubs = append(pubs, c)
	}
	publish := func(c *client, i int) {
		c.write(mqtt.AppendPublish(nil, c.v, &mqtt.PublishOut{
			Topic: fmt.Append(nil, "full/", i), Payload: fmt.Appendf(nil, "%06d%s", sent, strings.Repeat("x", 500)), QoS: 0,
		}))
		sent++
	}
	r.eventually("the uplink is full", func() bool {
		for i, c := range pubs {
			publish(c, i)
		}
		return r.sum().pausedPublishers == len(pubs)
	})
	for range 30 {
		for i, c := range pubs {
			publish(c, i)
			c.ping()
		}
	}
	away.Restart()
	for i, c := range pubs {
		c.write(mqtt.AppendPublish(nil, c.v, &mqtt.PublishOut{Topic: fmt.Append(nil, "full/", i), Payload: []byte("000end"), QoS: 1, PacketID: 1}))
		c.expect(mqtt.TypePuback)
	}
	r.eventually("both ends have come", func() bool { return back.has("full.0 000end") && back.has("full.1 000end") })
	last := map[string]string{}
	for _, line := range back.all() {
		topic, n, _ := strings.Cut(line, " ")
		if n != "000end" && n <= last[topic] {
			t.Errorf("%s: %s came after %s", topic, n, last[topic])
		}
		last[topic] = n
	}
}
