package gateway

import (
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// The statements of MQTT 5 on enhanced authentication, each at a real socket. Those that bind the client are here with what
// the server does when it breaks them.

// Test_v5_MQTT_4_12_0_1: a method that the server does not know is refused with 0x8C, and the connection closed.
func Test_v5_MQTT_4_12_0_1(t *testing.T) {
	t.Parallel()
	for name, mods := range map[string][]func(c *Config){
		"with SCRAM": {withUsers(t, "anna")}, "without": nil, "nobody is anonymous": {withUsers(t, "anna"), nobody},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, mods...)
			for i, way := range transports {
				for _, method := range []string{"SCRAM-SHA-1", "scram-sha-256", "x"} {
					c := r.via(way, mqtt.V5)
					c.write(c.connectPacket("c", func(o *mqtt.ConnectOut) { o.AuthMethod = []byte(method) }))
					c.refused(mqtt.BadAuthenticationMethod)
				}
				r.closesBy(reasonAuthMethod, 0, 3*uint64(i+1))
			}
			if n := r.authenticated(authUnknownMethod); n != 6 {
				t.Errorf("counted %d", n)
			}
		})
	}
}

// Test_v5_MQTT_4_12_0_2: the AUTH with which the server asks for more has the reason 0x18.
func Test_v5_MQTT_4_12_0_2(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"))
	for _, way := range transports {
		c := r.via(way, mqtt.V5)
		c.beginLogin("c", prover(t, "anna", "pw of anna")) // looks at the reason
		c.cut()
		asked := r.via(way, mqtt.V5) // by a client that waits to be asked
		asked.write(asked.connectPacket("c", func(o *mqtt.ConnectOut) { o.AuthMethod = []byte(methodSCRAM) }))
		if g := asked.challenged(); g.Props.Has(mqtt.PropAuthData) {
			t.Errorf("asked with %q", g.Props.AuthData)
		}
		p := prover(t, "anna", "pw of anna")
		asked.auth(mqtt.ContinueAuthentication, says(t, p, nil))
		asked.auth(mqtt.ContinueAuthentication, says(t, p, asked.challenged().Props.AuthData))
		says(t, p, asked.expect(mqtt.TypeConnack).Props.AuthData)
		asked.ping()
	}
}

// Test_v5_MQTT_4_12_0_3: the client answers AUTH with AUTH 0x18; with any other reason it is refused.
func Test_v5_MQTT_4_12_0_3(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"))
	for i, packet := range [][]byte{
		mqtt.AppendAuth(nil, mqtt.ReAuthenticate, []byte(methodSCRAM), []byte("x")),
		mqtt.AppendAuth(nil, mqtt.Success, []byte(methodSCRAM), []byte("x")),
		mqtt.AppendAuth(nil, mqtt.Success, nil, nil),
	} {
		c := r.open(mqtt.V5, r.mqtt)
		c.beginLogin("c", prover(t, "anna", "pw of anna"))
		c.write(packet)
		c.refused(mqtt.ProtocolError)
		r.closesBy(reasonProtocol, 0, uint64(i+1))
	}
}

// Test_v5_MQTT_4_12_0_4: the server refuses with a reason of 0x80 or above and closes; the reason is the same whatever was wrong.
func Test_v5_MQTT_4_12_0_4(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"))
	var refused uint64
	for _, way := range transports {
		for _, who := range []struct{ name, password string }{{"anna", "wrong"}, {"zoe", "pw of zoe"}, {"", "x"}} {
			c, p := r.via(way, mqtt.V5), prover(t, who.name, who.password)
			g := c.beginLogin("c", p)
			c.auth(mqtt.ContinueAuthentication, says(t, p, g.Props.AuthData))
			c.refused(mqtt.NotAuthorized)
			refused++
		}
		for _, first := range []string{"x", "n,,n=anna", "p=tls-exporter,,n=anna,r=x", string(make([]byte, 2000))} {
			c := r.via(way, mqtt.V5)
			c.write(c.connectPacket("c", func(o *mqtt.ConnectOut) { o.AuthMethod, o.AuthData = []byte(methodSCRAM), []byte(first) }))
			c.refused(mqtt.NotAuthorized)
			refused++
		}
		for _, final := range [][]byte{nil, []byte("x"), []byte("c=biws,r=x,p=AAAA")} {
			c := r.via(way, mqtt.V5)
			c.beginLogin("c", prover(t, "anna", "pw of anna"))
			c.auth(mqtt.ContinueAuthentication, final)
			c.refused(mqtt.NotAuthorized)
			refused++
		}
	}
	r.closesBy(reasonNotAuthorized, 0, refused)
	if s := r.sum(); s.authentications[authRefused] != refused || s.sessions != 0 || s.connects != 0 {
		t.Errorf("counted %v; %d sessions, %d connects", s.authentications, s.sessions, s.connects)
	}
}

// Test_v5_MQTT_4_12_0_5: every AUTH and a successful CONNACK name the method of CONNECT; a client that changes it is refused.
func Test_v5_MQTT_4_12_0_5(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"))
	for _, way := range transports {
		c, ack := r.logInOn(r.via(way, mqtt.V5), "c", "anna") // looks at the method in AUTH
		if got := string(ack.Props.AuthMethod); got != methodSCRAM {
			t.Errorf("CONNACK names the method %q", got)
		}
		c.ping()
		c.disconnect()
	}
	other := r.open(mqtt.V5, r.mqtt)
	other.beginLogin("c", prover(t, "anna", "pw of anna"))
	other.write(mqtt.AppendAuth(nil, mqtt.ContinueAuthentication, []byte("SCRAM-SHA-512"), []byte("x")))
	other.refused(mqtt.BadAuthenticationMethod)
	silent := r.open(mqtt.V5, r.mqtt)
	silent.beginLogin("c", prover(t, "anna", "pw of anna"))
	silent.write([]byte{0xF0, 2, 0x18, 0}) // no method at all
	silent.refused(mqtt.ProtocolError)
}

// Test_v5_MQTT_4_12_0_6: a client without a method gets no AUTH, and none in CONNACK.
func Test_v5_MQTT_4_12_0_6(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"))
	for _, way := range transports {
		c, ack := r.connectOn(r.via(way, mqtt.V5), "c", func(o *mqtt.ConnectOut) { o.Username, o.Password = []byte("anna"), []byte("x") })
		if ack.Props.Has(mqtt.PropAuthMethod) || ack.Props.Has(mqtt.PropAuthData) {
			t.Errorf("CONNACK names the method %q", ack.Props.AuthMethod)
		}
		c.ping()
		c.disconnect()
	}
}

// Test_v5_MQTT_4_12_0_7: a client without a method that sends AUTH is closed with 0x82.
func Test_v5_MQTT_4_12_0_7(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"))
	for i, reason := range []mqtt.Reason{mqtt.ReAuthenticate, mqtt.ContinueAuthentication} {
		for j, way := range transports {
			c, _ := r.connectOn(r.via(way, mqtt.V5), "c")
			c.auth(reason, []byte("n,,n=anna,r=x"))
			c.endsWith(mqtt.ProtocolError, ws.ProtocolError)
			r.closesBy(reasonProtocol, 0, uint64(2*i+j+1))
		}
	}
}

// Test_v5_MQTT_4_12_1_1: a client with a method may authenticate again with the same one, and everything goes on meanwhile.
func Test_v5_MQTT_4_12_1_1(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"))
	for _, way := range transports {
		c, _ := r.logInOn(r.via(way, mqtt.V5), "c", "anna")
		c.subscribe(1, "re/x")
		for range 3 {
			p := prover(t, "anna", "pw of anna")
			c.auth(mqtt.ReAuthenticate, says(t, p, nil))
			g := c.challenged()
			c.publish(0, "re/x", "meanwhile")
			c.gets("re/x", "meanwhile")
			c.ping()
			c.auth(mqtt.ContinueAuthentication, says(t, p, g.Props.AuthData))
			g = c.expect(mqtt.TypeAuth)
			if g.Reason != mqtt.Success || string(g.Props.AuthMethod) != methodSCRAM {
				t.Fatalf("AUTH %v with the method %q", g.Reason, g.Props.AuthMethod)
			}
			if says(t, p, g.Props.AuthData); !p.Valid() {
				t.Error("the client does not believe the server")
			}
		}
		c.disconnect()
	}
	if n := r.authenticated(authAccepted); n != 8 {
		t.Errorf("counted %d", n)
	}
	for name, row := range map[string]struct {
		send func(c *client)
		want mqtt.Reason
	}{
		"another method": {func(c *client) {
			c.write(mqtt.AppendAuth(nil, mqtt.ReAuthenticate, []byte("SCRAM-SHA-1"), []byte("x")))
		}, mqtt.BadAuthenticationMethod},
		"another method half-way": {func(c *client) {
			c.auth(mqtt.ReAuthenticate, says(t, prover(t, "anna", "x"), nil))
			c.write(mqtt.AppendAuth(nil, mqtt.ContinueAuthentication, []byte("SCRAM-SHA-1"), []byte("x")))
		}, mqtt.BadAuthenticationMethod},
		"an answer to nothing":  {func(c *client) { c.auth(mqtt.ContinueAuthentication, []byte("x")) }, mqtt.ProtocolError},
		"success by the client": {func(c *client) { c.auth(mqtt.Success, []byte("x")) }, mqtt.ProtocolError},
		"twice at a time": {func(c *client) {
			c.auth(mqtt.ReAuthenticate, says(t, prover(t, "anna", "x"), nil))
			c.auth(mqtt.ReAuthenticate, says(t, prover(t, "anna", "x"), nil))
		}, mqtt.ProtocolError},
	} {
		t.Run(name, func(t *testing.T) {
			r := r.in(t)
			c := r.logIn("c", "anna")
			row.send(c)
			c.endsWith(row.want, 0)
		})
	}
}

// Test_v5_MQTT_4_12_1_2: who fails to authenticate again is told so with DISCONNECT 0x87 and closed. To be somebody else now is
// to fail.
func Test_v5_MQTT_4_12_1_2(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna", "bob"))
	var n uint64
	for _, way := range transports {
		for _, who := range []struct{ name, password string }{{"anna", "wrong"}, {"zoe", "pw of zoe"}, {"bob", "pw of bob"}} {
			c, _ := r.logInOn(r.via(way, mqtt.V5), "c", "anna")
			p := prover(t, who.name, who.password)
			c.auth(mqtt.ReAuthenticate, says(t, p, nil))
			c.auth(mqtt.ContinueAuthentication, says(t, p, c.challenged().Props.AuthData))
			c.endsWith(mqtt.NotAuthorized, ws.PolicyViolation)
			n++
			r.closesBy(reasonNotAuthorized, 0, n)
		}
	}
	if got := r.authenticated(authRefused); got != n {
		t.Errorf("counted %d", got)
	}
}

// Test_v5_MQTT_3_1_2_30: before CONNACK a client with a method may send AUTH and DISCONNECT only; anything else ends the
// connection and has no effect.
func Test_v5_MQTT_3_1_2_30(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"))
	w := r.connect(mqtt.V5, "witness")
	w.subscribe(0, "#")
	publish := mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("early/x"), Payload: []byte("x"), QoS: 1, PacketID: 1})
	will := func(o *mqtt.ConnectOut) { o.HasWill, o.WillTopic = true, []byte("early/will") }
	for name, packet := range map[string][]byte{
		"CONNECT": w.connectPacket("c"), "PUBLISH": publish, "PUBACK": {0x40, 2, 0, 1}, "PUBREC": {0x50, 2, 0, 1},
		"PUBREL": {0x62, 2, 0, 1}, "PUBCOMP": {0x70, 2, 0, 1}, "PINGREQ": {0xC0, 0}, "CONNACK": {0x20, 3, 0, 0, 0},
		"SUBSCRIBE": mqtt.AppendSubscribe(nil, mqtt.V5, 1, []mqtt.Filter{{Topic: []byte("early/#")}}, 0),
	} {
		for _, way := range transports {
			t.Run(way+"/"+name, func(t *testing.T) {
				r := r.in(t)
				c := r.via(way, mqtt.V5)
				c.beginLogin("c", prover(t, "anna", "pw of anna"), will)
				c.write(packet)
				c.refused(mqtt.ProtocolError)
			})
		}
	}
	before := r.closedBy(reasonNormal)
	for _, way := range transports {
		c := r.via(way, mqtt.V5)
		c.beginLogin("c", prover(t, "anna", "pw of anna"), will)
		c.write(mqtt.AppendDisconnect(nil, mqtt.V5, mqtt.DisconnectWithWillMessage, nil))
		c.endsWith(mqtt.Success, ws.CloseNormal)
		c = r.via(way, mqtt.V5)
		c.beginLogin("c", prover(t, "anna", "pw of anna"), will)
		c.write(mqtt.AppendDisconnect(nil, mqtt.V5, mqtt.Success, nil))
		c.endsWith(mqtt.Success, ws.CloseNormal)
	}
	r.closesBy(reasonNormal, before, 2)
	w.ping() // neither message nor will has come
	if s := r.sum(); s.connects != 1 || s.sessions != 1 {
		t.Errorf("%d connects, %d sessions", s.connects, s.sessions)
	}
}

// Test_v5_MQTT_3_15_1_1: an AUTH with flags is malformed, and the connection closed.
func Test_v5_MQTT_3_15_1_1(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"))
	flagged := mqtt.AppendAuth(nil, mqtt.ContinueAuthentication, []byte(methodSCRAM), []byte("x"))
	for flags := byte(1); flags < 16; flags++ {
		flagged[0] = 0xF0 | flags
		early := r.open(mqtt.V5, r.mqtt)
		early.beginLogin("c", prover(t, "anna", "pw of anna"))
		early.write(flagged)
		early.endsWith(mqtt.Success, 0)
		r.closesBy(reasonMalformed, 0, 2*uint64(flags)-1)
		live := r.logIn("c", "anna")
		live.write(flagged)
		live.endsWith(mqtt.MalformedPacket, 0)
		r.closesBy(reasonMalformed, 0, 2*uint64(flags))
	}
}

// Test_v5_MQTT_3_15_2_1: AUTH has one of the three reasons that are for it; what we send is held to that by the client of the
// tests.
func Test_v5_MQTT_3_15_2_1(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"))
	for i, reason := range []byte{0x01, 0x17, 0x1A, 0x80, 0x87} {
		bad := mqtt.AppendAuth(nil, mqtt.ContinueAuthentication, []byte(methodSCRAM), []byte("x"))
		bad[2] = reason
		early := r.open(mqtt.V5, r.mqtt)
		early.beginLogin("c", prover(t, "anna", "pw of anna"))
		early.write(bad)
		early.refused(mqtt.ProtocolError)
		live := r.logIn("c", "anna")
		live.write(bad)
		live.endsWith(mqtt.ProtocolError, 0)
		r.closesBy(reasonProtocol, 0, 2*uint64(i+1))
	}
}

// Test_v5_MQTT_3_15_2_2: a reason string must not make AUTH too large for the client. The gateway sends none, however much the
// client takes; and an AUTH that is too large without one is not sent [MQTT-3.1.2-24].
func Test_v5_MQTT_3_15_2_2(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"))
	r.logIn("large", "anna", func(o *mqtt.ConnectOut) { o.MaxPacketBytes = 1 << 20 }).ping() // challenged looks for the string
	small := r.open(mqtt.V5, r.mqtt)
	small.write(small.connectPacket("small", func(o *mqtt.ConnectOut) {
		o.AuthMethod, o.AuthData, o.MaxPacketBytes = []byte(methodSCRAM), []byte("n,,n=anna,r=x"), 50
	}))
	if g, err := small.next(); err == nil {
		t.Errorf("%v came", g.Type)
	}
	r.closesBy(reasonTooLarge, 0, 1)
}

// Test_v5_MQTT_3_15_2_3: the same for user properties.
func Test_v5_MQTT_3_15_2_3(t *testing.T) {
	t.Parallel()
	r := start(t, withUsers(t, "anna"))
	c := r.open(mqtt.V5, r.mqtt)
	g := c.beginLogin("c", prover(t, "anna", "pw of anna"), func(o *mqtt.ConnectOut) {
		o.UserProps = mqtt.AppendUserProperty(nil, []byte("k"), []byte("v"))
	})
	if g.Props.UserCount != 0 {
		t.Errorf("%d user properties", g.Props.UserCount)
	}
}
