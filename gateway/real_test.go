package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"
)

// record is what somebody received, in order. Safe from any goroutine.
type record struct {
	mu   sync.Mutex
	list []string // "topic payload"
}

func (k *record) add(topic, payload string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, topic+" "+payload)
}

// all is what came so far.
func (k *record) all() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.list...)
}

func (k *record) has(line string) bool {
	for _, l := range k.all() {
		if l == line {
			return true
		}
	}
	return false
}

// real is a well-known MQTT client library behind the few calls the tests need.
type real interface {
	publish(topic string, qos byte, retain bool, payload string) error
	subscribe(filter string, qos byte) error
	stop()
}

type paho5 struct{ c *paho.Client }

// dialReal opens a TCP connection whose deadlines are the library's.
func (r *rig) dialReal(addr string) net.Conn {
	r.t.Helper()
	c := r.dial(addr)
	_ = c.SetDeadline(time.Time{})
	return c
}

// dialPaho5 connects paho.golang.
func (r *rig) dialPaho5(id string, into *record) real {
	r.t.Helper()
	return r.paho5On(r.dialReal(r.mqtt), id, into)
}

// paho5On has paho.golang speak on a connection.
func (r *rig) paho5On(conn net.Conn, id string, into *record) real {
	r.t.Helper()
	c := paho.NewClient(paho.ClientConfig{
		ClientID: id, Conn: conn, PacketTimeout: patience,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(m paho.PublishReceived) (bool, error) {
			into.add(m.Packet.Topic, string(m.Packet.Payload))
			return true, nil
		}},
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := c.Connect(ctx, &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 30}); err != nil {
		r.t.Fatal(err)
	}
	p := &paho5{c}
	r.t.Cleanup(p.stop)
	return p
}

func (p *paho5) publish(topic string, qos byte, retain bool, payload string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := p.c.Publish(ctx, &paho.Publish{Topic: topic, QoS: qos, Retain: retain, Payload: []byte(payload)})
	return err
}

func (p *paho5) subscribe(filter string, qos byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := p.c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos}}})
	return err
}

func (p *paho5) stop() { _ = p.c.Disconnect(&paho.Disconnect{}) }

type paho311 struct{ c paho3.Client }

// dialPaho3 connects paho.mqtt.golang; version 3 is MQTT 3.1, 4 is 3.1.1. broker is tcp://… or ws://….
func (r *rig) dialPaho3(broker, id string, version uint, into *record, mods ...func(o *paho3.ClientOptions)) real {
	r.t.Helper()
	o := paho3.NewClientOptions().AddBroker(broker).SetClientID(id).SetProtocolVersion(version).SetCleanSession(true).
		SetAutoReconnect(false).SetOrderMatters(true).
		SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { into.add(m.Topic(), string(m.Payload())) })
	for _, mod := range mods {
		mod(o)
	}
	p := &paho311{paho3.NewClient(o)}
	if err := done(p.c.Connect()); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(p.stop)
	return p
}

func done(t paho3.Token) error {
	if !t.WaitTimeout(patience) {
		return errors.New("no answer")
	}
	return t.Error()
}

func (p *paho311) publish(topic string, qos byte, retain bool, payload string) error {
	return done(p.c.Publish(topic, qos, retain, payload))
}

func (p *paho311) subscribe(filter string, qos byte) error {
	return done(p.c.Subscribe(filter, qos, nil))
}

func (p *paho311) stop() { p.c.Disconnect(100) }

// speakers are the libraries by the protocol they speak.
var speakers = map[string]func(r *rig, id string, into *record) real{
	"3.1":      func(r *rig, id string, into *record) real { return r.dialPaho3("tcp://"+r.mqtt, id, 3, into) },
	"3.1.1":    func(r *rig, id string, into *record) real { return r.dialPaho3("tcp://"+r.mqtt, id, 4, into) },
	"3.1.1/ws": func(r *rig, id string, into *record) real { return r.dialPaho3("ws://"+r.ws+"/mqtt", id, 4, into) },
	"5":        func(r *rig, id string, into *record) real { return r.dialPaho5(id, into) },
}

// backend records what NATS has on a subject.
func (r *rig) backend(nc *nats.Conn, subject string) *record {
	r.t.Helper()
	k := &record{}
	if _, err := nc.Subscribe(subject, func(m *nats.Msg) { k.add(m.Subject, string(m.Data)) }); err != nil {
		r.t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		r.t.Fatal(err)
	}
	return k
}

// TestRealClientsEachMessageOnce sends from every protocol to every protocol, at each QoS, within a shard and across, to
// a backend, and from the backend to all. Everybody must get every message exactly once and in order: after the last
// one a marker goes each way, and whatever came twice came before it.
func TestRealClientsEachMessageOnce(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	back := r.backend(nc, "e2e.>")
	type end struct {
		name  string
		real  real
		seen  *record
		shard int
	}
	var ends []end
	for name, dial := range speakers {
		for shard := range 2 {
			seen := &record{}
			c := dial(r, r.ids("e2e-"+strings.NewReplacer("/", "", ".", "").Replace(name), shard, 1)[0], seen)
			if err := c.subscribe("e2e/#", 2); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			ends = append(ends, end{fmt.Sprintf("%s shard %d", name, shard), c, seen, shard})
		}
	}
	const each = 5
	var want []string
	for i, from := range ends {
		for qos := range byte(3) {
			for n := range each {
				topic, payload := fmt.Sprintf("e2e/%d/%d", i, qos), fmt.Sprint(n)
				if err := from.real.publish(topic, qos, false, payload); err != nil {
					t.Fatalf("%s QoS %d: %v", from.name, qos, err)
				}
				want = append(want, topic+" "+payload)
			}
		}
	}
	for n := range each {
		if err := nc.Publish("e2e.backend.x", []byte(fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
		want = append(want, "e2e/backend/x "+fmt.Sprint(n))
	}
	// The backend's marker goes when it has the devices' marker, so that an echo of any device message would be ahead.
	for i, from := range ends {
		if err := from.real.publish(fmt.Sprintf("e2e/end/%d", i), 2, false, "."); err != nil {
			t.Fatal(err)
		}
		r.eventually("the device's marker at the backend", func() bool { return back.has(fmt.Sprintf("e2e.end.%d .", i)) })
	}
	if err := nc.Publish("e2e.end.nats", []byte(".")); err != nil {
		t.Fatal(err)
	}
	for _, to := range ends {
		r.eventually("all markers at "+to.name, func() bool {
			ok := to.seen.has("e2e/end/nats .")
			for i := range ends {
				ok = ok && to.seen.has(fmt.Sprintf("e2e/end/%d .", i))
			}
			return ok
		})
		checkOnce(t, to.name, to.seen.all(), want, "e2e/end/")
	}
	r.eventually("the backend's own marker", func() bool { return back.has("e2e.end.nats .") })
	natsWant := make([]string, len(want))
	for i, w := range want {
		natsWant[i] = strings.ReplaceAll(w, "/", ".")
	}
	checkOnce(t, "backend", back.all(), natsWant, "e2e.end.")
}

// checkOnce compares what came with what was sent: each once, and in order within a topic.
func checkOnce(t *testing.T, who string, got, want []string, skip string) {
	t.Helper()
	count, last := map[string]int{}, map[string]string{}
	for _, line := range got {
		if strings.HasPrefix(line, skip) {
			continue
		}
		count[line]++
		topic, payload, _ := strings.Cut(line, " ")
		if before := last[topic]; before > payload {
			t.Errorf("%s: %s: %s came after %s", who, topic, payload, before)
		}
		last[topic] = payload
	}
	for _, line := range want {
		if n := count[line]; n != 1 {
			t.Errorf("%s: %q came %d times", who, line, n)
		}
		delete(count, line)
	}
	for line, n := range count {
		t.Errorf("%s: %q came %d times and was never sent", who, line, n)
	}
}

// dialWS connects coder/websocket.
func (r *rig) dialWS(path string, protocols ...string) *websocket.Conn {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	u := url.URL{Scheme: "ws", Host: r.ws, Path: path}
	c, _, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{Subprotocols: protocols})
	if err != nil {
		r.t.Fatal(err)
	}
	c.SetReadLimit(16 << 20)
	r.t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// patient is a context for one step with a real client.
func patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

func readWS(t testing.TB, c *websocket.Conn) (websocket.MessageType, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kind, p, err := c.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return kind, string(p)
}

func writeWS(t testing.TB, c *websocket.Conn, kind websocket.MessageType, p string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Write(ctx, kind, []byte(p)); err != nil {
		t.Fatal(err)
	}
}

// closeCodeWS reads until the connection ends.
func closeCodeWS(t testing.TB, c *websocket.Conn) websocket.StatusCode {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		if _, _, err := c.Read(ctx); err != nil {
			if ctx.Err() != nil {
				t.Fatal("the WebSocket is not closed")
			}
			return websocket.CloseStatus(err)
		}
	}
}

// answerTime bounds one NATS receive.
const answerTime = patience - time.Second
