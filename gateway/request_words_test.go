package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestSilenceIsNoNo: while another gateway is known that does not answer, nobody is told that nobody is there; when it says no, the requester is told;
// what is no word is nothing.
func TestSilenceIsNoNo(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	r := start(t, func(c *Config) { c.NATS.URL, c.NATS.InterestsMax, c.NATS.NobodyTime = s.URL(), 0, 50*time.Millisecond })
	e := newEar(t, s)
	r.eventually("the other gateway is known", func() bool { e.say(); return r.gw.claims.peers() == 1 && !r.gw.claims.alone.Load() })
	words, err := e.nc.SubscribeSync("_TG.requests")
	if err != nil {
		t.Fatal(err)
	}
	c := r.connect(mqtt.V311, "d1")
	c.subscribe(1, "fleet/d1/cmd")
	tell := func(p []byte) {
		t.Helper()
		if err := e.nc.Publish("_TG.requests", p); err != nil {
			t.Fatal(err)
		}
	}
	me := []byte{9, 9, 9, 9, 9, 9, 9, 9}
	hears := func() []byte {
		t.Helper()
		for {
			m, err := words.NextMsg(patience)
			if err != nil {
				t.Fatal(err)
			}
			if len(m.Data) > wordHead && !bytes.Equal(m.Data[2:wordHead], me) {
				return m.Data
			}
		}
	}
	asked := func() []byte {
		t.Helper()
		p := hears()
		if p[1] != wordWho {
			t.Fatalf("%x", p)
		}
		return p
	}
	done := request(s.Conn(t), &nats.Msg{Subject: "fleet.gone.cmd"})
	who := asked()
	hash := who[wordHead : wordHead+8]
	word := func(kind byte, rest ...[]byte) []byte {
		return bytes.Join(append([][]byte{{wordVersion, kind}, me}, rest...), nil)
	}
	tell(nil)
	tell([]byte{wordVersion + 1, wordNone})
	tell(word(wordWho, who[wordHead:wordHead+9]))
	tell(word(wordNone, []byte("somebody"), hash))
	tell(word(wordNone, who[2:wordHead], hash))
	if a := <-done; !errors.Is(a.err, nats.ErrNoResponders) {
		t.Errorf("%+v %v", a.m, a.err)
	}
	silent := request(s.Conn(t), &nats.Msg{Subject: "fleet.silent.cmd"})
	asked()
	r.eventually("it is given up", func() bool { return r.outcomes(outcomeUnknown) == 1 })
	select {
	case a := <-silent:
		t.Errorf("%+v %v", a.m, a.err)
	default:
	}
	// We answer such questions, too, from what the devices here would get.
	var questions []byte
	for i, topic := range []string{"fleet/d1/cmd", "fleet/other/cmd"} {
		questions = append(append(questions, 0, 0, 0, 0, 0, 0, 0, byte(i), 0, byte(len(topic))), topic...)
	}
	tell(word(wordWho, questions))
	if p := hears(); p[1] != wordTaken || p[len(p)-1] != 0 || len(p) != wordHead+8 {
		t.Errorf("%x", p)
	}
	if p := hears(); p[1] != wordNone || p[len(p)-1] != 1 || len(p) != wordHead+16 {
		t.Errorf("%x", p)
	}
}

// TestRequestsBounded: beyond so many a request is delivered, but not followed, and counted; what is known is forgotten in time.
func TestRequestsBounded(t *testing.T) {
	g := &Gateway{}
	x := &requests{gw: g, nobodyTime: time.Second, wake: make(chan struct{}, 1), byHash: map[uint64]*followed{}, byToken: map[uint32]*followed{}}
	x.last = ^uint32(0) - 10
	tokens := map[uint32]bool{}
	for i := range requestsKnownMax {
		in := bus.Inbound{Reply: fmt.Sprint("_INBOX.", i), Topic: []byte("t")}
		token := x.arrive(&in, &routed{}, 1)
		if token == 0 || tokens[token] {
			t.Fatalf("token %d", token)
		}
		tokens[token] = true
		if again := x.arrive(&in, &routed{}, 1); again != token {
			t.Fatalf("another copy is %d, not %d", again, token)
		}
	}
	if token := x.arrive(&bus.Inbound{Reply: "_INBOX.more", Topic: []byte("t")}, &routed{}, 1); token != 0 || x.counts[outcomeUntracked].Load() != 1 {
		t.Errorf("token %d", token)
	}
	if token := x.arrive(&bus.Inbound{Reply: "$JS.ACK.x", Topic: []byte("t")}, &routed{}, 1); token != 0 {
		t.Errorf("token %d for what is no request", token)
	}
	x.step(time.Now().Add(time.Minute))
	if x.known() != 0 || len(x.byHash)+len(x.byToken) != 0 || len(x.answers) != 0 {
		t.Errorf("%d are known, %d answers", x.known(), len(x.answers))
	}
}

// TestRequestRealClients: paho for MQTT 3.1, 3.1.1 and 5 answers requests of nats.go as its users would have it do.
func TestRequestRealClients(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	for _, version := range []uint{3, 4} {
		id := fmt.Sprint("paho", version)
		r.paho3Answers(id, version)
		answersAs(t, nc, id, "1 c="+id)
	}
	r.paho5Answers("paho5")
	answersAs(t, nc, "paho5", "1 c=paho5")
}

// paho3Answers is a device that answers each request on the topic that its own gives.
func (r *rig) paho3Answers(id string, version uint) {
	r.t.Helper()
	p := r.dialPaho3("tcp://"+r.mqtt, id, version, &record{}).(*paho311)
	if err := done(p.c.Subscribe("devices/"+id+"/cmd/#", 1, func(c paho3.Client, m paho3.Message) {
		c.Publish(strings.Replace(m.Topic(), "/request/", "/response/", 1), 1, false, append([]byte("echo "), m.Payload()...))
	})); err != nil {
		r.t.Fatal(err)
	}
}

// paho5Answers is one that answers on the Response Topic, with the Correlation Data.
func (r *rig) paho5Answers(id string) {
	r.t.Helper()
	p := r.dialPaho5(id, &record{}).(*paho5)
	p.c.AddOnPublishReceived(func(m paho.PublishReceived) (bool, error) {
		go func() { // paho calls back where it reads, so that the PUBACK could not be heard here
			_, _ = p.c.Publish(r.t.Context(), &paho.Publish{
				Topic: m.Packet.Properties.ResponseTopic, QoS: 1, Payload: append([]byte("echo "), m.Packet.Payload...),
				Properties: &paho.PublishProperties{CorrelationData: m.Packet.Properties.CorrelationData},
			})
		}()
		return true, nil
	})
	if err := p.subscribe("devices/"+id+"/cmd/#", 1); err != nil {
		r.t.Fatal(err)
	}
}

func answersAs(t *testing.T, nc *nats.Conn, id, from string) {
	t.Helper()
	for i := range 20 {
		m, err := nc.RequestMsg(&nats.Msg{Subject: "devices." + id + ".cmd.echo", Data: fmt.Append(nil, i), Header: nats.Header{"TG-Correlation": {"aWQ="}}}, answerTime)
		if err != nil || string(m.Data) != fmt.Sprint("echo ", i) || m.Header.Get("TG") != from {
			t.Fatalf("%s: %+v %v", id, m, err)
		}
		if id == "paho5" && m.Header.Get("TG-Correlation") != "aWQ=" {
			t.Errorf("correlation data %q", m.Header.Get("TG-Correlation"))
		}
	}
}
