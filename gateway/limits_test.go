package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
	"github.com/tidegate/tidegate/session"
)

// short makes every time limit one second, the shortest there is.
func short(c *Config) {
	c.Limits.ConnectTime, c.Limits.PacketTime, c.Limits.StallTime = time.Second, time.Second, time.Second
	c.WebSocket.PingInterval = time.Second
}

// TestKeepAlive closes a silent device after one and a half times its keep-alive with 0x8D [MQTT-3.1.2-22], and nobody
// who pings, publishes or asked for none.
func TestKeepAlive(t *testing.T) {
	for _, way := range transports {
		for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			t.Run(way+"/"+v.String(), func(t *testing.T) {
				t.Parallel()
				r := start(t)
				second := func(o *mqtt.ConnectOut) { o.KeepAliveSec = 1 }
				none, _ := r.connectOn(r.via(way, v), "none")
				busy, _ := r.connectOn(r.via(way, v), "busy", second)
				silent, _ := r.connectOn(r.via(way, v), "silent", second)
				began := time.Now()
				stop, stopped := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(stopped)
					for range time.Tick(300 * time.Millisecond) {
						select {
						case <-stop:
							return
						default:
							_ = busy.tryWrite(mqtt.AppendPingreq(nil))
						}
					}
				}()
				want := mqtt.Success
				if v == mqtt.V5 {
					want = mqtt.KeepAliveTimeout
				}
				silent.endsWith(want, ws.GoingAway)
				if took := time.Since(began); took < 1500*time.Millisecond || took > 6*time.Second {
					t.Errorf("closed after %v, want 1.5 s and a little", took)
				}
				r.closesBy(reasonKeepAlive, 0, 1)
				none.ping()
				close(stop)
				<-stopped
				for { // the answers to what was sent meanwhile
					if g, err := busy.next(); err != nil || g.Type != mqtt.TypePingresp {
						t.Fatalf("%v, %v", g, err)
					}
					if len(busy.in)+len(busy.raw) == 0 {
						break
					}
				}
				busy.publish(1, "x", "x")
			})
		}
	}
}

// TestServerKeepAlive: MQTT 5 clients are told of a shorter keep-alive and held to it [MQTT-3.2.2-21].
func TestServerKeepAlive(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.KeepAliveMax = time.Second })
	for _, asked := range []uint16{0, 60} {
		c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c", func(o *mqtt.ConnectOut) { o.KeepAliveSec = asked })
		if !ack.Props.Has(mqtt.PropServerKeepAlive) || ack.Props.ServerKeepAliveSec != 1 {
			t.Errorf("asked %d: server keep alive %d", asked, ack.Props.ServerKeepAliveSec)
		}
		c.endsWith(mqtt.KeepAliveTimeout, 0)
	}
	_, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c", func(o *mqtt.ConnectOut) { o.KeepAliveSec = 1 })
	if ack.Props.Has(mqtt.PropServerKeepAlive) {
		t.Error("server keep alive without need")
	}
}

// TestConnectTimeout: whoever has not sent a whole CONNECT in time, counted from accept, is closed; see D1. Bytes that
// trickle in do not prolong it.
func TestConnectTimeout(t *testing.T) {
	half := (&client{v: mqtt.V5}).connectPacket("half")
	frame := func(p []byte) []byte { return ws.AppendMasked(nil, ws.OpBinary, p, [4]byte{1, 2, 3, 4}) }
	request := ws.AppendHandshake(nil, "h", "/mqtt", "mqtt", testKey)
	for _, tc := range []struct {
		name  string
		open  func(r *rig) *client
		sends []byte
	}{
		{"nothing", func(r *rig) *client { return r.open(mqtt.V5, r.mqtt) }, nil},
		{"nothing on ws", func(r *rig) *client { return r.open(mqtt.V5, r.ws) }, nil},
		{"nothing on any", func(r *rig) *client { return r.open(mqtt.V5, r.any) }, nil},
		{"half a CONNECT", func(r *rig) *client { return r.open(mqtt.V5, r.mqtt) }, half[:len(half)-1]},
		{"half a request", func(r *rig) *client { return r.open(mqtt.V5, r.ws) }, request[:len(request)-1]},
		{"handshake only", func(r *rig) *client { return r.openWS(mqtt.V5, "/mqtt", "mqtt") }, nil},
		{"half a CONNECT in a frame", func(r *rig) *client { return r.openWS(mqtt.V5, "/mqtt", "mqtt") }, frame(half[:len(half)-1])},
		{"half a frame", func(r *rig) *client { return r.openWS(mqtt.V5, "/mqtt", "mqtt") }, frame(half)[:9]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, short)
			began := time.Now()
			c := tc.open(r)
			for _, b := range tc.sends { // byte by byte, so that every one is read by itself
				if _, err := c.conn.Write([]byte{b}); err != nil {
					t.Fatal(err)
				}
			}
			code := ws.CloseCode(0)
			if c.framed {
				code = ws.PolicyViolation
			}
			c.endsWith(mqtt.Success, code)
			if took := time.Since(began); took < 900*time.Millisecond || took > 6*time.Second {
				t.Errorf("closed after %v, want 1 s and a little", took)
			}
			r.closesBy(reasonConnectTimeout, 0, 1)
		})
	}
}

// TestReceiveMaximum closes with 0x93 whoever has more QoS 2 messages unreleased than CONNACK allowed [MQTT-3.3.4-7]; see
// fault class 8. The same packet id again is no new message.
func TestReceiveMaximum(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.ReceiveMax = 3 })
	c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c")
	if ack.Props.ReceiveMax != 3 {
		t.Fatalf("CONNACK promises %d", ack.Props.ReceiveMax)
	}
	publish := func(id uint16) {
		c.write(mqtt.AppendPublish(nil, c.v, &mqtt.PublishOut{Topic: []byte("x"), QoS: 2, PacketID: id}))
	}
	for _, id := range []uint16{1, 2, 3, 3, 2, 1} {
		publish(id)
		c.acknowledged(mqtt.TypePubrec, id)
	}
	publish(4)
	c.endsWith(mqtt.ReceiveMaximumExceeded, 0)
	r.closesBy(reasonReceiveMax, 0, 1)
	if n := r.sum().messagesIn[2]; n != 3 {
		t.Errorf("%d messages were taken, want 3", n)
	}
}

// TestPacketTooLarge refuses from the fixed header on, before the body arrives: 0x95.
func TestPacketTooLarge(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Limits.PacketBytesMax = 1000 })
	for i, way := range transports {
		c, ack := r.connectOn(r.via(way, mqtt.V5), "c")
		if ack.Props.MaxPacketBytes != 1000 {
			t.Errorf("CONNACK promises %d", ack.Props.MaxPacketBytes)
		}
		// Exactly what is allowed: 3 bytes of fixed header, 3 of topic, 2 of packet id, 1 of properties.
		exact := mqtt.AppendPublish(nil, c.v, &mqtt.PublishOut{Topic: []byte("x"), Payload: make([]byte, 991), QoS: 1, PacketID: 1})
		if len(exact) != 1000 {
			t.Fatalf("%d bytes", len(exact))
		}
		c.write(exact)
		c.acknowledged(mqtt.TypePuback, 1)
		c.write([]byte{byte(mqtt.TypePublish) << 4, 0xE6, 0x07}) // 998 more: 1,001 in all
		c.endsWith(mqtt.PacketTooLarge, ws.TooBig)
		r.closesBy(reasonTooLarge, 0, uint64(i+1))
	}
}

// TestClientPacketLimit: a message that exceeds the device's maximum packet size is not sent and counts as delivered
// [MQTT-3.1.2-24], [MQTT-3.1.2-25]; what follows is.
func TestClientPacketLimit(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.connect(mqtt.V5, "pub")
	for qos := range byte(3) {
		c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "small", func(o *mqtt.ConnectOut) { o.MaxPacketBytes, o.ReceiveMax = 100, 1 })
		c.subscribe(qos, "big/x")
		for i := range 5 {
			p.publish(qos, "big/x", strings.Repeat("x", 200))
			small := fmt.Sprint("small", i)
			p.publish(qos, "big/x", small)
			c.gets("big/x", small)
		}
		c.ping()
		c.disconnect()
	}
	if n := r.sum().drops; n[session.DropTooLarge] != 15 {
		t.Errorf("dropped %v, want 15 as too large", n)
	}
}

// TestSubscriptionsMax refuses the filter beyond the limit with 0x97 (0x80 in 3.1.1) and keeps the rest.
func TestSubscriptionsMax(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Limits.SubscriptionsMax = 2 })
	for v, refusal := range map[mqtt.Version]mqtt.Reason{mqtt.V311: 0x80, mqtt.V5: mqtt.QuotaExceeded} {
		c := r.connect(v, "c")
		if got := c.subscribe(1, "a", "b", "c", "a"); fmt.Sprint(got) != fmt.Sprint([]mqtt.Reason{1, 1, refusal, 1}) {
			t.Errorf("%v: SUBACK %v", v, got)
		}
		c.ping()
		c.disconnect()
	}
}

// TestTopicLimits: deep or long topics and filters are refused, not followed; see B5 and class 6.
func TestTopicLimits(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.TopicLevelsMax, c.MQTT.TopicBytesMax = 8, 100 })
	c := r.connect(mqtt.V5, "c")
	deep, long := strings.Repeat("/", 8), strings.Repeat("x", 101)
	for _, topic := range []string{deep, long, strings.Repeat("/", 60000)} {
		if got := c.publish(1, topic, "x"); got != mqtt.TopicNameInvalid {
			t.Errorf("PUBACK %v", got)
		}
		if got := c.publish(2, topic, "x"); got != mqtt.TopicNameInvalid {
			t.Errorf("PUBREC %v", got)
		}
		if got := c.subscribe(1, topic, topic+"/#"); got[0] != mqtt.TopicFilterInvalid {
			t.Errorf("SUBACK %v", got)
		}
	}
	if got := c.subscribe(1, strings.Repeat("+/", 7)+"#", strings.Repeat("+/", 8)+"#"); fmt.Sprint(got) != fmt.Sprint([]mqtt.Reason{1, mqtt.TopicFilterInvalid}) {
		t.Errorf("SUBACK %v", got)
	}
	old := r.connect(mqtt.V311, "old") // cannot be told: acknowledged, and goes nowhere
	old.publish(1, deep, "x")
	c.ping()
	if n := r.sum().refused; n != 7 {
		t.Errorf("refused messages %d, want 7", n)
	}
}

// TestTopicAliases: a device may set up, use and replace aliases [MQTT-3.3.2-12]; they end with the connection; 0, one too
// high and one never set are errors; see B8.
func TestTopicAliases(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.TopicAliasMax = 4 })
	sub := r.connect(mqtt.V5, "sub")
	sub.subscribe(0, "al/#")
	alias := func(n uint16) func(*mqtt.PublishOut) {
		return func(p *mqtt.PublishOut) { p.TopicAlias = n }
	}
	c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c")
	if ack.Props.TopicAliasMax != 4 {
		t.Errorf("CONNACK promises %d", ack.Props.TopicAliasMax)
	}
	for _, m := range []struct {
		topic string
		alias uint16
		want  string
	}{{"al/1", 1, "al/1"}, {"al/4", 4, "al/4"}, {"", 1, "al/1"}, {"", 4, "al/4"}, {"al/new", 1, "al/new"}, {"", 1, "al/new"}} {
		c.publish(1, m.topic, "x", alias(m.alias))
		sub.gets(m.want, "x")
	}
	zero := []byte{0x30, 10, 0, 3, 'a', '/', 'b', 3, 0x23, 0, 0, 'x'}
	for _, tc := range []struct {
		name  string
		bytes []byte
		want  mqtt.Reason
	}{
		{"unknown, after reconnect", mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{TopicAlias: 1}), mqtt.ProtocolError},
		{"too high", mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("al/x"), TopicAlias: 5}), mqtt.TopicAliasInvalid},
		{"zero", zero, mqtt.TopicAliasInvalid},
	} {
		c.disconnect()
		c = r.connect(mqtt.V5, "c")
		c.write(tc.bytes)
		if got, _ := c.end(); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
		c = r.connect(mqtt.V5, "c")
	}
}

// TestAssignedClientID: an empty client id is assigned one, unique, told to MQTT 5 clients [MQTT-3.1.3-6], [MQTT-3.1.3-7]; 3.1.1
// needs clean session for it, 3.1 has no such thing.
func TestAssignedClientID(t *testing.T) {
	t.Parallel()
	r := start(t)
	a, one := r.connectOn(r.open(mqtt.V5, r.mqtt), "", persistent)
	_, two := r.connectOn(r.open(mqtt.V5, r.mqtt), "")
	id := string(one.Props.AssignedClientID)
	if id == "" || id == string(two.Props.AssignedClientID) {
		t.Errorf("assigned %q and %q", id, two.Props.AssignedClientID)
	}
	a.subscribe(1, "x")
	a.disconnect()
	if _, again := r.connectOn(r.open(mqtt.V5, r.mqtt), id, persistent); !again.SessionPresent || again.Props.Has(mqtt.PropAssignedClientID) {
		t.Errorf("returning with the assigned id: present %v, assigned %q", again.SessionPresent, again.Props.AssignedClientID)
	}
	r.connect(mqtt.V311, "").ping()
	for v, clean := range map[mqtt.Version]bool{mqtt.V311: false, mqtt.V31: true} {
		c := r.open(v, r.mqtt)
		c.write(c.connectPacket("", func(o *mqtt.ConnectOut) { o.CleanStart = clean }))
		if g := c.expect(mqtt.TypeConnack); g.ReturnCode != 2 {
			t.Errorf("%v: return code %d, want 2", v, g.ReturnCode)
		}
		c.end()
	}
	r.closesBy(reasonClientID, 0, 2)
}
