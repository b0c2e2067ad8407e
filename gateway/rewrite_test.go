package gateway

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

func TestRewriteRules(t *testing.T) {
	for _, tt := range []struct{ from, to, topic, want string }{
		{"old/+/temp", "devices/{1}/t", "old/7/temp", "devices/7/t"},
		{"old/+/temp", "devices/{1}/t", "old/7/8/temp", ""},
		{"old/+/temp", "devices/{1}/t", "old/7", ""},
		{"old/+/temp", "devices/{1}/t", "old/7/temp/x", ""},
		{"old/+/temp", "devices/{1}/t", "old//temp", "devices//t"},
		{"+/+", "{2}/{1}", "a/b", "b/a"},
		{"a/#", "b/{1}", "a/x/y", "b/x/y"},
		{"a/#", "b/{1}", "a", "b"},
		{"a/#", "b/{1}", "a/", "b/"},
		{"a/#", "b/{1}/c", "a", "b/c"},
		{"#", "all/{1}", "a/b", "all/a/b"},
		{"#", "all/{1}", "$SYS/a", ""},
		{"+/x", "{1}/y", "$SYS/x", ""},
		{"a", "{client-id}/a", "a", "dev/a"},
		{"a/#", "{1}", "a/b", "b"},
		{"a/#", "{1}", "a", ""}, // nothing is no topic
		{"a/+", "{1}", "a/", ""},
		{"a/+/b/+/#", "{3}:{2}:{1}", "a/1/b/2/3/4", "3/4:2:1"},
		// Filters: + is a level like any other, # is more than one.
		{"a/+", "b/{1}", "a/+", "b/+"},
		{"a/+", "b/{1}", "a/#", ""},
		{"a/#", "b/{1}", "a/#", "b/#"},
		{"a/#", "b/{1}", "a/+/c/#", "b/+/c/#"},
	} {
		s := &shard{rewrites: newRewriteRules([]TopicRewrite{{From: tt.from, To: tt.to}})}
		got := string(s.rewrite([]byte(tt.topic), "dev", true))
		if want := tt.want; got != want && (want != "" || got != tt.topic) {
			t.Errorf("%s -> %s of %s: %q, want %q", tt.from, tt.to, tt.topic, got, want)
		}
	}
}

// TestRewriteClientID: an id that is not one level is put nowhere.
func TestRewriteClientID(t *testing.T) {
	s := &shard{rewrites: newRewriteRules([]TopicRewrite{{From: "a", To: "d/{client-id}"}, {From: "a", To: "second"}})}
	for id, want := range map[string]string{"x": "d/x", "+": "second", "a/b": "second", "$SYS": "second", "": "second"} {
		if got := string(s.rewrite([]byte("a"), id, false)); got != want {
			t.Errorf("client id %q: %q, want %q", id, got, want)
		}
	}
}

func TestRewriteValidate(t *testing.T) {
	for _, tt := range []struct {
		rule TopicRewrite
		want string
	}{
		{TopicRewrite{From: "a/+", To: "b/{1}"}, ""},
		{TopicRewrite{From: "a/b+", To: "b"}, "topic_rewrite[0].from"},
		{TopicRewrite{From: "$SYS/#", To: "b"}, "topic_rewrite[0].from"},
		{TopicRewrite{From: strings.Repeat("+/", 16) + "#", To: "b"}, "topic_rewrite[0].from"},
		{TopicRewrite{From: "a/+", To: "b/{2}"}, "{2} has no wildcard"},
		{TopicRewrite{From: "a/+", To: "b/{0}"}, "is no place"},
		{TopicRewrite{From: "a/+", To: "b/{name}"}, "is no place"},
		{TopicRewrite{From: "a/+", To: "b/+"}, "is not a topic"},
		{TopicRewrite{From: "a/+", To: "$JS/x"}, "is not a topic"},
		{TopicRewrite{From: "a/+", To: ""}, "is not a topic"},
		{TopicRewrite{From: "a/+", To: "b", On: "never"}, "topic_rewrite[0].on"},
	} {
		cfg := Default()
		cfg.TopicRewrite = []TopicRewrite{tt.rule}
		var all []string
		for _, e := range cfg.Validate() {
			all = append(all, e.Error())
		}
		got := strings.Join(all, "\n")
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.rule, got, tt.want)
		}
	}
}

// TestRewriteNothing: a message whose alias stands for a refused topic is refused, whatever the rules match.
func TestRewriteNothing(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) {
		c.TopicRewrite = []TopicRewrite{{From: "#", To: "all/{1}"}, {From: "+", To: "one{1}"}}
	})
	c := r.connect(mqtt.V5, "c")
	for _, topic := range []string{strings.Repeat("x", 2000), ""} {
		if got := c.publish(1, topic, "x", func(p *mqtt.PublishOut) { p.TopicAlias = 1 }); got != mqtt.TopicNameInvalid {
			t.Errorf("topic of %d bytes: %v", len(topic), got)
		}
	}
}

// TestRewrite: messages, wills, subscriptions of every kind and aliases are taken for the new topic; backends see only that.
func TestRewrite(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) {
		c.TopicRewrite = []TopicRewrite{
			{From: "old/+/temp", To: "devices/{1}/temperature"},
			{From: "me/#", To: "devices/{client-id}/{1}", On: "publish"},
		}
	})
	nc := r.nats()
	backend, err := nc.SubscribeSync("devices.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c := r.connect(mqtt.V5, "c", func(o *mqtt.ConnectOut) {
		o.HasWill, o.WillTopic, o.WillPayload = true, []byte("me/gone"), []byte("w")
	})
	c.subscribe(1, "old/7/temp", "$share/g/old/8/temp")
	p := r.connect(mqtt.V5, "p")
	p.publish(1, "old/7/temp", "21")
	c.gets("devices/7/temperature", "21")
	p.publish(1, "devices/7/temperature", "22")
	c.gets("devices/7/temperature", "22")
	p.publish(1, "old/8/temp", "23")
	c.gets("devices/8/temperature", "23")
	p.write(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("me/a/b"), TopicAlias: 1, Payload: []byte("1")}))
	p.write(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{TopicAlias: 1, Payload: []byte("2")}))
	p.ping()
	c.write(mqtt.AppendUnsubscribe(nil, mqtt.V5, 77, []mqtt.Filter{{Topic: []byte("old/7/temp")}}))
	if g := c.expect(mqtt.TypeUnsuback); g.Reasons[0] != mqtt.Success {
		t.Errorf("UNSUBACK %v", g.Reasons)
	}
	p.publish(1, "old/7/temp", "nobody")
	c.ping()
	c.conn.Close()
	want := []string{"devices.7.temperature 21", "devices.7.temperature 22", "devices.8.temperature 23", "devices.p.a.b 1",
		"devices.p.a.b 2", "devices.7.temperature nobody", "devices.c.gone w"}
	for _, w := range want {
		m, err := backend.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Subject + " " + string(m.Data); got != w {
			t.Errorf("NATS got %q, want %q", got, w)
		}
	}
}

// TestRewriteBounds: what rules make of a topic, will or filter is held to what the gateway takes: a filter that is none any more is
// refused, and so is a will to a topic that is not for devices.
func TestRewriteBounds(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) {
		c.TopicRewrite = []TopicRewrite{
			{From: "old/+", To: "new-{1}"}, {From: "log/#", To: "log/{1}/raw"}, {From: "up/+/#", To: "{1}/{2}"}, {From: "long/#", To: "very/very/long/{1}"},
		}
		c.MQTT.TopicLevelsMax = 5
	})
	c := r.connect(mqtt.V5, "c")
	want := []mqtt.Reason{mqtt.TopicFilterInvalid, mqtt.TopicFilterInvalid, 1, mqtt.TopicFilterInvalid, 1, 1, 1}
	got := c.subscribe(1, "old/+", "log/#", "old/7", "$share/g/old/+", "$share/g/old/8", "log/+", "other/+")
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("filter %d: %v, want %v", i, got[i], want[i])
		}
	}
	p := r.connect(mqtt.V5, "p")
	p.publish(1, "old/7", "x")
	c.gets("new-7", "x")
	p.publish(1, "log/7", "x")
	c.gets("log/7/raw", "x")
	if got := p.publish(1, "up/$SYS/x", "x"); got != mqtt.NotAuthorized {
		t.Errorf("a reserved topic: %v", got)
	}
	for _, topic := range []string{"up/$SYS/x", "long/1/2/3"} {
		w := r.open(mqtt.V5, r.mqtt)
		w.write(w.connectPacket("w", func(o *mqtt.ConnectOut) { o.HasWill, o.WillTopic = true, []byte(topic) }))
		if g := w.expect(mqtt.TypeConnack); g.Reason != mqtt.TopicNameInvalid {
			t.Errorf("will to %s: %v", topic, g.Reason)
		}
	}
	c.ping()
}

// TestRewriteAllocs: rules cost a message no allocation.
func TestRewriteAllocs(t *testing.T) {
	s := &shard{rewrites: newRewriteRules([]TopicRewrite{{From: "a", To: "b"}, {From: "old/+/#", To: "devices/{1}/{client-id}/{2}"}})}
	topic := []byte("old/7/temp/now")
	if n := testing.AllocsPerRun(100, func() { s.rewrite(topic, "dev", false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
