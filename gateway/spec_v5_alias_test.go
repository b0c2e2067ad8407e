package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// aliasing is a client that takes aliases, and what it knows by them.
type aliasing struct {
	*client
	max    uint16
	topics map[uint16]string
	used   int // messages that came by alias alone
}

// takes connects a client that takes up to max aliases.
func (r *rig) takes(way, id string, max uint16, mods ...func(*mqtt.ConnectOut)) *aliasing {
	r.t.Helper()
	c, _ := r.connectOn(r.via(way, mqtt.V5), id, append(mods, func(o *mqtt.ConnectOut) { o.TopicAliasMax = max })...)
	return &aliasing{client: c, max: max, topics: map[uint16]string{}}
}

// heard is the next message, acknowledged, with its topic found as a client has to.
func (a *aliasing) heard() (topic string, g *got) {
	a.t.Helper()
	g = a.message()
	return a.resolve(g), g
}

func (a *aliasing) resolve(g *got) (topic string) {
	a.t.Helper()
	if !g.Props.Has(mqtt.PropTopicAlias) {
		return g.topic
	}
	alias := g.Props.TopicAlias
	if alias == 0 || alias > a.max {
		a.t.Fatalf("alias %d to a client that takes %d", alias, a.max)
	}
	if g.topic != "" {
		a.topics[alias] = g.topic
		return g.topic
	}
	if a.topics[alias] == "" {
		a.t.Fatalf("alias %d stands for nothing", alias)
	}
	a.used++
	return a.topics[alias]
}

// hears sends a message on each topic in turn and expects it, under its own topic.
func (a *aliasing) hears(p *client, qos byte, topics ...string) {
	a.t.Helper()
	for _, topic := range topics {
		p.publish(qos, topic, topic)
		if got, g := a.heard(); got != topic || g.payload != topic {
			a.t.Fatalf("message %q on topic %q, want both %q", g.payload, got, topic)
		}
	}
}

// inTurn are n topics, again and again.
func inTurn(n, rounds int) (list []string) {
	for i := range n * rounds {
		list = append(list, fmt.Sprintf("alias/topic/%d", i%n))
	}
	return list
}

// Never an alias above what the client said, nor above the setting; all below are used (resolve checks the numbers).
func Test_v5_MQTT_3_1_2_26(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.TopicAliasOutMax = 3 })
	p := r.connect(mqtt.V5, "p")
	for _, way := range transports {
		for asked, want := range map[uint16]int{1: 1, 2: 2, 3: 3, 65535: 3} {
			a := r.takes(way, "a", asked)
			a.subscribe(1, "alias/#")
			a.hears(p, 1, inTurn(5, 6)...)
			if len(a.topics) != want || a.used == 0 {
				t.Errorf("%s: %d aliases to a client that takes %d, want %d; %d messages by alias", way, len(a.topics), asked, want, a.used)
			}
			a.disconnect()
		}
	}
}

func Test_v5_MQTT_3_3_2_11(t *testing.T) { Test_v5_MQTT_3_1_2_26(t) } // the same, said of the sender

// A client that takes none, by 0 or by not saying, gets none.
func Test_v5_MQTT_3_1_2_27(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.connect(mqtt.V5, "p")
	silent := r.takes("tcp", "silent", 0)
	zero := &aliasing{client: r.open(mqtt.V5, r.mqtt)}
	zero.write([]byte(connect5(0x02, "\x22\x00\x00", str("zero"))))
	zero.expect(mqtt.TypeConnack)
	for _, a := range []*aliasing{silent, zero} {
		a.subscribe(0, "alias/#")
	}
	for _, topic := range inTurn(2, 10) {
		p.publish(1, topic, "x")
		for _, a := range []*aliasing{silent, zero} {
			if got, g := a.heard(); got != topic || g.Props.Has(mqtt.PropTopicAlias) {
				t.Fatalf("topic %q, alias %d", g.topic, g.Props.TopicAlias)
			}
		}
	}
	off := start(t, func(c *Config) { c.MQTT.TopicAliasOutMax = 0 }) // nor does anybody with the setting 0
	a := off.takes("tcp", "a", 10)
	a.subscribe(0, "alias/#")
	a.hears(off.connect(mqtt.V5, "p"), 1, inTurn(2, 10)...)
	if len(a.topics) != 0 {
		t.Errorf("aliases %v although there are to be none", a.topics)
	}
}

// Alias 0 is never sent (the decoder of the test refuses it), whatever the traffic: topics with and without aliases, large
// and small, of each QoS, some not sent at all. The payload tells the topic.
func Test_v5_MQTT_3_3_2_8_Out(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, func(c *Config) { c.MQTT.TopicAliasOutMax = 5 })
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	p := r.connect(mqtt.V5, "p")
	for _, way := range transports {
		a := r.takes(way, "a", 10, func(o *mqtt.ConnectOut) { o.MaxPacketBytes = 120 })
		a.subscribe(2, "#")
		for range 600 {
			n := int(rnd.ExpFloat64() * 4)
			topic := strings.Repeat("t", rnd.IntN(2)*n) + fmt.Sprintf("/%d", n)
			payload := topic + ":" + strings.Repeat("x", rnd.IntN(110))
			p.publish(byte(rnd.IntN(3)), topic, payload, func(o *mqtt.PublishOut) {
				if rnd.IntN(4) == 0 {
					o.HasExpiry, o.ExpirySec = true, 100
				}
			})
		}
		p.publish(2, "end", "end:")
		for topic := ""; topic != "end"; {
			var g *got
			topic, g = a.heard()
			if g.size > 120 || !strings.HasPrefix(g.payload, topic+":") {
				t.Fatalf("seed %d: %d bytes, %q came on topic %q", seed, g.size, g.payload, topic)
			}
		}
		if a.used < 50 {
			t.Errorf("seed %d: only %d messages by alias", seed, a.used)
		}
		a.disconnect()
	}
}

// A client must accept every alias from 1 to its maximum, and so each of them is put to use.
func Test_v5_MQTT_3_3_2_10(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, func(c *Config) { c.MQTT.TopicAliasOutMax = 255 })
	a := r.takes("tcp", "a", 255)
	a.subscribe(0, "alias/#")
	a.hears(r.connect(mqtt.V5, "p"), 1, inTurn(255, 2)...)
	if len(a.topics) != 255 || a.used != 255 {
		t.Errorf("%d aliases, %d messages by alias", len(a.topics), a.used)
	}
}

// The gateway accepts every alias from 1 to what CONNACK said, and the message goes where the topic says: to devices, to
// the retained messages and to NATS.
func Test_v5_MQTT_3_3_2_12_Out(t *testing.T) {
	t.Parallel()
	r := start(t)
	back := r.backend(r.nats(), "al.>")
	sub := r.connect(mqtt.V5, "sub")
	sub.subscribe(1, "al/#")
	c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c")
	limit := ack.Props.TopicAliasMax
	alias := func(n uint16) func(*mqtt.PublishOut) {
		return func(p *mqtt.PublishOut) { p.TopicAlias, p.Retain = n, true }
	}
	for n := uint16(1); n <= limit; n++ {
		c.publish(1, fmt.Sprint("al/", n), "first", alias(n))
		sub.gets(fmt.Sprint("al/", n), "first")
	}
	for n := limit; n > 0; n-- {
		c.publish(1, "", "second", alias(n))
		g := sub.gets(fmt.Sprint("al/", n), "second")
		if g.Props.Has(mqtt.PropTopicAlias) {
			t.Errorf("the publisher's alias %d went on to a subscriber", g.Props.TopicAlias)
		}
	}
	r.eventually("NATS has them by their topics", func() bool { return back.has("al.1 second") && back.has(fmt.Sprintf("al.%d second", limit)) })
	late := r.connect(mqtt.V5, "late")
	late.subscribe(1, "al/7")
	late.gets("al/7", "second")
	if n := r.sum().aliasBytesIn; n == 0 {
		t.Error("the topics of aliases are not counted")
	}
	c.disconnect()
	r.eventually("nothing is kept of a connection that ended", func() bool { return r.sum().aliasBytesIn == 0 })
}

// An alias above what CONNACK said, or 0, ends the connection.
func Test_v5_MQTT_3_3_2_9_Out(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.TopicAliasMax = 4 })
	for _, way := range transports {
		for _, props := range []string{"\x23\x00\x05", "\x23\xff\xff", "\x23\x00\x00"} {
			c, _ := r.connectOn(r.via(way, mqtt.V5), "c")
			c.write([]byte(fixed(0x30, str("al/x")+block(props))))
			if g := c.expect(mqtt.TypeDisconnect); g.Reason != mqtt.TopicAliasInvalid {
				t.Errorf("%s %x: %v", way, props, g.Reason)
			}
			c.end()
		}
	}
}

// Aliases end with the connection, both ways: also for what is sent again, and although the session goes on.
func Test_v5_MQTT_3_3_2_7_Out(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.connect(mqtt.V5, "p")
	a := r.takes("tcp", "a", 10, persistent)
	a.subscribe(1, "alias/#")
	a.hears(p, 1, inTurn(1, 3)...)
	p.publish(1, "alias/topic/0", "unacknowledged")
	g := a.expect(mqtt.TypePublish)
	if a.resolve(g) != "alias/topic/0" || g.topic != "" {
		t.Fatalf("topic %q: not by alias", g.topic)
	}
	a.publish(1, "mine", "x", func(o *mqtt.PublishOut) { o.TopicAlias = 1 })
	a.cut()
	r.eventually("it is gone", func() bool { return r.sum().sessionsLive == 1 })
	if n := r.sum().aliasBytesOut; n != 0 {
		t.Errorf("%d bytes of aliases are left of a connection that ended", n)
	}
	p.publish(1, "alias/topic/0", "queued")
	again := r.takes("tcp", "a", 10, persistent)
	for i, payload := range []string{"unacknowledged", "queued"} {
		topic, g := again.heard()
		if topic != "alias/topic/0" || g.payload != payload || g.Dup != (i == 0) || i == 0 && g.topic == "" {
			t.Errorf("message %d: %q on %q, sent as %q, dup %v", i, g.payload, topic, g.topic, g.Dup)
		}
	}
	again.write(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{TopicAlias: 1}))
	if g := again.expect(mqtt.TypeDisconnect); g.Reason != mqtt.ProtocolError {
		t.Errorf("an alias of the connection before: %v", g.Reason)
	}
}

// TestAliasOfNothingSent: a message that is not sent, as it is too large [MQTT-3.1.2-25], sets up no alias; one for which
// there is room only without an alias, or only with a known one instead of its topic, is sent like that.
func TestAliasOfNothingSent(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.connect(mqtt.V5, "p")
	const topic = "alias/of/nothing/sent"
	for qos := range byte(3) {
		whole := func(payload int, o mqtt.PublishOut) int {
			o.Topic, o.Payload, o.QoS = []byte(topic), make([]byte, payload), qos
			return mqtt.PublishSize(mqtt.V5, &o)
		}
		limit := whole(50, mqtt.PublishOut{})
		a := r.takes("tcp", "a", 10, func(o *mqtt.ConnectOut) { o.MaxPacketBytes = uint32(limit) })
		a.subscribe(qos, topic)
		p.publish(qos, topic, strings.Repeat("x", 51)) // dropped
		p.publish(qos, topic, strings.Repeat("x", 50)) // no room for an alias
		if _, g := a.heard(); g.topic != topic || g.Props.Has(mqtt.PropTopicAlias) || g.size != limit {
			t.Errorf("QoS %d: %d bytes, topic %q, alias %d", qos, g.size, g.topic, g.Props.TopicAlias)
		}
		p.publish(qos, topic, "small")
		if _, g := a.heard(); g.topic != topic || g.Props.TopicAlias != 1 {
			t.Errorf("QoS %d: topic %q, alias %d", qos, g.topic, g.Props.TopicAlias)
		}
		long := 50 + len(topic) - aliasBytes
		p.publish(qos, topic, strings.Repeat("x", long))
		if got, g := a.heard(); got != topic || g.topic != "" || g.size != limit {
			t.Errorf("QoS %d: %d bytes, topic %q, alias %d", qos, g.size, g.topic, g.Props.TopicAlias)
		}
		p.publish(qos, topic, strings.Repeat("x", long+1)) // dropped, and the alias still stands
		p.publish(qos, topic, "end")
		if got, g := a.heard(); got != topic || g.payload != "end" || g.topic != "" {
			t.Errorf("QoS %d: %q on %q, sent as %q", qos, g.payload, got, g.topic)
		}
		a.disconnect()
	}
}

// TestAliasOfARefusedTopic: what a device sends by an alias that it set to a refused topic is refused like it, and does not
// go where the alias stood before.
func TestAliasOfARefusedTopic(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.TopicBytesMax = 100 })
	sub := r.connect(mqtt.V5, "sub")
	sub.subscribe(0, "#")
	c := r.connect(mqtt.V5, "c")
	alias := func(p *mqtt.PublishOut) { p.TopicAlias = 1 }
	for _, m := range []struct {
		topic, payload string
		want           mqtt.Reason
	}{{"first", "a", 0}, {tooLong, "b", mqtt.TopicNameInvalid}, {"", "c", mqtt.TopicNameInvalid}, {"last", "d", 0}, {"", "e", 0}} {
		if got := c.publish(1, m.topic, m.payload, alias); got != m.want {
			t.Errorf("%s: %v, want %v", m.payload, got, m.want)
		}
	}
	sub.gets("first", "a")
	sub.gets("last", "d")
	sub.gets("last", "e")
}

// TestPahoTakesAliases: paho.golang, which resolves aliases by itself, hears every topic.
func TestPahoTakesAliases(t *testing.T) {
	t.Parallel()
	r := start(t)
	seen := &record{}
	router := paho.NewStandardRouter() // it resolves aliases to find the handler, and shows them the message as it came
	for _, topic := range inTurn(6, 1) {
		router.RegisterHandler(topic, func(m *paho.Publish) { seen.add(topic, string(m.Payload)) })
	}
	var byAlias atomic.Int32
	c := paho.NewClient(paho.ClientConfig{
		ClientID: "paho", Conn: r.dialReal(r.mqtt), PacketTimeout: patience,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(m paho.PublishReceived) (bool, error) {
			if m.Packet.Topic == "" {
				byAlias.Add(1)
			}
			router.Route(m.Packet.Packet())
			return true, nil
		}},
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := c.Connect(ctx, &paho.Connect{ClientID: "paho", CleanStart: true, KeepAlive: 30, Properties: &paho.ConnectProperties{TopicAliasMaximum: paho.Uint16(4), RequestProblemInfo: true}}); err != nil {
		t.Fatal(err)
	}
	defer c.Disconnect(&paho.Disconnect{})
	if _, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "alias/#", QoS: 2}}}); err != nil {
		t.Fatal(err)
	}
	p := r.connect(mqtt.V311, "p")
	want := inTurn(6, 10)
	for i, topic := range want {
		p.publish(byte(i%3), topic, topic)
	}
	r.eventually("all came", func() bool { return len(seen.all()) == len(want) })
	for _, line := range seen.all() {
		if topic, payload, _ := strings.Cut(line, " "); topic != payload {
			t.Errorf("%q came on topic %q", payload, topic)
		}
	}
	if byAlias.Load() == 0 {
		t.Error("nothing came by alias")
	}
	refused, err := c.Publish(ctx, &paho.Publish{Topic: "$SYS/mine", QoS: 1})
	if err == nil || refused == nil || refused.Properties.ReasonString != refusedReserved.text() {
		t.Errorf("%v, %+v: no reason string", err, refused)
	}
}
