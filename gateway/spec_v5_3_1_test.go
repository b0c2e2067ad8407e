package gateway

import (
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// CONNECT, part 1: what a CONNECT must be.

// Test_v5_MQTT_3_1_0_1: what comes first and is no CONNECT is not answered, but ends the connection.
func Test_v5_MQTT_3_1_0_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.watch("t")
	for _, packet := range []string{
		publish5(0, "t", 0, "", "too early"), publish5(2, "t", 1, "", "too early"), subscribe5(1, "t", 0), unsubscribe5(1, "t"), "\xc0\x00", "\xe0\x00",
		"\xf0\x00", fixed(0x40, u16(1)), fixed(0x62, u16(1)), "\x20\x03\x00\x00\x00", "\xd0\x00",
	} {
		c := r.open(mqtt.V5, r.mqtt)
		c.send(packet + connect5(2, "", str("c")))
		c.over()
	}
	w.hearsNothingBut(r, "t", "in time")
}

// Test_v5_MQTT_3_1_0_2: a second CONNECT is a protocol error, whatever is in it.
func Test_v5_MQTT_3_1_0_2(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, again := range []string{
		connect5(2, "", str("punished")), connect5(2, "", str("another")), connect5(0, "", str("")), connect311(2, str("punished")),
		fixed(0x10, str("MQTT")+"\x06\x02\x00\x00\x00"+str("c")), fixed(0x10, str("MQIsdp")+"\x03\x02\x00\x00"+str("")),
		fixed(0x10, str("other")+"\x05\x02\x00\x00\x00"+str("c")),
	} {
		r.punishes(again, mqtt.ProtocolError)
	}
}

// Test_v5_MQTT_3_1_2_1: another protocol name gets no session: return code 1, which every client can read, and the end.
func Test_v5_MQTT_3_1_2_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, name := range []string{"MQTX", "mqtt", "MQTT\ufeff", "MQT", "MQTTT", ""} {
		c := r.open(mqtt.V311, r.mqtt)
		c.send(fixed(0x10, str(name)+"\x05\x02\x00\x3c\x00"+str("c")))
		if g := c.expect(mqtt.TypeConnack); g.ReturnCode != 1 {
			t.Errorf("%q: return code %d", name, g.ReturnCode)
		}
		c.over()
	}
}

// Test_v5_MQTT_3_1_2_2: nor does another version: 0x84 to a later one, return code 1 to an earlier one, and the end.
func Test_v5_MQTT_3_1_2_2(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, level := range []byte{6, 7, 100, 127} {
		r.refuses(fixed(0x10, str("MQTT")+string([]byte{level})+"\x02\x00\x3c\x00"+str("c")), mqtt.UnsupportedProtocolVersion)
	}
	for _, level := range []byte{0, 1, 2, 3, 0x83, 0x84, 0x85, 0xFF} {
		c := r.open(mqtt.V311, r.mqtt)
		c.send(fixed(0x10, str("MQTT")+string([]byte{level})+"\x02\x00\x3c\x00"+str("c")))
		if g := c.expect(mqtt.TypeConnack); g.ReturnCode != 1 {
			t.Errorf("level %d: return code %d", level, g.ReturnCode)
		}
		c.over()
	}
}

// Test_v5_MQTT_3_1_2_3: the reserved connect flag is looked at.
func Test_v5_MQTT_3_1_2_3(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.refuses(connect5(0x03, "", str("c")), mqtt.MalformedPacket)
	r.refuses(connect5(0x01, "", str("c")), mqtt.MalformedPacket)
	r.accepts(connect5(0x02, "", str("c")))
}

// Test_v5_MQTT_3_1_2_9: with the will flag, QoS and retain are used, and topic and payload must be there.
func Test_v5_MQTT_3_1_2_9(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.refuses(connect5(0x06, "", str("c")), mqtt.MalformedPacket)
	r.refuses(connect5(0x06, "", str("c")+block("")), mqtt.MalformedPacket)
	r.refuses(connect5(0x06, "", str("c")+block("")+str("w")), mqtt.MalformedPacket)
	w := r.watch("w")
	c, _ := r.accepts(connect5(0x06|2<<3|0x20, "", str("c")+block("")+str("w")+str("gone")))
	c.cut()
	if g := w.gets("w", "gone"); g.QoS != 2 {
		t.Errorf("the will comes with QoS %d", g.QoS)
	}
	if r.retainedTopics() != 1 {
		t.Error("the will is not retained")
	}
}

// Test_v5_MQTT_3_1_2_11: no will QoS without a will.
func Test_v5_MQTT_3_1_2_11(t *testing.T) {
	t.Parallel()
	r := start(t)
	for qos := range byte(2) {
		r.refuses(connect5(0x02|(qos+1)<<3, "", str("c")), mqtt.ProtocolError)
	}
}

// Test_v5_MQTT_3_1_2_12: will QoS 0, 1 and 2 are served, 3 is not.
func Test_v5_MQTT_3_1_2_12(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.watch("w")
	for qos := range byte(3) {
		c, _ := r.accepts(connect5(0x06|qos<<3, "", str("c")+block("")+str("w")+str("gone")))
		c.cut()
		if g := w.gets("w", "gone"); g.QoS != qos {
			t.Errorf("a will with QoS %d comes with %d", qos, g.QoS)
		}
	}
	r.refuses(connect5(0x1E, "", str("c")+block("")+str("w")+str("gone")), mqtt.MalformedPacket)
	w.hearsNothingBut(r, "w", "nothing more")
}

// Test_v5_MQTT_3_1_2_13: no will retain without a will.
func Test_v5_MQTT_3_1_2_13(t *testing.T) {
	t.Parallel()
	start(t).refuses(connect5(0x22, "", str("c")), mqtt.ProtocolError)
}

// The flags of user name and password say what is there: one that is there without its flag, or missing in spite of it, makes the
// CONNECT malformed.

func Test_v5_MQTT_3_1_2_16(t *testing.T) {
	t.Parallel()
	start(t).refuses(connect5(0x02, "", str("c")+str("user")), mqtt.MalformedPacket)
}

func Test_v5_MQTT_3_1_2_17(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.refuses(connect5(0x82, "", str("c")), mqtt.MalformedPacket)
	r.accepts(connect5(0x82, "", str("c")+str("user")))
}

func Test_v5_MQTT_3_1_2_18(t *testing.T) {
	t.Parallel()
	start(t).refuses(connect5(0x82, "", str("c")+str("user")+str("secret")), mqtt.MalformedPacket)
}

func Test_v5_MQTT_3_1_2_19(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.refuses(connect5(0xC2, "", str("c")+str("user")), mqtt.MalformedPacket)
	r.accepts(connect5(0xC2, "", str("c")+str("user")+str("\x00\xff")))
	r.accepts(connect5(0x42, "", str("c")+str("secret"))) // alone: MQTT 5 has that
}

// Test_v5_MQTT_3_1_2_22: silence of one and a half times the keep-alive ends the connection as if the network had failed: the will is
// published, the session stays. Whoever is heard in time stays connected.
func Test_v5_MQTT_3_1_2_22(t *testing.T) { t.Parallel(); silenceEnds(t) }

func silenceEnds(t *testing.T) {
	t.Helper()
	r := start(t)
	w := r.watch("w/x")
	brief := func(o *mqtt.ConnectOut) { o.KeepAliveSec = 2 }
	began := time.Now()
	c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "silent", brief, persistent, will("silent", 0))
	if ack.Props.Has(mqtt.PropServerKeepAlive) {
		t.Fatalf("Server Keep Alive %d", ack.Props.ServerKeepAliveSec)
	}
	ended := make(chan error, 1)
	go func() {
		g, err := c.next()
		if err == nil && (g.Type != mqtt.TypeDisconnect || g.Reason != mqtt.KeepAliveTimeout) {
			t.Errorf("%v %v", g.Type, g.Reason)
		}
		ended <- err
	}()
	alive, lives := r.connect(mqtt.V5, "alive", brief), time.Now() // the later one, for a slow start not to be silence of its own
	var took time.Duration
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for over := false; !over || time.Since(lives) < 4*time.Second; {
		select {
		case err := <-ended:
			over, took = true, time.Since(began)
			if err != nil {
				t.Error(err)
			}
		case <-tick.C:
			alive.ping()
		}
	}
	if took < 3*time.Second || took > 12*time.Second {
		t.Errorf("closed after %v", took)
	}
	c.over()
	alive.ping()
	w.gets("w/x", "silent")
	if _, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "silent", persistent); !ack.SessionPresent {
		t.Error("the session is gone")
	}
}

// CONNECT, part 2: who the client is.

// Test_v5_MQTT_3_1_3_1: the fields are in their order.
func Test_v5_MQTT_3_1_3_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.watch("#")
	c, _ := r.accepts(connect5(0xC6, "", str("id")+block("\x02\x00\x00\x00\x09")+str("topic")+str("payload")+str("user")+str("secret")))
	c.cut()
	if g := w.gets("topic", "payload"); g.Props.MessageExpirySec != 9 {
		t.Errorf("expiry %d", g.Props.MessageExpirySec)
	}
	r.refuses(connect5(0x86, "", str("id")+str("user")+block("")+str("topic")+str("payload")), mqtt.MalformedPacket)
}

// Test_v5_MQTT_3_1_3_2: the client id is the session's name.
func Test_v5_MQTT_3_1_3_2(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, id := range []string{"a", "A", "b", "a ", " a", "\ufeffa"} { // none is like another
		c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), id, persistent)
		if ack.SessionPresent {
			t.Errorf("%q has the session of another", id)
		}
		c.subscribe(1, "to/"+id)
		c.disconnect()
	}
	p := r.connect(mqtt.V5, "p")
	p.publish(1, "to/b", "for b")
	p.publish(1, "to/a", "for a")
	for _, id := range []string{"a", "b"} {
		c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), id, persistent)
		if !ack.SessionPresent {
			t.Errorf("%q has lost its session", id)
		}
		c.gets("to/"+id, "for "+id)
		c.ping()
	}
}

// Test_v5_MQTT_3_1_3_3: a CONNECT without a client id is no CONNECT.
func Test_v5_MQTT_3_1_3_3(t *testing.T) {
	t.Parallel()
	start(t).refuses(connect5(0x02, "", ""), mqtt.MalformedPacket)
}

// Test_v5_MQTT_3_1_3_4: it is a UTF-8 string.
func Test_v5_MQTT_3_1_3_4(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, text := range badText {
		r.refuses(connect5(0x02, "", str(text)), mqtt.MalformedPacket)
	}
}

// Test_v5_MQTT_3_1_3_5: ids of 1 to 23 letters and digits are taken.
func Test_v5_MQTT_3_1_3_5(t *testing.T) {
	t.Parallel()
	r := start(t)
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for n := 1; n <= 23; n++ {
		r.accepts(connect5(0x02, "", str(letters[:n])))
		r.accepts(connect5(0x02, "", str(letters[len(letters)-n:])))
	}
	r.accepts(connect5(0x02, "", str(letters[23:46])))
}

// Without an id the server gives one that nobody has, and the session goes by it.

func Test_v5_MQTT_3_1_3_6(t *testing.T)  { t.Parallel(); idsAreAssigned(t) }
func Test_v5_MQTT_3_1_3_7(t *testing.T)  { t.Parallel(); idsAreAssigned(t) }
func Test_v5_MQTT_3_2_2_16(t *testing.T) { t.Parallel(); idsAreAssigned(t) }

func idsAreAssigned(t *testing.T) {
	t.Helper()
	r := start(t)
	known := map[string]bool{}
	for i := range 40 {
		clean := byte(i%2) * 2
		c, ack := r.accepts(connect5(clean, "\x11\x00\x00\x0e\x10", str(""))) // session expiry 3600
		id := string(ack.Props.AssignedClientID)
		if id == "" || known[id] || ack.SessionPresent {
			t.Fatalf("assigned %q, session present %v", id, ack.SessionPresent)
		}
		known[id] = true
		if i < 38 {
			continue
		}
		c.subscribe(1, "mine")
		c.cut()
		c, ack = r.connectOn(r.open(mqtt.V5, r.mqtt), id, persistent)
		if !ack.SessionPresent || ack.Props.Has(mqtt.PropAssignedClientID) {
			t.Errorf("session present %v, assigned %q", ack.SessionPresent, ack.Props.AssignedClientID)
		}
		c.publish(0, "mine", "x")
		c.gets("mine", "x")
		c.disconnect()
	}
}

// Test_v5_MQTT_3_1_3_10: the user properties of a will keep their order.
func Test_v5_MQTT_3_1_3_10(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.watch("w/x")
	var props []byte
	want := []string{"b=1", "a=2", "b=1", "=", "a=1"}
	for _, pair := range want {
		name, value, _ := strings.Cut(pair, "=")
		props = mqtt.AppendUserProperty(props, []byte(name), []byte(value))
	}
	for _, end := range []func(c *client){(*client).cut, (*client).reset} {
		end(r.connect(mqtt.V5, "c", will("gone", 0, func(o *mqtt.ConnectOut) { o.WillProps = props })))
		if got := users(w.gets("w/x", "gone")); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// users is the user properties of a packet, in order.
func users(g *got) (list []string) {
	g.Props.EachUser(func(name, value []byte) bool {
		list = append(list, string(name)+"="+string(value))
		return true
	})
	return list
}

// Test_v5_MQTT_3_1_3_11: the will topic is a UTF-8 string.
func Test_v5_MQTT_3_1_3_11(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, text := range badText {
		r.refuses(connect5(0x06, "", str("c")+block("")+str(text)+str("x")), mqtt.MalformedPacket)
	}
}

// Test_v5_MQTT_3_1_3_12: so is the user name.
func Test_v5_MQTT_3_1_3_12(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, text := range badText {
		r.refuses(connect5(0x82, "", str("c")+str(text)), mqtt.MalformedPacket)
	}
}
