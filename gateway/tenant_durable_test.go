package gateway

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestTenantsDurable: sessions, what is queued in them and retained messages of two tenants with one client id and one topic stay apart as they move to
// another gateway, and when that is started anew.
func TestTenantsDurable(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	on := func(node string) *rig {
		r := start(t, twoTenants, func(c *Config) { c.NATS.URL, c.Node, c.Durable.Default = server.URL(), node, "log" })
		r.eventually("NATS can store", func() bool { ok, _ := r.gw.bus.Ready(); return ok })
		return r
	}
	a, b := on("a"), on("b")
	meet(a, b)
	tenants := []string{"acme", "globex"}
	comes := func(r *rig, tenant string, present bool) *client {
		t.Helper()
		c, ack := r.connectOn(r.opensAs(tenant, mqtt.V5), "d", persistent)
		if ack.SessionPresent != present {
			t.Fatalf("%s at %s: session present %v", tenant, r.gw.cfg.Node, ack.SessionPresent)
		}
		return c
	}
	tells := func(r *rig, tenant, text string, qos byte) {
		t.Helper()
		p := r.of(tenant, mqtt.V5, "p")
		if got := p.publish(qos, "up/x", text); got.Failed() {
			t.Fatal(got)
		}
		p.disconnect()
	}
	was := map[string]*client{}
	for _, tenant := range tenants {
		c := comes(a, tenant, false)
		if got := c.subscribe(2, "up/#"); got[0] != 2 {
			t.Fatal(got)
		}
		p := a.of(tenant, mqtt.V5, "p")
		p.publish(1, "keep", "kept of "+tenant, retained)
		p.disconnect()
		was[tenant] = c
	}
	moved := comes(b, "acme", true) // while it is connected elsewhere
	was["acme"].endsWith(mqtt.SessionTakenOver, 0)
	was["globex"].ping()
	moved.disconnectKeeping()
	was["globex"].disconnectKeeping()
	for n, tenant := range tenants { // by the gateway that has the session, and by the other one
		for qos := byte(1); qos <= 2; qos++ {
			tells([]*rig{a, b}[n], tenant, fmt.Sprint(tenant, qos), qos)
		}
	}
	hears := func(r *rig, tenant string) *client {
		t.Helper()
		c := comes(r, tenant, true)
		for qos := byte(1); qos <= 2; qos++ {
			if g := c.gets("up/x", fmt.Sprint(tenant, qos)); g.QoS != qos {
				t.Errorf("QoS %d", g.QoS)
			}
		}
		c.subscribe(0, "keep")
		c.gets("keep", "kept of "+tenant)
		c.ping()
		return c
	}
	hears(a, "acme").disconnectKeeping()
	for _, r := range []*rig{a, b} {
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
	again := on("a")
	hears(again, "globex").disconnectKeeping()
	c := comes(again, "acme", true)
	tells(again, "globex", "no", 1)
	tells(again, "acme", "yes", 1)
	c.gets("up/x", "yes")
	c.ping()
	if got := c.subscribe(0, "#"); got[0].Failed() {
		t.Error(got)
	}
	c.gets("keep", "kept of acme")
	c.ping()
}

// TestTenantResponseTopic: a device of no tenant does not have a backend answer to a tenant's devices in its place, by a message or by a will.
func TestTenantResponseTopic(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, twoTenants)
	all := r.everything()
	outside := r.of("", mqtt.V5, "o")
	for topic, want := range map[string]mqtt.Reason{"t/acme/down/v": mqtt.NotAuthorized, "fleet/g/x": mqtt.NotAuthorized, "t/acme": mqtt.Success, "answers/o": mqtt.Success} {
		answerOn := func(p *mqtt.PublishOut) { p.Props = mqtt.AppendResponseTopic(nil, []byte(topic)) }
		if got := outside.publish(1, "ask", "?", answerOn); got != want && !(want == mqtt.Success && !got.Failed()) {
			t.Errorf("%s: %v", topic, got)
		}
		outside.publish(0, "ask", "?", answerOn)
	}
	outside.publish(1, "end", "")
	for {
		m, err := all.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Header.Get("TG-Response"); got == "t.acme.down.v" || got == "fleet.g.x" {
			t.Errorf("a backend is to answer on %s", got)
		}
		if m.Subject == "end" {
			return
		}
	}
}
