package gateway

import (
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Wills in MQTT 3.1.1 (§3.1.2.5 to §3.1.2.7), and DISCONNECT, which forgets them.

// will311 is a CONNECT with a will on w/x.
func will311(id string, flags byte, payload string) string {
	return connect311(flags|flagWill, str(id)+str("w/x")+str(payload))
}

// mortal is a device with a will.
func (r *rig) mortal(id string, flags byte, payload string) *client {
	r.t.Helper()
	c := r.open(mqtt.V311, r.mqtt)
	c.says(will311(id, flags, payload), accepted311)
	return c
}

func Test_v311_MQTT_3_1_2_8_Wire(t *testing.T) { // the will is published whatever ends the connection, but for DISCONNECT
	t.Parallel()
	r := start(t)
	watch := r.across("watch")
	for _, w := range watch {
		w.takes(1, "w/+")
	}
	for what, end := range map[string]func(c *client){
		"FIN": (*client).cut, "RST": (*client).reset,
		"no packet":             func(c *client) { c.write([]byte("\x00\x00")) },
		"a server's packet":     func(c *client) { c.write([]byte(suback(1, "\x00"))) },
		"second CONNECT":        func(c *client) { c.write([]byte(connect311(flagClean, str("c")))) },
		"PUBLISH to a wildcard": func(c *client) { c.write([]byte(publish311(0, "w/+", 0, "x"))) },
		"takeover":              func(*client) { r.clean311("c").says("\xe0\x00") },
		"FIN in a packet":       func(c *client) { c.write([]byte("\x30\x05\x00\x03w")); c.cut() },
		"FIN in DISCONNECT":     func(c *client) { c.write([]byte("\xe0")); c.cut() },
		"DISCONNECT too long":   func(c *client) { c.write([]byte("\xe0\x01\x00")) },
	} {
		end(r.mortal("c", flagClean|flagWillQoS1, what))
		for _, w := range watch {
			w.gets("w/x", what)
			w.silent()
		}
	}
	// Nor does a session that goes on keep it.
	r.mortal("c", flagWillQoS2, "of a session").cut()
	for _, w := range watch {
		w.gets("w/x", "of a session")
	}
	r.left(len(watch))
	r.device311("c", 0, accepted311Present).cut()
	r.left(len(watch))
	for _, w := range watch {
		w.silent()
	}
}

func Test_v311_MQTT_3_1_2_10_Wire(t *testing.T) { t.Parallel(); forgottenWill(t) } // gone once published or by DISCONNECT
func Test_v311_MQTT_3_14_4_3(t *testing.T)      { t.Parallel(); forgottenWill(t) } // DISCONNECT forgets it

func forgottenWill(t *testing.T) {
	t.Helper()
	r := start(t)
	w := r.clean311("w")
	w.takes(2, "w/#")
	for _, flags := range []byte{flagClean, 0} {
		c := r.mortal("c", flags, "never")
		c.write([]byte("\xe0\x00"))
		c.shut("DISCONNECT")
		r.left(1)
		c = r.open(mqtt.V311, r.mqtt) // the next connection has none, and brings none back
		c.write([]byte(connect311(flags, str("c"))))
		c.packet()
		c.reset()
		r.left(1)
	}
	r.device311("c", flagClean, accepted311).cut()
	r.left(1)
	c := r.mortal("c", 0, "once")
	c.reset()
	w.gets("w/x", "once")
	for range 2 {
		c = r.device311("c", 0, accepted311Present)
		c.reset()
		r.left(1)
	}
	w.silent()
}

func Test_v311_MQTT_3_1_2_12(t *testing.T) { // no will flag, no will, not even the one of the connection before
	t.Parallel()
	r := start(t)
	w := r.clean311("w")
	w.takes(0, "#")
	c := r.mortal("c", 0, "of the first")
	next := r.device311("c", 0, accepted311Present)
	c.shut("taken over")
	w.answers(publish311(0, "w/x", 0, "of the first"))
	next.reset()
	r.left(1)
	r.clean311("d").reset()
	r.left(1)
	w.silent()
}

func Test_v311_MQTT_3_1_2_16(t *testing.T) { // without will retain it is not retained, and leaves what is
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	p.gives(pubRetain, "w/x", "kept")
	w := r.clean311("w")
	w.takes(2, "w/x")
	w.answers(publish311(pubRetain, "w/x", 0, "kept"))
	r.mortal("c", flagClean, "gone").cut()
	w.answers(publish311(0, "w/x", 0, "gone"))
	late := r.clean311("late")
	late.takes(2, "w/x")
	late.answers(publish311(pubRetain, "w/x", 0, "kept"))
}

func Test_v311_MQTT_3_1_2_17(t *testing.T) { // with will retain it is; an empty one deletes
	t.Parallel()
	r := start(t)
	w := r.clean311("w")
	w.takes(2, "w/x")
	for qos, flags := range []byte{0, flagWillQoS1, flagWillQoS2} {
		r.mortal("c", flagClean|flagWillRetain|flags, "gone").cut()
		if g := w.gets("w/x", "gone"); g.Retain || int(g.QoS) != qos {
			t.Errorf("live: retain %v, QoS %d", g.Retain, g.QoS)
		}
		late := r.clean311("late")
		late.takes(2, "w/x")
		if g := late.gets("w/x", "gone"); !g.Retain || int(g.QoS) != qos {
			t.Errorf("late: retain %v, QoS %d", g.Retain, g.QoS)
		}
		late.cut()
	}
	r.mortal("c", flagClean|flagWillRetain, "").cut()
	w.gets("w/x", "")
	late := r.clean311("late")
	late.takes(2, "w/x")
	late.silent()
}

func Test_v311_MQTT_3_14_4_1(t *testing.T) { // the server closes after DISCONNECT, if the client does not
	t.Parallel()
	r := start(t)
	for _, flags := range []byte{flagClean, 0} {
		c := r.device311("c", flags, accepted311)
		c.takes(1, "t")
		c.write([]byte("\xe0\x00"))
		c.shut("DISCONNECT")
	}
}

func Test_v311_MQTT_3_14_4_2(t *testing.T) { // what follows DISCONNECT is not handled
	t.Parallel()
	r := start(t)
	w := r.clean311("w")
	w.takes(0, "t")
	c := r.clean311("c")
	c.write([]byte("\xe0\x00" + publish311(0, "t", 0, "x") + "\xc0\x00" + publish311(pubQoS1|pubRetain, "t", 1, "x")))
	c.shut("DISCONNECT")
	w.silent()
	if n := r.retainedTopics(); n != 0 {
		t.Errorf("%d retained", n)
	}
}

func Test_v311_MQTT_3_12_4_1(t *testing.T) { // PINGREQ is answered with PINGRESP, one for each
	t.Parallel()
	r := start(t)
	c := r.clean311("c")
	c.says("\xc0\x00", "\xd0\x00")
	c.says("\xc0\x00\xc0\x00\xc0\x00", "\xd0\x00", "\xd0\x00", "\xd0\x00")
	c.write([]byte("\xc0\x01\x00")) // it has no body
	c.shut("PINGREQ with a body")
}
