package gateway

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Chapters 3.1.3, 3.1.4 and 3.2 of MQTT 3.1.1: the payload of CONNECT, what the server does about it, and CONNACK.

func Test_v311_MQTT_3_1_3_1(t *testing.T) { // the fields come in their order: each lands where it belongs
	t.Parallel()
	r := start(t, func(c *Config) { c.NATS.HeaderUser = true })
	back := r.onNATS("w.>")
	w := r.clean311("watch")
	w.takes(1, "w/topic")
	c := r.open(mqtt.V311, r.mqtt)
	c.says(connect311(flagClean|flagWill|flagUserName|flagPassword, str("id")+str("w/topic")+str("w message")+str("w-user")+str("\xffpassword")), accepted311)
	c.cut()
	w.answers(publish311(0, "w/topic", 0, "w message"))
	m, err := back.sub.NextMsg(patience)
	if err != nil || m.Subject != "w.topic" || string(m.Data) != "w message" || !headerHas(m, "id") || !headerHas(m, "w-user") {
		t.Errorf("NATS got %+v, %v", m, err)
	}
}

// headerHas tells whether the gateway's header of a message names something.
func headerHas(m *nats.Msg, what string) bool {
	return strings.Contains(m.Header.Get("TG"), what)
}

func Test_v311_MQTT_3_1_3_2(t *testing.T) { // the client id is what names the session: to the byte, and nothing else does
	t.Parallel()
	r := start(t)
	ids := []string{"a", "A", "a ", "ａ", "a/b", strings.Repeat("x", 23), strings.Repeat("x", 24)}
	for _, id := range ids {
		c := r.device311(id, 0, accepted311)
		c.takes(1, "own")
		c.cut()
	}
	r.left(0)
	for _, id := range ids {
		r.device311(id, 0, accepted311Present).cut()
	}
	if s := r.sum(); s.sessions != len(ids) {
		t.Errorf("%d sessions, want %d", s.sessions, len(ids))
	}
}

func Test_v311_MQTT_3_1_3_4(t *testing.T) { // it is UTF-8
	t.Parallel()
	r := start(t)
	for name, text := range badText {
		r.dropped(name, connect311(flagClean, str(text)))
		r.dropped(name, connect311(0, str("id"+text)))
	}
}

func Test_v311_MQTT_3_1_3_5(t *testing.T) { // every id of 1 to 23 digits and letters is allowed
	t.Parallel()
	r := start(t)
	const alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for n := 1; n <= 23; n++ {
		r.clean311(alphabet[:n]).silent()
	}
	for i := range alphabet {
		r.clean311(alphabet[i : i+1]).silent()
	}
	for i := 0; i+23 <= len(alphabet); i += 13 {
		r.clean311(alphabet[i : i+23]).silent()
	}
}

func Test_v311_MQTT_3_1_3_6(t *testing.T) { // no id: a unique one is given, and the device is served like others
	t.Parallel()
	r := start(t)
	var devices []*client
	for range 20 {
		c := r.open(mqtt.V311, r.mqtt)
		c.says(connect311(flagClean, str("")), accepted311)
		c.takes(1, "t")
		devices = append(devices, c)
	}
	devices[0].write([]byte(publish311(0, "t", 0, "to all")))
	for _, c := range devices {
		c.answers(publish311(0, "t", 0, "to all")) // nobody took another's place
		c.cut()
	}
	r.eventually("the sessions end with their connections", func() bool { return r.sum().sessions == 0 })
}

func Test_v311_MQTT_3_1_3_7(t *testing.T) { t.Parallel(); noIDWithoutClean(t) } // no id asks for clean session 1
func Test_v311_MQTT_3_1_3_8(t *testing.T) { t.Parallel(); noIDWithoutClean(t) } // without it: 2, and the end

func noIDWithoutClean(t *testing.T) {
	t.Helper()
	r := start(t)
	r.refused("no id", connect311(0, str("")), 2)
	r.refused("no id, will", connect311(flagWill, str("")+str("w")+str("x")), 2)
	r.refused("no id, user", connect311(flagUserName|flagPassword, str("")+str("u")+str("p")), 2)
	if s := r.sum(); s.sessions != 0 {
		t.Errorf("%d sessions", s.sessions)
	}
}

func Test_v311_MQTT_3_1_3_9(t *testing.T) { // an id that is refused: 2, and nothing behind it is looked at
	t.Parallel()
	r := start(t)
	w := r.clean311("w")
	w.takes(0, "t")
	c := r.open(mqtt.V311, r.mqtt)
	c.says(connect311(0, str(""))+publish311(0, "t", 0, "x"), "\x20\x02\x00\x02")
	c.shut("refused id")
	w.silent()
}

func Test_v311_MQTT_3_1_3_10(t *testing.T) { // the will topic is UTF-8
	t.Parallel()
	r := start(t)
	for name, text := range badText {
		r.dropped(name, connect311(flagClean|flagWill, str("c")+str("w"+text)+str("x")))
	}
	c := r.open(mqtt.V311, r.mqtt) // the message need not be
	c.says(connect311(flagClean|flagWill, str("c")+str("wé")+str("\xff\x00")), accepted311)
}

func Test_v311_MQTT_3_1_3_11(t *testing.T) { // the user name is UTF-8
	t.Parallel()
	r := start(t)
	for name, text := range badText {
		r.dropped(name, connect311(flagClean|flagUserName|flagPassword, str("c")+str("u"+text)+str("p")))
	}
	c := r.open(mqtt.V311, r.mqtt) // the password need not be
	c.says(connect311(flagClean|flagUserName|flagPassword, str("c")+str("ü")+str("\xff\x00")), accepted311)
}

func Test_v311_MQTT_3_1_4_2_Wire(t *testing.T) { // the older connection of an id is closed, wherever the two come in
	t.Parallel()
	r := start(t)
	for _, flags := range []byte{flagClean, 0} {
		old := r.device311("c", flags, accepted311)
		for range 4 {
			next := r.open(mqtt.V311, r.mqtt)
			next.write([]byte(connect311(flags, str("c"))))
			next.packet()
			old.shut("older connection")
			next.silent()
			old = next
		}
		old.cut()
	}
}

func Test_v311_MQTT_3_1_4_3(t *testing.T) { // a takeover treats the session as the new CONNECT asks
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	c := r.device311("c", 0, accepted311)
	c.takes(1, "t")
	c = r.device311("c", 0, accepted311Present)
	p.gives(pubQoS1, "t", "one")
	c.gets("t", "one")
	c = r.device311("c", flagClean, accepted311)
	p.gives(pubQoS1, "t", "two")
	c.silent()
	c = r.device311("c", 0, accepted311)
	c.silent()
}

func Test_v311_MQTT_3_1_4_4(t *testing.T) { // CONNECT is answered with CONNACK 0, ahead of what came with it
	t.Parallel()
	r := start(t)
	for shard := range 2 {
		c := r.open(mqtt.V311, r.mqtt)
		c.says(connect311(flagClean, str(r.ids("c", shard, 1)[0]))+"\xc0\x00"+publish311(pubQoS1, "t", 1, "x"), accepted311, "\xd0\x00", puback(1))
	}
}

func Test_v311_MQTT_3_1_4_5(t *testing.T) { // what follows a refused CONNECT is not handled
	t.Parallel()
	r := start(t)
	w := r.clean311("w")
	w.takes(2, "t")
	behind := publish311(0, "t", 0, "x") + publish311(pubRetain|pubQoS1, "t", 1, "x") + subscribe311(2, "t", "\x02") + connect311(flagClean, str("c"))
	for _, first := range []string{
		connect311(0, str("")), connect311(flagClean|flagWill, str("c")+str("$SYS/x")+str("x")), fixed(0x10, str("MQTT")+"\x03\x02\x00\x00"+str("c")),
		fixed(0x10, str("MQIsdp")+"\x03\x02\x00\x00"+str("")),
	} {
		c := r.open(mqtt.V311, r.mqtt)
		c.write([]byte(first + behind))
		if p := c.packet(); len(p) != 4 || p[0] != 0x20 || p[3] == 0 {
			t.Errorf("answer %x", p)
		}
		c.shut("refused")
	}
	w.silent()
	if s := r.sum(); s.sessions != 1 || s.filters != 1 || r.retainedTopics() != 0 {
		t.Errorf("%d sessions, %d filters, %d retained", s.sessions, s.filters, r.retainedTopics())
	}
}

func Test_v311_MQTT_3_2_0_1(t *testing.T) { // the first packet to the device is CONNACK, however much it is owed
	t.Parallel()
	r := start(t)
	p := r.clean311("p")
	for shard := range 2 {
		id := r.ids("c", shard, 1)[0]
		c := r.device311(id, 0, accepted311)
		c.takes(1, "t")
		p.gives(pubQoS1, "t", "in flight")
		c.expect(mqtt.TypePublish)
		c.cut()
		r.left(1)
		p.gives(pubQoS1, "t", "queued")
		c = r.open(mqtt.V311, r.mqtt)
		c.says(connect311(flagWill, str(id)+str("t")+str("will"))+publish311(pubQoS1, "t", 9, "own"), accepted311Present)
		if g := c.expect(mqtt.TypePublish); g.payload != "in flight" || !g.Dup {
			t.Errorf("then %q", g.payload)
		}
		c.write([]byte("\xe0\x00"))
		r.left(1)
	}
}

func Test_v311_MQTT_3_2_2_1_Wire(t *testing.T) { // clean session 1: Session Present 0, whatever there was
	t.Parallel()
	r := start(t)
	r.clean311("c").cut()
	r.device311("c", 0, accepted311).cut()
	r.device311("c", flagClean, accepted311).cut()
}

func Test_v311_MQTT_3_2_2_2_Wire(t *testing.T) { // clean session 0: 1 when there is one, even an empty one
	t.Parallel()
	r := start(t)
	r.device311("c", 0, accepted311)
	r.device311("c", 0, accepted311Present).cut()
	r.left(0)
	r.device311("c", 0, accepted311Present)
}

func Test_v311_MQTT_3_2_2_3_Wire(t *testing.T) { // and 0 when there is none: never was, or was clean
	t.Parallel()
	r := start(t)
	r.device311("c", 0, accepted311)
	r.clean311("d").cut()
	r.left(1)
	r.device311("d", 0, accepted311)
}

func Test_v311_MQTT_3_2_2_4(t *testing.T) { // a refusal shows no session, though there is one
	t.Parallel()
	r := start(t)
	r.device311("c", 0, accepted311).cut()
	r.left(0)
	c := r.open(mqtt.V311, r.mqtt)
	c.says(connect311(flagWill, str("c")+str("$SYS/x")+str("x")), "\x20\x02\x00\x05")
	c.shut("refused")
	r.device311("c", 0, accepted311Present) // and leaves it alone
}

func Test_v311_MQTT_3_2_2_5(t *testing.T) { // every refusal ends the connection: return codes 1, 2, 3 and 5
	t.Parallel()
	r := start(t, func(c *Config) { c.Session.Max = 1 })
	r.refused("level", fixed(0x10, str("MQTT")+"\x02\x02\x00\x00"+str("c")), 1)
	r.refused("id", connect311(0, str("")), 2)
	r.refused("will topic of the system", connect311(flagClean|flagWill, str("c")+str("$SYS/x")+str("x")), 5)
	for shard := range 2 {
		r.clean311(r.ids("first", shard, 1)[0])
	}
	r.refused("no room", connect311(flagClean, str("second")), 3)
}

func Test_v311_MQTT_3_2_2_6(t *testing.T) { // what no return code fits is not answered
	t.Parallel()
	r := start(t)
	r.dropped("CONNECT beyond its limit", "\x10\x81\x80\x01")
	r.dropped("reserved flag", connect311(0x03, str("c")))
	r.dropped("no UTF-8", connect311(flagClean, str("\xff")))
}
