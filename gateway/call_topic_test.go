package gateway

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// withJetStream sets whether a test's NATS has it.
func withJetStream(yes bool) func(*server.Options) {
	return func(o *server.Options) { o.JetStream = yes }
}

// TestCallTopic: a 3.x device that wants to answer gets requests under a topic of their own, and answers on one derived from it; other
// messages, and devices without a filter for it, are as they were. No other device can answer.
func TestCallTopic(t *testing.T) {
	t.Parallel()
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311} {
		for _, transport := range transports {
			r := start(t)
			nc := r.nats()
			c, _ := r.connectOn(r.via(transport, v), "d1")
			c.subscribe(1, "devices/d1/cmd/#", "$share/g/jobs/#")
			plain := r.connect(v, "plain")
			plain.subscribe(0, "devices/d1/cmd/reboot", "devices/d1/cmd/reboot/response/+")
			spy := r.connect(v, "spy")
			spy.subscribe(1, "devices/+/cmd/#")
			watch, err := nc.SubscribeSync("devices.>")
			if err != nil {
				t.Fatal(err)
			}
			if err := nc.Publish("devices.d1.cmd.reboot", []byte("no request")); err != nil {
				t.Fatal(err)
			}
			for _, other := range []*client{c, plain, spy} {
				other.gets("devices/d1/cmd/reboot", "no request")
			}
			for _, subject := range []string{"devices.d1.cmd.reboot", "jobs.1"} {
				done := request(nc, &nats.Msg{Subject: subject, Data: []byte("go")})
				m := c.message()
				before, call, ok := strings.Cut(m.topic, "/request/~")
				if before != strings.ReplaceAll(subject, ".", "/") || !ok || m.payload != "go" || strings.ContainsAny(call, "/+#") {
					t.Fatalf("topic %q", m.topic)
				}
				if subject == "devices.d1.cmd.reboot" {
					plain.gets("devices/d1/cmd/reboot", "go")
					heard := spy.message()
					if heard.topic == m.topic {
						t.Error("two devices have one call")
					}
					// What is another's is worth nothing, be it taken from the air or made up.
					for _, forged := range []string{
						before + "/response/~" + call, before + "/response/~" + call + "A", before + "/response/~",
						before + "/response/~" + base64.RawURLEncoding.EncodeToString([]byte("_INBOX.xxxxxxxxxxxxxxxxxxx")), before + "/response/~" + strings.Repeat("A", 900),
					} {
						refused := r.sum().callsRefused
						spy.publish(1, forged, "forged")
						if n := r.sum().callsRefused; n != refused+1 {
							t.Errorf("%q: %d refused", forged, n-refused)
						}
					}
				}
				c.publish(1, before+"/response/~"+call, "done")
				if a := <-done; a.err != nil || string(a.m.Data) != "done" || a.m.Header.Get("TG") != "1 c=d1" {
					t.Errorf("%+v %v", a.m, a.err)
				}
			}
			// Such a topic without a call is a topic.
			r.connect(v, "other").publish(1, "devices/d1/cmd/reboot/response/7f9c2ba4-e88f-4279-aa06-1dd7f4e4a1b2", "ordinary")
			plain.gets("devices/d1/cmd/reboot/response/7f9c2ba4-e88f-4279-aa06-1dd7f4e4a1b2", "ordinary")
			for {
				m, err := watch.NextMsg(answerTime)
				if err != nil {
					t.Fatal(err)
				}
				if string(m.Data) == "ordinary" {
					break
				}
				if strings.Contains(m.Subject, "response") {
					t.Errorf("an answer was published on %s", m.Subject)
				}
			}
		}
	}
}

// TestCallTopicPatterns: other levels, none at all, and what cannot be.
func TestCallTopicPatterns(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		request, response string
		bad               int
	}{
		{"{topic}/req/{call}", "{topic}/res/{call}", 0}, {"", "", 0}, {"{topic}/$rpc/in/{call}", "{topic}/$rpc/out/{call}", 0},
		{"{topic}/x/{call}", "{topic}/x/{call}", 1}, {"{topic}{call}", "{topic}//{call}", 2}, {"req/{call}", "{topic}/+/{call}", 2}, {"{call}/x/{topic}", "", 2},
	} {
		cfg := Default()
		cfg.MQTT.RequestTopic, cfg.MQTT.ResponseTopic = tc.request, tc.response
		if errs := cfg.Validate(); len(errs) != tc.bad {
			t.Errorf("%q and %q: %v", tc.request, tc.response, errs)
		}
	}
	r := start(t, func(c *Config) {
		c.MQTT.RequestTopic, c.MQTT.ResponseTopic = "{topic}/rpc/in/{call}", "{topic}/rpc/out/{call}"
	})
	c := r.connect(mqtt.V311, "d1")
	c.subscribe(1, "cmd/#")
	done := request(r.nats(), &nats.Msg{Subject: "cmd"})
	before, call, ok := strings.Cut(c.message().topic, "/rpc/in/")
	if !ok || before != "cmd" {
		t.Errorf("%q", before)
	}
	c.publish(0, "cmd/rpc/out/"+call, "yes")
	if a := <-done; a.err != nil || string(a.m.Data) != "yes" {
		t.Errorf("%+v %v", a.m, a.err)
	}
	off := start(t, func(c *Config) { c.MQTT.RequestTopic = "" })
	c = off.connect(mqtt.V311, "d1")
	c.subscribe(1, "cmd/#")
	_ = request(off.nats(), &nats.Msg{Subject: "cmd"})
	c.gets("cmd", "")
}
