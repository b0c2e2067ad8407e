package command

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

var full = Message{
	Topic: []byte("a/\"b\"\\\n\x01ü"), Call: []byte("$reply/x"), Payload: []byte(`{"a": [1]}`), ContentType: []byte("text/plain"),
	Properties: []Property{{[]byte("a"), []byte("b")}, {[]byte("a"), nil}}, Ack: 65535, Dup: true, Retain: true, HasExpiry: true, ExpirySec: 70000,
}

// TestAppendIsRead: what is written is read by other libraries, in both encodings.
func TestAppendIsRead(t *testing.T) {
	items := map[string]func(enc Encoding) []byte{
		`{"op":"request","topic":"a/\"b\"\\\n\u0001ü","call":"$reply/x","ack":65535,"dup":true,"retain":true,"expiry_s":70000,"content_type":"text/plain","properties":[["a","b"],["a",""]],"json":{"a":[1]}}`: func(enc Encoding) []byte {
			return AppendMessage(nil, enc, &full)
		},
		`{"op":"message","topic":"t","text":""}`:             func(enc Encoding) []byte { return AppendMessage(nil, enc, &Message{Topic: []byte("t")}) },
		`{"op":"message","topic":"t","text":"tru"}`:          message("tru"),
		`{"op":"message","topic":"t","json":true}`:           message("true"),
		`{"op":"message","topic":"t","json":-1.50}`:          message("-1.50"),
		`{"op":"message","topic":"t","text":"\u00e4\u007f"}`: message("\u00e4\x7f"),
		`{"op":"message","topic":"t","base64":"Iv8i"}`:       message("\"\xff\""), // JSON to encoding/json, but no text
		`{"id":9,"ok":true}`:                                 func(enc Encoding) []byte { return AppendOK(nil, enc, 9) },
		`{"id":9,"ok":true,"token_s":60}`:                    func(enc Encoding) []byte { return AppendRefreshed(nil, enc, 9, 60) },
		`{"id":9,"ok":true,"json":12}`:                       func(enc Encoding) []byte { return AppendResponse(nil, enc, 9, []byte("12")) },
		`{"id":9,"ok":true,"count":3,"clients":["a","b"],"more":true}`: func(enc Encoding) []byte {
			return AppendPresence(nil, enc, 9, 3, []string{"a", "b"}, true)
		},
		`{"op":"presence","filter":"f","joined":"a","missed":true}`: func(enc Encoding) []byte { return AppendPresenceChange(nil, enc, "f", "a", true, true) },
		`{"op":"presence","filter":"f","left":"a"}`:                 func(enc Encoding) []byte { return AppendPresenceChange(nil, enc, "f", "a", false, false) },
		`{"error":{"code":"bad_call","message":"not a call of this gateway","temporary":false}}`: func(enc Encoding) []byte {
			return AppendError(nil, enc, 0, ErrCall)
		},
		`{"id":9007199254740991,"error":{"code":"too_many_requests","message":"too many requests are unanswered","temporary":true,"retry_ms":1000}}`: func(enc Encoding) []byte {
			return AppendError(nil, enc, idMax, ErrTooMany)
		},
		`{"id":1,"ok":true,"client":"c","session":"s","resumed":true,"resume_s":300,"ping_s":25,"token_s":5,"limits":{"packet_bytes":5000000000,"topic_bytes":2,"subscriptions":3,"requests":4,"inflight":5,"batch":64}}`: func(enc Encoding) []byte {
			return AppendConnected(nil, enc, 1, &Connected{
				Client: "c", Session: []byte("s"), Resumed: true, ResumeSec: 300, PingSec: 25, TokenSec: 5, HasToken: true,
				Limits: Limits{5000000000, 2, 3, 4, 5},
			})
		},
	}
	for want, write := range items {
		var a, b, c any
		if err := json.Unmarshal([]byte(want), &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(write(JSON), &b); err != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%s, want %s: %v", write(JSON), want, err)
		}
		if err := cbor.Unmarshal(write(CBOR), &c); err != nil || !reflect.DeepEqual(inCBOR(a), plain(c)) {
			t.Errorf("%x is %v, want %s: %v", write(CBOR), c, want, err)
		}
		run := Run{}
		for range 2 {
			run.Keep(append(run.Next(CBOR), write(CBOR)...))
		}
		var both []any
		if err := cbor.Unmarshal(run.AppendTo(nil, CBOR, true), &both); err != nil || len(both) != 2 || run.Len() != 0 {
			t.Errorf("an array of %s: %v", want, err)
		}
		for range 2 {
			run.Keep(append(run.Next(JSON), write(JSON)...))
		}
		if err := json.Unmarshal(run.AppendTo(nil, JSON, true), &both); err != nil || len(both) != 2 {
			t.Errorf("an array of %s: %v", want, err)
		}
	}
}

func message(payload string) func(enc Encoding) []byte {
	return func(enc Encoding) []byte {
		return AppendMessage(nil, enc, &Message{Topic: []byte("t"), Payload: []byte(payload)})
	}
}

// inCBOR is the JSON value as CBOR has it: the payload is bytes, whatever JSON made of it, so that it is left out.
func inCBOR(v any) any {
	m := v.(map[string]any)
	for _, key := range []string{"json", "text", "base64"} {
		delete(m, key)
	}
	return m
}

// plain turns what the CBOR library makes of an item into what encoding/json would.
func plain(v any) any {
	switch v := v.(type) {
	case map[any]any:
		m := map[string]any{}
		for k, e := range v {
			if k != "data" {
				m[k.(string)] = plain(e)
			}
		}
		return m
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
		return v
	case uint64:
		return float64(v)
	}
	return v
}

// TestRun: one bare item stays what it is.
func TestRun(t *testing.T) {
	var r Run
	r.Keep(AppendOK(r.Next(JSON), JSON, 1))
	if got := r.AppendTo(nil, JSON, true); string(got) != `{"id":1,"ok":true}` {
		t.Errorf("%s", got)
	}
	r.Keep(AppendOK(r.Next(JSON), JSON, 1))
	if got := r.AppendTo(nil, JSON, false); string(got) != `[{"id":1,"ok":true}]` {
		t.Errorf("%s", got)
	}
}

// TestAppendAllocs: a message is written without allocating.
func TestAppendAllocs(t *testing.T) {
	dst := make([]byte, 0, 4096)
	for _, enc := range []Encoding{JSON, CBOR} {
		if n := testing.AllocsPerRun(1000, func() { dst = AppendMessage(dst[:0], enc, &full) }); n != 0 {
			t.Errorf("%d: %v allocations", enc, n)
		}
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	m := Message{Topic: []byte("room/7/temp"), Payload: []byte(`{"celsius":21.5,"humidity":40}`), Ack: 17}
	for name, enc := range map[string]Encoding{"json": JSON, "cbor": CBOR} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst = AppendMessage(dst[:0], enc, &m)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, enc := range map[string]Encoding{"json": JSON, "cbor": CBOR} {
		frame := []byte(`{"id":2,"op":"publish","topic":"room/7/temp","text":"21.5","qos":1}`)
		if enc == CBOR {
			frame = asCBOR(b, string(frame))
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var list []Command
			for b.Loop() {
				list, _ = Decode(enc, frame, list[:0])
			}
		})
	}
}
