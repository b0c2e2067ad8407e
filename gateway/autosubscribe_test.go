package gateway

import (
	"testing"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

func TestMatchesPattern(t *testing.T) {
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "", true}, {"*", "x", true}, {"a", "a", true}, {"a", "ab", false}, {"a*", "ab", true}, {"a*", "ba", false},
		{"*b", "ab", true}, {"*b", "abc", false}, {"a*c", "abc", true}, {"a*c", "ac", true}, {"a*a", "a", false},
		{"a*b*c", "aXbYc", true}, {"a*b*c", "aXcYb", false}, {"*a*a*", "aa", true}, {"*a*a*", "a", false}, {"ab*ba", "aba", false},
	} {
		if got := matchesPattern(tt.pattern, tt.text); got != tt.want {
			t.Errorf("%q matches %q: %v", tt.pattern, tt.text, got)
		}
	}
}

// TestAutoSubscribe: a device that never subscribes hears its topics, once NATS knows them and with what is retained, on every
// transport and version.
func TestAutoSubscribe(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) {
		c.AutoSubscribe = []AutoSubscribe{
			{Clients: "lamp-*", Filter: "devices/{client-id}/cmd", QoS: 1},
			{Clients: "l*-*", Filter: "all", QoS: 2, RetainAsPublished: true},
			{Clients: "lamp-*", Filter: "$share/lamps/work", QoS: 1},
		}
	})
	p := r.connect(mqtt.V5, "p")
	p.publish(1, "all", "kept", retained)
	nc := r.nats()
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		for _, transport := range transports {
			t.Run(v.String()+" "+transport, func(t *testing.T) {
				r := r.in(t)
				id := "lamp-" + v.String() + transport
				c, _ := r.connectOn(r.via(transport, v), id)
				if g := c.gets("all", "kept"); !g.Retain {
					t.Error("not a retained message")
				}
				if err := nc.Publish(string(bus.AppendSubject(nil, []byte("devices/"+id+"/cmd"))), []byte("on")); err != nil {
					t.Fatal(err)
				}
				if g := c.gets("devices/"+id+"/cmd", "on"); g.QoS != 1 {
					t.Errorf("QoS %d", g.QoS)
				}
				p.publish(1, "work", id)
				c.gets("work", id)
				c.disconnect()
			})
		}
	}
	if n := r.sum().autoSubscribed; n != 6*3 {
		t.Errorf("%d subscriptions counted", n)
	}
}

// TestAutoSubscribeIDs: an id that is not one level gets no filter made of it; a persistent session's subscription is one, however
// often it returns; retain handling 1 sends retained messages the first time only.
func TestAutoSubscribeIDs(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) {
		c.AutoSubscribe = []AutoSubscribe{{Clients: "*", Filter: "d/{client-id}", RetainHandling: 1}}
	})
	p := r.connect(mqtt.V5, "p")
	p.publish(1, "d/x", "kept", retained)
	for _, id := range []string{"+", "#", "a/b", "$x"} {
		c := r.connect(mqtt.V5, id)
		c.ping()
		c.disconnect()
	}
	if s := r.sum(); s.autoRefused != 4 || s.filters != 1 {
		t.Errorf("%d refused, %d filters", s.autoRefused, s.filters)
	}
	x := r.connect(mqtt.V5, "x", persistent)
	x.gets("d/x", "kept")
	x.disconnect()
	x = r.connect(mqtt.V5, "x", persistent)
	x.ping()
	if s := r.sum(); s.filters != 2 {
		t.Errorf("%d filters", s.filters)
	}
}

func TestAutoSubscribeValidate(t *testing.T) {
	for want, rule := range map[string]AutoSubscribe{
		"auto_subscribe[0].clients":         {Filter: "a"},
		"auto_subscribe[0].filter":          {Clients: "*", Filter: "a/#/b"},
		"auto_subscribe[0].qos":             {Clients: "*", Filter: "a", QoS: 3},
		"auto_subscribe[0].retain_handling": {Clients: "*", Filter: "a", RetainHandling: -1},
		"auto_subscribe[0].no_local":        {Clients: "*", Filter: "$share/g/a", NoLocal: true},
	} {
		cfg := Default()
		cfg.AutoSubscribe = []AutoSubscribe{rule}
		if errs := cfg.Validate(); len(errs) != 1 || errs[0].Path != want {
			t.Errorf("%+v: %v, want one at %s", rule, errs, want)
		}
	}
}
