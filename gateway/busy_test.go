package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestBusyPublisherIsNotLate: a publisher whose writes always end within a packet is not late with any packet, however
// long that goes on.
func TestBusyPublisherIsNotLate(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Limits.PacketTime = time.Second })
	for _, way := range transports {
		c, _ := r.connectOn(r.via(way, mqtt.V5), "busy-"+way)
		packet := mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("a"), Payload: make([]byte, 10)})
		c.write(packet[:5])
		for began := r.nowSec(); r.nowSec() < began+4; {
			c.write(append(bytes.Clone(packet[5:]), packet[:5]...))
			time.Sleep(20 * time.Millisecond) // the pace of a device, not a wait for something
		}
		c.write(packet[5:])
		c.ping()
	}
	if n := r.closedBy(reasonPacketTimeout); n != 0 {
		t.Errorf("%d were closed for a late packet", n)
	}
}

// TestSharedFilterWithOwnID: a member of a group gets what the group's filter says, also if a level equals its client id.
func TestSharedFilterWithOwnID(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	a, b := r.connect(mqtt.V5, "A"), r.connect(mqtt.V311, "B")
	a.subscribe(1, "$share/g/devices/A/cmd")
	b.subscribe(1, "$share/g/devices/B/cmd")
	for _, id := range []string{"C", "B", "A", "A", "B"} {
		if err := nc.Publish("devices."+id+".cmd", []byte("for "+id)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		a.gets("devices/A/cmd", "for A")
		b.gets("devices/B/cmd", "for B")
	}
}

// TestFiltersMax: one packet's work is bounded; its further filters are refused.
func TestFiltersMax(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.FiltersMax = 3 })
	c := r.connect(mqtt.V5, "many")
	got := c.subscribe(0, "a", "b", "c", "d", "e")
	want := []mqtt.Reason{0, 0, 0, mqtt.QuotaExceeded, mqtt.QuotaExceeded}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("SUBACK %v, want %v", got, want)
	}
}

// TestNewerThanRetained: who subscribes while a newer message is on its way does not get the older one after it. In memory: of messages of
// different QoS, one that is stored comes after one that is not.
func TestNewerThanRetained(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Durable.Default = "memory" })
	c, pub := r.connect(mqtt.V311, "both"), r.connect(mqtt.V5, "pub")
	for i := range 50 {
		topic := fmt.Sprint("state/", i)
		pub.publish(1, topic, "old", retained)
		out := mqtt.AppendSubscribe(nil, mqtt.V311, 7, []mqtt.Filter{{Topic: []byte(topic)}}, 0)
		c.write(mqtt.AppendPublish(out, mqtt.V311, &mqtt.PublishOut{Topic: []byte(topic), Payload: []byte("new"), Retain: true}))
		last := ""
		c.write(mqtt.AppendPingreq(nil))
		for {
			p := c.must()
			if p.Type == mqtt.TypePublish {
				last = p.payload
			}
			if p.Type == mqtt.TypePingresp && last != "" {
				break
			}
			if p.Type == mqtt.TypePingresp { // SUBACK may still wait for NATS
				c.write(mqtt.AppendPingreq(nil))
			}
		}
		if last != "new" {
			t.Fatalf("%s: the last message was %q", topic, last)
		}
	}
}

// TestRetainedBytes: the store is bounded in bytes, too, and forgets what has expired without being asked for it.
func TestRetainedBytes(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.RetainedBytesMax = 1000 })
	c := r.connect(mqtt.V5, "keeper")
	for i := range 10 {
		c.publish(1, fmt.Sprint("keep/", i), strings.Repeat("x", 200), retained, func(p *mqtt.PublishOut) { p.HasExpiry, p.ExpirySec = true, 5 })
	}
	if n := r.retainedTopics(); n != 4 {
		t.Errorf("%d topics kept, want 4", n)
	}
	if n := r.sum().retainedFull; n != 6 {
		t.Errorf("%d counted as refused, want 6", n)
	}
	r.eventually("what has expired is forgotten", func() bool { return r.retainedTopics() == 0 })
	if _, n := r.gw.retained.size(); n != 0 {
		t.Errorf("%d bytes counted for nothing", n)
	}
}

// TestWillCarriesItsOwnUser: at a takeover by another user, and whenever a device goes, NATS is told whose will it is.
func TestWillCarriesItsOwnUser(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.NATS.HeaderUser = true })
	nc := r.nats()
	sub, err := nc.SubscribeSync("w.x")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	as := func(user string) func(*mqtt.ConnectOut) {
		return func(c *mqtt.ConnectOut) { c.Username = []byte(user) }
	}
	r.connectOn(r.open(mqtt.V5, r.mqtt), "A", will("first", 0, as("anna")))
	second, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "A", will("second", 0, as("eve")))
	second.cut()
	for _, want := range []string{"1 c=A u=anna", "1 c=A u=eve"} {
		m, err := sub.NextMsg(answerTime)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Header.Get("TG"); got != r.stored(want) {
			t.Errorf("the will %q says %q, want %q", m.Data, got, r.stored(want))
		}
	}
}

// TestSmallBatchLimit: a limit below what one write takes loses nothing and leaves nothing behind.
func TestSmallBatchLimit(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Limits.BatchBytesMax = 4 << 10 })
	sub := r.connect(mqtt.V311, "sub")
	sub.subscribe(1, "t/#")
	pub := r.connect(mqtt.V311, "pub")
	var out []byte
	for i := range 100 {
		out = mqtt.AppendPublish(out, mqtt.V311, &mqtt.PublishOut{
			Topic: []byte("t/x"), Payload: fmt.Appendf(nil, "%03d%s", i, strings.Repeat(".", 1000)), QoS: 1, PacketID: uint16(i + 1),
		})
	}
	pub.write(out)
	for i := range 100 {
		m := sub.expect(mqtt.TypePublish) // not acknowledged: nothing but the written batch lets the queue go on
		if got := m.payload[:3]; got != fmt.Sprintf("%03d", i) {
			t.Fatalf("message %d is %q", i, got)
		}
	}
}

// TestNewTellsWhatIsBusy: a New that fails says what and how to mend it, and gives back what it had opened.
func TestNewTellsWhatIsBusy(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	cfg := Default()
	cfg.Data, cfg.NATS.Listen, cfg.Listeners = t.TempDir(), "", []string{"mqtt://127.0.0.1:0"}
	for name, mod := range map[string]func(*Config){
		"admin":     func(c *Config) { c.Admin = busy.Addr().String() },
		"listeners": func(c *Config) { c.Admin, c.Listeners = "", append(c.Listeners, "ws://"+busy.Addr().String()) },
	} {
		c := cfg
		mod(&c)
		g, err := New(c, zerolog.Nop())
		if err == nil || g != nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), busy.Addr().String()) {
			t.Errorf("%s: New returned %v, %v", name, g, err)
		}
		if errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg.Admin = "127.0.0.1:0"
	g, err := New(cfg, zerolog.Nop())
	if err != nil {
		t.Fatalf("the data directory is still held: %v", err)
	}
	g.discard()
	_ = g.admin.listener.Close()
}

// TestReplayBudget: one step visits no more than it is told, and goes on where it stopped until it is complete.
func TestReplayBudget(t *testing.T) {
	store := retainedStore{max: 1000, bytesMax: 1 << 20}
	for i := range 500 {
		m := testMessage(fmt.Sprintf("a/%03d", i))
		store.set(1, &m)
	}
	p := replay{born: store.born, next: "a"}
	p.want.Filter = "a/+"
	got, steps := 0, 0
	for done := false; !done; steps++ {
		var n int
		n, done = p.step(&store, 64, func(string) bool { got++; return true })
		if n > 64 {
			t.Fatalf("visited %d", n)
		}
	}
	if got != 500 || steps < 8 {
		t.Errorf("%d messages in %d steps", got, steps)
	}
}

// TestStraysInPieces: what speaks on the wrong port is recognised however its first bytes are cut.
func TestStraysInPieces(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, tc := range []struct {
		addr, bytes string
		reason      reason
	}{
		{r.mqtt, "GET / HTTP/1.1\r\n\r\n", reasonHTTP}, {r.mqtt, "\x16\x03\x01\x00\xa5", reasonTLSHello},
		{r.ws, "\x16\x03\x01\x00\xa5", reasonTLSHello}, {r.any, "PROXY TCP4 ", reasonProxyHeader},
	} {
		before := r.closedBy(tc.reason)
		c, read := r.dial(tc.addr), r.sum().loop.ReadBytes
		for i := range tc.bytes {
			if _, err := c.Write([]byte(tc.bytes[i : i+1])); err != nil {
				break // it has heard enough
			}
			r.eventually("the byte is read", func() bool { return r.sum().loop.ReadBytes > read+uint64(i) || r.closedBy(tc.reason) > before })
		}
		_, _ = io.Copy(io.Discard, c)
		c.Close()
		r.closesBy(tc.reason, before, 1)
	}
}

// TestRetainedUpdatedDuringReplay: a topic that changes while a replay waits for its device is not left out.
func TestRetainedUpdatedDuringReplay(t *testing.T) {
	t.Parallel()
	const topics = 3000
	r := start(t, func(c *Config) { c.Limits.BatchBytesMax = 64 << 10 })
	pub := r.connect(mqtt.V5, "pub")
	put := func(i int, payload string) {
		pub.write(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: fmt.Append(nil, "r/", i), Payload: []byte(payload), Retain: true}))
	}
	for i := range topics {
		put(i, "old"+strings.Repeat(".", 1000))
	}
	pub.ping()
	sub := r.connect(mqtt.V311, "sub")
	sub.write(mqtt.AppendSubscribe(nil, mqtt.V311, 1, []mqtt.Filter{{Topic: []byte("r/#")}}, 0))
	for i := 0; i < topics; i += 3 {
		put(i, "new"+strings.Repeat(".", 1000))
	}
	pub.ping()
	got, began := map[string]bool{}, r.nowSec()
	for len(got) < topics {
		g, err := sub.next()
		if err != nil {
			t.Fatalf("%d of %d topics came: %v", len(got), topics, err)
		}
		if g.Type == mqtt.TypePublish { // SUBACK is among them; a live message may come before it
			got[g.topic] = true
		}
	}
	// A replay that waits for the clock instead of for its device gets 32 kB a second: a minute and a half.
	if took := r.nowSec() - began; took > 30 {
		t.Errorf("it took %d s", took)
	}
}

// TestTurnsAreShared: a connection whose messages visit very many subscriptions does not keep the loop from others.
func TestTurnsAreShared(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Loops = 1 })
	sub := r.connect(mqtt.V5, "sub")
	var filters []mqtt.Filter
	for i := range 200 {
		levels := strings.Split("a/b/c/d/e/f/g/h", "/")
		for bit := range levels {
			if i&(1<<bit) != 0 {
				levels[bit] = "+"
			}
		}
		filters = append(filters, mqtt.Filter{Topic: []byte(strings.Join(levels, "/"))})
	}
	sub.subscribeTo(9, filters...)
	pub, other := r.connect(mqtt.V311, "pub"), r.connect(mqtt.V311, "other")
	burst := bytes.Repeat(mqtt.AppendPublish(nil, mqtt.V311, &mqtt.PublishOut{Topic: []byte("a/b/c/d/e/f/g/h")}), 500)
	pub.write(burst)
	other.ping()
	pub.ping()
	for range 500 {
		if g := sub.message(); len(g.Props.SubscriptionIDs) != 200 {
			t.Fatalf("%d identifiers", len(g.Props.SubscriptionIDs))
		}
	}
	if n := r.sum().turnsEnded; n < 500*200/workMax-1 {
		t.Errorf("500 messages that visit 200 subscriptions each ended %d turns", n)
	}
}
