package gateway

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/auth/acl"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestPermitResume: a session that goes on has lost the subscriptions that are not permitted any more, and what waited for it by them is not
// delivered (fault class 14), whether it waited in memory or in the log.
func TestPermitResume(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]func(c *Config){"memory": memoryOnly, "log": func(*Config) {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mod, file := ruled(t, house)
			r := start(t, mode, mod)
			c := r.connect(mqtt.V5, "back", persistent)
			if got := c.subscribe(1, "news/#", "watched/#", "d/back/#"); slices.ContainsFunc(got, mqtt.Reason.Failed) {
				t.Fatalf("%v", got)
			}
			c.cut()
			r.eventually("it is away", func() bool { return r.sum().sessionsLive == 0 })
			feed := r.connect(mqtt.V5, "feed")
			for _, topic := range []string{"news/a", "watched/a", "d/back/a"} {
				if got := feed.publish(1, topic, "waited"); got.Failed() {
					t.Fatalf("%s: %v", topic, got)
				}
			}
			r.waits(3)
			writeRules(t, file, strings.Replace(house, "[news/#, watched/#]", "watched/#", 1))
			r.gw.Reload()
			c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "back", persistent)
			if !ack.SessionPresent {
				t.Fatal("the session is gone")
			}
			var topics []string
			for range 2 {
				topics = append(topics, c.message().topic)
			}
			slices.Sort(topics)
			if fmt.Sprint(topics) != "[d/back/a watched/a]" {
				t.Errorf("delivered %v", topics)
			}
			c.ping()
			withheld := uint64(1)
			if r.durable() {
				withheld = 0 // it is not even read from the log
			}
			if sum := r.sum(); sum.filters != 2 || sum.denied[deniedDeliver] != withheld || sum.denied[deniedSubscribe] != 1 {
				t.Errorf("%d filters are left, %d messages were withheld, %d subscriptions dropped", sum.filters, sum.denied[deniedDeliver], sum.denied[deniedSubscribe])
			}
			feed.publish(1, "news/b", "late")
			feed.publish(1, "d/back/fence", "")
			c.gets("d/back/fence", "")
		})
	}
}

// TestPermitReload: rules that change are in force without a restart; who loses something is disconnected, and nobody else. A file that can't be used
// changes nothing.
func TestPermitReload(t *testing.T) {
	t.Parallel()
	mod, file := ruled(t, house)
	r := start(t, unrecorded, mod)
	all := r.everything()
	loser, keeper, bequeather := r.connect(mqtt.V5, "l"), r.connect(mqtt.V5, "k"), r.connect(mqtt.V5, "w", func(o *mqtt.ConnectOut) {
		o.HasWill, o.WillTopic, o.WillPayload = true, []byte("fence/will"), []byte("gone")
	})
	loser.subscribe(0, "news/x", "d/l/x")
	keeper.subscribe(0, "d/k/x")
	writeRules(t, file, "- {permission: maybe}\n")
	r.eventually("it is refused", func() bool { return r.gw.rules.refused.Load() == 1 })
	keeper.ping()
	if got := keeper.publish(1, "fence/x", "x"); got.Failed() {
		t.Errorf("with broken rules: %v", got)
	}
	if m, err := all.NextMsg(answerTime); err != nil || m.Subject != "fence.x" {
		t.Fatalf("%v %v", m, err)
	}
	writeRules(t, file, strings.NewReplacer("[news/#, watched/#]", "watched/#", "fence/#", "other/#").Replace(house))
	loser.endsWith(mqtt.AdministrativeAction, 0)
	bequeather.endsWith(mqtt.AdministrativeAction, 0)
	keeper.ping()
	if got := keeper.publish(1, "fence/x", "x"); got != mqtt.NotAuthorized {
		t.Errorf("with new rules: %v", got)
	}
	if m, err := all.NextMsg(50 * time.Millisecond); err == nil {
		t.Errorf("%s reached NATS: the will is not permitted any more", m.Subject)
	}
	if n := r.sum().expelled; n != 2 {
		t.Errorf("%d were disconnected, want 2", n)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	r.eventually("it is missed", func() bool { return r.gw.rules.refused.Load() == 2 })
	if got := keeper.publish(1, "fence/x", "x"); got != mqtt.NotAuthorized {
		t.Errorf("without a file: %v", got)
	}
}

// TestPermitFileRests: a file that is being written is left alone until it is the same twice.
func TestPermitFileRests(t *testing.T) {
	mod, file := ruled(t, house)
	g := &Gateway{cfg: Default()}
	mod(&g.cfg)
	if err := g.openRules(); err != nil {
		t.Fatal(err)
	}
	before := g.rules.inForce()
	for _, text := range []string{"- {permission: allow, action: all, topic: a}", "- {permission: allow, action: all, topic: ab}"} {
		writeRules(t, file, text)
		if g.reloadRules(false); g.rules.inForce() != before {
			t.Error("it is read while it changes")
		}
	}
	if g.reloadRules(false); g.rules.inForce().Rules() != 1 || g.rules.taken.Load() != 1 {
		t.Error("it is not read when it rests")
	}
	g.reloadRules(false)
	if g.reloadRules(true); g.rules.taken.Load() != 2 {
		t.Errorf("it is read %d times, want 2", g.rules.taken.Load())
	}
}

// TestPermitNobodyReaches: whatever rules say, what begins with $ and the inboxes of NATS are out of reach, and no property of a device looks like a header
// of ours.
func TestPermitNobodyReaches(t *testing.T) {
	t.Parallel()
	mod, _ := ruled(t, `
- {permission: allow, action: all, topic: ["#", "+/#", "$SYS/#", "$JS/#", "$KV/#", "$TG/#", "_INBOX/#", "_TG/#", "_R_/#", "_GR_/#", "$reply/#"]}
`)
	r := start(t, unrecorded, mod, func(c *Config) { c.MQTT.SysInterval = 0 })
	all, nc := r.everything(), r.nats()
	c, v4 := r.connect(mqtt.V5, "curious"), r.connect(mqtt.V311, "curious4")
	reserved := []string{
		"$SYS/REQ/SERVER/PING", "$JS/API/STREAM/LIST", "$KV/TG_bans/x", "$TG/auth/connect", "_INBOX/x", "_INBOX.x", "_TG/x", "_R_/x", "_GR_/x", "$reply/x",
		"$G", "$",
	}
	for _, topic := range reserved {
		if got := c.publish(1, topic, "x"); got != mqtt.NotAuthorized {
			t.Errorf("PUBACK for %s: %v", topic, got)
		}
		v4.publish(1, topic, "x")
		c.subscribe(0, topic, strings.SplitN(topic, "/", 2)[0]+"/#")
	}
	c.subscribe(0, "#", "+/x")
	for _, topic := range reserved {
		if subject := strings.ReplaceAll(topic, "/", "."); !strings.HasPrefix(subject, "$SYS") && !strings.HasPrefix(subject, "$JS") && subject != "_GR_.x" { // NATS itself keeps those

			if err := nc.Publish(subject, []byte("from NATS")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, m := range r.fence(nc, c)[0] {
		t.Errorf("delivered %s", m.topic)
	}
	r.connect(mqtt.V5, "forger").publish(1, "open", "x", func(p *mqtt.PublishOut) {
		var props []byte
		for _, name := range []string{"TG", "TG-User", "TG-Seq", "Nats-Msg-Id", "Nats-Expected-Stream", "Nats-Rollup", "Nats-TTL", "tg", "x\r\nTG: 0 c=other"} {
			props = mqtt.AppendUserProperty(props, []byte(name), []byte("forged"))
		}
		p.Props = props
	})
	for {
		m, err := all.NextMsg(answerTime)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject != "open" {
			if string(m.Data) == "x" {
				t.Errorf("%s reached NATS", m.Subject)
			}
			continue
		}
		for name, values := range m.Header {
			forged := slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, "forged") })
			if forged && name != "TG-User" || name == "TG" && strings.Join(values, "") != "1 c=forger" {
				t.Errorf("header %s: %q", name, values)
			}
		}
		return
	}
}

// TestPermitCosts: a check allocates nothing.
func TestPermitCosts(t *testing.T) {
	var rules []acl.Rule
	for i := range 1000 {
		rules = append(rules, acl.Rule{Allow: true, Actions: acl.Publish | acl.Subscribe, QoSMax: 2, Filter: fmt.Sprintf("site/%d/${clientid}/#", i)})
	}
	file, err := acl.Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	s := &shard{gw: &Gateway{}, fileRules: file}
	d := &device{more: &deviceMore{who: &identity{user: "anna"}}}
	topic, filter := []byte("site/999/d1/up"), []byte("$share/g/site/999/d1/#")
	if n := testing.AllocsPerRun(100, func() {
		p := s.permitIn(&Bounds{ACLDefault: aclDeny}, d, "d1")
		if !p.publish(topic, 1, false).Allow || !p.deliver(topic).Allow || !p.subscribe(filter, 1).Allow {
			t.Fatal("it is denied")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkPermit is a check as a message meets it, with 1,000 rules.
func BenchmarkPermit(b *testing.B) {
	var rules []acl.Rule
	for i := range 1000 {
		rules = append(rules, acl.Rule{Allow: true, Actions: acl.Publish, QoSMax: 2, Filter: fmt.Sprintf("site/%d/${clientid}/up", i)})
	}
	file, err := acl.Compile(rules)
	if err != nil {
		b.Fatal(err)
	}
	s, bounds := &shard{gw: &Gateway{}, fileRules: file}, &Bounds{ACLDefault: aclDeny}
	d, topic := &device{}, []byte("site/999/d1/up")
	b.ReportAllocs()
	for b.Loop() {
		p := s.permitIn(bounds, d, "d1")
		p.publish(topic, 1, false)
	}
}
