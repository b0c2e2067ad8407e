package gateway

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// hears waits for a message on a subject, and fails at one on another.
func hears(t *testing.T, sub *nats.Subscription, subject string) {
	t.Helper()
	m, err := sub.NextMsg(answerTime)
	if err != nil || m.Subject != subject {
		t.Fatalf("%v, %v, want one on %s", m, err, subject)
	}
}

// wills is a CONNECT whose session outlasts its connection and whose will is delayed by so many seconds.
func wills(topic string, delaySec uint32, mods ...func(o *mqtt.ConnectOut)) func(o *mqtt.ConnectOut) {
	return func(o *mqtt.ConnectOut) {
		persistent(o)
		o.HasWill, o.WillTopic, o.WillPayload, o.WillQoS, o.WillDelaySec = true, []byte(topic), []byte("gone"), 1, delaySec
		for _, mod := range mods {
			mod(o)
		}
	}
}

// TestPermitDelayedWill: a will with a delay is looked at when it is published, by the rules of then, for the client id and the user who left it.
func TestPermitDelayedWill(t *testing.T) {
	t.Parallel()
	mod, file := ruled(t, "- {permission: allow, action: all, topic: '#'}")
	passwords := newAuthText(t, passwordsOf(t, "anna", "a", "zoe", "z"))
	r := start(t, asksOf(AuthProvider{Type: "file", File: passwords.path}), mod)
	nc := r.nats()
	sub, err := nc.SubscribeSync("w.>")
	if err != nil || nc.Flush() != nil {
		t.Fatal(err)
	}
	var left []*client
	for _, who := range []struct{ id, user, topic string }{{"c1", "anna", "w/c1/anna"}, {"c2", "zoe", "w/c2/zoe"}, {"c3", "anna", "w/c4/anna"}} {
		c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), who.id, withLogin(who.user, who.user[:1]), wills(who.topic, 4))
		left = append(left, c)
	}
	for _, c := range left {
		c.cut()
	}
	r.eventually("their connections have ended", func() bool { return r.open1() == 0 })
	writeRules(t, file, "- {permission: allow, action: publish, topic: 'w/${clientid}/${username}', user: anna}")
	r.gw.Reload()
	hears(t, sub, "w.c1.anna")
	r.eventually("the others are denied", func() bool { return r.denied(deniedWill) == 2 })
}

// TestPermitDelayedWillOwn: what a device's own rules had decided holds, as they are not known any more.
func TestPermitDelayedWillOwn(t *testing.T) {
	t.Parallel()
	cb := newCallback(t, func(map[string]any) string {
		return `{"result":"allow","acl":[{"permission":"allow","action":"publish","topic":"w/own"}]}`
	})
	mod, _ := ruled(t, "- {permission: deny, action: all, topic: '#'}")
	r := start(t, memoryOnly, cb.chained(t), mod)
	nc := r.nats()
	sub, err := nc.SubscribeSync("w.>")
	if err != nil || nc.Flush() != nil {
		t.Fatal(err)
	}
	c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "c1", proved("anna"), wills("w/own", 1))
	c.cut()
	hears(t, sub, "w.own")
}

// TestPermitWillOfLostGateway: who publishes the wills of a gateway that died holds them to its own rules.
func TestPermitWillOfLostGateway(t *testing.T) {
	t.Parallel()
	all, _ := ruled(t, "- {permission: allow, action: all, topic: '#'}")
	fewer, _ := ruled(t, "- {permission: deny, action: publish, topic: 'will/no/#'}\n- {permission: allow, action: all, topic: '#'}")
	server := bustest.Start(t)
	on := func(node string) func(c *Config) {
		return func(c *Config) { c.NATS.URL, c.Node, c.Durable.Default = server.URL(), node, "log" }
	}
	a, b := start(t, on("a"), all), start(t, on("b"), fewer)
	meet(a, b)
	for _, r := range []*rig{a, b} {
		r.eventually("NATS can store", func() bool { ok, _ := r.gw.bus.Ready(); return ok })
	}
	watcher := b.connect(mqtt.V5, "watcher")
	watcher.subscribe(1, "will/#")
	for id, will := range map[string]func(o *mqtt.ConnectOut){"now": wills("will/no/now", 0), "late": wills("will/no/late", 1), "yes": wills("will/yes", 1)} {
		a.connectOn(a.open(mqtt.V5, a.mqtt), id, will)
	}
	a.eventually("the records are written", func() bool { return a.gw.durable.saves.Load() == 0 })
	for _, id := range []string{"now", "late", "yes"} {
		b.gw.adoptLost(id, a.generationOf(id))
	}
	watcher.gets("will/yes", "gone")
	b.eventually("the others are denied", func() bool { return b.denied(deniedWill) == 2 })
}
