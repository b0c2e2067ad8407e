package main

import (
	"bytes"
	"fmt"
	"net"
	"strings"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// flooding is attacks by those who are too fast.
var flooding = []attack{
	{"connect-flood", "D5", "opens and resets connections, from one address", func(a *attacker) error { return a.touch() }},
	{"connect-swarm", "D5", "the same from ever new addresses", func(a *attacker) error {
		a.from = net.IPv4(127, 251, byte(a.rng.UintN(256)), byte(1+a.rng.UintN(250)))
		return a.touch()
	}},
	{"connect-cycle", "D4, 17", "CONNECT, SUBSCRIBE and DISCONNECT, again and again", connectCycle},
	{"same-id", "D6, 17", "all attackers take one client id from each other", sameID},
	{"publish-flood", "D4", "PUBLISH as fast as it can", func(a *attacker) error {
		return a.flood(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("bad/flood"), Payload: make([]byte, 100)}))
	}},
	{"large-flood", "D4", "PUBLISH of 256 kB as fast as it can", func(a *attacker) error {
		return a.flood(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("bad/flood"), Payload: make([]byte, 256<<10)}))
	}},
	{"ping-flood", "D4", "PINGREQ as fast as it can", func(a *attacker) error { return a.flood(mqtt.AppendPingreq(nil)) }},
	{"subscribe-churn", "D4, 10", "SUBSCRIBE and UNSUBSCRIBE as fast as it can", func(a *attacker) error {
		f := []mqtt.Filter{{Topic: []byte("bad/+/x"), QoS: 1}, {Topic: []byte("$share/g/bad/y")}}
		return a.flood(mqtt.AppendUnsubscribe(mqtt.AppendSubscribe(nil, mqtt.V5, 1, f, 0), mqtt.V5, 2, f))
	}},
	{"alias-churn", "B8", "PUBLISH that gives a topic alias another topic each time", aliasChurn},
	{"qos2-half", "D4, 8", "QoS 2 PUBLISH without PUBREL", qos2Half},
}

func (a *attacker) touch() error {
	l, err := a.dial(a.doors.Any)
	if err != nil {
		return err
	}
	l.end()
	return nil
}

func connectCycle(a *attacker) error {
	l, err := a.device()
	if err != nil {
		return err
	}
	defer l.end()
	p := mqtt.AppendSubscribe(nil, l.v, 1, []mqtt.Filter{{Topic: []byte("bad/" + a.id())}}, 0)
	return l.say(mqtt.AppendDisconnect(p, l.v, mqtt.Success, nil))
}

func sameID(a *attacker) error {
	l, err := a.way(a.life + a.number)
	if err != nil {
		return err
	}
	defer l.end()
	if err := l.connect("bad-one"); err != nil {
		return err
	}
	l.listen()
	l.wait()
	return nil
}

// flood sends a packet over and over, 64 kB of it at a time, and reads what comes.
func (a *attacker) flood(packet []byte) error {
	l, err := a.device()
	if err != nil {
		return err
	}
	defer l.end()
	l.listen()
	burst := bytes.Repeat(packet, max(1, 64<<10/len(packet)))
	return l.again(func(int) error { return l.say(burst) })
}

func aliasChurn(a *attacker) error {
	l, err := a.device()
	if err != nil {
		return err
	}
	defer l.end()
	l.listen()
	return l.again(func(i int) error {
		topic := fmt.Sprintf("bad/%s/%d", strings.Repeat("x", 900), i)
		return l.say(mqtt.AppendPublish(nil, l.v, &mqtt.PublishOut{Topic: []byte(topic), TopicAlias: uint16(1 + i%32)}))
	})
}

func qos2Half(a *attacker) error {
	l, err := a.device(func(c *mqtt.ConnectOut) { c.CleanStart, c.SessionExpirySec = false, 60 })
	if err != nil {
		return err
	}
	defer l.end()
	l.listen()
	return l.again(func(i int) error {
		return l.say(mqtt.AppendPublish(nil, l.v, &mqtt.PublishOut{Topic: []byte("bad/two"), Payload: make([]byte, 1000), QoS: 2, PacketID: uint16(1 + i%65535)}))
	})
}
