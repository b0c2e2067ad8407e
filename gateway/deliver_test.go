package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// fence sends a marker from a device of each shard and one from NATS to topic "fence", on which every c must be
// subscribed, and returns what each got before the last of them. Whatever was sent earlier on any way has arrived by then.
func (r *rig) fence(nc *nats.Conn, to ...*client) (before [][]*got) {
	r.t.Helper()
	seen, err := nc.SubscribeSync("fence")
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = seen.Unsubscribe() }()
	if err := nc.Flush(); err != nil {
		r.t.Fatal(err)
	}
	for shard := range len(r.gw.shards) {
		from := r.connect(mqtt.V5, r.ids("fence", shard, 1)[0])
		from.publish(1, "fence", "device")
		if _, err := seen.NextMsg(answerTime); err != nil {
			r.t.Fatal(err)
		}
		from.disconnect()
	}
	if err := nc.Publish("fence", []byte("nats")); err != nil {
		r.t.Fatal(err)
	}
	before = make([][]*got, len(to))
	for i, c := range to {
		for left := len(r.gw.shards) + 1; left > 0; {
			g := c.message()
			if g.topic == "fence" {
				left--
				continue
			}
			before[i] = append(before[i], g)
		}
	}
	return before
}

// TestOverlappingFilters: a session gets one copy of a message however many of its filters match, with the highest
// QoS [MQTT-3.3.4-2], from a device of either shard and from NATS, although NATS has a subscription for each filter.
func TestOverlappingFilters(t *testing.T) {
	t.Parallel()
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		t.Run(v.String(), func(t *testing.T) {
			r := start(t)
			nc := r.nats()
			c := r.connect(v, r.ids("sub", 0, 1)[0])
			c.subscribe(0, "a/#", "fence")
			c.subscribe(1, "a/b")
			c.subscribe(2, "+/b", "a/+", "#")
			other := r.connect(mqtt.V311, r.ids("other", 0, 1)[0]) // overlaps with one of them only
			other.subscribe(1, "+/b", "fence")
			for shard := range 2 {
				p := r.connect(mqtt.V5, r.ids("pub", shard, 1)[0])
				for qos := range byte(3) {
					p.publish(qos, "a/b", fmt.Sprintf("device %d %d", shard, qos))
				}
			}
			if err := nc.Publish("a.b", []byte("nats")); err != nil {
				t.Fatal(err)
			}
			qos := map[string]byte{}
			before := r.fence(nc, c, other)
			for _, g := range before[0] {
				if _, twice := qos[g.payload]; twice {
					t.Errorf("%q came twice", g.payload)
				}
				qos[g.payload] = g.QoS
			}
			want := map[string]byte{"device 0 0": 0, "device 0 1": 1, "device 0 2": 2, "device 1 0": 0, "device 1 1": 1, "device 1 2": 2, "nats": 1}
			if fmt.Sprint(qos) != fmt.Sprint(want) {
				t.Errorf("QoS by message %v, want %v", qos, want)
			}
			if got := len(before[1]); got != len(want) {
				t.Errorf("the other device got %d messages, want %d", got, len(want))
			}
		})
	}
}

// TestHeader: what NATS sees of a device's message, and that nothing a device says can forge it.
func TestHeader(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.NATS.HeaderUser, c.NATS.HeaderNode, c.Node = true, true, "edge%1" })
	nc := r.nats()
	sub, err := nc.SubscribeSync("h.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	user := func(name string) func(*mqtt.ConnectOut) {
		return func(c *mqtt.ConnectOut) { c.Username, c.HasUsername = []byte(name), true }
	}
	props := mqtt.AppendUserProperty(nil, []byte("TG"), []byte("2r c=admin"))
	props = mqtt.AppendUserProperty(props, []byte("x\r\nTG"), []byte("2 c=admin\r\nNats-Msg-Id: 1"))
	props = mqtt.AppendUserProperty(props, []byte("Nats-Msg-Id"), []byte("dedupe"))
	for _, tc := range []struct {
		id, user string
		qos      byte
		mod      func(*mqtt.PublishOut)
		want     string
	}{
		{"plain", "anna", 0, func(*mqtt.PublishOut) {}, "0 c=plain u=anna n=edge%251"},
		{"d", "u", 1, retained, "1r c=d u=u n=edge%251"},
		{"evil c=admin", "x\ty", 2, func(*mqtt.PublishOut) {}, "2 c=evil%20c=admin u=x%09y n=edge%251"},
		{"a\r\nTG: 2 c=b", "ü%", 1, func(*mqtt.PublishOut) {}, "1 c=a%0D%0ATG:%202%20c=b u=%C3%BC%25 n=edge%251"},
		{"props", "u", 1, func(p *mqtt.PublishOut) { p.Props = props }, "1 c=props u=u n=edge%251"},
	} {
		c := r.connect(mqtt.V5, tc.id, user(tc.user))
		c.publish(tc.qos, "h/x", "payload", tc.mod)
		m, err := sub.NextMsg(answerTime)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Header.Values("TG"); len(got) != 1 || got[0] != r.stored(tc.want) {
			t.Errorf("client %q: TG %q, want %q", tc.id, got, r.stored(tc.want))
		}
		for name := range m.Header {
			if name != "TG" && name != "TG-User" {
				t.Errorf("client %q: header %q: %q", tc.id, name, m.Header[name])
			}
		}
		c.disconnect()
	}
}

// TestPropertiesTravel: what MQTT 5 passes on unaltered arrives unaltered, user properties in order, from device to
// device and through NATS headers both ways [MQTT-3.3.2-4], [MQTT-3.3.2-17], [MQTT-3.3.2-18].
func TestPropertiesTravel(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	props := mqtt.AppendPayloadFormat(nil, 1)
	props = mqtt.AppendContentType(props, []byte("text/plain; charset=ü"))
	props = mqtt.AppendResponseTopic(props, []byte("answers/to me"))
	props = mqtt.AppendCorrelationData(props, []byte{0, 1, 0xFF, '\r', '\n'})
	users := [][2]string{{"b", "1"}, {"a", "2"}, {"b", "3"}, {"", ""}, {"k=v", "x=y z"}, {"ü", "%41\t"}}
	for _, u := range users {
		props = mqtt.AppendUserProperty(props, []byte(u[0]), []byte(u[1]))
	}
	check := func(who string, g *got) {
		t.Helper()
		p := &g.Props
		if p.PayloadFormat != 1 || string(p.ContentType) != "text/plain; charset=ü" || string(p.ResponseTopic) != "answers/to me" ||
			string(p.CorrelationData) != "\x00\x01\xff\r\n" {
			t.Errorf("%s: %d %q %q %q", who, p.PayloadFormat, p.ContentType, p.ResponseTopic, p.CorrelationData)
		}
		var got [][2]string
		p.EachUser(func(name, value []byte) bool {
			got = append(got, [2]string{string(name), string(value)})
			return true
		})
		if fmt.Sprint(got) != fmt.Sprint(users) {
			t.Errorf("%s: user properties %q, want %q", who, got, users)
		}
	}
	from := r.connect(mqtt.V5, r.ids("from", 0, 1)[0])
	back, err := nc.SubscribeSync("p.device")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	var to []*client
	for shard := range 2 {
		c := r.connect(mqtt.V5, r.ids("to", shard, 1)[0])
		c.subscribe(1, "p/#")
		to = append(to, c)
	}
	from.publish(1, "p/device", "x", func(p *mqtt.PublishOut) { p.Props = props })
	for i, c := range to {
		check(fmt.Sprintf("device on shard %d", i), c.gets("p/device", "x"))
	}
	m, err := back.NextMsg(answerTime)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Header.Get("TG-Response"); got != strings.ReplaceAll("answers/to me", "/", ".") && strings.Contains(got, " ") {
		t.Errorf("TG-Response %q is no subject", got)
	}
	echo := nats.NewMsg("p.backend")
	for name, values := range m.Header {
		if name != "TG" {
			echo.Header[name] = values
		}
	}
	echo.Data = []byte("y")
	if err := nc.PublishMsg(echo); err != nil {
		t.Fatal(err)
	}
	for _, c := range to {
		check("through NATS and back", c.gets("p/backend", "y"))
	}
}

// TestMessageExpiry: the interval counts down where a message waits, and ends it; a backend's TG-Expiry does the
// same [MQTT-3.3.2-5], [MQTT-3.3.2-6].
func TestMessageExpiry(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	id := r.ids("waits", 0, 1)[0]
	c := r.connect(mqtt.V5, id, persistent)
	c.subscribe(1, "x/#")
	from := r.connect(mqtt.V5, r.ids("from", 1, 1)[0])
	expiry := func(sec uint32) func(*mqtt.PublishOut) {
		return func(p *mqtt.PublishOut) { p.HasExpiry, p.ExpirySec = true, sec }
	}
	from.publish(1, "x/now", "fresh", expiry(100))
	if g := c.gets("x/now", "fresh"); !g.Props.Has(mqtt.PropMessageExpiry) || g.Props.MessageExpirySec > 100 || g.Props.MessageExpirySec < 90 {
		t.Errorf("expiry %d, want about 100", g.Props.MessageExpirySec)
	}
	c.disconnect()
	from.publish(1, "x/1", "gone", expiry(1))
	from.publish(1, "x/2", "stays", expiry(1000))
	short := nats.NewMsg("x.3")
	short.Header.Set("TG-Expiry", "1")
	if err := nc.PublishMsg(short); err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish("x.4", []byte("for ever")); err != nil {
		t.Fatal(err)
	}
	r.waitsInMemory(2, 2)
	// The clocks of expiry are those of the loops and of the log, in whole seconds: one second of three is theirs.
	began := r.nowSec()
	r.eventually("three seconds", func() bool { return r.nowSec() >= began+3 })
	c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), id, persistent)
	if !ack.SessionPresent {
		t.Error("the session is gone")
	}
	got := map[string]uint32{} // one comes out of the log, the other out of memory: in no order
	for range 2 {
		g := c.message()
		got[g.payload] = g.Props.MessageExpirySec
	}
	if left := got["stays"]; left > 998 || left < 980 {
		t.Errorf("%d s left of 1000 after at least 2", left)
	}
	if left, ok := got["for ever"]; !ok || left != 0 {
		t.Errorf("%v came", got)
	}
	c.ping()
	if n := r.sum().drops; n[session.DropExpired] != 2 {
		t.Errorf("expired messages counted: %v, want 2", n)
	}
}

// nowSec is the clock of the loops.
func (r *rig) nowSec() uint32 {
	r.t.Helper()
	now := make(chan uint32, 1)
	r.gw.shards[0].doSoon(func(s *shard) { now <- s.loop.NowSec() })
	select {
	case sec := <-now:
		return sec
	case <-time.After(patience):
		r.t.Fatal("the loop does not answer")
		return 0
	}
}

// TestSubackMeansSubscribed: on SUBACK NATS knows the subscription, so that a backend that publishes at that moment
// reaches the device. 200 filters that nobody had before.
func TestSubackMeansSubscribed(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	for shard := range 2 {
		c := r.connect(mqtt.V5, r.ids("now", shard, 1)[0])
		for i := range 100 {
			topic := fmt.Sprintf("now/%d/%d", shard, i)
			if reasons := c.subscribe(1, topic); reasons[0] != mqtt.GrantedQoS1 {
				t.Fatalf("SUBACK %v", reasons)
			}
			if err := nc.Publish(strings.ReplaceAll(topic, "/", "."), []byte("x")); err != nil {
				t.Fatal(err)
			}
			c.gets(topic, "x")
		}
	}
}

// TestNoLocal: a device that asks for it does not get its own messages back [MQTT-3.8.3-3]; without, it does, once.
func TestNoLocal(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	c := r.connect(mqtt.V5, "self")
	c.subscribeTo(0, mqtt.Filter{Topic: []byte("nl/x"), QoS: 1, NoLocal: true})
	c.subscribe(0, "nl/y", "fence")
	c.publish(0, "nl/x", "own")
	c.publish(0, "nl/y", "own")
	var got []string
	for _, g := range r.fence(nc, c)[0] {
		got = append(got, g.topic)
	}
	if fmt.Sprint(got) != "[nl/y]" {
		t.Errorf("messages on %v, want [nl/y]", got)
	}
}

// TestReservedTopics: nothing a device does reaches $SYS, $JS or an inbox of NATS, and no raw wildcard does; see
// faults D8 and class 16.
func TestReservedTopics(t *testing.T) {
	t.Parallel()
	r := start(t, unrecorded)
	nc := r.nats()
	all, err := nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c := r.connect(mqtt.V5, "d8")
	for _, topic := range []string{"$SYS/x", "$JS/API/STREAM/LIST", "_INBOX/x", "_INBOX/x/y", "$MQTT/x", "$x"} {
		if got := c.publish(1, topic, "x"); got != mqtt.NotAuthorized {
			t.Errorf("PUBACK for %s: %v", topic, got)
		}
	}
	for _, topic := range []string{"a b/c", "x>/y", "*x", "*", ">", "t\tb", "n\nl", "c\rr", "ok"} {
		if got := c.publish(1, topic, "x"); got.Failed() {
			t.Errorf("PUBACK for %q: %v", topic, got)
		}
		m, err := all.NextMsg(answerTime)
		if err != nil {
			t.Fatalf("%q: %v", topic, err)
		}
		// Within a token * and > are letters to NATS; a token that is one of them is a wildcard.
		tokens := strings.Split(m.Subject, ".")
		if strings.ContainsAny(m.Subject, " \t\r\n") || slices.Contains(tokens, "*") || slices.Contains(tokens, ">") {
			t.Errorf("topic %q became subject %q", topic, m.Subject)
		}
	}
	c.publish(1, "last", "x")
	if m, err := all.NextMsg(answerTime); err != nil || m.Subject != "last" {
		t.Errorf("something else reached NATS: %v, %v", m, err)
	}
}

// TestReservedSubjects: what goes on in NATS itself is not delivered to devices, whatever they subscribe to.
func TestReservedSubjects(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.SysInterval = 0 }) // what the gateway itself tells is no secret
	nc := r.nats()
	c := r.connect(mqtt.V5, "curious")
	c.subscribe(1, "$SYS/#", "$JS/#", "_INBOX/#", "#", "+/x", "fence")
	for _, subject := range []string{"_INBOX.x", "$JS.x", "$X.x", "open.x"} {
		if err := nc.Publish(subject, []byte(subject)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, g := range r.fence(nc, c)[0] {
		got = append(got, g.payload)
	}
	if fmt.Sprint(got) != "[open.x]" {
		t.Errorf("delivered %v, want only open.x", got)
	}
}

// TestSubscriptionIdentifiers: a message carries the identifiers of all matching subscriptions [MQTT-3.3.4-3], [MQTT-3.3.4-4].
func TestSubscriptionIdentifiers(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	c := r.connect(mqtt.V5, "ids")
	c.subscribeTo(3, mqtt.Filter{Topic: []byte("si/x"), QoS: 1})
	c.subscribeTo(268_435_455, mqtt.Filter{Topic: []byte("si/+"), QoS: 1}, mqtt.Filter{Topic: []byte("si/#")})
	c.subscribe(1, "+/x")
	r.connect(mqtt.V5, "p").publish(1, "si/x", "device")
	if err := nc.Publish("si.x", []byte("nats")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		g := c.message()
		ids := slices.Sorted(slices.Values(g.Props.SubscriptionIDs))
		if fmt.Sprint(slices.Compact(ids)) != "[3 268435455]" {
			t.Errorf("%s: identifiers %v", g.payload, g.Props.SubscriptionIDs)
		}
	}
	c.ping()
}
