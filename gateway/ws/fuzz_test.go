package ws

import (
	"bytes"
	"testing"
)

// fuzzLimits are small, so that the fuzzer finds them.
var fuzzLimits = Limits{MessageBytesMax: 300, FragmentsMax: 5}

// FuzzReader: no bytes make it panic, and however they are cut the result is the same.
func FuzzReader(f *testing.F) {
	for _, c := range append(readerCases(), badCases()...) {
		if len(c.stream) < 1000 {
			f.Add(c.stream, uint16(len(c.stream)/2))
		}
	}
	f.Fuzz(func(t *testing.T, stream []byte, cut uint16) {
		if len(stream) > 4096 {
			return
		}
		var r Reader
		var whole record
		whole.feed(&r, stream, &fuzzLimits)

		at := min(int(cut), len(stream))
		for _, pieces := range [][][]byte{{stream[:at], stream[at:]}, single(stream)} {
			var r Reader
			var got record
			for _, p := range pieces {
				got.feed(&r, p, &fuzzLimits)
			}
			if diff := got.diff(&whole); diff != "" {
				t.Fatalf("cut at %d of % x: %s", at, stream, diff)
			}
		}
		var c ClientReader
		var client record
		client.feed(&c, stream, &fuzzLimits)
	})
}

// single cuts p into single bytes.
func single(p []byte) [][]byte {
	pieces := make([][]byte, len(p))
	for i := range p {
		pieces[i] = p[i : i+1]
	}
	return pieces
}

// FuzzRoundTrip: what is appended is read back, both ways.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("hello"), []byte{1, 2, 3, 4}, true)
	f.Add([]byte{}, []byte{}, false)
	f.Fuzz(func(t *testing.T, payload, key []byte, binary bool) {
		op := OpText
		if binary {
			op = OpBinary
		}
		var mask [4]byte
		copy(mask[:], key)
		var want, up, down record
		var server Reader
		var client ClientReader
		want.feed(&server, frame(bitFin|byte(op), &testMask, string(payload)), &Limits{})
		up.feed(new(Reader), AppendMasked(nil, op, payload, mask), &Limits{})
		down.feed(&client, AppendFrame(nil, op, payload), &Limits{})
		if diff := up.diff(&want); diff != "" {
			t.Fatalf("up: %s", diff)
		}
		if diff := down.diff(&want); diff != "" {
			t.Fatalf("down: %s", diff)
		}
		built, mark := BeginFrame(nil)
		if built = EndFrame(append(built, payload...), mark, op); !bytes.Equal(built, AppendFrame(nil, op, payload)) {
			t.Fatal("a frame built in place differs from one appended")
		}
	})
}

// FuzzUpgrade: no bytes make it panic, the verdict does not depend on the cut, and every answer is HTTP.
func FuzzUpgrade(f *testing.F) {
	for _, c := range upgradeCases() {
		f.Add([]byte(c.in), uint16(len(c.in)/2))
	}
	f.Add([]byte(request("GET /ws/a HTTP/1.1", "Sec-WebSocket-Extensions: x;y=\"z\", permessage-deflate; server_max_window_bits=15")), uint16(20))
	p := deflatePolicy()
	p.HeaderBytesMax = 1024
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		original := bytes.Clone(in)
		out, _, n, status := p.Upgrade(nil, in)
		if !bytes.Equal(in, original) {
			t.Fatal("the input was changed")
		}
		switch {
		case status == 0 && (n != 0 || len(out) != 0), status == 101 && n == 0, status != 101 && n != 0, (status == 0) != (len(out) == 0):
			t.Fatalf("status %d, n %d, %d bytes of answer", status, n, len(out))
		case n > 1024 || (status == 0 && len(in) > 1024):
			t.Fatalf("n %d, status %d: beyond the limit", n, status)
		case status != 0 && !bytes.HasPrefix(out, []byte("HTTP/1.1 ")):
			t.Fatalf("answer %q", out)
		}
		at := min(int(cut), len(in))
		if early, _, _, s := p.Upgrade(nil, in[:at]); s != 0 && (s != status || !bytes.Equal(early, out)) {
			t.Fatalf("cut at %d: status %d, whole %d", at, s, status)
		}
	})
}

// FuzzParseHandshake: no answer of a server makes a client panic.
func FuzzParseHandshake(f *testing.F) {
	out, _, _, _ := testPolicy().Upgrade(nil, []byte(request(getMQTT)))
	f.Add(out)
	f.Add([]byte("HTTP/1.1 404 Not Found\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if n, _, status, err := ParseHandshake(in, testKey); n > len(in) || (n > 0 && (status == 0 || err != nil)) {
			t.Fatalf("n %d of %d, status %d, %v", n, len(in), status, err)
		}
	})
}
