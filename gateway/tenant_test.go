package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// twoTenants has a listener for acme, one for globex, and one for nobody; WebSockets are acme's.
func twoTenants(c *Config) {
	c.Tenants = []TenantCfg{{Name: "acme", Hosts: "acme.example *.acme.example", Users: "*@acme", CertOrganization: "Acme"}, {Name: "globex", Prefix: "fleet/g/", Users: "*@globex", CertUnit: "Globex devices"}}
	c.Listeners = []string{"mqtt://127.0.0.1:0?tenant=acme", "ws://127.0.0.1:0?tenant=acme", "any://127.0.0.1:0", "mqtt://127.0.0.1:0?tenant=globex"}
}

// of connects a device to the listener of a tenant, "" for that of none.
func (r *rig) of(tenant string, v mqtt.Version, id string, mods ...func(o *mqtt.ConnectOut)) *client {
	r.t.Helper()
	c, _ := r.connectOn(r.opensAs(tenant, v), id, mods...)
	return c
}

func (r *rig) opensAs(tenant string, v mqtt.Version) *client {
	r.t.Helper()
	return r.open(v, r.gw.Addrs().Listeners[map[string]int{"acme": 0, "": 2, "globex": 3}[tenant]].Addr.String())
}

// TestTenantsApart: two devices with one client id and one topic do not know of each other, in any version and quality; backends see both.
func TestTenantsApart(t *testing.T) {
	t.Parallel()
	r := start(t, twoTenants)
	nc := r.nats()
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		for qos := range byte(3) {
			id := fmt.Sprintf("d%d%d", v, qos)
			a, g := r.of("acme", v, id), r.of("globex", v, id)
			for _, c := range []*client{a, g} {
				if got := c.subscribe(qos, "#", "$share/s/up/"+id); got[0] != mqtt.Reason(qos) {
					t.Fatal(got)
				}
			}
			up, err := nc.SubscribeSync("*.*.up." + id)
			if err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			for _, side := range []struct {
				tenant, subject string
				c               *client
			}{{"acme", "t.acme.up." + id, a}, {"globex", "fleet.g.up." + id, g}} {
				side.c.write(mqtt.AppendPublish(nil, v, &mqtt.PublishOut{Topic: []byte("up/" + id), Payload: []byte("x"), QoS: 0}))
				side.c.gets("up/"+id, "x") // by # and as the only one of its group
				side.c.gets("up/"+id, "x")
				if qos > 0 {
					p := r.of(side.tenant, v, "p"+id)
					if got := p.publish(qos, "with/"+id, "x"); got.Failed() {
						t.Fatal(got)
					}
					p.disconnect()
					if g := side.c.gets("with/"+id, "x"); g.QoS != qos {
						t.Errorf("QoS %d, want %d", g.QoS, qos)
					}
				}
				m, err := up.NextMsg(patience)
				if err != nil || m.Subject != side.subject {
					t.Fatalf("%v %v, want %s", m, err, side.subject)
				}
				if err := nc.Publish(strings.Replace(side.subject, ".up.", ".down.", 1), []byte(side.subject)); err != nil {
					t.Fatal(err)
				}
				side.c.gets("down/"+id, side.subject)
			}
			a.ping()
			g.ping()
			a.disconnect()
			g.disconnect()
		}
	}
}

// TestTenantNoWayOut: whatever names a device uses, they are inside its tenant's prefix, and nothing else comes to it.
func TestTenantNoWayOut(t *testing.T) {
	t.Parallel()
	r := start(t, unrecorded, memoryOnly, twoTenants)
	all := r.everything()
	victim, outside := r.of("globex", mqtt.V5, "v"), r.of("", mqtt.V5, "v")
	victim.subscribe(0, "#", "+/+", "/#", "$share/s/#")
	outside.subscribe(0, "#", "+/#", "t/+/#", "fleet/+/x", "$SYS/broker/version")
	if g := outside.message(); g.topic != "$SYS/broker/version" {
		t.Errorf("%q", g.topic)
	}
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		a := r.of("acme", v, "a")
		for _, topic := range []string{"fleet/g/x", "/fleet/g/x", "../fleet/g/x", "t/globex/x", "/", "//", "x/", "..", ".", "a.b", "t/acme", "> ", "*/x", "_inbox/x", "x/$SYS"} {
			a.publish(1, topic, topic)
			m, err := all.NextMsg(patience)
			if err != nil {
				t.Fatal(topic, err)
			}
			if want := "t.acme." + string(bus.AppendSubject(nil, []byte(topic))); m.Subject != want {
				t.Errorf("%q went to %q, want %q", topic, m.Subject, want)
			}
		}
		for _, topic := range []string{"$SYS/x", "_INBOX/x", "$JS/API", "$reply/abc", "_R_/x"} {
			if got := a.publish(1, topic, "x"); v == mqtt.V5 && got != mqtt.NotAuthorized {
				t.Errorf("%s: %v", topic, got)
			}
		}
		for _, filter := range []string{"#", "+/#", "fleet/g/#", "/#", "+", "/", "$share/s/#", "$share/s/fleet/#", "$SYS/#", "$share/s/$SYS/#", "../#", "t/#"} {
			if got := a.subscribe(1, filter); got[0].Failed() {
				t.Errorf("%s: %v", filter, got)
			}
		}
		victim.publish(0, "fleet/g/x", "to globex")
		victim.publish(0, "t/acme/x", "to globex")
		for range 2 {
			if _, err := all.NextMsg(patience); err != nil {
				t.Fatal(err)
			}
		}
		outside.publish(0, "x", "outside")
		if _, err := all.NextMsg(patience); err != nil {
			t.Fatal(err)
		}
		outside.gets("x", "outside")
		nc := r.nats()
		for _, subject := range []string{"t.acme", "t.acmeX.y", "x", "t.acme.$SYS.x", "t.acme._INBOX.x"} { // the parent of its prefix is not its own either
			if err := nc.Publish(subject, []byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := all.NextMsg(patience); err != nil {
				t.Fatal(err)
			}
		}
		if err := nc.Publish("t.acme.last", []byte("last")); err != nil {
			t.Fatal(err)
		}
		if _, err := all.NextMsg(patience); err != nil {
			t.Fatal(err)
		}
		for range 2 { // by # and +/# once, and as the only member of a group
			a.gets("last", "last")
		}
		a.ping()
		a.disconnect()
		for _, payload := range []string{"x", "x", "x"} { // "x" and the two beside the prefix
			if g := outside.message(); g.payload != payload || strings.HasPrefix(g.topic, "t/acme/") {
				t.Errorf("outside got %q %q", g.topic, g.payload)
			}
		}
	}
	outside.ping()
	if got := outside.publish(1, "t/acme/x", "x"); got != mqtt.NotAuthorized {
		t.Errorf("outside may publish to a tenant: %v", got)
	}
	if got := outside.subscribe(1, "t/acme/x", "fleet/g/#", "$share/s/t/acme/x", "$share/s/#", "$share/s/+/g/x", "$share/s/other/#"); fmt.Sprint(got[:5]) !=
		fmt.Sprint([]mqtt.Reason{mqtt.NotAuthorized, mqtt.NotAuthorized, mqtt.NotAuthorized, mqtt.NotAuthorized, mqtt.NotAuthorized}) || got[5].Failed() {
		t.Errorf("outside may subscribe: %v", got)
	}
}

// TestTenantNames: aliases, rewriting, subscriptions by configuration, wills, retained messages and response topics work with the names that devices know.
func TestTenantNames(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, twoTenants, func(c *Config) {
		c.TopicRewrite = []TopicRewrite{{From: "old/#", To: "new/{client-id}/{1}"}}
		c.AutoSubscribe = []AutoSubscribe{{Clients: "w*", Filter: "new/{client-id}/#"}, {Clients: "acme/*", Filter: "never"}}
		c.MQTT.ResponseInformation = "replies/{client-id}"
	})
	w, ack := r.connectOn(r.opensAs("acme", mqtt.V5), "w1", func(o *mqtt.ConnectOut) { o.RequestResponseInfo, o.TopicAliasMax = true, 4 })
	if got := string(ack.Props.ResponseInfo); got != "replies/w1" {
		t.Errorf("response information %q", got)
	}
	w.publish(0, "old/x", "1")
	w.gets("new/w1/x", "1")
	w.publish(0, "old/y", "2", func(p *mqtt.PublishOut) { p.TopicAlias = 1 })
	w.gets("new/w1/y", "2")
	w.publish(0, "", "3", func(p *mqtt.PublishOut) { p.TopicAlias = 1 })
	if g := w.message(); g.payload != "3" || g.Props.TopicAlias == 0 {
		t.Errorf("%q %q %d", g.topic, g.payload, g.Props.TopicAlias)
	}
	w.subscribe(1, "keep/#", "will/#", "ask")
	nc := r.nats()
	asked, err := nc.SubscribeSync("t.acme.ask")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	dying := r.of("acme", mqtt.V5, "x", func(o *mqtt.ConnectOut) {
		o.HasWill, o.WillTopic, o.WillPayload = true, []byte("will/x"), []byte("gone")
	})
	dying.publish(1, "keep/a", "kept", retained)
	w.gets("keep/a", "kept")
	dying.publish(1, "ask", "?", func(p *mqtt.PublishOut) { p.Props = mqtt.AppendResponseTopic(nil, []byte("answers/x")) })
	if g := w.gets("ask", "?"); string(g.Props.ResponseTopic) != "answers/x" {
		t.Errorf("response topic %q", g.Props.ResponseTopic)
	}
	if m, err := asked.NextMsg(patience); err != nil || m.Header.Get("TG-Response") != "t.acme.answers.x" {
		t.Errorf("%v %v", m, err)
	}
	for sent, want := range map[string]string{"t.acme.back": "back", "fleet.g.back": ""} {
		m := nats.NewMsg("t.acme.ask")
		m.Header.Set("TG-Response", sent)
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
		if g := w.message(); string(g.Props.ResponseTopic) != want {
			t.Errorf("response topic %q of a backend is %q", sent, g.Props.ResponseTopic)
		}
	}
	dying.reset()
	w.gets("will/x", "gone")
	late, other := r.of("acme", mqtt.V311, "late"), r.of("globex", mqtt.V311, "late")
	late.subscribe(0, "#")
	other.subscribe(0, "#")
	late.gets("keep/a", "kept")
	other.ping()
	if r.gw.tenants.byName["acme"].retained.Load() != 1 {
		t.Error("retained messages of the tenant are not counted")
	}
	if got := r.sum().autoSubscribed; got != 1 {
		t.Errorf("%d subscriptions by configuration", got)
	}
	_, ack = r.connectOn(r.opensAs("globex", mqtt.V5), "")
	if id := string(ack.Props.AssignedClientID); !strings.HasPrefix(id, "tg-") {
		t.Errorf("assigned %q", id)
	}
}

// TestTenantIDs: nobody outside a tenant can have the client id of its devices.
func TestTenantIDs(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, twoTenants)
	a := r.of("acme", mqtt.V5, "d")
	r.turnedDown(r.opensAs("", mqtt.V5), mqtt.ClientIdentifierNotValid, "acme/d")
	r.of("", mqtt.V5, "acmes/d").ping()
	r.of("globex", mqtt.V5, "acme/d").ping() // that is globex/acme/d
	a.ping()
	again := r.of("acme", mqtt.V5, "d", persistent)
	a.endsWith(mqtt.SessionTakenOver, 0)
	again.subscribe(1, "x")
	again.cut()
	again, ack := r.connectOn(r.opensAs("acme", mqtt.V5), "d", persistent)
	if !ack.SessionPresent {
		t.Error("the session is lost")
	}
	if _, ack = r.connectOn(r.opensAs("globex", mqtt.V5), "d", persistent); ack.SessionPresent {
		t.Error("globex has the session of acme")
	}
	again.publish(0, "x", "1")
	again.gets("x", "1")
}

// TestTenantOfWhom: a chain, a proved name, a server name or a certificate tell whose a device is; they have to agree. With several loops the home of most
// of these is another one than before the answer.
func TestTenantOfWhom(t *testing.T) {
	t.Parallel()
	cb := newCallback(t, func(q map[string]any) string {
		name, tenant, _ := strings.Cut(fmt.Sprint(q["username"]), ":")
		return fmt.Sprintf(`{"result":"allow","user":%q,"tenant":%q}`, name, tenant)
	})
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured(a.wants(clientCertsOptional)), cb.chained(t), func(c *Config) {
		twoTenants(c)
		c.Loops = 4
		c.Listeners = []string{"mqtts://127.0.0.1:0", "ws://127.0.0.1:0", "any://127.0.0.1:0", "mqtt://127.0.0.1:0?tenant=globex"}
	})
	named := func(host string) *tls.Config {
		return &tls.Config{InsecureSkipVerify: true, ServerName: host} //nolint:gosec // who the server is, is not the question
	}
	shows := func(mod func(c *x509.Certificate)) *tls.Config {
		return a.client(showing(a.issue("device", mod)))
	}
	acme := func(c *x509.Certificate) { c.Subject.Organization = []string{"Acme"} }
	for i, tc := range []struct {
		tls   *tls.Config // nil: the listener of none
		login string
		of    string
		why   mqtt.Reason
	}{
		{nil, "u", "", 0}, {nil, "u:acme", "acme", 0}, {nil, "u@acme", "acme", 0}, {nil, "u@globex:globex", "globex", 0},
		{nil, "u@globex:acme", "", mqtt.NotAuthorized}, {nil, "u:nobody", "", mqtt.NotAuthorized},
		{named("acme.example"), "u", "acme", 0}, {named("x.ACME.example"), "u:acme", "acme", 0}, {named("other.example"), "u", "", 0},
		{named("acme.example"), "u:globex", "", mqtt.NotAuthorized},
		{shows(acme), "u", "acme", 0}, {shows(func(c *x509.Certificate) { c.Subject.OrganizationalUnit = []string{"Globex devices"} }), "u", "globex", 0},
		{shows(acme), "u@globex", "", mqtt.NotAuthorized}, {shows(func(*x509.Certificate) {}), "u", "", 0},
	} {
		for j := range 6 {
			id := fmt.Sprint("d", i, j)
			c := r.opensAs("", mqtt.V5)
			if tc.tls != nil {
				c = r.mustTLS(r.mqtt, tc.tls)
			}
			if tc.why != 0 {
				r.turnedDown(c, tc.why, id, withLogin(tc.login, "x"))
				continue
			}
			r.connectOn(c, id, withLogin(tc.login, "x"))
			inside := strings.TrimPrefix(tc.of+"/"+id, "/")
			if sess := r.whoIs(inside); (sess.of == nil) != (tc.of == "") || sess.of != nil && sess.of.name != tc.of {
				t.Errorf("%d: %+v is not of %q", i, sess.of, tc.of)
			}
			c.cut()
		}
	}
	for i := range 8 { // commands wait while they move
		j := r.opens(protocolJSON, fmt.Sprint("j", i))
		if answer := j.connects(`"token":"t"`); answer["client"] != fmt.Sprint("j", i) {
			t.Errorf("%v", answer)
		}
	}
}

// TestTenantPlain: WebSocket devices have their own topics in their tenant, and who they hear of has the names they know.
func TestTenantPlain(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, protocol string) {
		t.Parallel()
		r := start(t, memoryOnly, twoTenants)
		nc := r.nats()
		up, err := nc.SubscribeSync("t.acme.devices.*.up")
		if err != nil {
			t.Fatal(err)
		}
		j := r.talks(protocol, "j")
		if err := nc.Publish("t.acme.devices.j.down", []byte(`"hi"`)); err != nil {
			t.Fatal(err)
		}
		j.message("devices/j/down", `"hi"`)
		j.asks(`{"id":2,"op":"subscribe","filter":"a/#","presence":true}`, `{"id":2,"ok":true}`)
		a, g := r.of("acme", mqtt.V5, "m"), r.of("globex", mqtt.V5, "m")
		g.subscribe(1, "a/#")
		a.subscribe(1, "a/#")
		j.hears(`{"op":"presence","filter":"a/#","joined":"m"}`)
		j.asks(`{"id":3,"op":"presence","filter":"a/#"}`, `{"id":3,"ok":true,"count":2,"clients":["j","m"]}`)
		j.asks(`{"id":4,"op":"publish","topic":"a/b","text":"x"}`, `{"id":4,"ok":true}`)
		a.gets("a/b", "x")
		g.ping()
		answers, err := nc.Subscribe("t.acme.rpc", func(m *nats.Msg) { _ = m.Respond([]byte(`"yes"`)) })
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		j.message("a/b", "x")
		j.says(`{"id":5,"op":"request","topic":"rpc"}`)
		if answer := j.next(); answer["id"] != 5.0 || answer["error"] != nil {
			t.Errorf("%v", answer)
		}
		_ = answers.Unsubscribe()
		p := r.dialWS("/ws/p")
		writeWS(t, p, websocket.MessageText, "up")
		if m, err := up.NextMsg(patience); err != nil || m.Subject != "t.acme.devices.p.up" {
			t.Errorf("%v %v", m, err)
		}
	})
}

// TestTenantLimits: what one tenant has used up is there for others; a device that comes again takes its own place.
func TestTenantLimits(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, twoTenants, func(c *Config) {
		c.Tenants[0].ConnectionsMax, c.Tenants[0].SubscriptionsMax, c.Tenants[0].RetainedMax = 2, 3, 1
		c.Tenants[1].ConnectRate, c.Tenants[1].ConnectBurst = 1, 2
		c.Tenants[1].ConnectionsMax = 100
	})
	acme := r.gw.tenants.byName["acme"]
	a, b := r.of("acme", mqtt.V5, "a"), r.of("acme", mqtt.V5, "b")
	r.turnedDown(r.opensAs("acme", mqtt.V5), mqtt.QuotaExceeded, "c")
	if code, _ := r.opens(protocolJSON, "c").connectsInVain(); code != 4100 {
		t.Errorf("close code %d", code)
	}
	r.of("", mqtt.V5, "c").ping()
	a2 := r.of("acme", mqtt.V5, "a")
	a.endsWith(mqtt.SessionTakenOver, 0)
	r.eventually("two are connected", func() bool { return acme.open.Load() == 2 })
	if got := a2.subscribe(1, "1", "2"); got[0] != 1 || got[1] != 1 {
		t.Error(got)
	}
	if got := b.subscribe(1, "1", "2", "3"); got[0] != 1 || got[1] != mqtt.QuotaExceeded || got[2] != mqtt.QuotaExceeded {
		t.Error(got)
	}
	if got := b.subscribe(0, "1"); got[0] != 0 {
		t.Errorf("it has that already: %v", got)
	}
	b.publish(1, "keep/1", "1", retained)
	b.publish(1, "keep/2", "1", retained)
	b.publish(1, "keep/1", "2", retained)
	if n := r.retainedTopics(); n != 1 {
		t.Errorf("%d retained messages", n)
	}
	b.publish(1, "keep/1", "", retained)
	b.publish(1, "keep/2", "2", retained)
	if n := r.retainedTopics(); n != 1 {
		t.Errorf("%d retained messages", n)
	}
	b.disconnect()
	a2.disconnect()
	r.eventually("nothing is left", func() bool { return acme.open.Load() == 0 && acme.subscriptions.Load() == 0 })
	var refused bool
	for i := 0; i < 20 && !refused; i++ {
		c := r.opensAs("globex", mqtt.V5)
		c.write(c.connectPacket(fmt.Sprint("r", i)))
		refused = c.expect(mqtt.TypeConnack).Reason == mqtt.ConnectionRateExceeded
	}
	if !refused {
		t.Error("globex connects as often as it likes")
	}
	_, body := r.page("/metrics")
	for _, want := range []string{
		`gateway_tenant_refused_total{limit="connections",tenant="acme"} 2`,
		`gateway_tenant_refused_total{limit="subscriptions",tenant="acme"} 2`,
		`gateway_tenant_refused_total{limit="retained",tenant="acme"} 1`,
		`gateway_tenant_connections{tenant="acme"} 0`,
		`gateway_tenant_subscriptions{tenant="acme"} 0`,
		`gateway_tenant_retained{tenant="acme"} 1`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}

// connectsInVain sends connect and waits for the end.
func (j *talker) connectsInVain() (websocket.StatusCode, string) {
	j.t.Helper()
	j.says(`{"id":1,"op":"connect"}`)
	return j.ends()
}

// TestTenantPermissions: rules see the names that devices know.
func TestTenantPermissions(t *testing.T) {
	t.Parallel()
	mod, file := ruled(t, `
- {permission: allow, action: all, topic: "${tenant}/${clientid}/#"}
`)
	r := start(t, memoryOnly, twoTenants, mod)
	a := r.of("acme", mqtt.V5, "d", persistent, func(o *mqtt.ConnectOut) { o.HasWill, o.WillTopic = true, []byte("acme/d/will") })
	if got := a.subscribe(1, "acme/d/x", "globex/d/#", "t/acme/acme/d/#"); got[0] != 1 || got[1] != mqtt.NotAuthorized || got[2] != mqtt.NotAuthorized {
		t.Error(got)
	}
	if got := a.publish(1, "acme/e/x", "1"); got != mqtt.NotAuthorized {
		t.Error(got)
	}
	a.publish(0, "acme/d/x", "1")
	a.gets("acme/d/x", "1")
	a.cut()
	a, ack := r.connectOn(r.opensAs("acme", mqtt.V5), "d", persistent)
	if !ack.SessionPresent {
		t.Fatal("the session is gone")
	}
	a.publish(0, "acme/d/x", "2")
	a.gets("acme/d/x", "2") // the subscription was permitted again
	writeRules(t, file, `[{permission: deny, action: all, topic: "acme/#"}]`)
	r.gw.reloadRules(true)
	a.endsWith(mqtt.AdministrativeAction, 0)
}

// TestTenantSettings: what can't be meant is refused.
func TestTenantSettings(t *testing.T) {
	t.Parallel()
	for name, mod := range map[string]func(c *Config){
		"tenants[0].name":      func(c *Config) { c.Tenants[0].Name = "a/b" },
		"tenants[1].name":      func(c *Config) { c.Tenants[1].Name = "acme" },
		"tenants[1].prefix":    func(c *Config) { c.Tenants[1].Prefix = "t/acme/sub/" },
		"tenants[0].prefix":    func(c *Config) { c.Tenants[0].Prefix = "$SYS/" },
		"tenants[0].hosts":     func(c *Config) { c.Tenants[0].Hosts = "a*b" },
		"listeners[0].tenant":  func(c *Config) { c.Listeners[0] = "mqtt://127.0.0.1:0?tenant=initech" },
		"tenants[1].cert_unit": nil,
	} {
		c := Default()
		twoTenants(&c)
		if mod == nil {
			if errs := c.Validate(); len(errs) > 0 {
				t.Error(errs)
			}
			continue
		}
		mod(&c)
		found := false
		for _, e := range c.Validate() {
			found = found || e.Path == name
		}
		if !found {
			t.Errorf("%s is not refused", name)
		}
	}
}
