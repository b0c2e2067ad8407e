package gateway

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/fxamacker/cbor/v2"
	"github.com/tidegate/tidegate/gateway/command"
)

// talker is a device with commands. A test writes JSON in either encoding: in CBOR whatever payload there is becomes data.
type talker struct {
	t       testing.TB
	c       *websocket.Conn
	enc     command.Encoding
	session string
	waiting []any // items of an array that are not yet heard
}

// encodings are the subprotocols, for tests that hold in both.
var encodings = map[string]command.Encoding{protocolJSON: command.JSON, protocolCBOR: command.CBOR}

// opens does the handshake and nothing else.
func (r *rig) opens(protocol, id string) *talker {
	r.t.Helper()
	c := r.dialWS("/ws/"+id, protocol)
	if c.Subprotocol() != protocol {
		r.t.Fatalf("subprotocol %q", c.Subprotocol())
	}
	return &talker{t: r.t, c: c, enc: encodings[protocol]}
}

// talks connects with further fields of connect, such as `"resume_s":60`.
func (r *rig) talks(protocol, id string, fields ...string) *talker {
	r.t.Helper()
	j := r.opens(protocol, id)
	j.connects(fields...)
	if r.durable() && r.sum().sessionsLive > 0 { // no answer waits for the tails, as a SUBACK does
		r.eventually("the tails run", func() bool {
			x := r.gw.interests
			x.mu.Lock()
			defer x.mu.Unlock()
			return x.tails.on || x.tails.shards == 0
		})
	}
	return j
}

func (r *rig) json(id string, fields ...string) *talker {
	r.t.Helper()
	return r.talks(protocolJSON, id, fields...)
}

// connects sends connect and returns the answer.
func (j *talker) connects(fields ...string) map[string]any {
	j.t.Helper()
	j.says(`{"id":1,"op":"connect"` + strings.Join(append([]string{""}, fields...), ",") + `}`)
	answer := j.next()
	if answer["ok"] != true || answer["id"] != 1.0 {
		j.t.Fatalf("connect: %v", answer)
	}
	j.session, _ = answer["session"].(string)
	return answer
}

// says sends a frame that is written as JSON.
func (j *talker) says(text string) {
	j.t.Helper()
	if err := j.trySay(text); err != nil {
		j.t.Fatal(err)
	}
}

func (j *talker) trySay(text string) error {
	kind, frame := websocket.MessageText, []byte(text)
	if j.enc == command.CBOR {
		var v any
		if err := json.Unmarshal(frame, &v); err != nil {
			return err
		}
		kind, frame = websocket.MessageBinary, mustCBOR(payloadNumbers(payloads(v, func(p []byte) any { return p })))
	}
	ctx, cancel := patient()
	defer cancel()
	return j.c.Write(ctx, kind, frame)
}

func mustCBOR(v any) []byte {
	out, err := cbor.Marshal(v)
	if err != nil {
		panic(err)
	}
	return out
}

// numbers makes whole numbers of what encoding/json reads as floating point.
func payloadNumbers(v any) any {
	switch v := v.(type) {
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	case map[string]any:
		for k := range v {
			v[k] = payloadNumbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = payloadNumbers(v[i])
		}
	}
	return v
}

// payloads puts what to makes of the payload under the key data, in v or each of its items.
func payloads(v any, to func([]byte) any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = payloads(v[i], to)
		}
	case map[string]any:
		if j, ok := v["json"]; ok {
			text, _ := json.Marshal(j)
			v["data"] = to(text)
		}
		if s, ok := v["text"].(string); ok {
			v["data"] = to([]byte(s))
		}
		if s, ok := v["base64"].(string); ok {
			p, _ := base64.StdEncoding.DecodeString(s)
			v["data"] = to(p)
		}
		if p, ok := v["data"].([]byte); ok {
			v["data"] = to(p)
		}
		delete(v, "json")
		delete(v, "text")
		delete(v, "base64")
	}
	return v
}

func inHex(p []byte) any { return hex.EncodeToString(p) }

// frame is the next frame, with payloads in hex under the key data.
func (j *talker) frame() (any, error) {
	ctx, cancel := patient()
	defer cancel()
	kind, p, err := j.c.Read(ctx)
	if err != nil {
		return nil, err
	}
	var v any
	if j.enc == command.JSON {
		if err := json.Unmarshal(p, &v); err != nil || kind != websocket.MessageText {
			return nil, fmt.Errorf("%v %q: %w", kind, p, err)
		}
		return payloads(v, inHex), nil
	}
	if err := cbor.Unmarshal(p, &v); err != nil || kind != websocket.MessageBinary {
		return nil, fmt.Errorf("%v %x: %w", kind, p, err)
	}
	text, err := json.Marshal(payloads(named(v), inHex))
	if err != nil {
		return nil, err
	}
	return v, errors.Join(json.Unmarshal(text, &v))
}

// named makes of every map one with names.
func named(v any) any {
	switch v := v.(type) {
	case map[any]any:
		m := map[string]any{}
		for k, e := range v {
			m[fmt.Sprint(k)] = named(e)
		}
		return m
	case []any:
		for i := range v {
			v[i] = named(v[i])
		}
	}
	return v
}

// tryNext is the next item, from an array or alone.
func (j *talker) tryNext() (map[string]any, error) {
	for len(j.waiting) == 0 {
		v, err := j.frame()
		if err != nil {
			return nil, err
		}
		if list, ok := v.([]any); ok {
			j.waiting = list
			continue
		}
		j.waiting = []any{v}
	}
	item, ok := j.waiting[0].(map[string]any)
	j.waiting = j.waiting[1:]
	if !ok {
		return nil, errors.New("not an object")
	}
	return item, nil
}

func (j *talker) next() map[string]any {
	j.t.Helper()
	item, err := j.tryNext()
	if err != nil {
		j.t.Fatal(err)
	}
	return item
}

// hears expects the next item to be this, whatever form its payload has.
func (j *talker) hears(want string) {
	j.t.Helper()
	j.same(j.next(), want)
}

func (j *talker) same(got any, want string) {
	j.t.Helper()
	var w any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		j.t.Fatal(err)
	}
	if !reflect.DeepEqual(got, payloads(w, inHex)) {
		j.t.Errorf("heard %v, want %s", got, want)
	}
}

// asks sends a command and expects the answer next.
func (j *talker) asks(command, want string) {
	j.t.Helper()
	j.says(command)
	j.hears(want)
}

// fails expects a refusal of the command with this id.
func (j *talker) fails(id uint64, code string, temporary bool) {
	j.t.Helper()
	got := j.next()
	e, _ := got["error"].(map[string]any)
	var wantID any
	if id != 0 {
		wantID = float64(id)
	}
	if got["id"] != wantID || got["ok"] != nil || e["code"] != code || e["temporary"] != temporary || e["message"] == "" {
		j.t.Errorf("heard %v, want error %s for %d", got, code, id)
	}
}

// message expects a message with this payload, acknowledges it if it asks for that, and returns it.
func (j *talker) message(topic, payload string) map[string]any {
	j.t.Helper()
	m := j.next()
	if m["op"] != "message" || m["topic"] != topic || m["data"] != inHex([]byte(payload)) {
		j.t.Fatalf("heard %v, want %q %q", m, topic, payload)
	}
	if ack, ok := m["ack"]; ok {
		j.says(fmt.Sprintf(`{"op":"ack","ack":%v}`, ack))
	}
	return m
}

// ends is the close code and reason text with which the gateway ends the connection.
func (j *talker) ends() (websocket.StatusCode, string) {
	j.t.Helper()
	for {
		if _, err := j.tryNext(); err != nil {
			var closed websocket.CloseError
			if !errors.As(err, &closed) {
				j.t.Fatalf("ended without a close frame: %v", err)
			}
			return closed.Code, closed.Reason
		}
	}
}
