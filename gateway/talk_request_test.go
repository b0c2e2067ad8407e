package gateway

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// TestRequestToBackend: an answer in each form, no responders, a timeout, a topic that may not be asked, and too many at once.
func TestRequestToBackend(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, protocol string) {
		r := start(t, func(c *Config) { c.Limits.RequestsMax = 3 })
		nc := r.nats()
		for subject, answer := range map[string]string{"rq.json": `{"t":21.5}`, "rq.text": "warm", "rq.bytes": "\xff"} {
			if _, err := nc.Subscribe(subject, func(m *nats.Msg) { _ = m.Respond([]byte(answer)) }); err != nil {
				t.Fatal(err)
			}
		}
		held := make(chan *nats.Msg, 10)
		if _, err := nc.Subscribe("rq.held", func(m *nats.Msg) { held <- m }); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		j := r.talks(protocol, "asks")
		for i, m := range []struct{ topic, want string }{{"rq/json", `"json":{"t":21.5}`}, {"rq/text", `"text":"warm"`}, {"rq/bytes", `"base64":"/w=="`}} {
			j.asks(fmt.Sprintf(`{"id":%d,"op":"request","topic":%q,"text":"?"}`, i+1, m.topic), fmt.Sprintf(`{"id":%d,"ok":true,%s}`, i+1, m.want))
		}
		j.says(`{"id":5,"op":"request","topic":"rq/nobody"}`)
		j.fails(5, "no_responders", true)
		j.says(`{"id":6,"op":"request","topic":"rq/held","timeout_ms":1}`)
		j.fails(6, "timeout", true)
		<-held
		j.says(`{"id":7,"op":"request","topic":"$JS/API/INFO"}`)
		j.fails(7, "bad_topic", false)
		for i := range 4 {
			j.says(fmt.Sprintf(`{"id":%d,"op":"request","topic":"rq/held","text":"%d"}`, 10+i, 10+i))
		}
		j.fails(13, "too_many_requests", true)
		for range 3 { // answered in another order than asked
			m := <-held
			defer func() { _ = m.Respond([]byte("late")) }()
			if string(m.Data) == "12" {
				_ = m.Respond(m.Data)
			}
		}
		j.hears(`{"id":12,"ok":true,"json":12}`)
		j.asks(`{"id":20,"op":"request","topic":"rq/text"}`, `{"id":20,"ok":true,"text":"warm"}`) // there is room again
	})
}

// asked is what came of a NATS request.
type asked struct {
	m   *nats.Msg
	err error
}

// request asks a device in the background.
func request(nc *nats.Conn, m *nats.Msg) chan asked {
	done := make(chan asked, 1)
	go func() {
		answer, err := nc.RequestMsg(m, answerTime)
		done <- asked{answer, err}
	}()
	return done
}

// TestRequestFromBackend: a NATS request reaches devices of every kind, and what they answer reaches only who asked.
func TestRequestFromBackend(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, protocol string) {
		r := start(t)
		nc := r.nats()
		spy, err := nc.SubscribeSync(">")
		if err != nil {
			t.Fatal(err)
		}
		nosy := r.connect(mqtt.V5, "nosy") // devices do not overhear answers
		nosy.subscribe(1, "#", "$reply/#")
		for shard := range 2 {
			id := r.ids("lamp", shard, 1)[0]
			j := r.talks(protocol, id)
			done := request(nc, &nats.Msg{Subject: "devices." + id + ".down", Data: []byte(`{"get":"state"}`)})
			m := j.next()
			call, _ := m["call"].(string)
			if m["op"] != "request" || m["topic"] != "devices/"+id+"/down" || !strings.HasPrefix(call, callPrefix) || m["ack"] != 1.0 || m["data"] != inHex([]byte(`{"get":"state"}`)) {
				t.Fatalf("heard %v", m)
			}
			nosy.gets("devices/"+id+"/down", `{"get":"state"}`)
			j.says(`{"op":"ack","ack":1}`)
			j.asks(fmt.Sprintf(`{"id":7,"op":"reply","call":%q,"json":{"on":true},"content_type":"a/b"}`, call), `{"id":7,"ok":true}`)
			a := <-done
			if a.err != nil || string(a.m.Data) != `{"on":true}` || a.m.Header.Get("TG") != "0 c="+id || a.m.Header.Get("TG-Type") != "a/b" {
				t.Errorf("%+v %v", a.m, a.err)
			}
			// Without an id, at QoS 1, and by whom the call was passed on to.
			done = request(nc, &nats.Msg{Subject: "devices." + id + ".down"})
			call, _ = j.next()["call"].(string)
			nosy.gets("devices/"+id+"/down", "")
			j.says(fmt.Sprintf(`{"op":"reply","call":%q,"text":"quiet"}`, call))
			if a := <-done; a.err != nil || string(a.m.Data) != "quiet" {
				t.Errorf("%+v %v", a.m, a.err)
			}
			done = request(nc, &nats.Msg{Subject: "devices." + id + ".down"})
			m = j.next()
			nosy.gets("devices/"+id+"/down", "")
			if reason := nosy.publish(1, m["call"].(string), "from elsewhere", retained); reason != 0 {
				t.Errorf("PUBACK %v", reason)
			}
			if a := <-done; a.err != nil || string(a.m.Data) != "from elsewhere" || a.m.Header.Get("TG") != "1 c=nosy" {
				t.Errorf("%+v %v", a.m, a.err)
			}
			nosy.ping() // nothing came of the answers
		}
		if n := r.retainedTopics(); n != 0 {
			t.Errorf("%d retained", n)
		}
		for { // nor was anything published on a topic of that name
			m, err := spy.NextMsg(time.Millisecond)
			if err != nil {
				break
			}
			if strings.Contains(m.Subject, "reply") {
				t.Errorf("heard %s", m.Subject)
			}
		}
	})
}

// TestRequestToMQTT: an MQTT 5 device gets the call as Response Topic and answers by PUBLISH at any QoS, with correlation data
// as it came; one of 3.1.1 sees a message like any other.
func TestRequestToMQTT(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	for qos := range byte(3) {
		c := r.connect(mqtt.V5, fmt.Sprintf("meter-%d", qos))
		c.subscribe(1, fmt.Sprintf("meters/%d", qos))
		for _, own := range []string{"", "backend.answers"} {
			ask := &nats.Msg{Subject: fmt.Sprintf("meters.%d", qos), Data: []byte("?"), Header: nats.Header{}}
			ask.Header.Set("TG-Correlation", base64.StdEncoding.EncodeToString([]byte("c1")))
			answers, err := nc.SubscribeSync("backend.answers")
			if err != nil {
				t.Fatal(err)
			}
			if own != "" {
				ask.Header.Set("TG-Response", own) // says it itself, and that counts
			}
			done := request(nc, ask)
			m := c.message()
			topic, correlation := string(m.Props.ResponseTopic), m.Props.CorrelationData
			if strings.HasPrefix(topic, callPrefix) != (own == "") || string(correlation) != "c1" {
				t.Fatalf("response topic %q, correlation data %q", topic, correlation)
			}
			if reason := c.publish(qos, topic, "42", func(p *mqtt.PublishOut) { p.Props = mqtt.AppendCorrelationData(nil, correlation) }); reason != 0 {
				t.Errorf("QoS %d: %v", qos, reason)
			}
			if own != "" {
				if m, err := answers.NextMsg(answerTime); err != nil || string(m.Data) != "42" {
					t.Errorf("%v %v", m, err)
				}
				continue
			}
			a := <-done
			if a.err != nil || string(a.m.Data) != "42" || a.m.Header.Get("TG-Correlation") != ask.Header.Get("TG-Correlation") {
				t.Errorf("QoS %d: %+v %v", qos, a.m, a.err)
			}
			if err := answers.Unsubscribe(); err != nil {
				t.Fatal(err)
			}
		}
	}
	old := r.connect(mqtt.V311, "old")
	old.subscribe(1, "meters/old")
	_ = request(nc, &nats.Msg{Subject: "meters.old", Data: []byte("?")})
	old.gets("meters/old", "?")
}

// TestForgedCalls: nobody publishes to a NATS subject that no backend of this gateway gave it.
func TestForgedCalls(t *testing.T) {
	t.Parallel()
	r, other := start(t, unrecorded), start(t)
	nc := r.nats()
	inbox, err := nc.SubscribeSync("_INBOX.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	good := string(r.gw.appendCall(nil, "_INBOX.x"))
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(good, callPrefix))
	if err != nil {
		t.Fatal(err)
	}
	moved := append([]byte("_INBOX.y"), raw[len("_INBOX.x"):]...)
	forged := []string{
		"$reply", "$reply/", "$reply/x", "$reply/" + base64.RawURLEncoding.EncodeToString([]byte("_INBOX.x")), good + "A", good[:len(good)-2], "$REPLY" + good[6:],
		callPrefix + base64.RawURLEncoding.EncodeToString(moved), string(other.gw.appendCall(nil, "_INBOX.x")), string(r.gw.appendCall(nil, "$JS.API.INFO")), good + "/x", callPrefix + "%" + good[len(callPrefix)+1:],
		callPrefix + base64.RawURLEncoding.EncodeToString(raw[len("_INBOX.x"):]), callPrefix + strings.Repeat("A", 2000),
	}
	v5, v311, j := r.connect(mqtt.V5, "v5"), r.connect(mqtt.V311, "v311"), r.json("plain")
	for i, topic := range forged {
		for qos := range byte(3) {
			v311.publish(qos, topic, "forged")
			if reason := v5.publish(qos, topic, "forged"); qos > 0 && reason != mqtt.NotAuthorized {
				t.Errorf("%.60q at QoS %d: %v", topic, qos, reason)
			}
		}
		j.says(fmt.Sprintf(`{"id":%d,"op":"reply","call":%q,"text":"forged"}`, i+1, topic))
		j.fails(uint64(i+1), "bad_call", false)
	}
	if err := v5.publish(1, good, "right"); err != 0 {
		t.Errorf("%v", err)
	}
	if m, err := inbox.NextMsg(answerTime); err != nil || m.Subject != "_INBOX.x" || string(m.Data) != "right" {
		t.Errorf("%v %v", m, err)
	}
	// Those that are no calls at all are refused as any topic of that kind.
	if n, want := r.sum().callsRefused, uint64(len(forged)-2)*7+2; n != want {
		t.Errorf("gateway_calls_refused_total %d, want %d", n, want)
	}
}

// TestNoCall: what JetStream delivers is a message, not a request: an answer would acknowledge it.
func TestNoCall(t *testing.T) {
	t.Parallel()
	r := start(t)
	for reply, want := range map[string]bool{
		"": false, "$JS.ACK.s.c.1.2.3.4.5": false, "_TG.x": false, "a.*": false, "_INBOX.a.b": true, "services.answers": true,
	} {
		in := bus.Inbound{Topic: []byte("a"), Reply: reply}
		if r.gw.addCall(&in); in.HasFields != want || isCall(in.Fields.ResponseTopic) != want {
			t.Errorf("%q: %q", reply, in.Fields.ResponseTopic)
		}
	}
}

// TestAnswersAreForNATS: the answer to a call may travel in one batch with messages that another shard wants, and is not for it.
func TestAnswersAreForNATS(t *testing.T) {
	t.Parallel()
	r := start(t)
	own := r.ids("own", 0, 1)[0]
	nosy := r.connect(mqtt.V5, own)
	nosy.subscribe(0, "#")
	done := make(chan struct{})
	r.gw.shards[0].doSoon(func(s *shard) {
		u := uplink{}
		u.addRaw(&session.Message{Topic: []byte("services.answers"), Payload: []byte("secret")}, "c")
		u.add(&session.Message{Topic: []byte("for/all"), Payload: []byte("open")}, "c")
		u.now.refs.Store(1)
		var m bus.Message
		if u.now.Message(0, &m); string(m.Subject) != "services.answers" || len(m.Topic) != 0 {
			t.Errorf("%+v", m)
		}
		s.takeBatch(u.now)
		close(done)
	})
	<-done
	nosy.gets("for/all", "open")
}
