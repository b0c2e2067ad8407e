package gateway

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/autopaho/queue"
	"github.com/eclipse/paho.golang/autopaho/queue/file"
	"github.com/eclipse/paho.golang/autopaho/queue/memory"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/extensions/rpc"
	"github.com/eclipse/paho.golang/paho/extensions/topicaliases"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// roamer is a client that connects again by itself: it subscribes when it has no session, and its publishes wait in a
// queue of its own while it has no connection.
type roamer struct {
	seen *record
	ups  *record // "present true|false", one for each connection
	// loose: when it connects again, the library repeats messages at QoS 2, and the one that was on its way to the socket is
	// sent twice, the second time late.
	loose   bool
	publish func(topic string, qos byte, payload string)
	stop    func()
}

// roam connects autopaho to broker, subscribed to filter at QoS 2.
func (r *rig) roam(broker, id, filter string, q queue.Queue) *roamer {
	r.t.Helper()
	at, err := url.Parse(broker)
	if err != nil {
		r.t.Fatal(err)
	}
	v := &roamer{seen: &record{}, ups: &record{}}
	ctx, cancel := context.WithCancel(context.Background())
	m, err := autopaho.NewConnection(ctx, autopaho.ClientConfig{
		ServerUrls: []*url.URL{at}, KeepAlive: 30, SessionExpiryInterval: 600, Queue: q,
		ReconnectBackoff: autopaho.NewConstantBackoff(20 * time.Millisecond),
		OnConnectionUp: func(m *autopaho.ConnectionManager, ack *paho.Connack) {
			if !ack.SessionPresent {
				if _, err := m.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 2}}}); err != nil {
					r.t.Logf("subscribe: %v", err) // the connection ended at once; the next one tries again
				}
			}
			v.ups.add("present", fmt.Sprint(ack.SessionPresent))
		},
		ClientConfig: paho.ClientConfig{
			ClientID: id,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
				v.seen.add(p.Packet.Topic, string(p.Packet.Payload))
				return true, nil
			}},
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	v.publish = func(topic string, qos byte, payload string) {
		r.t.Helper()
		if err := m.PublishViaQueue(ctx, &autopaho.QueuePublish{Publish: &paho.Publish{Topic: topic, QoS: qos, Payload: []byte(payload)}}); err != nil {
			r.t.Fatal(err)
		}
	}
	v.stop = func() {
		cancel()
		<-m.Done()
	}
	r.t.Cleanup(v.stop)
	r.eventually("autopaho is connected", func() bool { return len(v.ups.all()) > 0 })
	return v
}

// roam3 connects paho.mqtt.golang, which does the same for MQTT 3.1.1 with its session store as the queue.
func (r *rig) roam3(broker, id, filter string) *roamer {
	r.t.Helper()
	v := &roamer{seen: &record{}, ups: &record{}, loose: true}
	o := paho3.NewClientOptions().AddBroker(broker).SetClientID(id).SetCleanSession(false).SetOrderMatters(true).SetAutoReconnect(true).
		SetStore(paho3.NewOrderedMemoryStore()).
		SetMaxReconnectInterval(20 * time.Millisecond).SetConnectRetryInterval(20 * time.Millisecond).
		SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { v.seen.add(m.Topic(), string(m.Payload())) }).
		SetOnConnectHandler(func(paho3.Client) { v.ups.add("present", "unknown") })
	c := paho3.NewClient(o)
	if err := done(c.Connect()); err != nil {
		r.t.Fatal(err)
	}
	if err := done(c.Subscribe(filter, 2, nil)); err != nil {
		r.t.Fatal(err)
	}
	v.publish = func(topic string, qos byte, payload string) { c.Publish(topic, qos, false, payload) }
	v.stop = func() { c.Disconnect(0) }
	r.t.Cleanup(v.stop)
	return v
}

// numbers are the payloads first to last, on a topic.
func numbers(topic string, first, last int) (lines []string) {
	for n := first; n <= last; n++ {
		lines = append(lines, fmt.Sprintf("%s %04d", topic, n))
	}
	return lines
}

// distinct is the different ones among lines, sorted.
func distinct(lines []string) []string { return slices.Compact(slices.Sorted(slices.Values(lines))) }

// TestRoamersThroughTakeovers closes the connection of clients that reconnect by themselves in the middle of what they
// send and receive, by taking their id over. At QoS 2 both directions arrive once and in order, where the library
// keeps its part: the session goes on.
func TestRoamersThroughTakeovers(t *testing.T) {
	t.Parallel()
	const rounds, each = 4, 60
	for name, roam := range map[string]func(r *rig) *roamer{
		"autopaho/tcp":     func(r *rig) *roamer { return r.roam("mqtt://"+r.mqtt, "roamer", "roam/down", memory.New()) },
		"autopaho/ws":      func(r *rig) *roamer { return r.roam("ws://"+r.ws+"/mqtt", "roamer", "roam/down", memory.New()) },
		"paho.mqtt.golang": func(r *rig) *roamer { return r.roam3("tcp://"+r.mqtt, "roamer", "roam/down") },
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			back := r.backend(r.nats(), "roam.up")
			other := &record{}
			sender := r.dialPaho5("sender", other)
			v := roam(r)
			at := 0
			send := func() {
				for range each {
					v.publish("roam/up", 2, fmt.Sprintf("%04d", at))
					if err := sender.publish("roam/down", 2, false, fmt.Sprintf("%04d", at)); err != nil {
						t.Fatal(err)
					}
					at++
				}
			}
			for round := range rounds {
				go func() {
					c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "roamer", persistent)
					c.conn.Close()
				}()
				send()
				r.eventually("it is back", func() bool { return len(v.ups.all()) >= round+2 })
			}
			send()
			r.eventually("all of it at the backend", func() bool { return len(distinct(back.all())) >= at })
			r.eventually("all of it at the roamer", func() bool { return len(distinct(v.seen.all())) >= at })
			// A PUBACK that was lost with its connection has the client publish again, once it is back.
			up, down := distinct(back.all()), v.seen.all()
			if v.loose {
				down = distinct(down)
			}
			checkOnce(t, "backend", up, numbers("roam.up", 0, at-1), "-")
			checkOnce(t, "roamer", down, numbers("roam/down", 0, at-1), "-")
			for _, up := range v.ups.all()[1:] {
				if up == "present false" {
					t.Error("the session did not go on")
				}
			}
		})
	}
}

// TestRoamersThroughRestart stops the gateway and starts another one in its place. What a client publishes meanwhile waits
// in its own queue, in memory or in files, and all of it comes afterwards, once; since the new gateway does not know the
// session, the client subscribes again.
func TestRoamersThroughRestart(t *testing.T) {
	t.Parallel()
	const each = 100
	inFiles, err := file.New(t.TempDir(), "queue", ".msg")
	if err != nil {
		t.Fatal(err)
	}
	for name, q := range map[string]queue.Queue{"memory": memory.New(), "files": inFiles} {
		t.Run(name, func(t *testing.T) {
			bus := bustest.Start(t)
			nc := bus.Conn(t)
			r := start(t, outside(bus))
			back := r.backend(nc, "roam.up")
			v := r.roam("mqtt://"+r.mqtt, "roamer", "roam/down", q)
			publish := func(first, last int) {
				for n := first; n <= last; n++ {
					v.publish("roam/up", 1, fmt.Sprintf("%04d", n))
				}
			}
			publish(0, each-1)
			r.eventually("the first at the backend", func() bool { return len(back.all()) >= each })
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			publish(each, 2*each-1)
			again := start(t, outside(bus), func(c *Config) { c.Listeners = []string{"mqtt://" + r.mqtt} })
			again.eventually("it is back", func() bool { return len(v.ups.all()) >= 2 })
			publish(2*each, 3*each-1)
			again.eventually("all at the backend", func() bool { return len(back.all()) >= 3*each })
			got := back.all()
			if q == inFiles {
				slices.Sort(got) // it goes by the times of its files, of which many are the same
			}
			checkOnce(t, "backend", got, numbers("roam.up", 0, 3*each-1), "-")
			if err := nc.Publish("roam.down", []byte("welcome")); err != nil {
				t.Fatal(err)
			}
			again.eventually("the roamer hears", func() bool { return v.seen.has("roam/down welcome") })
		})
	}
}

// TestRequestHelper: the request helper of paho.golang against a NATS backend, which answers where TG-Response says and
// gives TG-Correlation back.
func TestRequestHelper(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	_, err := nc.Subscribe("rpc.shout", func(m *nats.Msg) {
		answer := nats.NewMsg(m.Header.Get("TG-Response"))
		answer.Data = []byte(strings.ToUpper(string(m.Data)))
		answer.Header.Set("TG-Correlation", m.Header.Get("TG-Correlation"))
		answer.Header.Set("TG-Type", "text/plain")
		if err := nc.PublishMsg(answer); err != nil {
			t.Errorf("answer: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := r.dialPaho5("asker", &record{}).(*paho5).c
	asker, err := rpc.NewHandler(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		question := fmt.Sprintf("question %d", n)
		got := ask(ctx, t, asker, "rpc/shout", question)
		if string(got.Payload) != strings.ToUpper(question) || got.Properties.ContentType != "text/plain" {
			t.Fatalf("answer %q, content type %q", got.Payload, got.Properties.ContentType)
		}
	}
}

// ask repeats a request until its answer is seen: the helper drops one that comes before it listens.
func ask(ctx context.Context, t *testing.T, asker *rpc.Handler, topic, question string) *paho.Publish {
	t.Helper()
	for ctx.Err() == nil {
		once, cancel := context.WithTimeout(ctx, time.Second)
		got, err := asker.Request(once, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(question)})
		cancel()
		if err == nil {
			return got
		}
	}
	t.Fatalf("no answer to %q in %v", question, patience)
	return nil
}

// TestTopicAliasHelper: the alias helper of paho.golang sends a topic once and its number from then on; devices and
// backends see the topic. A new connection begins without aliases.
func TestTopicAliasHelper(t *testing.T) {
	t.Parallel()
	const each = 10
	r := start(t)
	back := r.backend(r.nats(), "alias.>")
	seen := &record{}
	if err := r.dialPaho5("listener", seen).subscribe("alias/#", 1); err != nil {
		t.Fatal(err)
	}
	topics := []string{"alias/a", "alias/b", "alias/c"}
	aliases := topicaliases.NewTAHandler(uint16(len(topics)))
	var want, wantNATS []string
	for connection := range 2 {
		aliases.ResetAll()
		bare := 0
		c := paho.NewClient(paho.ClientConfig{
			ClientID: "aliaser", Conn: r.dialReal(r.mqtt), PacketTimeout: patience,
			PublishHook: func(p *paho.Publish) {
				if aliases.PublishHook(p); p.Topic == "" {
					bare++
				}
			},
		})
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		ack, err := c.Connect(ctx, &paho.Connect{ClientID: "aliaser", KeepAlive: 30})
		if err != nil {
			t.Fatal(err)
		}
		if ack.Properties.TopicAliasMaximum == nil || int(*ack.Properties.TopicAliasMaximum) < len(topics) {
			t.Fatal("CONNACK allows no aliases")
		}
		for n := range each {
			for qos, topic := range topics {
				payload := fmt.Sprintf("%d%02d", connection, n)
				if _, err := c.Publish(ctx, &paho.Publish{Topic: topic, QoS: byte(qos), Payload: []byte(payload)}); err != nil {
					t.Fatal(err)
				}
				want = append(want, topic+" "+payload)
				wantNATS = append(wantNATS, strings.ReplaceAll(topic, "/", ".")+" "+payload)
			}
		}
		if bare != (each-1)*len(topics) {
			t.Fatalf("%d packets without a topic, want %d", bare, (each-1)*len(topics))
		}
		if err := c.Disconnect(&paho.Disconnect{}); err != nil {
			t.Fatal(err)
		}
	}
	r.eventually("all at the backend", func() bool { return len(back.all()) >= len(want) })
	r.eventually("all at the listener", func() bool { return len(seen.all()) >= len(want) })
	checkOnce(t, "backend", back.all(), wantNATS, "-")
	checkOnce(t, "listener", seen.all(), want, "-")
}
