package main

import (
	"fmt"
	"strings"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// hoarding is attacks by those who want the gateway to remember much, or to look at much.
var hoarding = []attack{
	{"subscribe-bomb", "D4, 10", "ever new filters, 256 in a SUBSCRIBE", func(a *attacker) error {
		return a.subscribing(func(i int) string { return fmt.Sprintf("bad/%d/%d/+", a.number, i) })
	}},
	{"wildcards", "D7, 10", "#, + and overlapping filters of them, plain and shared", func(a *attacker) error {
		forms := []string{"#", "+", "+/#", "+/+/+", "+/+/telemetry", "$share/%d/#", "$share/%d/+/+/telemetry", "$share/g%d/+/#"}
		return a.subscribing(func(i int) string { return strings.Replace(forms[i%len(forms)], "%d", fmt.Sprint(i), 1) })
	}},
	{"deep-filters", "B5, 6", "filters of 64 levels of +, and longer ones", func(a *attacker) error {
		return a.subscribing(func(i int) string { return "bad" + strings.Repeat("/+", 60+i%8) + fmt.Sprintf("/%d", i) })
	}},
	{"deep-topics", "B5, 6", "PUBLISH to topics of 30,000 levels", func(a *attacker) error {
		return a.flood(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte(strings.Repeat("/", 30_000))}))
	}},
	{"retained-bomb", "D4, 10", "retained messages on ever new topics", retainedBomb},
	{"will-storm", "D4, 11", "connects with a will of 8 kB, and vanishes", willStorm},
	{"session-bomb", "D4", "sessions with ever new client ids that are to be kept", sessionBomb},
}

// subscribing subscribes to what filter tells, 256 at a time.
func (a *attacker) subscribing(filter func(i int) string) error {
	l, err := a.device()
	if err != nil {
		return err
	}
	defer l.end()
	l.listen()
	return l.again(func(i int) error {
		var list []mqtt.Filter
		for k := range 256 {
			list = append(list, mqtt.Filter{Topic: []byte(filter(256*i + k))})
		}
		return l.say(mqtt.AppendSubscribe(nil, l.v, uint16(1+i%65535), list, 0))
	})
}

func retainedBomb(a *attacker) error {
	l, err := a.device()
	if err != nil {
		return err
	}
	defer l.end()
	l.listen()
	return l.again(func(i int) error {
		topic := fmt.Sprintf("bad/%d/%d/%d", a.number, a.life, i)
		return l.say(mqtt.AppendPublish(nil, l.v, &mqtt.PublishOut{Topic: []byte(topic), Payload: make([]byte, 1000), Retain: true}))
	})
}

func willStorm(a *attacker) error {
	l, err := a.device(func(c *mqtt.ConnectOut) {
		c.HasWill, c.WillTopic, c.WillPayload, c.WillRetain = true, []byte(fmt.Sprintf("bad/will/%d", a.life)), make([]byte, 8<<10), true
	})
	if err != nil {
		return err
	}
	l.end() // by RST
	return nil
}

func sessionBomb(a *attacker) error {
	l, err := a.way(a.life + a.number)
	if err != nil {
		return err
	}
	defer l.end()
	id := fmt.Sprintf("bad-%d-%d", a.number, a.life)
	if err := l.connect(id, func(c *mqtt.ConnectOut) { c.CleanStart, c.SessionExpirySec = false, 0xFFFFFFFF }); err != nil {
		return err
	}
	return l.say(mqtt.AppendSubscribe(nil, l.v, 1, []mqtt.Filter{{Topic: []byte("bad/kept"), QoS: 1}}, 0))
}
