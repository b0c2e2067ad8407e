package gateway

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// jsonDevice speaks tidegate.json.v1.
type jsonDevice struct {
	t testing.TB
	c *websocket.Conn
}

func (r *rig) json(id string) *jsonDevice {
	r.t.Helper()
	c := r.dialWS("/ws/"+id, protocolJSON)
	if c.Subprotocol() != protocolJSON {
		r.t.Fatalf("subprotocol %q", c.Subprotocol())
	}
	return &jsonDevice{r.t, c}
}

func (j *jsonDevice) says(command string) {
	j.t.Helper()
	writeWS(j.t, j.c, websocket.MessageText, command)
}

// hears expects the next frame to be this JSON value.
func (j *jsonDevice) hears(want string) {
	j.t.Helper()
	kind, got := readWS(j.t, j.c)
	var a, b any
	if json.Unmarshal([]byte(got), &a) != nil || json.Unmarshal([]byte(want), &b) != nil || kind != websocket.MessageText {
		j.t.Fatalf("%v %q is not JSON", kind, got)
	}
	if fmt.Sprint(a) != fmt.Sprint(b) {
		j.t.Errorf("heard %s, want %s", got, want)
	}
}

// fails expects a refusal of the command with this id.
func (j *jsonDevice) fails(id uint64, code string, temporary bool) {
	j.t.Helper()
	_, got := readWS(j.t, j.c)
	var r reply
	if err := json.Unmarshal([]byte(got), &r); err != nil {
		j.t.Fatal(err)
	}
	if r.ID != id || r.OK || r.Error == nil || r.Error.Code != code || r.Error.Temporary != temporary || r.Error.Message == "" {
		j.t.Errorf("heard %s, want error %s for %d", got, code, id)
	}
}

// TestJSONPublishSubscribe: the three payload forms both ways, retained messages, and that the answer to subscribe means
// that NATS knows.
func TestJSONPublishSubscribe(t *testing.T) {
	r := start(t)
	nc := r.nats()
	back, err := nc.SubscribeSync("j.up")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for shard := range 2 {
		id := r.ids("j", shard, 1)[0]
		j := r.json(id)
		for i, m := range []struct{ sent, payload string }{
			{`"text":"hällo"`, "hällo"}, {`"json":{"a":[1,2]}`, `{"a":[1,2]}`}, {`"base64":"AP8="`, "\x00\xff"}, {`"text":""`, ""}, {`"json":null`, "null"}, {`"retain":false`, ""},
		} {
			j.says(fmt.Sprintf(`{"id":%d,"op":"publish","topic":"j/up",%s}`, i+1, m.sent))
			j.hears(fmt.Sprintf(`{"id":%d,"ok":true}`, i+1))
			got, err := back.NextMsg(answerTime)
			if err != nil || string(got.Data) != m.payload || got.Header.Get("TG") != "0 c="+id {
				t.Errorf("%s: %v, %v", m.sent, got, err)
			}
		}
		for i := range 20 {
			topic := fmt.Sprintf("j/new/%d/%d", shard, i)
			j.says(fmt.Sprintf(`{"id":9,"op":"subscribe","filter":%q}`, topic))
			j.hears(`{"id":9,"ok":true}`)
			if err := nc.Publish(fmt.Sprintf("j.new.%d.%d", shard, i), []byte("x y")); err != nil {
				t.Fatal(err)
			}
			j.hears(fmt.Sprintf(`{"op":"message","topic":%q,"text":"x y"}`, topic))
		}
		p := r.connect(mqtt.V5, "pub")
		p.publish(1, "j/kept", "\xfe", retained)
		j.says(`{"id":10,"op":"subscribe","filter":"j/+"}`)
		j.hears(`{"id":10,"ok":true}`)
		j.hears(`{"op":"message","topic":"j/kept","retain":true,"base64":"/g=="}`)
		p.publish(1, "j/live", ` {"n": 1} `)
		j.hears(`{"op":"message","topic":"j/live","json":{"n":1}}`)
		j.says(`{"id":11,"op":"unsubscribe","filter":"j/+"}`)
		j.hears(`{"id":11,"ok":true}`)
		p.publish(1, "j/live", "unheard")
		j.says(`{"id":12,"op":"ping"}`)
		j.hears(`{"id":12,"ok":true}`)
		if err := nc.Publish("devices."+id+".down", []byte("hi")); err != nil {
			t.Fatal(err)
		}
		j.hears(fmt.Sprintf(`{"op":"message","topic":"devices/%s/down","text":"hi"}`, id))
		j.says(`{"id":13,"op":"publish","topic":"j/own","text":"kept","retain":true}`)
		j.hears(`{"id":13,"ok":true}`)
		p.subscribe(0, "j/own")
		if g := p.gets("j/own", "kept"); !g.Retain {
			t.Error("not retained")
		}
		p.publish(0, "j/own", "", retained)
		p.gets("j/own", "")
		p.ping()
	}
}

// TestJSONRequest: an answer in each form, no responders, a timeout, a topic that may not be asked, and too many at once.
func TestJSONRequest(t *testing.T) {
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
	j := r.json("asks")
	for i, m := range []struct{ topic, want string }{{"rq/json", `"json":{"t":21.5}`}, {"rq/text", `"text":"warm"`}, {"rq/bytes", `"base64":"/w=="`}} {
		j.says(fmt.Sprintf(`{"id":%d,"op":"request","topic":%q,"text":"?"}`, i+1, m.topic))
		j.hears(fmt.Sprintf(`{"id":%d,"ok":true,%s}`, i+1, m.want))
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
	j.says(`{"id":20,"op":"request","topic":"rq/text"}`) // there is room again
	j.hears(`{"id":20,"ok":true,"text":"warm"}`)
}

// TestJSONBadCommands: each gets its error, is counted, and the connection goes on.
func TestJSONBadCommands(t *testing.T) {
	r := start(t, func(c *Config) { c.Limits.SubscriptionsMax = 2 })
	j := r.json("bad")
	bad := 0
	for _, tc := range []struct {
		command string
		id      uint64
		code    string
	}{
		{``, 0, "bad_command"}, {`x`, 0, "bad_command"}, {`[]`, 0, "bad_command"}, {`{}`, 0, "bad_command"}, {`{"id":0,"op":"ping"}`, 0, "bad_command"},
		{`{"id":-1,"op":"ping"}`, 0, "bad_command"}, {`{"id":1}`, 1, "bad_command"}, {`{"id":2,"op":"fly"}`, 2, "bad_command"},
		{`{"id":3,"op":"publish","topic":"x","text":"a","base64":"YQ=="}`, 3, "bad_payload"},
		{`{"id":4,"op":"publish","topic":"x","base64":"!"}`, 4, "bad_payload"},
		{`{"id":5,"op":"publish","topic":"x/+"}`, 5, "bad_topic"}, {`{"id":5,"op":"publish","topic":"x/#"}`, 5, "bad_topic"},
		{`{"id":6,"op":"publish"}`, 6, "bad_topic"}, {`{"id":7,"op":"publish","topic":"$SYS/x"}`, 7, "bad_topic"},
		{`{"id":7,"op":"publish","topic":"a\u0000b"}`, 7, "bad_topic"},
		{`{"id":8,"op":"subscribe"}`, 8, "bad_filter"}, {`{"id":9,"op":"subscribe","filter":"a/#/b"}`, 9, "bad_filter"},
		{`{"id":9,"op":"subscribe","filter":"$share//x"}`, 9, "bad_filter"},
		{`{"id":10,"op":"request"}`, 10, "bad_topic"},
	} {
		j.says(tc.command)
		j.fails(tc.id, tc.code, false)
		if tc.code == "bad_command" {
			bad++
		}
	}
	writeWS(t, j.c, websocket.MessageBinary, `{"id":1,"op":"ping"}`)
	j.fails(0, "bad_command", false)
	j.says(`{"id":20,"op":"subscribe","filter":"one"}`) // the down topic is the first of the two
	j.hears(`{"id":20,"ok":true}`)
	j.says(`{"id":21,"op":"subscribe","filter":"two"}`)
	j.fails(21, "quota", false)
	j.says(`{"id":22,"op":"unsubscribe","filter":"a/#/b"}`)
	j.hears(`{"id":22,"ok":true}`)
	j.says(`{"id":23,"op":"ping"}`)
	j.hears(`{"id":23,"ok":true}`)
	if n := r.sum().badCommands; n != uint64(bad+1) {
		t.Errorf("gateway_commands_bad_total %d, want %d", n, bad+1)
	}
}
