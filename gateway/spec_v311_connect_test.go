package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Chapter 3.1 of MQTT 3.1.1: CONNECT up to its flags. Client ids and what comes after CONNECT are in
// spec_v311_clientid_test.go, wills in spec_v311_will_test.go.

// dropped sends bytes as the first ones of a connection, which ends without an answer.
func (r *rig) dropped(what, bytes string) {
	r.t.Helper()
	c := r.open(mqtt.V311, r.mqtt)
	c.write([]byte(bytes))
	c.shut(what)
}

// refused expects a CONNACK with this return code and the end.
func (r *rig) refused(what, bytes string, code byte) {
	r.t.Helper()
	c := r.open(mqtt.V311, r.mqtt)
	c.says(bytes, string([]byte{0x20, 2, 0, code}))
	c.shut(what)
}

func Test_v311_MQTT_3_1_0_1(t *testing.T) { // the first packet is CONNECT
	t.Parallel()
	r := start(t)
	for what, p := range map[string]string{
		"PUBLISH": publish311(0, "t", 0, "x"), "PUBLISH QoS 1": publish311(pubQoS1, "t", 1, "x"), "SUBSCRIBE": subscribe311(1, "t", "\x00"),
		"UNSUBSCRIBE": unsubscribe311(1, "t"), "PINGREQ": "\xc0\x00", "DISCONNECT": "\xe0\x00", "PUBREL": pubrel(1), "PUBACK": puback(1),
	} {
		r.dropped(what, p)
		r.dropped(what, p+connect311(flagClean, str("c")))
	}
	if s := r.sum(); s.sessions != 0 {
		t.Errorf("%d sessions", s.sessions)
	}
}

func Test_v311_MQTT_3_1_0_2(t *testing.T) { // a second CONNECT ends the connection, also the same one over again
	t.Parallel()
	r := start(t)
	for _, again := range []string{"c", "other"} {
		c := r.clean311("c")
		c.write([]byte(connect311(flagClean, str(again))))
		c.shut("second CONNECT")
	}
	c := r.open(mqtt.V311, r.mqtt) // before the first is answered
	c.says(connect311(flagClean, str("c"))+connect311(flagClean, str("c")), accepted311)
	c.shut("second CONNECT")
}

func Test_v311_MQTT_3_1_2_1(t *testing.T) { // a wrong protocol name is not served; see "choices" for the answer
	t.Parallel()
	r := start(t)
	for _, name := range []string{"mqtt", "MQTTT", "MQT", "", "HTTP", "MQTT\x00"} {
		c := r.open(mqtt.V311, r.mqtt)
		c.write([]byte(fixed(0x10, str(name)+"\x04\x02\x00\x00"+str("c")) + subscribe311(1, "t", "\x00")))
		if p := c.packet(); p != nil && string(p) != "\x20\x02\x00\x01" {
			t.Errorf("%q: %x", name, p)
		}
		c.shut(name)
	}
	if s := r.sum(); s.sessions != 0 || s.filters != 0 {
		t.Errorf("%d sessions, %d filters", s.sessions, s.filters)
	}
}

func Test_v311_MQTT_3_1_2_2(t *testing.T) { // an unsupported level is answered with 1
	t.Parallel()
	r := start(t)
	for _, level := range []byte{0, 1, 2, 3, 0x84, 0xFF} {
		r.refused(fmt.Sprint("level ", level), fixed(0x10, str("MQTT")+string([]byte{level})+"\x02\x00\x00"+str("c")), 1)
	}
}

func Test_v311_MQTT_3_1_2_3(t *testing.T) { // the reserved connect flag
	t.Parallel()
	r := start(t)
	for _, flags := range []byte{0x01, 0x03, 0xC3} {
		r.dropped("reserved flag", connect311(flags, str("c")+str("user")+str("password")))
	}
}

func Test_v311_MQTT_3_1_2_4_Wire(t *testing.T) { // clean session 0: a session is made, and goes on
	t.Parallel()
	r := start(t)
	for _, loss := range []func(*client){(*client).cut, (*client).reset, func(c *client) { c.write([]byte("\xe0\x00")); c.cut() }} {
		c := r.device311("c", 0, accepted311)
		c.takes(1, "t")
		for range 3 {
			loss(c)
			c = r.device311("c", 0, accepted311Present)
			c.says(publish311(0, "t", 0, "still subscribed"), publish311(0, "t", 0, "still subscribed"))
		}
		r.clean311("c").says("\xe0\x00")
	}
}

func Test_v311_MQTT_3_1_2_5_Wire(t *testing.T) { // QoS 1 and 2 are kept for an absent device, and come in order
	t.Parallel()
	r := start(t)
	c := r.device311("c", 0, accepted311)
	c.takes(2, "t/#")
	c.cut()
	r.left(0)
	for i, p := range r.across("p") {
		p.gives(0, "t/zero", "x")
		p.gives(pubQoS1, fmt.Sprint("t/", i), "1")
		p.gives(pubQoS2, fmt.Sprint("t/", i), "2")
		p.gives(pubQoS1, "u", "not subscribed")
		p.cut()
	}
	r.waits(4)
	c = r.device311("c", 0, accepted311Present)
	got := map[string]string{}
	for range 4 {
		g := c.message()
		if g.Dup {
			t.Errorf("%s %q is marked as a duplicate", g.topic, g.payload)
		}
		got[g.topic] += g.payload
	}
	if got["t/0"] != "12" || got["t/1"] != "12" {
		t.Errorf("got %v", got)
	}
	c.silent()
}

func Test_v311_MQTT_3_1_2_6_Wire(t *testing.T) { // clean session 1 ends what was, and leaves nothing
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	c := r.device311("c", 0, accepted311)
	c.takes(2, "t")
	p.gives(pubQoS2, "t", "in flight")
	c.expect(mqtt.TypePublish)
	c.says(publish311(pubQoS2, "u", 9, "from the device"), pubrec(9))
	c.cut()
	c = r.clean311("c") // nothing comes again
	c.silent()
	p.gives(pubQoS2, "t", "no longer subscribed")
	c.silent()
	w := r.clean311("w")
	w.takes(0, "u")
	c.says(publish311(pubQoS2, "u", 9, "a new message"), pubrec(9)) // the id is not known any more
	w.answers(publish311(0, "u", 0, "a new message"))
	c.takes(1, "t")
	c.cut()
	c = r.device311("c", 0, accepted311) // the clean session did not outlive its connection
	p.gives(pubQoS2, "t", "not subscribed")
	c.silent()
	if s := r.sum(); s.filters != 1 {
		t.Errorf("%d filters", s.filters)
	}
}

func Test_v311_MQTT_3_1_2_7(t *testing.T) { // retained messages outlive the session that published them
	t.Parallel()
	r := start(t)
	for i, flags := range []byte{flagClean, 0} {
		topic := fmt.Sprint("kept/", i)
		c := r.device311("c", flags, accepted311)
		c.gives(pubRetain|pubQoS1, topic, "kept")
		c.cut()
		r.clean311("c").says("\xe0\x00") // ends it, if it went on
		r.eventually("no session is left", func() bool { return r.sum().sessions == 0 })
		late := r.clean311("late")
		late.takes(0, topic)
		late.answers(publish311(pubRetain, topic, 0, "kept"))
		late.says("\xe0\x00")
		late.shut("DISCONNECT")
	}
}

// lacking are CONNECTs whose payload lacks what their flags announce.
var lacking = map[string]string{
	"MQTT_3_1_2_9 no will":              connect311(flagClean|flagWill, str("c")),
	"MQTT_3_1_2_9 no will message":      connect311(flagClean|flagWill, str("c")+str("w")),
	"MQTT_3_1_2_9 will cut short":       connect311(flagClean|flagWill, str("c")+str("w")+"\x00\x05x"),
	"MQTT_3_1_2_11 will not announced":  connect311(flagClean, str("c")+str("w")+str("x")),
	"MQTT_3_1_2_11 retain without will": connect311(flagClean|flagWillRetain, str("c")),
	"MQTT_3_1_2_13 QoS 1 without will":  connect311(flagClean|flagWillQoS1, str("c")),
	"MQTT_3_1_2_13 QoS 2 without will":  connect311(flagClean|flagWillQoS2, str("c")),
	"MQTT_3_1_2_14 QoS 3":               connect311(flagClean|flagWill|flagWillQoS1|flagWillQoS2, str("c")+str("w")+str("x")),
	"MQTT_3_1_2_15 retain without will": connect311(flagClean|flagWillRetain, str("c")+str("w")+str("x")),
	"MQTT_3_1_2_18 name not announced":  connect311(flagClean, str("c")+str("user")),
	"MQTT_3_1_2_19 no name":             connect311(flagClean|flagUserName, str("c")),
	"MQTT_3_1_2_19 name cut short":      connect311(flagClean|flagUserName, str("c")+"\x00\x05user"),
	"MQTT_3_1_2_20 password too many":   connect311(flagClean|flagUserName, str("c")+str("user")+str("password")),
	"MQTT_3_1_2_21 no password":         connect311(flagClean|flagUserName|flagPassword, str("c")+str("user")),
	"MQTT_3_1_2_22 password, no name":   connect311(flagClean|flagPassword, str("c")+str("password")),
	"MQTT_3_1_3_3 no payload":           connect311(flagClean, ""),
	"MQTT_3_1_3_3 half a length":        connect311(flagClean, "\x00"),
	"MQTT_3_1_3_3 id cut short":         connect311(flagClean, "\x00\x05id"),
	"MQTT_3_1_4_1 no keep alive":        fixed(0x10, str("MQTT")+"\x04\x02"),
	"MQTT_3_1_4_1 no flags":             fixed(0x10, str("MQTT")+"\x04"),
	"MQTT_3_1_4_1 name only":            fixed(0x10, str("MQTT")),
	"MQTT_3_1_4_1 nothing":              "\x10\x00",
}

// lacks sends the rows of a statement; each ends the connection without CONNACK [MQTT-3.1.4-1], [MQTT-4.8.0-1].
func lacks(t *testing.T, id string) {
	t.Helper()
	r := start(t)
	n := 0
	for what, p := range lacking {
		if name, _, _ := strings.Cut(what, " "); name == id {
			r.dropped(what, p)
			n++
		}
	}
	if s := r.sum(); n == 0 || s.sessions != 0 {
		t.Errorf("%d rows, %d sessions", n, s.sessions)
	}
}

func Test_v311_MQTT_3_1_2_9(t *testing.T)  { t.Parallel(); lacks(t, "MQTT_3_1_2_9") }
func Test_v311_MQTT_3_1_2_11(t *testing.T) { t.Parallel(); lacks(t, "MQTT_3_1_2_11") }
func Test_v311_MQTT_3_1_2_13(t *testing.T) { t.Parallel(); lacks(t, "MQTT_3_1_2_13") }
func Test_v311_MQTT_3_1_2_14(t *testing.T) { t.Parallel(); lacks(t, "MQTT_3_1_2_14") }
func Test_v311_MQTT_3_1_2_15(t *testing.T) { t.Parallel(); lacks(t, "MQTT_3_1_2_15") }
func Test_v311_MQTT_3_1_2_18(t *testing.T) { t.Parallel(); lacks(t, "MQTT_3_1_2_18") }
func Test_v311_MQTT_3_1_2_19(t *testing.T) { t.Parallel(); lacks(t, "MQTT_3_1_2_19") }
func Test_v311_MQTT_3_1_2_20(t *testing.T) { t.Parallel(); lacks(t, "MQTT_3_1_2_20") }
func Test_v311_MQTT_3_1_2_21(t *testing.T) { t.Parallel(); lacks(t, "MQTT_3_1_2_21") }
func Test_v311_MQTT_3_1_2_22(t *testing.T) { t.Parallel(); lacks(t, "MQTT_3_1_2_22") }
func Test_v311_MQTT_3_1_3_3(t *testing.T)  { t.Parallel(); lacks(t, "MQTT_3_1_3_3") }

func Test_v311_MQTT_3_1_4_1(t *testing.T) { // whatever is against the rules ends the connection without CONNACK
	t.Parallel()
	r := start(t)
	for what, p := range lacking {
		r.dropped(what, p)
	}
}

func Test_v311_MQTT_3_1_2_24(t *testing.T) { // one and a half times the keep-alive without a packet; a part of one is none
	t.Parallel()
	r := start(t)
	w := r.clean311("w")
	w.takes(0, "gone")
	c := r.open(mqtt.V311, r.mqtt)
	began := time.Now()
	c.says(fixed(0x10, str("MQTT")+"\x04\x06\x00\x02"+str("c")+str("gone")+str("will")), accepted311)
	c.write([]byte("\xc0")) // the rest never comes
	c.shut("keep-alive")
	if took := time.Since(began); took < 3*time.Second || took > 8*time.Second {
		t.Errorf("closed after %v, want 3 s and a little", took)
	}
	w.answers(publish311(0, "gone", 0, "will"))
	forever := r.clean311("forever") // none asked for
	if keepAlive := connect311(flagClean, ""); keepAlive[10] != 0 || keepAlive[11] == 0 {
		t.Fatal("connect311 asks for no keep-alive")
	}
	forever.silent()
}
