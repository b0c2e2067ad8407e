package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/nats-io/nats.go"
	"github.com/xdg-go/scram"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// TestLoginIsHandledAtHome: whichever loop accepts the connection, and also when the id is assigned, the whole exchange and the
// session are at home, and CONNECT's fields are what they were.
func TestLoginIsHandledAtHome(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"))
	w := r.connect(mqtt.V5, "witness")
	w.subscribe(1, "login/will/#")
	for i := range 8 {
		for _, way := range transports {
			id := fmt.Sprintf("%s-%d", way, i)
			c, ack := r.logInOn(r.via(way, mqtt.V5), id, "anna", persistent, func(o *mqtt.ConnectOut) {
				o.KeepAliveSec = 7200 // told to be shorter
				o.HasWill, o.WillQoS, o.WillTopic, o.WillPayload = true, 1, []byte("login/will/"+id), []byte("gone")
			})
			if ack.SessionPresent || ack.Props.ServerKeepAliveSec != 1200 {
				t.Errorf("CONNACK: present %v, keep-alive %d", ack.SessionPresent, ack.Props.ServerKeepAliveSec)
			}
			c.subscribe(1, "login/x")
			c.cut()
			w.gets("login/will/"+id, "gone")
			c, ack = r.logInOn(r.via(way, mqtt.V5), id, "anna", persistent)
			if !ack.SessionPresent {
				t.Error("the session is lost")
			}
			c.disconnect()

			c, ack = r.logInOn(r.via(way, mqtt.V5), "", "anna")
			assigned := string(ack.Props.AssignedClientID)
			if assigned == "" {
				t.Error("no id assigned")
			}
			_, ack = r.logInOn(r.via(way, mqtt.V5), assigned, "anna")
			if ack.Props.Has(mqtt.PropAssignedClientID) {
				t.Error("assigned again")
			}
			c.endsWith(mqtt.SessionTakenOver, ws.PolicyViolation)
		}
	}
}

// TestLoginCut: the exchange is the same when every byte comes alone, and when re-authentication begins right behind it.
func TestLoginCut(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"))
	for _, way := range transports {
		c, p, again := r.via(way, mqtt.V5), prover(t, "anna", "pw of anna"), prover(t, "anna", "pw of anna")
		byByte := func(packet []byte) {
			for i := range packet {
				c.write(packet[i : i+1])
			}
		}
		byByte(c.connectPacket("cut", func(o *mqtt.ConnectOut) {
			o.AuthMethod, o.AuthData = []byte(methodSCRAM), says(t, p, nil)
		}))
		last := mqtt.AppendAuth(nil, mqtt.ContinueAuthentication, []byte(methodSCRAM), says(t, p, c.challenged().Props.AuthData))
		byByte(mqtt.AppendAuth(last, mqtt.ReAuthenticate, []byte(methodSCRAM), says(t, again, nil)))
		c.expect(mqtt.TypeConnack)
		byByte(mqtt.AppendAuth(nil, mqtt.ContinueAuthentication, []byte(methodSCRAM), says(t, again, c.challenged().Props.AuthData)))
		if g := c.expect(mqtt.TypeAuth); g.Reason != mqtt.Success {
			t.Errorf("AUTH %v", g.Reason)
		}
		c.disconnect()
	}
}

// TestTakeoverOnlyAfterProof: who cannot prove who they are neither closes the connection that has the id nor ends its session,
// clean start or not.
func TestTakeoverOnlyAfterProof(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"))
	victim := r.logIn("victim", "anna", persistent)
	victim.subscribe(1, "t/x")
	for _, way := range transports {
		p := prover(t, "anna", "wrong")
		thief := r.via(way, mqtt.V5)
		g := thief.beginLogin("victim", p)
		victim.ping()
		thief.auth(mqtt.ContinueAuthentication, says(t, p, g.Props.AuthData))
		thief.refused(mqtt.NotAuthorized)
		victim.publish(1, "other", "x")
		victim.ping()
	}
	again, ack := r.logInOn(r.open(mqtt.V5, r.mqtt), "victim", "anna", persistent)
	victim.endsWith(mqtt.SessionTakenOver, 0)
	if !ack.SessionPresent {
		t.Error("the session is lost")
	}
	again.ping()
}

// TestLoginBounds: time and bytes of CONNECT hold for the whole exchange, however the device draws it out.
func TestLoginBounds(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"), func(c *Config) { c.Limits.ConnectTime, c.Limits.ConnectBytesMax = 2*time.Second, 1000 })
	large := r.open(mqtt.V5, r.mqtt)
	large.beginLogin("c", prover(t, "anna", "pw of anna"))
	large.write([]byte{0xF0, 0xE9, 0x07}) // 1,001 bytes are to come
	large.endsWith(mqtt.Success, 0)
	r.closesBy(reasonTooLarge, 0, 1)
	for i, way := range transports {
		slow := r.via(way, mqtt.V5)
		slow.write(slow.connectPacket("c", func(o *mqtt.ConnectOut) { o.AuthMethod = []byte(methodSCRAM) }))
		slow.challenged()
		before, now := r.loginDeadline()
		r.eventually("the clock goes on", func() bool { _, later := r.loginDeadline(); return later > now })
		slow.auth(mqtt.ContinueAuthentication, says(t, prover(t, "anna", "x"), nil))
		slow.challenged()
		if after, _ := r.loginDeadline(); after != before || before == 0 {
			t.Errorf("an AUTH moved the deadline from %d to %d", before, after)
		}
		slow.endsWith(mqtt.Success, ws.PolicyViolation)
		r.closesBy(reasonConnectTimeout, 0, uint64(i+1))
	}
}

// loginDeadline is when the one device that is logging in will be given up, and the time, by the clock of the loops.
func (r *rig) loginDeadline() (at, now uint32) {
	r.t.Helper()
	for _, s := range r.gw.shards {
		asked := make(chan struct{})
		s.do(func(s *shard) {
			s.loop.Each(func(c *epoll.Conn) {
				if d := s.devices.At(c.Slot()); d.loggingIn() {
					at = s.deadline(d)
				}
			})
			now = s.loop.NowSec()
			close(asked)
		})
		<-asked
	}
	return at, now
}

// TestLoginUserName: the user of a device is who it proved to be, in the header of its messages and of its will; a User Name in
// CONNECT may say the same or nothing.
func TestLoginUserName(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna", "b:o b"), func(c *Config) { c.NATS.HeaderUser = true })
	nc := r.nats()
	sub, err := nc.SubscribeSync("who.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	next := func(want string) {
		t.Helper()
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Header.Get("TG"); got != r.stored(want) {
			t.Errorf("TG: %s, want %s", got, r.stored(want))
		}
	}
	will := func(o *mqtt.ConnectOut) { o.HasWill, o.WillTopic = true, []byte("who/will") }
	c := r.logIn("c", "b:o b", will)
	c.publish(1, "who/x", "x")
	next("1 c=c u=b:o%20b")
	c.cut()
	next("0 c=c u=b:o%20b")
	named := r.logIn("d", "anna", func(o *mqtt.ConnectOut) { o.Username, o.Password = []byte("anna"), []byte("ignored") })
	named.publish(0, "who/x", "x")
	next("0 c=d u=anna")

	claims := r.connect(mqtt.V5, "f", func(o *mqtt.ConnectOut) { o.Username = []byte("anna") }) // anonymous all the same
	claims.publish(0, "who/x", "x")
	next("0 c=f")

	p := prover(t, "anna", "pw of anna")
	mask := r.open(mqtt.V5, r.mqtt)
	g := mask.beginLogin("e", p, func(o *mqtt.ConnectOut) { o.Username = []byte("b:o b") })
	mask.auth(mqtt.ContinueAuthentication, says(t, p, g.Props.AuthData))
	mask.refused(mqtt.NotAuthorized)
}

// TestNobodyAnonymous: without a login nobody gets in, over any transport; with one everybody does who has a user.
func TestNobodyAnonymous(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"), nobody)
	for i, way := range transports {
		for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311} {
			c := r.via(way, v)
			c.write(c.connectPacket("c", func(o *mqtt.ConnectOut) { o.Username, o.Password = []byte("anna"), []byte("pw of anna") }))
			if g := c.expect(mqtt.TypeConnack); g.ReturnCode != 5 {
				t.Errorf("%v: return code %d", v, g.ReturnCode)
			}
			c.end()
		}
		c := r.via(way, mqtt.V5)
		c.write(c.connectPacket("c"))
		c.refused(mqtt.NotAuthorized)
		c, _ = r.logInOn(r.via(way, mqtt.V5), "c", "anna")
		c.ping()
		c.disconnect()
		r.closesBy(reasonNotAuthorized, 0, 3*uint64(i+1))
	}
	if s := r.sum(); s.authentications[authMissing] != 6 || s.authentications[authAccepted] != 2 || s.refusedConnects != 6 {
		t.Errorf("counted %v, refused %d", s.authentications, s.refusedConnects)
	}
	for _, row := range []struct{ path, subprotocol string }{{"/ws/c", ""}, {"/ws/c", protocolJSON}, {"/echo", ""}} {
		c := r.open(mqtt.V5, r.ws)
		c.framed = true
		c.write(ws.AppendHandshake(nil, r.ws, row.path, row.subprotocol, testKey))
		_ = c.conn.SetReadDeadline(time.Now().Add(patience))
		answer, err := io.ReadAll(c.conn)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 401 ") || !strings.Contains(string(answer), "\r\nWWW-Authenticate: ") {
			t.Errorf("%s: %q, %v", row.path, answer, err)
		}
	}
	r.closesBy(reasonHandshake, 0, 3)
}

// TestAuthenticationsInMetrics: the counter is there, by result.
func TestAuthenticationsInMetrics(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"))
	r.logIn("c", "anna").disconnect()
	answer, err := http.Get("http://" + r.gw.Addrs().Admin.String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`{result="accepted"} 1`, `{result="refused"} 0`, `{result="unknown_method"} 0`, `{result="missing"} 0`} {
		if !strings.Contains(string(text), "gateway_authentications_total"+line+"\n") {
			t.Errorf("no line with %s", line)
		}
	}
}

// pahoSCRAM is an AuthHandler of paho.golang.
type pahoSCRAM struct {
	client *scram.Client
	mu     sync.Mutex // paho calls Authenticate on a goroutine of its own
	now    *scram.ClientConversation
	done   atomic.Int32
}

func (h *pahoSCRAM) first(t *testing.T) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.client.NewConversation()
	return says(t, h.now, nil)
}

// Authenticate is part of the AuthHandler.
func (h *pahoSCRAM) Authenticate(a *paho.Auth) *paho.Auth {
	h.mu.Lock()
	defer h.mu.Unlock()
	said, _ := h.now.Step(string(a.Properties.AuthData)) // what is wrong with it is seen by its failing
	return &paho.Auth{ReasonCode: 0x18, Properties: &paho.AuthProperties{AuthMethod: methodSCRAM, AuthData: []byte(said)}}
}

// Authenticated is part of the AuthHandler.
func (h *pahoSCRAM) Authenticated() { h.done.Add(1) }

// TestSCRAMWithPaho: paho.golang logs in, publishes, and authenticates again.
func TestSCRAMWithPaho(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"), nobody, func(c *Config) { c.NATS.HeaderUser = true })
	sub, err := r.nats().SubscribeSync("paho.x")
	if err != nil {
		t.Fatal(err)
	}
	dial := func(password string) (*paho.Client, *pahoSCRAM, error) {
		s, err := scram.SHA256.NewClient("anna", password, "")
		if err != nil {
			t.Fatal(err)
		}
		h := &pahoSCRAM{client: s}
		c := paho.NewClient(paho.ClientConfig{Conn: r.dialReal(r.mqtt), PacketTimeout: patience, AuthHandler: h})
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err = c.Connect(ctx, &paho.Connect{ClientID: "paho", CleanStart: true, KeepAlive: 30, Properties: &paho.ConnectProperties{
			AuthMethod: methodSCRAM, AuthData: h.first(t),
		}})
		return c, h, err
	}
	if _, _, err := dial("wrong"); err == nil {
		t.Error("logged in with the wrong password")
	}
	c, h, err := dial("pw of anna")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		if _, err := c.Publish(ctx, &paho.Publish{Topic: "paho/x", QoS: 1, Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		var m *nats.Msg
		if m, err = sub.NextMsg(patience); err != nil || m.Header.Get("TG") != r.stored("1 c=paho u=anna") {
			t.Fatalf("%v, %v", m, err)
		}
		again, err := c.Authenticate(ctx, &paho.Auth{ReasonCode: 0x19, Properties: &paho.AuthProperties{AuthMethod: methodSCRAM, AuthData: h.first(t)}})
		if err != nil || !again.Success {
			t.Fatalf("%+v, %v", again, err)
		}
		cancel()
	}
	r.eventually("the client is told each time", func() bool { return h.done.Load() == 3 })
	if err := c.Disconnect(&paho.Disconnect{}); err != nil {
		t.Error(err)
	}
}
