package main

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// The devices run beside the gateway, though they would be elsewhere. What comes to them must not take the core of the loop that sends it, which
// would wait in the middle of a tick until others had had as much as it: so the kernel notes when a message comes (SO_TIMESTAMPNS), and
// whoever reads it gets the processor when it is free.

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
func startTalkers(g *besieged, many int, out io.Writer) (*talkers, error) {
	t := &talkers{began: time.Now()}
	var heard []*stamped
	first := make(chan error)
	for i := range many {
		port, config := g.doors.MQTT, (*tls.Config)(nil)
		if i%2 == 0 {
			port, config = g.doors.MQTTS, &tls.Config{InsecureSkipVerify: true}
		}
		c, s, err := dialTalker(port, fmt.Sprint("talker", i), config)
		if err != nil {
			closeAll(t.conns)
			return nil, err
		}
		t.conns, heard = append(t.conns, c), append(heard, s)
	}
	for i, c := range t.conns {
		if _, err := c.Write(mqtt.AppendSubscribe(nil, mqtt.V5, 1, []mqtt.Filter{{Topic: talkTopic(i)}}, 0)); err != nil {
			closeAll(t.conns)
			return nil, err
		}
		t.all.Go(func() { t.hear(c, heard[i]) })
	}
	t.all.Go(func() { t.say(first) })
	if err := <-first; err != nil {
		fmt.Fprintf(out, "Who sends to the devices does not go before the servers (%v), so the delays are also its own: run it as root.\n", err)
	}
	return t, nil
}

// dialTalker connects a device whose bytes the kernel notes the time of as they come.
func dialTalker(port int, id string, config *tls.Config) (net.Conn, *stamped, error) {
	plain, err := tlsDial(port, nil)
	if err != nil {
		return nil, nil, err
	}
	s, err := newStamped(plain.(*net.TCPConn))
	c := net.Conn(s)
	if err == nil && config != nil {
		c = tls.Client(s, config)
	}
	if err == nil {
		err = connackOn(c, id)
	}
	if err != nil {
		plain.Close()
		return nil, nil, err
	}
	return c, s, nil
}

func talkTopic(i int) []byte { return fmt.Appendf(nil, "talk/%d", i) }

// say sends all messages on the timetable, on a thread of its own that goes before all others. The payload is the time before it is written: how late the
// timers of this process are is not the gateway's.
func (t *talkers) say(first chan<- error) {
	runtime.LockOSThread() // for good
	first <- goFirst()
	topics := make([][]byte, len(t.conns))
	for i := range topics {
		topics[i] = talkTopic(i)
	}
	var packet []byte
	for n := 0; ; n++ {
		due := t.began.Add(time.Duration(n) * talkEvery / time.Duration(len(t.conns)))
		pause := unix.NsecToTimespec(max(0, time.Until(due).Nanoseconds()))
		_ = unix.Nanosleep(&pause, nil)
		t.mu.Lock()
		over := t.over
		t.mu.Unlock()
		if over {
			return
		}
		i := n % len(t.conns)
		stamp := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
		packet = mqtt.AppendPublish(packet[:0], mqtt.V5, &mqtt.PublishOut{Topic: topics[i], Payload: stamp})
		if _, err := t.conns[i].Write(packet); err != nil {
			t.fail(err)
			return
		}
	}
}

// hear notes how late messages are. They may be read late: what counts is when they came.
func (t *talkers) hear(c net.Conn, s *stamped) {
	p := make([]byte, 0, 4096)
	for {
		n, err := c.Read(p[len(p):cap(p)])
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
				sent := time.Unix(0, int64(binary.BigEndian.Uint64(packet[len(packet)-8:])))
				t.note(delay{s.at.Sub(t.began), s.at.Sub(sent)})
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
