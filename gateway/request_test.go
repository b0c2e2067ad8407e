package gateway

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// outcomeOf asks the gateway what became of a message.
func outcomeOf(t *testing.T, nc *nats.Conn, subject, expiry string) string {
	t.Helper()
	return (<-asksOutcome(nc, subject, expiry)).outcome(t)
}

func asksOutcome(nc *nats.Conn, subject, expiry string) chan asked {
	m := &nats.Msg{Subject: subject, Data: []byte("now"), Header: nats.Header{"TG-Ask": {"outcome"}}}
	if expiry != "" {
		m.Header.Set("TG-Expiry", expiry)
	}
	return request(nc, m)
}

func (a asked) outcome(t *testing.T) string {
	t.Helper()
	switch {
	case errors.Is(a.err, nats.ErrNoResponders):
		return "no responders"
	case a.err != nil:
		t.Fatal(a.err)
	case len(a.m.Data) > 0:
		t.Errorf("an outcome with payload %q", a.m.Data)
	}
	return a.m.Header.Get("TG-Outcome")
}

func (r *rig) outcomes(o outcome) uint64 { return r.gw.requests.counts[o].Load() }

// TestOutcomes: a backend that asks is told what became of its message, for devices of every version and every way it can go.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Session.QueueCountMax, c.Session.QueuePolicy = 2, "drop-newest" })
	nc := r.nats()
	for i, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		for qos := range byte(3) {
			id := fmt.Sprintf("d%d-%d", i, qos)
			c := r.connect(v, id)
			c.subscribe(qos, "out/"+id)
			done := asksOutcome(nc, "out."+id, "")
			if m := c.gets("out/"+id, "now"); m.Props.Has(mqtt.PropResponseTopic) {
				t.Errorf("a call for %s: %q", id, m.Props.ResponseTopic)
			}
			want := "delivered"
			if qos == 0 {
				want = "sent"
			}
			if got := (<-done).outcome(t); got != want {
				t.Errorf("%s: %q, want %q", id, got, want)
			}
			if qos == 0 {
				continue
			}
			done = asksOutcome(nc, "out."+id, "1")
			c.expect(mqtt.TypePublish) // and it says nothing
			if got := (<-done).outcome(t); got != "timeout" {
				t.Errorf("%s is silent: %q", id, got)
			}
		}
	}
	c := r.connect(mqtt.V5, "refuses", func(o *mqtt.ConnectOut) { o.MaxPacketBytes = 60 })
	c.subscribe(1, "out/refuses", "out/"+strings.Repeat("x", 50))
	done := asksOutcome(nc, "out.refuses", "")
	c.write(mqtt.AppendPuback(nil, c.v, c.expect(mqtt.TypePublish).PacketID, mqtt.NotAuthorized))
	if got := (<-done).outcome(t); got != "refused" {
		t.Errorf("refused: %q", got)
	}
	if got := outcomeOf(t, nc, "out."+strings.Repeat("x", 50), ""); got != "refused" {
		t.Errorf("too large: %q", got)
	}
	away, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "away", persistent)
	away.subscribe(1, "out/away")
	away.disconnect()
	for i, want := range []string{"queued", "queued", "dropped"} {
		if got := outcomeOf(t, nc, "out.away", ""); got != want {
			t.Errorf("away, message %d: %q, want %q", i, got, want)
		}
	}
	offline, _ := r.connectOn(r.open(mqtt.V311, r.mqtt), "offline", func(o *mqtt.ConnectOut) { o.CleanStart = false })
	offline.subscribe(0, "out/offline")
	offline.disconnect()
	for shard := range r.gw.shards { // a message of which a shard leaves one copy to another has nothing to do with what follows
		c := r.connect(mqtt.V5, r.ids("twice", shard, 1)[0])
		c.subscribe(1, "twice/#", "twice/+")
		if err := nc.Publish("twice.x", nil); err != nil {
			t.Fatal(err)
		}
		c.gets("twice/x", "")
		c.disconnect()
	}
	if got := outcomeOf(t, nc, "out.offline", ""); got != "no responders" {
		t.Errorf("away with QoS 0: %q", got)
	}
	r.eventually("all are forgotten", func() bool { return r.gw.requests.known() == 0 })
	if n := r.outcomes(outcomeDelivered); n != 6 {
		t.Errorf("%d delivered", n)
	}
}

// TestOutcomeShared: it is the member that acknowledges; when it goes without, the next.
func TestOutcomeShared(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	first := r.connect(mqtt.V5, "first")
	first.subscribe(1, "$share/g/jobs")
	done := asksOutcome(nc, "jobs", "")
	first.expect(mqtt.TypePublish)
	second := r.connect(mqtt.V5, "second")
	second.subscribe(1, "$share/g/jobs")
	first.cut()
	second.gets("jobs", "now")
	if got := (<-done).outcome(t); got != "delivered" {
		t.Errorf("%q", got)
	}
}

// TestRequestExpires: a request that waits for a device that is away is not delivered after its time; other messages are.
func TestRequestExpires(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.NATS.RequestExpiry = 2 * time.Second })
	nc := r.nats()
	away, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "away", persistent)
	away.subscribe(1, "cmd/#")
	away.disconnect()
	for _, m := range []*nats.Msg{
		{Subject: "cmd.request", Reply: "_INBOX.x"},
		{Subject: "cmd.longer", Reply: "_INBOX.y", Header: nats.Header{"TG-Expiry": {"60"}}},
		{Subject: "cmd.message"},
		{Subject: "cmd.stored", Reply: "_INBOX.z", Header: nats.Header{nats.MsgIdHdr: {"1"}}}, // JetStream's answer is waited for
	} {
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	r.eventually("they wait", func() bool { return r.sum().queued == 4 })
	until := r.nowSec() + 2
	r.eventually("the time is over", func() bool { return r.nowSec() > until })
	away, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "away", persistent)
	if m := away.gets("cmd/longer", ""); !isCall(m.Props.ResponseTopic) {
		t.Errorf("response topic %q", m.Props.ResponseTopic)
	}
	away.gets("cmd/message", "")
	if m := away.gets("cmd/stored", ""); m.Props.Has(mqtt.PropResponseTopic) {
		t.Errorf("response topic %q", m.Props.ResponseTopic)
	}
}

// TestNobody: a requester learns at once that no device wants its request: from NATS where the filter is there as it is, from the gateway
// where it knows a shape only; never while a device has it, and never for what is not a device's own.
func TestNobody(t *testing.T) {
	t.Parallel()
	const nobodyTime = 100 * time.Millisecond
	for _, most := range []int{0, 1000} {
		t.Run(fmt.Sprint("interests_max ", most), func(t *testing.T) {
			r := start(t, func(c *Config) { c.NATS.NobodyTime, c.NATS.InterestsMax = nobodyTime, most })
			nc := r.nats()
			c := r.connect(mqtt.V5, "d1")
			c.subscribe(1, "fleet/d1/cmd", "other/#", "other/+")
			if err := nc.Publish("other.x", nil); err != nil { // comes twice, is delivered once, and has nothing to do with what follows
				t.Fatal(err)
			}
			c.gets("other/x", "")
			if _, err := nc.Request("devices.nobody.down", nil, answerTime); !errors.Is(err, nats.ErrNoResponders) || r.outcomes(outcomeNobody) != 1 {
				t.Errorf("of plain devices: %v", err)
			}
			began := time.Now()
			_, err := nc.Request("fleet.d2.cmd", nil, answerTime)
			took := time.Since(began)
			if !errors.Is(err, nats.ErrNoResponders) {
				t.Fatalf("%v after %v", err, took)
			}
			if byGateway := r.outcomes(outcomeNobody) == 2; byGateway != (most == 0) || byGateway != (took >= nobodyTime) {
				t.Errorf("the gateway told it: %v; it took %v", byGateway, took)
			}
			for range 2 { // one that is answered, and one that is just heard for longer than the time
				done := request(nc, &nats.Msg{Subject: "fleet.d1.cmd"})
				m := c.gets("fleet/d1/cmd", "")
				r.eventually("it is forgotten", func() bool { return r.gw.requests.known() == 0 })
				c.publish(1, string(m.Props.ResponseTopic), "yes")
				if a := <-done; a.err != nil || string(a.m.Data) != "yes" {
					t.Errorf("%+v %v", a.m, a.err)
				}
			}
			if n := r.outcomes(outcomeNobody); n != 1 && most > 0 || n > 2 {
				t.Errorf("%d requesters were told that nobody is there", n)
			}
			if m, err := nc.Request("other.x", nil, 3*nobodyTime); !errors.Is(err, nats.ErrTimeout) {
				t.Errorf("%v %v, but somebody heard it", m, err)
			}
			c.gets("other/x", "")
		})
	}
}

// TestNobodyElsewhere: with several gateways a requester is told that nobody is there when all of them say so, and only then; and that quickly.
func TestNobodyElsewhere(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	shapes := func(node string) func(c *Config) {
		return func(c *Config) {
			c.NATS.URL, c.Node, c.NATS.InterestsMax = s.URL(), node, 0
		}
	}
	rigs := []*rig{start(t, shapes("a")), start(t, shapes("b")), start(t, shapes("c"))}
	for _, r := range rigs {
		r.eventually("the gateways hear each other", func() bool { return r.gw.claims.peers() == 2 })
	}
	nc := s.Conn(t)
	var devices []*client
	for i, r := range rigs[:2] { // the third has none, and does not even hear the requests
		id := fmt.Sprint("d", i)
		c := r.connect(mqtt.V5, id)
		c.subscribe(1, "fleet/"+id+"/cmd")
		devices = append(devices, c)
	}
	for round := range 20 {
		began := time.Now()
		if m, err := nc.Request(fmt.Sprint("fleet.gone", round, ".cmd"), nil, answerTime); !errors.Is(err, nats.ErrNoResponders) {
			t.Fatalf("%v %v after %v", m, err, time.Since(began))
		}
		for i, c := range devices {
			done := request(nc, &nats.Msg{Subject: fmt.Sprintf("fleet.d%d.cmd", i)})
			m := c.gets(fmt.Sprintf("fleet/d%d/cmd", i), "")
			c.publish(1, string(m.Props.ResponseTopic), "here")
			if a := <-done; a.err != nil || string(a.m.Data) != "here" {
				t.Fatalf("%+v %v", a.m, a.err)
			}
		}
	}
	// Nobody is told anything of a request that a device has and does not answer.
	told := func() (n uint64) {
		for _, r := range rigs {
			n += r.outcomes(outcomeNobody)
		}
		return n
	}
	before := told()
	if m, err := nc.Request("fleet.d1.cmd", nil, time.Second); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("%v %v", m, err)
	}
	devices[1].gets("fleet/d1/cmd", "")
	if now := told(); now != before {
		t.Errorf("%d were told that nobody is there", now-before)
	}
	if got := outcomeOf(t, nc, "fleet.nobody.cmd", ""); got != "no responders" {
		t.Errorf("%q", got)
	}
}

// TestCallElsewhere: a device that gets a request at one gateway may answer it at another, and after the first one is gone; without a key in
// common it may not.
func TestCallElsewhere(t *testing.T) {
	t.Parallel()
	for _, jetStream := range []bool{true, false} {
		t.Run(fmt.Sprint("jetstream ", jetStream), func(t *testing.T) {
			s := bustest.Start(t, withJetStream(jetStream))
			a, b := two(t, s)
			if jetStream {
				for _, r := range []*rig{a, b} {
					r.eventually("the key is shared", func() bool { return r.gw.keys.shared.Load() != nil })
				}
			}
			for i, v := range []mqtt.Version{mqtt.V311, mqtt.V5, mqtt.V311, mqtt.V5} {
				if a, b = b, a; i == 2 { // each version both ways
					a, b = b, a
				}
				id := fmt.Sprint("mover", i)
				c := a.connect(v, id)
				c.subscribe(1, "fleet/"+id+"/cmd/#")
				done := request(s.Conn(t), &nats.Msg{Subject: "fleet." + id + ".cmd", Data: []byte("?"), Header: nats.Header{"TG-Correlation": {"YzE="}}})
				m := c.message()
				answer := string(m.Props.ResponseTopic)
				if v != mqtt.V5 {
					answer = strings.Replace(m.topic, "/request/", "/response/", 1)
				}
				moved := b.connect(v, id)
				reason := moved.publish(1, answer, "moved", func(p *mqtt.PublishOut) {
					if v == mqtt.V5 {
						p.Props = mqtt.AppendCorrelationData(nil, m.Props.CorrelationData)
					}
				})
				if !jetStream {
					if v == mqtt.V5 && reason != mqtt.NotAuthorized || b.sum().callsRefused == 0 {
						t.Errorf("%v, %d refused", reason, b.sum().callsRefused)
					}
					continue
				}
				got := <-done
				if got.err != nil || string(got.m.Data) != "moved" || v == mqtt.V5 && got.m.Header.Get("TG-Correlation") != "YzE=" {
					t.Errorf("%v: %+v %v", v, got.m, got.err)
				}
			}
		})
	}
}
