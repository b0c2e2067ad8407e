package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// malformed is attacks with bytes that are wrong.
var malformed = []attack{
	{"random", "B2", "random bytes, before CONNECT and after it", func(a *attacker) error {
		p := make([]byte, 1+a.rng.UintN(2000))
		for i := range p {
			p[i] = byte(a.rng.Uint32())
		}
		return a.throw(p)
	}},
	{"mutated", "B2, 2, 3", "packets that are almost right", func(a *attacker) error {
		var p []byte
		for range 16 {
			p = append(p, mutant(a.rng, mqtt.V5)...)
		}
		return a.throw(p)
	}},
	{"property-bomb", "B3, 7", "CONNECT and PUBLISH with thousands of user properties", propertyBomb},
	{"wrong-protocol", "B13", "TLS, HTTP and PROXY headers where none is expected", wrongProtocol},
}

// throw sends p, to a connected device's end or before CONNECT, and waits for the end of it.
func (a *attacker) throw(p []byte) error {
	l, err := a.way(a.life + a.number)
	if err != nil {
		return err
	}
	defer l.end()
	if a.life%2 == 0 {
		if err := l.connect(a.id()); err != nil {
			return err
		}
	}
	// What happens to be right is followed by what never is.
	if err := l.say(append(p, 0, 0)); err != nil {
		return err
	}
	l.listen()
	l.wait()
	return nil
}

func propertyBomb(a *attacker) error {
	var props []byte
	for i := range 1500 {
		props = mqtt.AppendUserProperty(props, fmt.Append(nil, i), []byte("v"))
	}
	l, err := a.device(func(c *mqtt.ConnectOut) { c.UserProps = props })
	if err != nil {
		return err
	}
	defer l.end()
	l.listen()
	return l.again(func(int) error {
		return l.say(mqtt.AppendPublish(nil, l.v, &mqtt.PublishOut{Topic: []byte("bad/props"), Props: props}))
	})
}

func wrongProtocol(a *attacker) error {
	http := []byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	proxy := []byte("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n")
	hello := []byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
	wrong := [...]struct {
		port int
		p    []byte
	}{{a.doors.MQTT, clientHello}, {a.doors.MQTT, http}, {a.doors.MQTT, proxy}, {a.doors.WS, clientHello}, {a.doors.WS, hello}, {a.doors.WS, proxy},
		{a.doors.MQTTS, hello}, {a.doors.WSS, http}, {a.doors.TLS, proxy}, {a.doors.Any, clientHello}}
	w := wrong[(a.life+a.number)%len(wrong)]
	l, err := a.dial(w.port)
	if err != nil {
		return err
	}
	defer l.end()
	if _, err := l.Write(w.p); err != nil {
		return err
	}
	l.listen()
	l.wait()
	return nil
}

// samples is a packet of each type that a client sends.
func samples(v mqtt.Version) [][]byte {
	var props []byte
	if v == mqtt.V5 {
		props = mqtt.AppendUserProperty(mqtt.AppendContentType(nil, []byte("text/plain")), []byte("key"), []byte("value"))
	}
	filters := []mqtt.Filter{{Topic: []byte("in/+/x"), QoS: 1}, {Topic: []byte("$share/g/in/#"), QoS: 2}}
	publish := func(qos byte, retain bool) []byte {
		return mqtt.AppendPublish(nil, v, &mqtt.PublishOut{Topic: []byte("in/a/x"), Payload: []byte("hello"), Props: props, QoS: qos, PacketID: 5, Retain: retain})
	}
	list := [][]byte{
		mqtt.AppendConnect(nil, v, &mqtt.ConnectOut{ClientID: []byte("mutant"), CleanStart: true, KeepAliveSec: 60, Username: []byte("u"), Password: []byte("p"),
			HasWill: true, WillQoS: 1, WillTopic: []byte("in/will"), WillPayload: []byte("gone")}),
		publish(0, false), publish(1, false), publish(2, false), publish(0, true),
		mqtt.AppendSubscribe(nil, v, 7, filters, 0), mqtt.AppendUnsubscribe(nil, v, 8, filters),
		mqtt.AppendPuback(nil, v, 5, mqtt.Success), mqtt.AppendPubrec(nil, v, 5, mqtt.Success), mqtt.AppendPubrel(nil, v, 5, mqtt.Success), mqtt.AppendPubcomp(nil, v, 5, mqtt.Success),
		mqtt.AppendPingreq(nil), mqtt.AppendDisconnect(nil, v, mqtt.Success, nil),
	}
	if v == mqtt.V5 {
		list = append(list, mqtt.AppendAuth(nil, mqtt.Success, []byte("SCRAM-SHA-256"), []byte("x")))
	}
	return list
}

// corpus is the samples of each version.
var corpus = map[mqtt.Version][][]byte{mqtt.V31: samples(mqtt.V31), mqtt.V311: samples(mqtt.V311), mqtt.V5: samples(mqtt.V5)}

// mutant is a packet with one to three faults. Most of the time its length is made right again, so that what is wrong lies deeper.
func mutant(rng *rand.Rand, v mqtt.Version) []byte {
	list := corpus[v]
	p := bytes.Clone(list[rng.IntN(len(list))])
	for range 1 + rng.IntN(3) {
		p = mutate(rng, p, list[rng.IntN(len(list))])
	}
	if len(p) >= 2 && len(p) < 128 && rng.IntN(4) > 0 {
		p[1] = byte(len(p) - 2)
	}
	return p
}

// mutate makes one fault; other is a packet to take pieces from.
func mutate(rng *rand.Rand, p, other []byte) []byte {
	if len(p) == 0 {
		return bytes.Clone(other)
	}
	at := rng.IntN(len(p))
	switch rng.IntN(8) {
	case 0:
		p[at] ^= 1 << rng.IntN(8)
	case 1:
		p[at] = byte(rng.Uint32())
	case 2:
		return append(p[:at:at], append([]byte{byte(rng.Uint32())}, p[at:]...)...)
	case 3:
		return append(p[:at:at], p[at+1:]...)
	case 4:
		return p[:at]
	case 5:
		return append(p[:at:at], other[rng.IntN(len(other)):]...)
	case 6:
		if at+2 <= len(p) {
			binary.BigEndian.PutUint16(p[at:], [...]uint16{0, 1, 0x7fff, 0x8000, 0xfffe, 0xffff}[rng.IntN(6)])
		}
	case 7:
		return append(p[:at:at], append(bytes.Clone(p[rng.IntN(len(p)):]), p[at:]...)...)
	}
	return p
}
