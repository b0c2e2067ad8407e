package gateway

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// house has every device speak and hear below its own topic, and a few more things for each way to deny.
const house = `
- {permission: deny, action: publish, topic: "d/${clientid}/silent/#", on_deny: ignore}
- {permission: deny, action: all, topic: "never/${clientid}/#", on_deny: disconnect}
- {permission: allow, action: publish, topic: "d/${clientid}/once", qos: 0, retain: false}
- {permission: deny, action: publish, topic: "d/${clientid}/once"}
- {permission: allow, action: all, topic: "d/${clientid}/#"}
- {permission: allow, action: subscribe, topic: [news/#, watched/#], qos: 1}
- {permission: allow, action: publish, topic: "fence/#"}
- {permission: allow, action: publish, topic: "#", client: feed}
`

// ruled has rules in a file, and denies what they do not decide; the file is at the path that is returned.
func ruled(t *testing.T, rules string) (mod func(c *Config), file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "acl.yaml")
	writeRules(t, file, rules)
	return func(c *Config) { c.ACL = ACL{File: file, Default: aclDeny} }, file
}

// writeRules replaces the file in one step, as an editor or a deployment does.
func writeRules(t *testing.T, file, rules string) {
	t.Helper()
	next := file + ".next"
	if err := os.WriteFile(next, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
}

// denied is how often something of this kind was.
func (r *rig) denied(what deniedAction) uint64 { r.t.Helper(); return r.sum().denied[what] }

// everything is a backend's subscription to all subjects.
func (r *rig) everything() *nats.Subscription {
	r.t.Helper()
	nc := r.nats()
	all, err := nc.SubscribeSync(">")
	if err != nil {
		r.t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		r.t.Fatal(err)
	}
	return all
}

// TestPermitPublish: what is not permitted goes nowhere, and is answered as the rule has it, in every version, transport and quality.
func TestPermitPublish(t *testing.T) {
	t.Parallel()
	mod, _ := ruled(t, house)
	r := start(t, unrecorded, mod)
	all := r.everything()
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		for _, transport := range transports {
			id := fmt.Sprintf("p%d%s", v, transport)
			c, _ := r.connectOn(r.via(transport, v), id)
			told := mqtt.Success
			if v == mqtt.V5 {
				told = mqtt.NotAuthorized
			}
			before, tries := r.denied(deniedPublish), uint64(0)
			for qos := range byte(3) {
				for topic, want := range map[string]mqtt.Reason{
					"other/x": told, "d/other/x": told, "d": told, "d/" + id + "/silent/x": mqtt.Success,
				} {
					tries++
					if qos == 0 {
						want = mqtt.Success
					}
					if got := c.publish(qos, topic, "denied"); got != want && (qos > 0 || got.Failed()) {
						t.Errorf("%s, QoS %d: %s: %v, want %v", id, qos, topic, got, want)
					}
				}
				if got := c.publish(qos, "d/"+id+"/x", "allowed"); got.Failed() {
					t.Errorf("%s, QoS %d: %v", id, qos, got)
				}
				if m, err := all.NextMsg(answerTime); err != nil || m.Subject != "d."+id+".x" {
					t.Fatalf("%s, QoS %d: %v %v", id, qos, m, err)
				}
			}
			if n := r.denied(deniedPublish) - before; n != tries {
				t.Errorf("%s: %d counted, want %d", id, n, tries)
			}
			c.publish(0, "never/"+id+"/x", "denied")
			if v == mqtt.V5 {
				if reason, _ := c.end(); reason != mqtt.NotAuthorized {
					t.Errorf("%s: closed with %v", id, reason)
				}
			} else {
				c.end()
			}
		}
	}
	r.closesBy(reasonNotAuthorized, 0, 6)
}

// TestPermitQoSAndRetain: a rule may be for some qualities, and for messages that are not to be retained. A topic is judged by what it is, also when an
// alias stands for it.
func TestPermitQoSAndRetain(t *testing.T) {
	t.Parallel()
	mod, _ := ruled(t, house)
	r := start(t, unrecorded, mod, func(c *Config) { c.TopicRewrite = []TopicRewrite{{From: "old/+", To: "d/{client-id}/{1}"}} })
	c := r.connect(mqtt.V5, "q")
	if got := c.publish(1, "d/q/once", "x"); got != mqtt.NotAuthorized {
		t.Errorf("QoS 1: %v", got)
	}
	c.publish(0, "d/q/once", "x", retained)
	c.publish(0, "d/q/once", "x")
	r.eventually("two are denied", func() bool { return r.denied(deniedPublish) == 2 })
	if n := r.retainedTopics(); n != 0 {
		t.Errorf("%d are retained", n)
	}
	alias := func(p *mqtt.PublishOut) { p.TopicAlias = 1 }
	if got := c.publish(1, "d/other", "x", alias); got != mqtt.NotAuthorized {
		t.Errorf("sets an alias: %v", got)
	}
	if got := c.publish(1, "", "x", alias); got != mqtt.NotAuthorized {
		t.Errorf("by alias: %v", got)
	}
	if got := c.publish(1, "old/x", "x"); got.Failed() {
		t.Errorf("rewritten: %v", got)
	}
	if got := c.publish(1, "old/once", "x"); got != mqtt.NotAuthorized {
		t.Errorf("rewritten to what is denied: %v", got)
	}
}

// TestPermitSubscribe: a filter is granted when all of it is permitted, with the quality that is.
func TestPermitSubscribe(t *testing.T) {
	t.Parallel()
	mod, _ := ruled(t, house)
	r := start(t, unrecorded, mod, func(c *Config) {
		c.AutoSubscribe = []AutoSubscribe{{Clients: "s*", Filter: "d/{client-id}/auto"}, {Clients: "s*", Filter: "#"}}
	})
	for v, refused := range map[mqtt.Version]mqtt.Reason{mqtt.V31: 0x80, mqtt.V311: 0x80, mqtt.V5: mqtt.NotAuthorized} {
		id := fmt.Sprint("s", byte(v))
		c := r.connect(v, id)
		got := c.subscribe(2, "d/"+id+"/x", "#", "d/#", "d/+/x", "d/other/x", "news/#", "$share/g/news/+", "$share/g/#", "+/"+id+"/x", "$SYS/#")
		want := []mqtt.Reason{2, refused, refused, refused, refused, 1, 1, refused, refused, refused}
		if !slices.Equal(got, want) {
			t.Errorf("version %d: %v, want %v", v, got, want)
		}
		nc := r.nats()
		for _, subject := range []string{"d.other.x", "elsewhere", "news.a", "d." + id + ".auto", "d." + id + ".x"} {
			if err := nc.Publish(subject, []byte(subject)); err != nil {
				t.Fatal(err)
			}
		}
		var topics []string
		for range 4 { // news twice: the group has one member
			topics = append(topics, c.message().topic)
		}
		slices.Sort(topics)
		if want := []string{"d/" + id + "/auto", "d/" + id + "/x", "news/a", "news/a"}; !slices.Equal(topics, want) {
			t.Errorf("version %d: %v, want %v", v, topics, want)
		}
		c.write(mqtt.AppendSubscribe(nil, v, 99, []mqtt.Filter{{Topic: []byte("never/" + id + "/x")}}, 0))
		c.end()
	}
	r.closesBy(reasonNotAuthorized, 0, 3)
	if n := r.denied(deniedSubscribe); n != 3*(7+1+1) {
		t.Errorf("%d subscriptions were denied", n)
	}
}

// TestPermitWill: a will is a message like others, and CONNECT is the time to say so.
func TestPermitWill(t *testing.T) {
	t.Parallel()
	mod, _ := ruled(t, house)
	r := start(t, unrecorded, mod)
	all := r.everything()
	will := func(topic string, retain bool) func(o *mqtt.ConnectOut) {
		return func(o *mqtt.ConnectOut) {
			o.HasWill, o.WillTopic, o.WillPayload, o.WillRetain = true, []byte(topic), []byte("gone"), retain
		}
	}
	for _, topic := range []string{"d/other/w", "never/w5/w"} {
		r.forbids("w5", will(topic, false))
	}
	r.forbids("w5", will("d/w5/once", true))
	c := r.open(mqtt.V311, r.mqtt)
	c.write(c.connectPacket("w4", will("d/other/w", false)))
	if ack := c.expect(mqtt.TypeConnack); ack.ReturnCode != 5 {
		t.Errorf("return code %d, want 5", ack.ReturnCode)
	}
	r.connect(mqtt.V5, "w5", will("d/w5/silent/w", false)).cut()
	r.connect(mqtt.V5, "w6", will("d/w6/w", false)).cut()
	if m, err := all.NextMsg(answerTime); err != nil || m.Subject != "d.w6.w" {
		t.Errorf("%v %v, want the will of w6", m, err)
	}
	if n := r.denied(deniedWill); n != 5 {
		t.Errorf("%d wills were denied, want 5", n)
	}
}

// forbids expects a CONNECT to be refused because of its will.
func (r *rig) forbids(id string, will func(o *mqtt.ConnectOut)) {
	r.t.Helper()
	c := r.open(mqtt.V5, r.mqtt)
	c.write(c.connectPacket(id, will))
	if ack := c.expect(mqtt.TypeConnack); ack.Reason != mqtt.NotAuthorized || string(ack.Props.ReasonString) != refusedDeniedWill.text() {
		r.t.Errorf("CONNACK %v %q", ack.Reason, ack.Props.ReasonString)
	}
}

// TestPermitCommands: plain devices and their commands are held to the same rules.
func TestPermitCommands(t *testing.T) {
	t.Parallel()
	mod, _ := ruled(t, house+`
- {permission: allow, action: all, topic: "devices/${clientid}/#", client: "b-*"}
- {permission: deny, action: publish, topic: "devices/x-plain/up", on_deny: disconnect}
`)
	r := start(t, unrecorded, mod)
	all := r.everything()
	for protocol := range encodings {
		id := "b-" + protocol[len(protocol)-6:len(protocol)-3]
		j := r.talks(protocol, id)
		j.says(`{"id":2,"op":"publish","topic":"other/x","text":"denied"}`)
		j.fails(2, "forbidden", false)
		j.asks(`{"id":3,"op":"publish","topic":"d/`+id+`/silent/x","text":"denied"}`, `{"id":3,"ok":true}`)
		j.says(`{"id":4,"op":"subscribe","filter":"#"}`)
		j.fails(4, "forbidden", false)
		j.asks(`{"id":5,"op":"subscribe","filter":"d/`+id+`/x"}`, `{"id":5,"ok":true}`)
		j.says(`{"id":6,"op":"request","topic":"services/x","text":"denied"}`)
		j.fails(6, "forbidden", false)
		j.says(`{"id":7,"op":"request","topic":"d/` + id + `/silent/x","text":"denied"}`)
		j.fails(7, "forbidden", false)
		j.says(`{"op":"publish","topic":"d/` + id + `/y","text":"allowed"}`)
		if m, err := all.NextMsg(answerTime); err != nil || m.Subject != "d."+id+".y" {
			t.Errorf("%v %v", m, err)
		}
		j.says(`[{"id":8,"op":"request","topic":"never/` + id + `/x","text":"denied"},{"id":9,"op":"ping"}]`)
		if code, _ := j.ends(); code != 4401 {
			t.Errorf("closed with %d", code)
		}
	}
	if n := r.denied(deniedPublish); n != 2*5 {
		t.Errorf("%d messages were denied", n)
	}
	plain := r.dialWS("/ws/b-plain")
	writeWS(t, plain, websocket.MessageText, "up")
	if m, err := all.NextMsg(answerTime); err != nil || m.Subject != "devices.b-plain.up" {
		t.Errorf("%v %v", m, err)
	}
	if err := r.nats().Publish("devices.b-plain.down", []byte("down")); err != nil {
		t.Fatal(err)
	}
	if _, payload := readWS(t, plain); payload != "down" {
		t.Errorf("%q", payload)
	}
	writeWS(t, r.dialWS("/ws/mute"), websocket.MessageText, "denied")
	r.eventually("it is denied", func() bool { return r.denied(deniedPublish) == 2*5+1 })
	ends := r.dialWS("/ws/x-plain")
	writeWS(t, ends, websocket.MessageText, "denied")
	if code := closeCodeWS(t, ends); code != websocket.StatusPolicyViolation {
		t.Errorf("closed with %d", code)
	}
	if m, err := all.NextMsg(50 * time.Millisecond); err == nil && m.Subject != "devices.b-plain.down" {
		t.Errorf("%s reached NATS", m.Subject)
	}
}

// TestPermitOwn: rules that come with the answer about a device are asked before those of the file, which decide what they leave open.
func TestPermitOwn(t *testing.T) {
	t.Parallel()
	cb := newCallback(t, func(q map[string]any) string {
		if q["username"] == "broken" {
			return `{"result":"allow","acl":[{"permission":"allow","action":"all","topic":"a/#/b"}]}`
		}
		return `{"result":"allow","acl":[{"permission":"allow","action":"publish","topic":"u/${username}/up"},{"permission":"deny","action":"all","topic":"d/${clientid}/mine"}]}`
	})
	mod, _ := ruled(t, house)
	r := start(t, unrecorded, cb.chained(t), mod)
	c := r.connect(mqtt.V5, "o", withLogin("anna", "x"))
	for topic, want := range map[string]mqtt.Reason{
		"u/anna/up": mqtt.NoMatchingSubscribers, "u/otto/up": mqtt.NotAuthorized, "d/o/mine": mqtt.NotAuthorized, "d/o/x": mqtt.NoMatchingSubscribers,
	} {
		if got := c.publish(1, topic, "x"); got.Failed() != want.Failed() {
			t.Errorf("%s: %v", topic, got)
		}
	}
	if got := c.subscribe(1, "d/o/#", "d/o/x"); got[0] != mqtt.NotAuthorized || got[1].Failed() {
		t.Errorf("subscriptions: %v", got)
	}
	r.turnedDown(r.open(mqtt.V5, r.mqtt), mqtt.ServerUnavailable, "o2", withLogin("broken", "x"))
}

// TestPermitToken: a token has rules, too, and a newer one may take something away.
func TestPermitToken(t *testing.T) {
	t.Parallel()
	r := start(t, unrecorded, withTokens(t), func(c *Config) { c.ACL.Default = aclDeny })
	rule := func(action, topic string) map[string]any {
		return map[string]any{"permission": "allow", "action": action, "topic": topic}
	}
	with := func(rules ...any) string {
		return token(t, jwt.MapClaims{"sub": "tok", "user": "anna", "exp": inSeconds(60), "acl": rules})
	}
	j := r.opens(protocolJSON, "tok")
	j.connects(`"token":"` + with(rule("all", "u/${username}/#")) + `"`)
	j.asks(`{"id":2,"op":"publish","topic":"u/anna/x","text":"x"}`, `{"id":2,"ok":true}`)
	j.says(`{"id":3,"op":"publish","topic":"u/otto/x","text":"x"}`)
	j.fails(3, "forbidden", false)
	j.asks(`{"id":4,"op":"subscribe","filter":"u/anna/#"}`, `{"id":4,"ok":true}`)
	j.says(`[{"id":5,"op":"refresh","token":"` + with(rule("publish", "u/#")) + `"},{"id":6,"op":"ping"}]`)
	if code, _ := j.ends(); code != 4104 {
		t.Errorf("closed with %d", code)
	}
}

// TestPermitAnswer: a device answers a request that reached it, whatever it may publish.
func TestPermitAnswer(t *testing.T) {
	t.Parallel()
	mod, _ := ruled(t, `- {permission: allow, action: subscribe, topic: "d/${clientid}/#"}`)
	r := start(t, unrecorded, mod)
	nc := r.nats()
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		id := fmt.Sprint("a", byte(v))
		c := r.connect(v, id)
		c.subscribe(1, "d/"+id+"/#")
		answer := make(chan string, 1)
		go func() {
			m, err := nc.Request("d."+id+".cmd", []byte("?"), answerTime)
			if err != nil {
				answer <- err.Error()
				return
			}
			answer <- string(m.Data)
		}()
		g := c.message()
		to := strings.Replace(g.topic, "/request/", "/response/", 1)
		if v == mqtt.V5 {
			to = string(g.Props.ResponseTopic)
		}
		if got := c.publish(1, to, "!"); got.Failed() {
			t.Errorf("%s: %v", id, got)
		}
		if got := <-answer; got != "!" {
			t.Errorf("%s: the backend has %q", id, got)
		}
	}
}

// TestPermitCertificate: rules know the common name that TLS has verified, and none where it has verified nothing.
func TestPermitCertificate(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	mod, _ := ruled(t, `- {permission: allow, action: publish, topic: "c/${cert.cn}/#"}`)
	r := start(t, a.secured(a.wants("optional")), mod)
	shows := a.client(showing(a.issue("pump-7")))
	for id, tc := range map[string]struct {
		config *tls.Config
		want   mqtt.Reason
	}{"shows": {shows, mqtt.Success}, "pump-7": {a.client(), mqtt.NotAuthorized}} {
		c, _ := r.connectOn(r.mustTLS(r.mqtt, tc.config), id)
		if got := c.publish(1, "c/pump-7/x", "x"); got.Failed() != tc.want.Failed() {
			t.Errorf("%s: %v", id, got)
		}
		if got := c.publish(1, "c/pump-8/x", "x"); got != mqtt.NotAuthorized {
			t.Errorf("%s, as another: %v", id, got)
		}
	}
}

// TestPermitDefault: without rules, what is not decided is allowed unless the listener says otherwise.
func TestPermitDefault(t *testing.T) {
	t.Parallel()
	r := start(t, unrecorded, func(c *Config) { c.Listeners[2] = "any://127.0.0.1:0?acl_default=deny" })
	if got := r.connect(mqtt.V5, "in").publish(1, "a", "x"); got.Failed() {
		t.Errorf("allowed by default: %v", got)
	}
	c, _ := r.connectOn(r.open(mqtt.V5, r.any), "out")
	if got := c.publish(1, "a", "x"); got != mqtt.NotAuthorized {
		t.Errorf("denied by the listener: %v", got)
	}
	if start(t, memoryOnly).gw.restricts() {
		t.Error("a gateway without rules looks for them")
	}
}
