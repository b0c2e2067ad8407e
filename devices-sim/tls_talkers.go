package main

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// delay is how late a message was, and when it came.
type delay struct{ at, late time.Duration }

// talkers are connected devices, each of which sends itself messages on a timetable.
type talkers struct {
	conns []net.Conn
	began time.Time
	all   sync.WaitGroup

	mu     sync.Mutex
	delays []delay
	noting bool
	over   bool
	lost   error
}

// talkEvery is the time between two messages of a talker.
const talkEvery = 100 * time.Millisecond

// startTalkers connects half of them with TLS.
func startTalkers(g *besieged, many int) (*talkers, error) {
	t := &talkers{began: time.Now()}
	for i := range many {
		port, config := g.doors.MQTT, (*tls.Config)(nil)
		if i%2 == 0 {
			port, config = g.doors.MQTTS, &tls.Config{InsecureSkipVerify: true}
		}
		c, err := tlsDevice(port, fmt.Sprint("talker", i), config)
		if err != nil {
			closeAll(t.conns)
			return nil, err
		}
		t.conns = append(t.conns, c)
	}
	for i, c := range t.conns {
		topic := fmt.Appendf(nil, "talk/%d", i)
		if _, err := c.Write(mqtt.AppendSubscribe(nil, mqtt.V5, 1, []mqtt.Filter{{Topic: topic}}, 0)); err != nil {
			closeAll(t.conns)
			return nil, err
		}
		t.all.Go(func() { t.hear(c) })
		t.all.Go(func() { t.say(c, topic, talkEvery*time.Duration(i)/time.Duration(many)) })
	}
	return t, nil
}

// say sends on the timetable. The payload is the time before it is written: how late the timers of this process are is not the gateway's.
func (t *talkers) say(c net.Conn, topic []byte, offset time.Duration) {
	due := offset
	if since := time.Since(t.began); due < since {
		due += (since - due).Truncate(talkEvery) + talkEvery
	}
	for packet := []byte(nil); ; due += talkEvery {
		time.Sleep(due - time.Since(t.began))
		t.mu.Lock()
		over := t.over
		t.mu.Unlock()
		if over {
			return
		}
		stamp := binary.BigEndian.AppendUint64(nil, uint64(time.Since(t.began)))
		packet = mqtt.AppendPublish(packet[:0], mqtt.V5, &mqtt.PublishOut{Topic: topic, Payload: stamp})
		if _, err := c.Write(packet); err != nil {
			t.fail(err)
			return
		}
	}
}

// hear notes how late messages are.
func (t *talkers) hear(c net.Conn) {
	p := make([]byte, 0, 4096)
	for {
		n, err := c.Read(p[len(p):cap(p)])
		now := time.Since(t.began)
		if err != nil {
			t.fail(err)
			return
		}
		p = p[:len(p)+n]
		rest := p
		for {
			packet, n, reason := mqtt.Next(rest, cap(p))
			if reason != 0 {
				t.fail(fmt.Errorf("a packet that is none: %v", reason))
				return
			}
			if n == 0 {
				break
			}
			if mqtt.Type(packet[0]>>4) == mqtt.TypePublish {
				t.note(delay{now, now - time.Duration(binary.BigEndian.Uint64(packet[len(packet)-8:]))})
			}
			rest = rest[n:]
		}
		p = p[:copy(p[:cap(p)], rest)]
	}
}

func (t *talkers) note(d delay) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.noting {
		t.delays = append(t.delays, d)
	}
}

func (t *talkers) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.over {
		t.lost = errors.Join(t.lost, err)
	}
}

// tail is the 99th percentile of delays: of all, and of the middle one of windows of a quarter of a second, which what else a
// machine does for a moment does not move.
type tail struct {
	all, window time.Duration
	messages    int
}

func (t tail) String() string { return fmt.Sprint(tens(t.all), ", ", tens(t.window)) }

// listen begins to note how late messages are.
func (t *talkers) listen() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.delays, t.noting = nil, true
}

// heard ends that, and returns the tail of the messages that came meanwhile.
func (t *talkers) heard() (tail, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noting = false
	if t.lost != nil {
		return tail{}, t.lost
	}
	if len(t.delays) == 0 {
		return tail{}, errors.New("no message came")
	}
	return tailOf(t.delays), nil
}

func tailOf(delays []delay) tail {
	const window = 250 * time.Millisecond
	windows := map[time.Duration][]time.Duration{}
	var all []time.Duration
	for _, d := range delays {
		all = append(all, d.late)
		windows[d.at/window] = append(windows[d.at/window], d.late)
	}
	var middles []time.Duration
	for _, w := range windows {
		middles = append(middles, high(w))
	}
	return tail{high(all), middle(middles), len(all)}
}

// high is the 99th percentile.
func high(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)*99/100]
}

func (t *talkers) stop() {
	t.mu.Lock()
	t.over = true
	t.mu.Unlock()
	closeAll(t.conns)
	t.all.Wait()
}
