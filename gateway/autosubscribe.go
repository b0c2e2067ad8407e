package gateway

import (
	"fmt"
	"strings"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// AutoSubscribe is a rule that subscribes devices as they connect, so that they need not, and a reconnect storm is one packet a
// device shorter.
type AutoSubscribe struct {
	Clients           string `yaml:"clients" doc:"client ids, where * stands for anything: sensor-*"`
	Filter            string `yaml:"filter" doc:"topic filter; may hold {client-id}"`
	QoS               int    `yaml:"qos" doc:"0, 1 or 2"`
	NoLocal           bool   `yaml:"no_local" doc:"not what the device publishes itself"`
	RetainAsPublished bool   `yaml:"retain_as_published" doc:"keep the retain flag of messages"`
	RetainHandling    int    `yaml:"retain_handling" doc:"0: retained messages at every connect, 1: when the subscription is new, 2: never"`
}

// autoSubscribe makes the subscriptions that the configuration has for a device, as if it had sent one SUBSCRIBE. It is called
// when CONNACK and what was in flight are on their way.
func (s *shard) autoSubscribe(c *epoll.Conn, d *device) {
	b, id := s.boundsOf(c), d.clientID()
	s.filters = s.filters[:0]
	for i := range s.cfg.AutoSubscribe {
		rule := &s.cfg.AutoSubscribe[i]
		if !matchesPattern(rule.Clients, id) {
			continue
		}
		filter := rule.Filter
		if strings.Contains(filter, clientIDPlace) {
			if !isLevel(id) { // "+" as an id must not become a wildcard
				s.count.autoRefused++
				continue
			}
			filter = strings.ReplaceAll(filter, clientIDPlace, id)
		}
		s.filters = append(s.filters, session.Filter{
			Topic: []byte(filter), QoS: uint8(rule.QoS), NoLocal: rule.NoLocal,
			RetainAsPublished: rule.RetainAsPublished, RetainHandling: uint8(rule.RetainHandling), Refuse: uint8(s.checkFilter(b, []byte(filter)).code()),
		})
		if f := &s.filters[len(s.filters)-1]; d.talks() { // its acks know no QoS 2
			f.QoS = min(f.QoS, 1)
		}
	}
	if len(s.filters) == 0 {
		return
	}
	s.boundFilters(s.boundsOf(c), false)
	if s.restricts && !s.permitFilters(c, d) {
		s.close(c, d, reasonNotAuthorized)
		return
	}
	s.takeFilters(d)
	s.event = session.Event{Kind: session.Subscribe, PacketID: 1, Filters: s.filters}
	s.out.Reset()
	d.sess.Step(s.loop.NowSec(), &s.event, &s.out)
	for _, a := range s.out.Sends {
		for _, r := range a.Reasons {
			if r >= uint8(mqtt.UnspecifiedError) {
				s.count.autoRefused++
			} else {
				s.count.autoSubscribed++
			}
		}
	}
	s.finishOrHold(c, nil)
}

// matchesPattern tells whether text is what pattern says, in which each * stands for any text.
func matchesPattern(pattern, text string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, first)
	if !ok {
		return false
	}
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, part)
		}
		i := strings.Index(text, part) // the first place is as good as any: * takes the rest
		if i < 0 {
			return false
		}
		text, rest = text[i+len(part):], after
	}
}

// validateAutoSubscribe is part of Validate.
func (c *Config) validateAutoSubscribe(v *validator) {
	for i, rule := range c.AutoSubscribe {
		path := fmt.Sprintf("auto_subscribe[%d]", i)
		if rule.Clients == "" {
			v.add(path+".clients", "no client id would match", "a pattern such as sensor-*, or * for all")
		}
		sample := []byte(strings.ReplaceAll(rule.Filter, clientIDPlace, "x"))
		switch {
		case !mqtt.ValidFilter(sample):
			v.add(path+".filter", fmt.Sprintf("%q is not a topic filter", rule.Filter), "a filter such as devices/"+clientIDPlace+"/cmd")
		case rule.NoLocal && strings.HasPrefix(rule.Filter, "$share/"):
			v.add(path+".no_local", "a shared subscription can't have it [MQTT-3.8.3-4]", "leave it out")
		}
		v.between(path+".qos", rule.QoS, 0, 2)
		v.between(path+".retain_handling", rule.RetainHandling, 0, 2)
	}
}
