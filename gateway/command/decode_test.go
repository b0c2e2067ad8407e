package command

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// commandTable is every command with every field, as JSON, and what it means.
var commandTable = []struct {
	text string
	want Command
}{
	{`{"id":1,"op":"connect"}`, Command{ID: 1, Op: Connect, DownQoS: 1}},
	{
		`{"id":9007199254740991,"op":"connect","session":"s","resume_s":300,"token":"t","inflight":20,"down_qos":0,"batch":true}`,
		Command{ID: 1<<53 - 1, Op: Connect, Session: "s", ResumeSec: 300, Token: "t", Inflight: 20, Batch: true},
	},
	{`{"op":"publish","topic":"a/b","text":"hällo"}`, Command{Op: Publish, Topic: "a/b", Payload: []byte("hällo"), DownQoS: 1}},
	{
		`{"id":2,"op":"publish","topic":"a","qos":1,"retain":true,"expiry_s":0,"content_type":"x/y","properties":[["a","b"],["a",""]],"new":[{"x":[1.5]}]}`,
		Command{ID: 2, Op: Publish, Topic: "a", QoS: 1, Retain: true, HasExpiry: true, ContentType: "x/y", Properties: [][]string{{"a", "b"}, {"a", ""}}, DownQoS: 1},
	},
	{`{"id":3,"op":"subscribe","filter":"a/#"}`, Command{ID: 3, Op: Subscribe, Filter: "a/#", QoS: 1, DownQoS: 1}},
	{
		`{"id":3,"op":"subscribe","filter":"a","qos":0,"no_local":true,"retain_as_published":true,"retain_handling":2,"presence":true}`,
		Command{ID: 3, Op: Subscribe, Filter: "a", NoLocal: true, RetainAsPublished: true, RetainHandling: 2, Presence: true, DownQoS: 1},
	},
	{`{"id":4,"op":"unsubscribe","filter":"a"}`, Command{ID: 4, Op: Unsubscribe, Filter: "a", DownQoS: 1}},
	{`{"op":"ack","ack":7,"acks":[8,65535]}`, Command{Op: Ack, Acks: []uint16{7, 8, 65535}, DownQoS: 1}},
	{`{"id":5,"op":"request","topic":"a","timeout_ms":20,"text":""}`, Command{ID: 5, Op: Request, Topic: "a", TimeoutMS: 20, Payload: []byte{}, DownQoS: 1}},
	{`{"op":"reply","call":"c","text":"x"}`, Command{Op: Reply, Call: "c", Payload: []byte("x"), DownQoS: 1}},
	{`{"id":6,"op":"presence","filter":"f"}`, Command{ID: 6, Op: Presence, Filter: "f", DownQoS: 1}},
	{`{"id":7,"op":"refresh","token":"t"}`, Command{ID: 7, Op: Refresh, Token: "t", DownQoS: 1}},
	{`{"id":8,"op":"ping","qos":null,"topic":null,"properties":null}`, Command{ID: 8, Op: Ping, DownQoS: 1}},
}

// asCBOR is a JSON value as a CBOR item.
func asCBOR(t testing.TB, text string) []byte {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	out, err := cbor.Marshal(wholeNumbers(v))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wholeNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case map[string]any:
		for k := range v {
			v[k] = wholeNumbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = wholeNumbers(v[i])
		}
	}
	return v
}

// TestCommands: every command means the same in both encodings, alone and in an array.
func TestCommands(t *testing.T) {
	for _, tc := range commandTable {
		for enc, frame := range map[Encoding][]byte{JSON: []byte(tc.text), CBOR: asCBOR(t, tc.text)} {
			got, array := Decode(enc, frame, nil)
			if array || len(got) != 1 || !reflect.DeepEqual(got[0], tc.want) {
				t.Errorf("%d %s: %+v", enc, tc.text, got)
			}
		}
		for enc, frame := range map[Encoding][]byte{JSON: []byte(" [" + tc.text + ",{\"id\":1} ]\n"), CBOR: asCBOR(t, "["+tc.text+",{\"id\":1}]")} {
			got, array := Decode(enc, frame, nil)
			if !array || len(got) != 2 || !reflect.DeepEqual(got[0], tc.want) || got[1].Bad != ErrCommand || got[1].ID != 1 {
				t.Errorf("%d %s in an array: %+v", enc, tc.text, got)
			}
		}
	}
	for text, want := range map[string]string{
		`"json":{"a":[1, 2]}`: `{"a":[1, 2]}`, `"json":null`: "null", `"base64":"AP8="`: "\x00\xff", `"base64":""`: "", `"data":null`: "", `"x":1`: "",
	} {
		got, _ := Decode(JSON, []byte(`{"op":"publish",`+text+`}`), nil)
		if string(got[0].Payload) != want || got[0].Bad != nil {
			t.Errorf("%s: %+v", text, got)
		}
	}
	frame, _ := cbor.Marshal(map[string]any{"op": "publish", "data": []byte{0, 0xFF}})
	if got, _ := Decode(CBOR, frame, nil); string(got[0].Payload) != "\x00\xff" || got[0].Bad != nil {
		t.Errorf("data: %+v", got)
	}
}

// TestBadCommands: each gets the code of the contract, and its id when that can be read.
func TestBadCommands(t *testing.T) {
	many := strings.Repeat(`["a","b"],`, PropertiesMax) + `["a","b"]`
	acks := strings.Repeat(`1,`, AcksMax) + `1`
	for _, tc := range []struct {
		text string
		id   uint64
		code string
		says string
	}{
		{`{}`, 0, "bad_command", "op"}, {`{"id":1}`, 1, "bad_command", "op"}, {`{"id":2,"op":"fly"}`, 2, "bad_command", "op"}, {`3`, 0, "bad_command", ""},
		{`"ping"`, 0, "bad_command", ""}, {`null`, 0, "bad_command", ""}, {`{"id":3,"op":7}`, 3, "bad_command", "op must be a string"},
		{`{"op":"ping"}`, 0, "bad_command", "id"}, {`{"id":0,"op":"ping"}`, 0, "bad_command", "id"}, {`{"id":-1,"op":"ping"}`, 0, "bad_command", "id"},
		{`{"id":1.5,"op":"ping"}`, 0, "bad_command", "id"}, {`{"id":"1","op":"ping"}`, 0, "bad_command", "id"},
		{`{"id":9007199254740992,"op":"ack","ack":1}`, 0, "bad_command", "id"},
		{`{"op":"publish","topic":"a","qos":1}`, 0, "bad_command", "id"},
		{`{"id":4,"op":"publish","qos":2}`, 4, "bad_command", "qos"}, {`{"id":4,"op":"publish","qos":-1}`, 4, "bad_command", "qos"},
		{`{"id":4,"op":"publish","retain":1}`, 4, "bad_command", "retain must be true or false"},
		{`{"id":4,"op":"publish","expiry_s":4294967296}`, 4, "bad_command", "expiry_s"},
		{`{"id":4,"op":"publish","topic":["a"]}`, 4, "bad_command", "topic"},
		{`{"id":4,"op":"publish","properties":{"a":"b"}}`, 4, "bad_command", "properties"},
		{`{"id":4,"op":"publish","properties":[["a"]]}`, 4, "bad_command", "properties"},
		{`{"id":4,"op":"publish","properties":[` + many + `]}`, 4, "bad_command", "properties"},
		{`{"id":4,"op":"connect","down_qos":2}`, 4, "bad_command", "down_qos"}, {`{"id":4,"op":"connect","inflight":0}`, 4, "bad_command", "inflight"},
		{`{"id":4,"op":"connect","inflight":65536}`, 4, "bad_command", "inflight"}, {`{"id":4,"op":"subscribe","retain_handling":3}`, 4, "bad_command", "retain_handling"},
		{`{"id":4,"op":"ack"}`, 4, "bad_command", "ack"}, {`{"id":4,"op":"ack","acks":[` + acks + `]}`, 4, "bad_command", "acks"},
		{`{"id":5,"op":"publish","text":"a","base64":"YQ=="}`, 5, "bad_payload", ""}, {`{"id":5,"op":"publish","base64":"!"}`, 5, "bad_payload", ""},
		{`{"id":5,"op":"publish","json":1,"text":""}`, 5, "bad_payload", ""},
	} {
		for enc, frame := range map[Encoding][]byte{JSON: []byte(tc.text), CBOR: asCBOR(t, tc.text)} {
			got, array := Decode(enc, frame, nil)
			if array || len(got) != 1 || got[0].ID != tc.id || got[0].Bad == nil || got[0].Bad.Code != tc.code || !strings.Contains(got[0].Bad.Message, tc.says) {
				t.Errorf("%d %.90s: %+v %+v", enc, tc.text, got, got[0].Bad)
			}
		}
	}
	if got, _ := Decode(JSON, []byte(`{"id":5,"op":"publish","data":"a"}`), nil); got[0].Bad != ErrPayload {
		t.Errorf("data in JSON: %+v", got)
	}
	for _, key := range []string{"json", "base64"} {
		if got, _ := Decode(CBOR, asCBOR(t, `{"op":"publish","`+key+`":"a"}`), nil); got[0].Bad != ErrPayload {
			t.Errorf("%s in CBOR: %+v", key, got)
		}
	}
}

// TestBadFrames: what is no command at all, and arrays that are too long.
func TestBadFrames(t *testing.T) {
	ping := `{"id":1,"op":"ping"}`
	long := strings.Repeat(ping+",", BatchMax) + ping
	for _, frame := range []string{"", " ", "x", "[", "[1", `[{"id":1,"op":"ping"}] x`, `[{"id":1,"op":"ping"},]`, ping + ping, `{"id":1,"op":"ping"`} {
		if got, array := Decode(JSON, []byte(frame), nil); array || len(got) != 1 || got[0].Bad != ErrCommand {
			t.Errorf("%q: %+v", frame, got)
		}
	}
	for _, frame := range []string{
		"", "\xff", "\xa1", "\x81", "\xbf\xff", "\x9f\xff", "\x9f\xa0\xff", // lengths that are told at the end
		"\xa2\x62op\x64ping\x62op\x64ping",     // a key that comes twice
		"\xa2\x62id\x01\x62op\x7f\x64ping\xff", // a text in pieces
		"\xc0\xa1\x62op\x64ping",               // a tag
		"\xa1\x62op\x61\xff",                   // not UTF-8
		"\xa0\xa0", "\xbb\xff\xff\xff\xff\xff\xff\xff\xff", "\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
		"\xa1\x61x" + strings.Repeat("\x81", depthMax) + "\x01", // too deep
	} {
		if got, array := Decode(CBOR, []byte(frame), nil); array || len(got) != 1 || got[0].Bad == nil || got[0].Bad.Code != "bad_command" && got[0].Bad != ErrBatch {
			t.Errorf("%x: %+v", frame, got)
		}
	}
	// A name in another case is another name.
	if got, _ := Decode(CBOR, asCBOR(t, `{"ID":1,"OP":"ping"}`), nil); got[0].Bad != ErrCommand {
		t.Errorf("names in capitals: %+v", got)
	}
	for enc, frame := range map[Encoding][]byte{JSON: []byte("[" + long + "]"), CBOR: asCBOR(t, "["+long+"]")} {
		if got, _ := Decode(enc, frame, nil); len(got) != 1 || got[0].Bad != ErrBatch {
			t.Errorf("%d: an array of %d: %+v", enc, BatchMax+1, got)
		}
		got, array := Decode(enc, frame[:0], nil)
		if array || len(got) != 1 {
			t.Errorf("%d: nothing: %+v", enc, got)
		}
	}
	if got, array := Decode(JSON, []byte("[]"), nil); !array || len(got) != 0 {
		t.Errorf("an empty array: %+v", got)
	}
	if got, _ := Decode(JSON, []byte("["+long[:len(long)-len(ping)-1]+"]"), nil); len(got) != BatchMax {
		t.Errorf("an array of %d: %d", BatchMax, len(got))
	}
}

// rewrite is a command as a map again.
func rewrite(c *Command) map[string]any {
	m := map[string]any{
		"topic": c.Topic, "filter": c.Filter, "call": c.Call, "qos": c.QoS, "retain": c.Retain, "content_type": c.ContentType,
		"no_local": c.NoLocal, "retain_as_published": c.RetainAsPublished, "retain_handling": c.RetainHandling, "presence": c.Presence,
		"timeout_ms": c.TimeoutMS, "session": c.Session, "token": c.Token, "resume_s": c.ResumeSec, "down_qos": c.DownQoS, "batch": c.Batch,
	}
	for name, op := range ops {
		if op == c.Op {
			m["op"] = name
		}
	}
	if c.ID != 0 {
		m["id"] = c.ID
	}
	if c.HasExpiry {
		m["expiry_s"] = c.ExpirySec
	}
	if c.Inflight != 0 {
		m["inflight"] = c.Inflight
	}
	if c.Properties != nil {
		m["properties"] = c.Properties
	}
	if c.Acks != nil {
		m["acks"] = c.Acks
	}
	return m
}

// meansTheSame writes a good command again in both encodings and reads it back.
func meansTheSame(t *testing.T, c *Command) {
	if c.Bad != nil {
		return
	}
	m := rewrite(c)
	if c.Payload != nil {
		m["data"] = c.Payload
	}
	frame, err := cbor.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := Decode(CBOR, frame, nil)
	if len(got) != 1 || !reflect.DeepEqual(got[0], *c) {
		t.Fatalf("CBOR %x: %+v, want %+v", frame, got, *c)
	}
	delete(m, "data")
	if c.Payload != nil {
		m["base64"] = c.Payload // encoding/json writes bytes as base64
	}
	if frame, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	got, _ = Decode(JSON, frame, nil)
	if len(got) != 1 || !reflect.DeepEqual(got[0], *c) {
		t.Fatalf("JSON %s: %+v, want %+v", frame, got, *c)
	}
}

func FuzzJSON(f *testing.F) {
	for _, tc := range commandTable {
		f.Add([]byte(tc.text))
		f.Add([]byte("[" + tc.text + "," + tc.text + "]"))
	}
	f.Fuzz(func(t *testing.T, frame []byte) { readsAndRewrites(t, JSON, frame) })
}

func FuzzCBOR(f *testing.F) {
	for _, tc := range commandTable {
		f.Add(asCBOR(f, tc.text))
		f.Add(asCBOR(f, "["+tc.text+","+tc.text+"]"))
	}
	f.Fuzz(func(t *testing.T, frame []byte) { readsAndRewrites(t, CBOR, frame) })
}

func readsAndRewrites(t *testing.T, enc Encoding, frame []byte) {
	list, array := Decode(enc, frame, nil)
	if !array && len(list) != 1 || len(list) > BatchMax {
		t.Fatalf("%d commands, array %v", len(list), array)
	}
	for i := range list {
		meansTheSame(t, &list[i])
	}
	_ = fmt.Sprint(list)
}
