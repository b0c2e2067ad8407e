package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"

	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// callback is a real HTTP service that knows devices by their passwords: "pw of NAME".
type callback struct {
	*httptest.Server
	asked  atomic.Int64
	hold   atomic.Pointer[chan struct{}] // answers wait for its end
	answer func(q map[string]any) string
}

func newCallback(t *testing.T, answer func(q map[string]any) string) *callback {
	cb := &callback{answer: answer}
	if answer == nil {
		cb.answer = knows
	}
	over := make(chan struct{})
	cb.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cb.asked.Add(1)
		if wait := cb.hold.Load(); wait != nil {
			select {
			case <-*wait:
			case <-r.Context().Done():
			case <-over: // a test that failed does not hang as well
			}
		}
		var q map[string]any
		text, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(text, &q) != nil || r.Header.Get("Authorization") != "Bearer of the callback" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprint(w, cb.answer(q))
	}))
	t.Cleanup(func() {
		close(over)
		cb.Close()
	})
	return cb
}

// knows lets in who has the right password, ignores who shows none, and refuses others.
func knows(q map[string]any) string {
	switch q["password"] {
	case nil:
		return `{"result":"ignore"}`
	case fmt.Sprint("pw of ", q["username"]):
		return `{"result":"allow"}`
	}
	return `{"result":"deny"}`
}

// chained has every listener ask a callback.
func (cb *callback) chained(t *testing.T, mods ...func(p *AuthProvider)) func(c *Config) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("Bearer of the callback\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *Config) {
		p := AuthProvider{Chain: "main", Type: "http", URL: cb.URL + "/connect", SecretFile: secret, Timeout: 10 * time.Second}
		for _, mod := range mods {
			mod(&p)
		}
		c.Auth.Chain, c.Auth.Chains, c.Auth.Anonymous = "main", append(c.Auth.Chains, p), anonymousNobody
	}
}

// withLogin is a CONNECT with a name and its password, or another.
func withLogin(name, password string) func(o *mqtt.ConnectOut) {
	return func(o *mqtt.ConnectOut) { o.Username, o.Password = []byte(name), []byte(password) }
}

func proved(name string) func(o *mqtt.ConnectOut) { return withLogin(name, "pw of "+name) }

// turnedDown sends CONNECT and expects it to be refused.
func (r *rig) turnedDown(c *client, why mqtt.Reason, id string, mods ...func(o *mqtt.ConnectOut)) {
	r.t.Helper()
	c.write(c.connectPacket(id, mods...))
	c.refused(why)
}

// TestChain: a callback decides about MQTT devices of every version and transport, and about plain ones.
func TestChain(t *testing.T) {
	t.Parallel()
	cb := newCallback(t, nil)
	r := start(t, memoryOnly, cb.chained(t))
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		for _, way := range transports {
			id := fmt.Sprint(way, v)
			c, _ := r.connectOn(r.via(way, v), id, proved("anna"))
			c.ping()
			for _, wrong := range []func(o *mqtt.ConnectOut){withLogin("anna", "wrong"), func(*mqtt.ConnectOut) {}} {
				other := r.via(way, v)
				other.write(other.connectPacket(id, wrong))
				if v == mqtt.V5 {
					other.refused(mqtt.BadUserNameOrPassword)
				} else {
					other.answers("\x20\x02\x00\x04")
				}
				c.ping() // it has not been taken over
			}
			c.disconnect()
		}
	}
	if c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "", proved("anna")); len(ack.Props.AssignedClientID) == 0 {
		t.Error("no client id assigned")
	} else {
		c.ping()
	}
}

// TestChainAnswers: what a callback says beside allow is heeded, and what cannot be understood lets nobody in.
func TestChainAnswers(t *testing.T) {
	t.Parallel()
	cb := newCallback(t, func(q map[string]any) string {
		return strings.ReplaceAll(q["username"].(string), "NOW", fmt.Sprint(time.Now().Unix()))
	})
	r := start(t, memoryOnly, cb.chained(t))
	for _, tc := range []struct { // no five failures in succession: the breaker would open
		answer string
		why    mqtt.Reason
	}{
		{`{"result":"deny","reason":"because"}`, mqtt.ServerUnavailable},
		{`{"result":"yes"}`, mqtt.ServerUnavailable},
		{`{"result":"allow"} {"result":"deny"}`, mqtt.ServerUnavailable},
		{`{"result":"deny"}`, mqtt.BadUserNameOrPassword},
		{`{"result":"deny","reason":"not_authorized"}`, mqtt.NotAuthorized},
		{`<html>`, mqtt.ServerUnavailable},
		{`{"result":"allow","acl":[{"permission":"some"}]}`, mqtt.ServerUnavailable},
		{`{"result":"allow","user":"` + strings.Repeat("x", 300) + `"}`, mqtt.ServerUnavailable},
		{`{"result":"deny","reason":"banned"}`, mqtt.Banned},
		{`{"result":"deny","reason":"client_id"}`, mqtt.ClientIdentifierNotValid},
		{`{"result":"deny","reason":"busy"}`, mqtt.ServerBusy},
		{`{"result":"ignore"}`, mqtt.BadUserNameOrPassword},
		{`{"result":"allow","client_id":"other"}`, mqtt.ClientIdentifierNotValid},
		{`{"result":"allow","expires":NOW}`, mqtt.NotAuthorized},
	} {
		r.turnedDown(r.open(mqtt.V5, r.mqtt), tc.why, "c", withLogin(tc.answer, "x"))
	}
	for i := range 4 { // also where that id's home is another loop
		id := fmt.Sprint("given-", i)
		c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "", withLogin(fmt.Sprintf(`{"result":"allow","client_id":%q}`, id), "x"))
		if string(ack.Props.AssignedClientID) != id {
			t.Errorf("assigned %q", ack.Props.AssignedClientID)
		}
		c.ping()
	}
	c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "ends", func(o *mqtt.ConnectOut) {
		o.Username, o.Password = []byte(fmt.Sprintf(`{"result":"allow","expires":%d}`, time.Now().Unix()+2)), []byte("x")
	})
	c.endsWith(mqtt.NotAuthorized, 0)
	r.closesBy(reasonTokenExpired, 0, 1)
}

// TestChainPlain: a plain device shows a token; one that cannot is asked about all the same.
func TestChainPlain(t *testing.T) {
	t.Parallel()
	cb := newCallback(t, func(q map[string]any) string {
		if q["password"] == "good" || q["client_id"] == "bare" {
			return `{"result":"allow","user":"anna"}`
		}
		return `{"result":"deny"}`
	})
	r := start(t, memoryOnly, cb.chained(t))
	for i := range 4 {
		j := r.opens(protocolJSON, fmt.Sprint("talker-", i))
		j.connects(`"token":"good"`)
		bad := r.opens(protocolJSON, fmt.Sprint("talker-", i))
		bad.says(`{"op":"connect","id":7,"token":"bad"}`)
		bad.fails(7, "unauthorized", false)
		bad.ends()
		j.asks(`{"op":"ping","id":3}`, `{"id":3,"ok":true}`) // it has not been taken over
		array := r.opens(protocolJSON, fmt.Sprint("array-", i))
		array.says(`[{"op":"connect","id":1,"token":"good"},{"op":"ping","id":2},{"op":"ping","id":3}]`)
		if got := array.next(); got["ok"] != true || got["client"] != fmt.Sprint("array-", i) {
			t.Fatalf("got %v", got)
		}
		array.same(array.next(), `{"id":2,"ok":true}`)
		array.same(array.next(), `{"id":3,"ok":true}`)
	}
	nc := r.nats()
	sub, err := nc.SubscribeSync("devices.bare.up")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	bare := r.dialWS("/ws/bare")
	if err := bare.Write(t.Context(), websocket.MessageText, []byte("sent while it waits")); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.NextMsg(20 * time.Second); err != nil || string(m.Data) != "sent while it waits" {
		t.Errorf("%v, %v", m, err)
	}
	stranger := r.dialWS("/ws/stranger")
	if _, _, err := stranger.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("a stranger's connection ends with %v", err)
	}
}

// TestChainStorm: five hundred devices wait for a slow callback; those that are connected do not, and who has gone is not waited for.
func TestChainStorm(t *testing.T) {
	t.Parallel()
	cb := newCallback(t, nil)
	r := start(t, memoryOnly, cb.chained(t, func(p *AuthProvider) { p.Timeout = patience }), func(c *Config) { c.Limits.ConnectTime = patience })
	early := r.connect(mqtt.V5, "early", proved("early"))
	hold := make(chan struct{})
	cb.hold.Store(&hold)
	const n = 500
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = r.open(mqtt.V311, r.mqtt)
		name := fmt.Sprint("user-", i)
		clients[i].write(clients[i].connectPacket(fmt.Sprint("storm-", i), proved(name)))
	}
	r.eventually("all of them wait", func() bool { return r.gw.doors.links[0].Stats().Waiting == n })
	began := time.Now()
	for range 50 {
		early.ping()
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("50 pings took %v", d)
	}
	for _, c := range clients[n/2:] {
		c.cut()
	}
	r.eventually("those that left have left", func() bool { return r.sum().opened-uint64(n/2) == r.open1() })
	close(hold)
	for _, c := range clients[:n/2] {
		c.expect(mqtt.TypeConnack)
	}
	if asked := cb.asked.Load(); asked > n/2+1+int64(r.gw.cfg.Auth.Workers) {
		t.Errorf("asked %d times", asked)
	}
}

// open1 is how many connections have not ended.
func (r *rig) open1() uint64 {
	s := r.sum()
	n := s.opened
	for _, c := range s.closed {
		n -= c
	}
	return n
}

// TestChainFull: beyond the queue devices are told that we are busy, and a question whose answer is too late that it is unavailable.
func TestChainFull(t *testing.T) {
	t.Parallel()
	cb := newCallback(t, nil)
	hold := make(chan struct{})
	cb.hold.Store(&hold)
	r := start(t, memoryOnly, cb.chained(t, func(p *AuthProvider) { p.Timeout = time.Second }), func(c *Config) { c.Auth.Workers, c.Auth.WaitingMax = 1, 2 })
	waits := []*client{r.open(mqtt.V5, r.mqtt), r.open(mqtt.V5, r.mqtt)}
	waits[0].write(waits[0].connectPacket("c0", proved("c0")))
	r.eventually("the first is asked about", func() bool { return cb.asked.Load() == 1 })
	waits[1].write(waits[1].connectPacket("c1", proved("c1")))
	r.eventually("both wait", func() bool { return r.gw.doors.links[0].Stats().Waiting == 2 })
	r.turnedDown(r.open(mqtt.V5, r.mqtt), mqtt.ServerBusy, "c2", proved("c2"))
	waits[0].refused(mqtt.ServerUnavailable)
	close(hold)
	if g := waits[1].expect(mqtt.TypeConnack); g.Reason != mqtt.Success && g.Reason != mqtt.ServerBusy { // it has waited nearly as long
		t.Errorf("got %v", g.Reason)
	}
}

// TestChainCache: answers are remembered by all that was shown, one question answers all who ask the same, and no password is in any metric.
func TestChainCache(t *testing.T) {
	t.Parallel()
	cb := newCallback(t, nil)
	r := start(t, memoryOnly, cb.chained(t))
	for range 3 {
		r.connect(mqtt.V5, "c", proved("anna"))
		r.turnedDown(r.open(mqtt.V5, r.mqtt), mqtt.BadUserNameOrPassword, "c", withLogin("anna", "S3cret"))
	}
	if n := cb.asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
	res, err := http.Get("http://" + r.gw.Addrs().Admin.String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`gateway_auth_answers_total{provider="main/1/http",result="cached"} 4`, `gateway_auth_answers_total{provider="main/1/http",result="allow"} 1`,
		`gateway_auth_connects_total{result="allowed"} 3`, `gateway_auth_throttled_total{by="address"} 0`} {
		if !strings.Contains(string(text), line+"\n") {
			t.Errorf("no %s", line)
		}
	}
	if strings.Contains(string(text), "S3cret") {
		t.Error("a password is in the metrics")
	}
}

// TestGuessing: who guesses is refused after a while without being asked about; a device without a password is not.
func TestGuessing(t *testing.T) {
	t.Parallel()
	cb := newCallback(t, nil)
	r := start(t, memoryOnly, cb.chained(t), func(c *Config) { c.Auth.Anonymous = "loopback" })
	r.connect(mqtt.V5, "owner", proved("anna"))
	for i := range 10 {
		r.turnedDown(r.open(mqtt.V5, r.mqtt), mqtt.BadUserNameOrPassword, "c", withLogin("zoe", fmt.Sprint("guess ", i)))
	}
	r.turnedDown(r.open(mqtt.V5, r.mqtt), mqtt.Banned, "c", withLogin("zoe", "pw of zoe"))
	if n := cb.asked.Load(); n != 11 {
		t.Errorf("asked %d times", n)
	}
	r.connect(mqtt.V5, "owner", proved("anna")) // others are not in the way of it
	r.connect(mqtt.V5, "nobody")
	r.closesBy(reasonGuessing, 0, 1)
}

// TestChainNATS: a service on NATS decides; one that answers nonsense, or not at all, lets nobody in.
func TestChainNATS(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, func(c *Config) {
		c.Auth.Chain, c.Auth.Anonymous = "main", anonymousNobody
		c.Auth.Chains = []AuthProvider{{Chain: "main", Type: "nats", Timeout: 300 * time.Millisecond}}
	})
	r.turnedDown(r.open(mqtt.V5, r.mqtt), mqtt.ServerUnavailable, "c", proved("anna"))
	nc := r.nats()
	if _, err := nc.Subscribe("$TG.auth.connect", func(m *nats.Msg) {
		var q map[string]any
		if err := json.Unmarshal(m.Data, &q); err != nil || q["username"] == "mute" {
			return
		}
		_ = m.Respond([]byte(knows(q)))
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c := r.connect(mqtt.V5, "c", proved("anna"))
	r.turnedDown(r.open(mqtt.V5, r.mqtt), mqtt.BadUserNameOrPassword, "c", withLogin("anna", "x"))
	r.turnedDown(r.open(mqtt.V5, r.mqtt), mqtt.ServerUnavailable, "c", proved("mute"))
	if got := c.publish(1, "$TG.auth.connect", "x"); got != mqtt.NotAuthorized {
		t.Errorf("a device may publish there: %v", got)
	}
	c.ping()
}

// TestSessionOwner: another user neither resumes, nor takes over, nor ends a session, here or from another gateway; nor does a wrong password.
func TestSessionOwner(t *testing.T) {
	t.Parallel()
	cb := newCallback(t, nil)
	r := start(t, cb.chained(t), func(c *Config) { c.Auth.CacheTime = 0 })
	clean := func(o *mqtt.ConnectOut) { o.CleanStart, o.SessionExpirySec = true, 0 }
	victim := r.connect(mqtt.V5, "victim", proved("anna"), persistent)
	victim.subscribe(1, "t/x")
	attack := func() {
		t.Helper()
		for _, way := range transports {
			for _, how := range []func(o *mqtt.ConnectOut){persistent, clean} {
				r.turnedDown(r.via(way, mqtt.V5), mqtt.NotAuthorized, "victim", proved("zoe"), how)
				r.turnedDown(r.via(way, mqtt.V5), mqtt.BadUserNameOrPassword, "victim", withLogin("anna", "wrong"), how)
			}
		}
	}
	attack()
	victim.ping()
	victim.disconnectKeeping()
	attack()
	again, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "victim", proved("anna"), persistent)
	if !ack.SessionPresent {
		t.Error("the session is lost")
	}
	again.publish(1, "t/x", "x")
	again.gets("t/x", "x")
	r.connect(mqtt.V5, "victim", proved("anna"), clean)
	again.endsWith(mqtt.SessionTakenOver, 0)
}

// TestSessionOwnerElsewhere: the same holds for a session that is in another gateway, or in none, and for plain devices with its id.
func TestSessionOwnerElsewhere(t *testing.T) {
	t.Parallel()
	cb := newCallback(t, nil)
	server := bustest.Start(t)
	on := func(node string) func(c *Config) {
		return func(c *Config) { c.NATS.URL, c.Node, c.Durable.Default = server.URL(), node, "log" }
	}
	a, b := start(t, on("a"), cb.chained(t)), start(t, on("b"), cb.chained(t))
	meet(a, b)
	for _, r := range []*rig{a, b} {
		r.eventually("NATS can store", func() bool { ok, _ := r.gw.bus.Ready(); return ok })
	}
	clean := func(o *mqtt.ConnectOut) { o.CleanStart, o.SessionExpirySec = true, 0 }
	victim := a.connect(mqtt.V5, "victim", proved("anna"), persistent)
	victim.subscribe(1, "t/x")
	attack := func() {
		t.Helper()
		for _, how := range []func(o *mqtt.ConnectOut){persistent, clean} {
			b.turnedDown(b.open(mqtt.V5, b.mqtt), mqtt.NotAuthorized, "victim", proved("zoe"), how)
		}
		j := b.opens(protocolJSON, "victim")
		j.says(`{"op":"connect","id":1,"token":"pw of <nil>"}`)
		j.fails(1, "unauthorized", false)
	}
	attack()
	victim.ping()
	victim.disconnectKeeping()
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	attack()
	moved, ack := b.connectOn(b.open(mqtt.V5, b.mqtt), "victim", proved("anna"), persistent)
	if !ack.SessionPresent {
		t.Error("the session is lost")
	}
	moved.ping()
}

// TestSessionOwnerProved: who proves who they are by AUTH is held to the same, when the record is claimed.
func TestSessionOwnerProved(t *testing.T) {
	t.Parallel()
	server, users := bustest.Start(t), withUsers(t, "anna", "zoe")
	on := func(node string) func(c *Config) {
		return func(c *Config) { c.NATS.URL, c.Node, c.Durable.Default = server.URL(), node, "log" }
	}
	a, b := start(t, on("a"), users), start(t, on("b"), users)
	meet(a, b)
	for _, r := range []*rig{a, b} {
		r.eventually("NATS can store", func() bool { ok, _ := r.gw.bus.Ready(); return ok })
	}
	victim := a.logIn("victim", "anna", persistent)
	victim.subscribe(1, "t/x")
	for _, r := range []*rig{a, b} {
		thief, p := r.open(mqtt.V5, r.mqtt), prover(t, "zoe", "pw of zoe")
		g := thief.beginLogin("victim", p, persistent)
		thief.auth(mqtt.ContinueAuthentication, says(t, p, g.Props.AuthData))
		thief.refused(mqtt.NotAuthorized)
		victim.ping()
	}
	_, ack := b.logInOn(b.open(mqtt.V5, b.mqtt), "victim", "anna", persistent)
	if !ack.SessionPresent {
		t.Error("the session is lost")
	}
	victim.endsWith(mqtt.SessionTakenOver, 0)
}

// disconnectKeeping leaves, and is away when it returns.
func (c *client) disconnectKeeping() {
	c.write([]byte{0xE0, 0})
	c.end()
}

// TestSessionOwnerOff: with auth.session_owner off client ids are all that sessions go by.
func TestSessionOwnerOff(t *testing.T) {
	t.Parallel()
	cb := newCallback(t, nil)
	r := start(t, memoryOnly, cb.chained(t), func(c *Config) { c.Auth.SessionOwner = false })
	first := r.connect(mqtt.V5, "c", proved("anna"), persistent)
	_, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c", proved("zoe"), persistent)
	first.endsWith(mqtt.SessionTakenOver, ws.CloseCode(0))
	if !ack.SessionPresent {
		t.Error("the session is lost")
	}
}
