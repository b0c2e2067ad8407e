package bus

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "d1", " ", "a b", "%", "%41", "x\r\nTG: 2", "ü", "a=b", "\x00\x7f"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		for limit, never := range map[uint8]string{namePlain: " =", wordPlain: " ", textPlain: ""} {
			text := string(appendEscaped([]byte("x"), value, limit))[1:]
			if back := appendUnescaped([]byte("y"), text); string(back[1:]) != string(value) {
				t.Fatalf("%q → %q → %q", value, text, back[1:])
			}
			if strings.ContainsAny(text, never) && never != "" || strings.TrimSpace(text) != text {
				t.Fatalf("%q → %q", value, text)
			}
			for _, c := range []byte(text) {
				if c < ' ' || c >= 0x7f {
					t.Fatalf("%q → %q", value, text)
				}
			}
		}
	})
}

func TestEncodeAllocatesNothing(t *testing.T) {
	e := newEncoder(&Bus{options: Options{HeaderNode: true, HeaderUser: true, Node: "n 1"}})
	m := &Message{Topic: []byte("devices/a b/up"), ClientID: []byte("a b"), User: []byte("u%"), QoS: 1, Retain: true, Payload: make([]byte, 64)}
	encode := func() {
		if msg, v := e.encode(m, 1000); v != fits || msg.Header["TG"][0] != "1r c=a%20b u=u%25 n=n%201" || msg.Subject != "devices.a/20b.up" {
			t.Fatalf("%v %+v", v, msg)
		}
	}
	encode()
	if n := testing.AllocsPerRun(100, encode); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// A message with fields must leave nothing behind for the next one without.
func TestEncoderForgetsFields(t *testing.T) {
	e := newEncoder(&Bus{})
	rich := &Message{Topic: []byte("a"), Fields: Fields{HasExpiry: true, ContentType: []byte("t"), Users: make([]UserProperty, 2)}}
	for range 2 {
		if msg, _ := e.encode(rich, 0); len(msg.Header) != 4 || len(msg.Header["TG-User"]) != 2 {
			t.Fatalf("%v", msg.Header)
		}
		if msg, _ := e.encode(&Message{Topic: []byte("a")}, 0); len(msg.Header) != 1 {
			t.Fatalf("%v", msg.Header)
		}
	}
}

func TestHeaderSizeIsExact(t *testing.T) {
	e := newEncoder(&Bus{})
	m := &Message{Topic: []byte("a"), ClientID: []byte("d 1"), Fields: Fields{
		HasExpiry: true, ExpirySec: 77, HasFormat: true, ContentType: []byte(" x "), ResponseTopic: []byte("b/*"), CorrelationData: []byte("1"),
		Users: []UserProperty{{Name: []byte("a"), Value: bytes.Repeat([]byte("v"), 100)}},
	}}
	msg, _ := e.encode(m, 0)
	block := len("NATS/1.0\r\n\r\n")
	for name, values := range msg.Header {
		for _, v := range values {
			block += len(name) + len(v) + len(": \r\n")
		}
	}
	if _, v := e.encode(m, block); v != fits {
		t.Fatalf("%d bytes of headers do not fit in %d", block, block)
	}
	if _, v := e.encode(m, block-1); v != longPayload {
		t.Fatalf("%d bytes of headers fit in %d", block, block-1)
	}
}

func TestFlagsOfTG(t *testing.T) {
	e := newEncoder(&Bus{})
	var d decoder
	for text, m := range map[string]Message{
		"0": {}, "1r": {QoS: 1, Retain: true}, "2d": {QoS: 2, Stored: true}, "1rd": {QoS: 1, Retain: true, Stored: true},
	} {
		value := string(e.appendTG(nil, &m))
		var in Inbound
		d.tg(&in, value)
		if value != text || !in.FromDevice || in.QoS != m.QoS || in.Retain != m.Retain || in.Stored != m.Stored {
			t.Errorf("%s: %q, %+v", text, value, in)
		}
	}
	site := newEncoder(&Bus{options: Options{Leaf: &Leaf{Domain: "plant"}}}) // stored there and not elsewhere
	value := string(site.appendTG(nil, &Message{QoS: 1, Stored: true}))
	if value != "1d s=plant" {
		t.Errorf("of a site: %q", value)
	}
	for here, want := range map[string]bool{"": false, "other": false, "plant": true} {
		d, in := decoder{site: here}, Inbound{}
		if d.tg(&in, value); !in.FromDevice || in.Stored != want {
			t.Errorf("%q at %q: %+v", value, here, in)
		}
	}
	if value := string(site.appendTG(nil, &Message{QoS: 1})); value != "1" {
		t.Errorf("of a site, not stored: %q", value)
	}
	for _, text := range []string{"", "3", "1dr", "1x", "1rdd"} {
		var in Inbound
		if d.tg(&in, text); in.FromDevice {
			t.Errorf("%q is taken for a gateway's", text)
		}
	}
}
