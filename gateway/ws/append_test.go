package ws

import (
	"bytes"
	"strings"
	"testing"
)

// lengths are those around which the form of a header changes.
var lengths = []int{0, 1, 2, 124, 125, 126, 127, 1000, 65535, 65536, 65537, 200000}

func TestAppendRoundTrip(t *testing.T) {
	lim := &Limits{}
	for _, n := range lengths {
		payload := bytes.Repeat([]byte("payload!"), n/8+1)[:n]
		original := bytes.Clone(payload)

		down := AppendFrame([]byte("before"), OpBinary, payload)
		var client ClientReader
		ch, size, code := client.Next(down[6:], lim)
		if code != 0 || size != len(down)-6 || !ch.Last || ch.Op != OpBinary || !bytes.Equal(ch.Payload, payload) {
			t.Errorf("AppendFrame of %d: size %d, code %v, last %v", n, size, code, ch.Last)
		}

		up := AppendMasked([]byte("before"), OpText, payload, testMask)
		var server Reader
		ch, size, code = server.Next(up[6:], lim)
		if code != 0 || size != len(up)-6 || !ch.Last || ch.Op != OpText || !bytes.Equal(ch.Payload, original) {
			t.Errorf("AppendMasked of %d: size %d, code %v, last %v", n, size, code, ch.Last)
		}
		if !bytes.Equal(payload, original) {
			t.Errorf("AppendMasked of %d changed its input", n)
		}
	}
}

// TestBeginEnd checks that a frame built in place is byte for byte the one appended at once, whatever the guess was.
func TestBeginEnd(t *testing.T) {
	for _, n := range lengths {
		payload := bytes.Repeat([]byte("payload!"), n/8+1)[:n]
		want := AppendFrame([]byte("before"), OpBinary, payload)
		got, mark := BeginFrame([]byte("before"))
		for rest := payload; len(rest) > 0; {
			k := min(1+len(rest)/2, len(rest))
			got, rest = append(got, rest[:k]...), rest[k:]
		}
		if got = EndFrame(got, mark, OpBinary); !bytes.Equal(got, want) {
			t.Errorf("length %d: a frame of %d bytes, want %d", n, len(got), len(want))
		}
	}
}

func TestControlFrameTooLong(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("a ping of 126 bytes was appended")
		}
	}()
	AppendFrame(nil, OpPing, make([]byte, 126))
}

func TestAllocations(t *testing.T) {
	payload := bytes.Repeat([]byte("x"), 300)
	dst := make([]byte, 0, 4096)
	in := AppendMasked(nil, OpText, payload, testMask)
	work := make([]byte, len(in))
	lim := &Limits{}
	policy, partial := &Policy{}, []byte("GET /mqtt HTTP/1.1\r\nHost: a")
	for name, f := range map[string]func(){
		"AppendFrame":  func() { dst = AppendFrame(dst[:0], OpBinary, payload) },
		"AppendMasked": func() { dst = AppendMasked(dst[:0], OpBinary, payload, testMask) },
		"BeginEnd": func() {
			d, mark := BeginFrame(dst[:0])
			dst = EndFrame(append(d, payload[:50]...), mark, OpBinary)
		},
		"AppendClose": func() { dst = AppendClose(dst[:0], PolicyViolation, "no") },
		"ParseClose":  func() { ParseClose([]byte("\x03\xe8bye")) },
		"Next": func() {
			var r Reader
			copy(work, in)
			if _, n, code := r.Next(work, lim); n != len(in) || code != 0 {
				panic(code)
			}
		},
		"Upgrade, not yet whole": func() {
			_, _, _, _ = policy.Upgrade(dst[:0], partial)
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestAppendClose(t *testing.T) {
	for _, c := range []struct {
		code   CloseCode
		reason string
		want   string
	}{
		{CloseNormal, "", "\x88\x02\x03\xe8"},
		{GoingAway, "bye", "\x88\x05\x03\xe9bye"},
		{NoStatus, "ignored", "\x88\x00"},
		{0, "", "\x88\x00"},
		{4999, "", "\x88\x02\x13\x87"},
		{ProtocolError, strings.Repeat("x", 200), "\x88\x7d\x03\xea" + strings.Repeat("x", 123)},
		{ProtocolError, strings.Repeat("x", 122) + "é", "\x88\x7c\x03\xea" + strings.Repeat("x", 122)},
	} {
		if got := AppendClose(nil, c.code, c.reason); string(got) != c.want {
			t.Errorf("%v %q: % x, want % x", c.code, c.reason, got, c.want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Fatal("code 1006 was sent")
		}
	}()
	AppendClose(nil, 1006, "")
}

func TestParseClose(t *testing.T) {
	for _, c := range []struct {
		in     string
		code   CloseCode
		reason string
		bad    CloseCode
	}{
		{in: "", code: CloseNormal},
		{in: "\x03", bad: ProtocolError},
		{in: "\x03\xe8", code: CloseNormal},
		{in: "\x03\xe9drain", code: GoingAway, reason: "drain"},
		{in: "\x03\xf6", code: BadGateway},
		{in: "\x0b\xb8own", code: 3000, reason: "own"},
		{in: "\x13\x87", code: 4999},
		{in: "\x00\x00", bad: ProtocolError},
		{in: "\x03\xe7", bad: ProtocolError}, // 999
		{in: "\x03\xec", bad: ProtocolError}, // 1004
		{in: "\x03\xed", bad: ProtocolError}, // 1005
		{in: "\x03\xee", bad: ProtocolError}, // 1006
		{in: "\x03\xf7", bad: ProtocolError}, // 1015
		{in: "\x07\xcf", bad: ProtocolError}, // 1999
		{in: "\x0b\xb7", bad: ProtocolError}, // 2999
		{in: "\x13\x88", bad: ProtocolError}, // 5000
		{in: "\xff\xff", bad: ProtocolError},
		{in: "\x03\xe8\xff", bad: InvalidPayload},
		{in: "\x03\xe8\xe2\x82", bad: InvalidPayload},
	} {
		code, reason, bad := ParseClose([]byte(c.in))
		if code != c.code || string(reason) != c.reason || bad != c.bad {
			t.Errorf("% x: %v %q %v, want %v %q %v", c.in, code, reason, bad, c.code, c.reason, c.bad)
		}
	}
}

func TestCloseCodeString(t *testing.T) {
	for code, want := range map[CloseCode]string{ProtocolError: "1002 protocol error", 4001: "4001"} {
		if got := code.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
