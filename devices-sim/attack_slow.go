package main

import (
	"crypto/tls"
	"strings"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// lingering is attacks by those who take their time.
var lingering = []attack{
	{"mute", "D1", "connects, on each port in turn, and says nothing", mute},
	{"slow-connect", "D1, 18", "CONNECT byte by byte", func(a *attacker) error {
		return a.drip(a.doors.MQTT, mqtt.AppendConnect(nil, mqtt.V5, &mqtt.ConnectOut{ClientID: []byte(strings.Repeat("s", 200)), CleanStart: true}))
	}},
	{"slow-http", "D1, B12", "the header of a WebSocket handshake byte by byte", func(a *attacker) error {
		return a.drip(a.doors.WS, ws.AppendHandshake(nil, "127.0.0.1", "/mqtt", "mqtt", [16]byte{}))
	}},
	{"slow-tls", "D1, D9", "a ClientHello byte by byte", func(a *attacker) error { return a.drip(a.doors.MQTTS, clientHello) }},
	{"half-packet", "D1, 1", "the first half of a PUBLISH, and then nothing", halfPacket},
	{"huge-length", "B1, 1", "announces 256 MB, before CONNECT and after it", hugeLength},
	{"never-reads", "D2, 19", "has messages sent to it and does not read them", func(a *attacker) error { return a.deaf(0) }},
	{"byte-reader", "D3, 19", "reads a byte now and then", func(a *attacker) error { return a.deaf(100 * time.Millisecond) }},
	{"never-acks", "D4, 8", "has QoS 1 and 2 messages sent to it and acknowledges none", neverAcks},
}

// clientHello begins a handshake: the header of a record, and zeros of what would be in it.
var clientHello = append([]byte{22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3}, make([]byte, 250)...)

func mute(a *attacker) error {
	ports := [...]int{a.doors.MQTT, a.doors.WS, a.doors.Any, a.doors.MQTTS, a.doors.WSS, a.doors.TLS}
	l, err := a.dial(ports[(a.life+a.number)%len(ports)])
	if err != nil {
		return err
	}
	defer l.end()
	l.listen()
	l.wait()
	return nil
}

// drip sends p in bytes.
func (a *attacker) drip(port int, p []byte) error {
	l, err := a.dial(port)
	if err != nil {
		return err
	}
	defer l.end()
	l.listen()
	return l.again(func(i int) error {
		a.rest(50 * time.Millisecond)
		_, err := l.Write(p[i%len(p) : i%len(p)+1])
		return err
	})
}

func halfPacket(a *attacker) error {
	l, err := a.device()
	if err != nil {
		return err
	}
	defer l.end()
	p := mqtt.AppendPublish(nil, l.v, &mqtt.PublishOut{Topic: []byte("bad/half"), Payload: make([]byte, 100_000)})
	if err := l.say(p[:len(p)/2]); err != nil {
		return err
	}
	l.listen()
	l.wait()
	return nil
}

func hugeLength(a *attacker) error {
	header := []byte{0x10, 0xff, 0xff, 0xff, 0x7f}
	l, err := a.way(a.life + a.number)
	if err != nil {
		return err
	}
	defer l.end()
	if a.life%2 == 0 {
		if err := l.connect(a.id()); err != nil {
			return err
		}
		header[0] = 0x30
	}
	if err := l.say(header); err != nil {
		return err
	}
	l.listen()
	l.wait()
	return nil
}

// deaf subscribes to what it sends itself, and reads a byte each time that pause is over, or nothing.
func (a *attacker) deaf(pause time.Duration) error {
	l, err := a.device()
	if err != nil {
		return err
	}
	defer l.end()
	topic := []byte("bad/" + a.id())
	if err := l.say(mqtt.AppendSubscribe(nil, l.v, 1, []mqtt.Filter{{Topic: topic, QoS: 1}}, 0)); err != nil {
		return err
	}
	if pause > 0 {
		go func() {
			var one [1]byte
			for {
				if _, err := l.Read(one[:]); err != nil {
					return
				}
				a.rest(pause)
			}
		}()
	}
	return l.again(func(i int) error {
		return l.say(mqtt.AppendPublish(nil, l.v, &mqtt.PublishOut{Topic: topic, Payload: make([]byte, 16<<10)}))
	})
}

func neverAcks(a *attacker) error {
	l, err := a.device(func(c *mqtt.ConnectOut) { c.CleanStart, c.SessionExpirySec = false, 60 })
	if err != nil {
		return err
	}
	defer l.end()
	l.listen()
	topic := []byte("bad/" + a.id())
	if err := l.say(mqtt.AppendSubscribe(nil, l.v, 1, []mqtt.Filter{{Topic: topic, QoS: 2}}, 0)); err != nil {
		return err
	}
	// QoS 1 to be answered by the gateway, which has to wait for this device's answers meanwhile.
	return l.again(func(i int) error {
		id := uint16(1 + i%1000)
		return l.say(mqtt.AppendPublish(nil, l.v, &mqtt.PublishOut{Topic: topic, Payload: make([]byte, 1<<10), QoS: 1, PacketID: id}))
	})
}

// noResumption makes every handshake a whole one.
func noResumption(c *tls.Config) { c.SessionTicketsDisabled = true }
