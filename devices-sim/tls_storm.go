package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// stormed is what a storm of handshakes did.
type stormed struct {
	Done   int   `json:"done"`
	Failed int   `json:"failed"`
	Nanos  int64 `json:"nanos"` // from the first hello to the end of the last handshake
}

// runTLSStorm is the life of a process that connects many times, waits for a line, and then does all handshakes at once.
func runTLSStorm(port, many int, in io.Reader, out io.Writer) error {
	conns := make([]net.Conn, many)
	for i := range conns {
		c, err := tlsDial(port, nil)
		if err != nil {
			return err
		}
		conns[i] = c
	}
	fmt.Fprintln(out, "ready")
	if _, err := bufio.NewReader(in).ReadString('\n'); err != nil {
		return err
	}
	var failed atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for _, c := range conns {
		all.Go(func() {
			_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
			if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake(); err != nil {
				failed.Add(1)
			}
		})
	}
	all.Wait()
	nanos := time.Since(began).Nanoseconds()
	closeAll(conns)
	lost := int(failed.Load())
	return json.NewEncoder(out).Encode(stormed{many - lost, lost, nanos})
}

// shakeAll has a process of low priority do it, and returns what it did.
func shakeAll(port, many int, begin func()) (s stormed, err error) {
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	cmd := exec.Command("nice", "-n", "19", self, "tls-storm", fmt.Sprint(port), fmt.Sprint(many))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return s, err
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return s, err
	}
	if err := cmd.Start(); err != nil {
		return s, err
	}
	out := bufio.NewReader(pipe)
	_, err = out.ReadString('\n')
	if err == nil {
		begin()
		_, err = in.Write([]byte("\n"))
	}
	if err == nil {
		err = json.NewDecoder(out).Decode(&s)
	}
	return s, errors.Join(err, in.Close(), cmd.Wait())
}

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

// say sends on the timetable. The payload is the time of the timetable, so that being late counts.
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
		stamp := binary.BigEndian.AppendUint64(nil, uint64(due))
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

// during returns the tail of the messages that come while f runs.
func (t *talkers) during(f func() error) (tail, error) {
	t.mu.Lock()
	t.delays, t.noting = nil, true
	t.mu.Unlock()
	err := f()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noting = false
	if err = errors.Join(err, t.lost); err != nil {
		return tail{}, err
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

// stormConfig has patience with connections that wait for their handshake.
const stormConfig = `limits: {connect_time: 2m, per_address: {exempt: [127.0.0.0/8]}}
`

// calm is the time before a storm, in which the delays are those of every day.
const calm = 10 * time.Second

// stormFigure is one storm: the 99th percentile before and during it.
type stormFigure struct {
	before, during tail
	storm          stormed
}

// storms has a gateway stand some storms.
func (f *tlsFigures) storms(ctx context.Context, rounds, many, talking int) (all []stormFigure, err error) {
	g, err := besiege(ctx, f.yard, stormConfig)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.stop()) }()
	t, err := startTalkers(g, talking)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	for range rounds {
		var s stormFigure
		if s.before, err = t.during(func() error { wait(ctx, calm); return ctx.Err() }); err != nil {
			return nil, err
		}
		if s.storm, s.during, err = t.through(g, many); err != nil {
			return nil, err
		}
		all = append(all, s)
		wait(ctx, calm/2)
	}
	return all, nil
}

// through is one storm: noting begins with its first hello.
func (t *talkers) through(g *besieged, many int) (s stormed, during tail, err error) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		s, err = shakeAll(g.doors.MQTTS, many, func() { close(begun) })
		ended <- err
	}()
	select {
	case <-begun:
	case err := <-ended:
		return s, tail{}, err
	}
	during, err = t.during(func() error { return <-ended })
	return s, during, err
}
