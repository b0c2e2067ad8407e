package gateway

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

func everySecondSys(c *Config) { c.MQTT.SysInterval = time.Second }

// sysValues reads $SYS messages until f is content with what was told so far.
func sysValues(c *client, f func(told map[string]string) bool) map[string]string {
	c.t.Helper()
	told := map[string]string{}
	for !f(told) {
		g := c.expect(mqtt.TypePublish)
		told[strings.TrimPrefix(g.topic, "$SYS/broker/")] = g.payload
	}
	return told
}

// TestSysTopics: a monitor gets every value at once, as retained messages, and then what changes.
func TestSysTopics(t *testing.T) {
	t.Parallel()
	r := start(t, everySecondSys, memoryOnly)
	r.eventually("the first look", func() bool { n, _ := r.gw.sys.kept.size(); return n > 0 })
	m := r.connect(mqtt.V311, "monitor")
	m.subscribe(0, "$SYS/broker/version")
	if g := m.expect(mqtt.TypePublish); g.payload != "tidegate "+Version || !g.Retain {
		t.Errorf("version %q, retained %v", g.payload, g.Retain)
	}
	m.subscribe(0, "$SYS/#")
	p := r.connect(mqtt.V5, "p")
	p.publish(1, "a/b", "12345", retained)
	away := r.connect(mqtt.V5, "away", persistent)
	away.subscribe(1, "q")
	away.disconnect()
	r.eventually("gone", func() bool { return r.sum().sessionsLive == 2 })
	p.publish(1, "q", "queued")
	sysValues(m, func(told map[string]string) bool {
		return told["clients/connected"] == "2" && told["clients/disconnected"] == "1" && told["clients/total"] == "3" &&
			told["publish/bytes/received"] == "11" && told["publish/messages/received"] == "2" && told["retained messages/count"] == "1" &&
			told["store/messages/count"] == "2" && told["messages/stored"] == "2" && told["subscriptions/count"] == "3"
	})
	told := sysValues(m, func(told map[string]string) bool { return told["uptime"] != "" })
	if sec, ok := strings.CutSuffix(told["uptime"], " seconds"); !ok {
		t.Errorf("uptime %q", told["uptime"])
	} else if n, err := strconv.Atoi(sec); err != nil || n < 1 {
		t.Errorf("uptime %q", told["uptime"])
	}
}

// TestSysTopicsStayHere: wildcards at the start do not bring them, devices can't publish them, NATS does not see them.
func TestSysTopicsStayHere(t *testing.T) {
	t.Parallel()
	r := start(t, everySecondSys, unrecorded)
	sub, err := r.nats().SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	m := r.connect(mqtt.V5, "m")
	m.subscribe(0, "$SYS/broker/uptime")
	c := r.connect(mqtt.V5, "c")
	c.subscribe(0, "#", "+/broker/uptime", "+/#")
	for range 3 {
		m.expect(mqtt.TypePublish) // three rounds
	}
	c.write(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("$SYS/broker/uptime"), Payload: []byte("forged"), QoS: 1, PacketID: 9}))
	if g := c.expect(mqtt.TypePuback); g.Reason != mqtt.NotAuthorized {
		t.Errorf("PUBACK for a forged value: %v", g.Reason)
	}
	c.ping() // and nothing before the answer
	if m, err := sub.NextMsg(100 * time.Millisecond); err == nil {
		t.Errorf("NATS heard %s", m.Subject)
	}
}

// TestSysTopicsOff: without an interval there are none.
func TestSysTopicsOff(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.SysInterval = 0 })
	c := r.connect(mqtt.V5, "c")
	c.subscribe(0, "$SYS/#")
	c.ping()
	if n, _ := r.gw.sys.kept.size(); n != 0 {
		t.Errorf("%d topics", n)
	}
}

// TestSysLoad: a steady rate is what the averages come to, the short one first.
func TestSysLoad(t *testing.T) {
	g := &Gateway{}
	g.cfg.MQTT.SysInterval = 10 * time.Second
	y := newSysTopics(g)
	y.round = g.downPool.take()
	var s snapshot
	for range 30 { // five minutes
		s.packetsIn[mqtt.TypePublish] += 100
		y.load(&s)
		y.before = s
	}
	one, fifteen := y.loads[loadMessagesReceived][0], y.loads[loadMessagesReceived][2]
	if one < 590 || one > 600 {
		t.Errorf("600 a minute for five minutes: %v over one minute", one)
	}
	if fifteen < 160 || fifteen > 180 { // 600*(1-exp(-5/15))
		t.Errorf("600 a minute for five minutes: %v over fifteen", fifteen)
	}
}
