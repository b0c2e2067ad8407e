package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// inBoth runs a test in both encodings.
func inBoth(t *testing.T, f func(t *testing.T, protocol string)) {
	for protocol := range encodings {
		t.Run(protocol, func(t *testing.T) { f(t, protocol) })
	}
}

// TestTalkPublishSubscribe: every form of payload both ways, retained messages, every option of subscribe, and that the
// answer to subscribe means that NATS knows.
func TestTalkPublishSubscribe(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, protocol string) {
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
			j := r.talks(protocol, id, `"down_qos":0`)
			for i, m := range []struct{ sent, payload string }{
				{`"text":"hällo"`, "hällo"}, {`"json":{"a":[1,2]}`, `{"a":[1,2]}`}, {`"base64":"AP8="`, "\x00\xff"}, {`"text":""`, ""}, {`"json":null`, "null"}, {`"retain":false`, ""},
			} {
				qos := i % 2
				j.asks(fmt.Sprintf(`{"id":%d,"op":"publish","topic":"j/up","qos":%d,%s}`, i+1, qos, m.sent), fmt.Sprintf(`{"id":%d,"ok":true}`, i+1))
				got, err := back.NextMsg(answerTime)
				if err != nil || string(got.Data) != m.payload || got.Header.Get("TG") != r.stored(fmt.Sprintf("%d c=%s", qos, id)) {
					t.Errorf("%s: %v, %v", m.sent, got, err)
				}
			}
			j.says(`{"op":"publish","topic":"j/up","text":"without an answer","content_type":"text/x","expiry_s":90,"properties":[["a","1"],["b",""]]}`)
			got, err := back.NextMsg(answerTime)
			if err != nil || string(got.Data) != "without an answer" || got.Header.Get("TG-Type") != "text/x" || got.Header.Get("TG-Expiry") == "" || strings.Join(got.Header["TG-User"], " ") != "a=1 b=" {
				t.Errorf("%v, %v", got, err)
			}
			for i := range 20 {
				topic := fmt.Sprintf("j/new/%d/%d", shard, i)
				j.asks(fmt.Sprintf(`{"id":9,"op":"subscribe","filter":%q}`, topic), `{"id":9,"ok":true}`)
				if err := nc.Publish(fmt.Sprintf("j.new.%d.%d", shard, i), []byte("x y")); err != nil {
					t.Fatal(err)
				}
				j.hears(fmt.Sprintf(`{"op":"message","topic":%q,"ack":%d,"text":"x y"}`, topic, i+1))
				j.says(fmt.Sprintf(`{"op":"ack","ack":%d}`, i+1))
			}
			p := r.connect(mqtt.V5, "pub")
			p.publish(1, "j/kept", "\xfe", retained)
			j.asks(`{"id":10,"op":"subscribe","filter":"j/+","qos":0}`, `{"id":10,"ok":true}`)
			j.hears(`{"op":"message","topic":"j/kept","retain":true,"base64":"/g=="}`)
			p.publish(1, "j/live", `{"n":1}`)
			j.hears(`{"op":"message","topic":"j/live","json":{"n":1}}`)
			// A subscription of QoS 1 gets an ack for what was published with less.
			j.asks(`{"id":10,"op":"subscribe","filter":"j/+","retain_handling":2,"retain_as_published":true}`, `{"id":10,"ok":true}`)
			p.publish(0, "j/kept", "now", retained, func(o *mqtt.PublishOut) {
				o.Props = mqtt.AppendUserProperty(mqtt.AppendContentType(nil, []byte("c/t")), []byte("k"), []byte("v"))
				o.HasExpiry, o.ExpirySec = true, 100000
			})
			m := j.next()
			if left, _ := m["expiry_s"].(float64); left < 99_000 || left > 100_000 { // a second may have begun meanwhile
				t.Errorf("expiry_s %v", m["expiry_s"])
			}
			delete(m, "expiry_s")
			j.same(m, `{"op":"message","topic":"j/kept","ack":21,"retain":true,"content_type":"c/t","properties":[["k","v"]],"text":"now"}`)
			j.asks(`{"id":10,"op":"subscribe","filter":"j/+","no_local":true,"retain_handling":1}`, `{"id":10,"ok":true}`)
			j.asks(`{"id":11,"op":"publish","topic":"j/self","text":"unheard"}`, `{"id":11,"ok":true}`)
			j.asks(`{"id":11,"op":"unsubscribe","filter":"j/+"}`, `{"id":11,"ok":true}`)
			p.publish(1, "j/live", "unheard")
			j.asks(`{"id":12,"op":"ping"}`, `{"id":12,"ok":true}`)
			if err := nc.Publish("devices."+id+".down", []byte("hi")); err != nil {
				t.Fatal(err)
			}
			j.hears(fmt.Sprintf(`{"op":"message","topic":"devices/%s/down","text":"hi"}`, id))
			j.asks(`{"id":13,"op":"publish","topic":"j/own","text":"kept","retain":true}`, `{"id":13,"ok":true}`)
			p.subscribe(0, "j/own")
			if g := p.gets("j/own", "kept"); !g.Retain {
				t.Error("not retained")
			}
			p.publish(0, "j/own", "", retained)
			p.gets("j/own", "")
			p.publish(0, "j/kept", "", retained)
			p.ping()
		}
	})
}

// TestTalkArrays: the answers to an array come as one, in order; messages of one tick come as one only to who asked for it.
func TestTalkArrays(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, protocol string) {
		r := start(t)
		j := r.talks(protocol, "arrays", `"down_qos":0`)
		warm := r.talks(protocol, "warm") // so that NATS knows the filter, and the answer need not wait
		warm.asks(`{"id":2,"op":"subscribe","filter":"ar/+"}`, `{"id":2,"ok":true}`)
		j.says(`[{"id":2,"op":"ping"},{"op":"fly"},{"id":3,"op":"subscribe","filter":"ar/+","qos":0},{"op":"ack","ack":9},{"id":4,"op":"publish","topic":"ar/x","text":"1"},{"id":5,"op":"request","topic":"$x"}]`)
		j.hears(`{"op":"message","topic":"ar/x","text":"1"}`)
		v, err := j.frame()
		list, ok := v.([]any)
		if err != nil || !ok || len(list) != 5 {
			t.Fatalf("%v %v", v, err)
		}
		j.waiting = list
		j.hears(`{"id":2,"ok":true}`)
		j.fails(0, "bad_command", false)
		j.hears(`{"id":3,"ok":true}`)
		j.hears(`{"id":4,"ok":true}`)
		j.fails(5, "bad_topic", false)
		j.says(`[]`)
		j.asks(`[{"id":6,"op":"ping"}]`, `{"id":6,"ok":true}`)

		all := r.talks(protocol, "all", `"batch":true`, `"down_qos":0`)
		all.asks(`{"id":2,"op":"subscribe","filter":"ar/+","qos":0}`, `{"id":2,"ok":true}`)
		const n = 60
		commands := make([]string, n)
		for i := range commands {
			commands[i] = fmt.Sprintf(`{"op":"publish","topic":"ar/x","json":%d}`, i)
		}
		j.says("[" + strings.Join(commands, ",") + "]") // one frame is read in one tick
		heard, frames := 0, 0
		for heard < n {
			v, err := all.frame()
			if err != nil {
				t.Fatal(err)
			}
			frames++
			list, ok := v.([]any)
			if !ok {
				list = []any{v}
			}
			for _, m := range list {
				all.same(m, fmt.Sprintf(`{"op":"message","topic":"ar/x","json":%d}`, heard))
				heard++
			}
		}
		if frames > 3 {
			t.Errorf("%d messages came in %d frames", n, frames)
		}
		for i := range n { // the other one did not ask
			v, err := j.frame()
			if err != nil {
				t.Fatal(err)
			}
			j.same(v, fmt.Sprintf(`{"op":"message","topic":"ar/x","json":%d}`, i))
		}
	})
}

// TestTalkBadCommands: each gets its error, is counted, and the connection goes on.
func TestTalkBadCommands(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, protocol string) {
		r := start(t, func(c *Config) { c.Limits.SubscriptionsMax, c.Limits.PacketBytesMax = 2, 16<<20 })
		j := r.talks(protocol, "bad")
		bad := 0
		for _, tc := range []struct {
			command string
			id      uint64
			code    string
		}{
			{`"x"`, 0, "bad_command"}, {`{}`, 0, "bad_command"}, {`{"id":0,"op":"ping"}`, 0, "bad_command"},
			{`{"id":-1,"op":"ping"}`, 0, "bad_command"}, {`{"id":1}`, 1, "bad_command"}, {`{"id":2,"op":"fly"}`, 2, "bad_command"},
			{`{"id":4,"op":"publish","topic":"x","qos":2}`, 4, "bad_command"}, {`{"id":4,"op":"publish","topic":7}`, 4, "bad_command"},
			{`{"id":5,"op":"publish","topic":"x/+"}`, 5, "bad_topic"}, {`{"id":5,"op":"publish","topic":"x/#"}`, 5, "bad_topic"},
			{`{"id":6,"op":"publish"}`, 6, "bad_topic"}, {`{"id":7,"op":"publish","topic":"$SYS/x"}`, 7, "bad_topic"},
			{`{"op":"publish","topic":"_INBOX/x"}`, 0, "bad_topic"},
			{`{"id":7,"op":"publish","topic":"a\u0000b"}`, 7, "bad_topic"},
			{`{"id":7,"op":"publish","topic":"a","content_type":"\u0000"}`, 7, "bad_command_"},
			{`{"id":7,"op":"publish","topic":"a","properties":[["a","\u0000"]]}`, 7, "bad_command_"},
			{`{"id":8,"op":"subscribe"}`, 8, "bad_filter"}, {`{"id":9,"op":"subscribe","filter":"a/#/b"}`, 9, "bad_filter"},
			{`{"id":9,"op":"subscribe","filter":"$share//x"}`, 9, "bad_filter"},
			{`{"id":9,"op":"subscribe","filter":"$share/g/x","no_local":true}`, 9, "bad_filter"},
			{`{"id":10,"op":"request"}`, 10, "bad_topic"}, {`{"id":11,"op":"presence","filter":"none"}`, 11, "bad_filter"},
			{`{"id":11,"op":"presence","filter":""}`, 11, "bad_filter"}, {`{"id":12,"op":"connect"}`, 12, "bad_command_"},
			{`{"id":12,"op":"refresh","token":"x"}`, 12, "unsupported"}, {`{"op":"reply","call":"devices/bad/down"}`, 0, "bad_call"},
		} {
			j.says(tc.command)
			code, inGateway := strings.CutSuffix(tc.code, "_")
			j.fails(tc.id, code, false)
			if code == "bad_command" && !inGateway {
				bad++
			}
		}
		j.says("[" + strings.Repeat(`{"id":1,"op":"ping"},`, 64) + `{"id":1,"op":"ping"}]`)
		j.fails(0, "batch_too_long", false)
		writeWS(t, j.c, map[string]websocket.MessageType{protocolJSON: websocket.MessageBinary, protocolCBOR: websocket.MessageText}[protocol], `{"id":1,"op":"ping"}`)
		j.fails(0, "bad_command", false)
		j.asks(`{"id":20,"op":"subscribe","filter":"one"}`, `{"id":20,"ok":true}`) // the down topic is the first of the two
		j.says(`{"id":21,"op":"subscribe","filter":"two"}`)
		j.fails(21, "quota", false)
		j.asks(`{"id":22,"op":"unsubscribe","filter":"a/#/b"}`, `{"id":22,"ok":true}`)
		j.asks(`{"id":23,"op":"ping"}`, `{"id":23,"ok":true}`)
		if n := r.sum().badCommands; n != uint64(bad+2) {
			t.Errorf("gateway_commands_bad_total %d, want %d", n, bad+2)
		}
		j.says(`{"id":24,"op":"publish","topic":"a","text":"` + strings.Repeat("x", 8<<20) + `"}`)
		j.fails(24, "too_large", false)
	})
}
