package ws

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"
)

func TestReaderSize(t *testing.T) {
	if size := unsafe.Sizeof(Reader{}); size > 32 {
		t.Fatalf("Reader has %d bytes, 32 are promised", size)
	}
	if size := unsafe.Sizeof(ClientReader{}); size > 32 {
		t.Fatalf("ClientReader has %d bytes, 32 are promised", size)
	}
}

// record is what a receiver makes of a stream, independent of how it was cut: whole messages and control frames in
// order, and the close code that ended it.
type record struct {
	got  []string
	open []byte // the message at hand
	code CloseCode
	tail []byte // not yet consumed
}

type nexter interface {
	Next(p []byte, lim *Limits) (Chunk, int, CloseCode)
}

// feed gives a receiver the next bytes of a stream, as the loop does: behind the kept tail.
func (rec *record) feed(r nexter, p []byte, lim *Limits) {
	if rec.code != 0 {
		return
	}
	p = append(rec.tail, p...)
	for {
		ch, n, code := r.Next(p, lim)
		if code != 0 {
			rec.code = code
			return
		}
		if n == 0 {
			rec.tail = bytes.Clone(p)
			return
		}
		p = p[n:]
		switch {
		case ch.Op.IsControl():
			rec.got = append(rec.got, fmt.Sprintf("%d %q", ch.Op, ch.Payload))
		default:
			rec.open = append(rec.open, ch.Payload...)
			if ch.Last {
				rec.got = append(rec.got, fmt.Sprintf("%d %q", ch.Op, rec.open))
				rec.open = rec.open[:0]
			}
		}
	}
}

func (rec *record) diff(want *record) string {
	if a, b := strings.Join(rec.got, "\n"), strings.Join(want.got, "\n"); a != b {
		return fmt.Sprintf("got\n%s\nwant\n%s", a, b)
	}
	if rec.code != want.code {
		return fmt.Sprintf("close code %v, want %v", rec.code, want.code)
	}
	return ""
}

var testMask = [4]byte{0x37, 0xFA, 0x21, 0x3D}

// frame builds one frame by hand, with any header bits: the encoder under test only makes right ones.
func frame(first byte, mask *[4]byte, payload string) []byte {
	out := []byte{first}
	var bit byte
	if mask != nil {
		bit = bitMasked
	}
	switch n := len(payload); {
	case n < 126:
		out = append(out, bit|byte(n))
	case n < 1<<16:
		out = append(out, bit|126, byte(n>>8), byte(n))
	default:
		out = append(out, bit|127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	if mask == nil {
		return append(out, payload...)
	}
	out = append(out, mask[:]...)
	for i := range len(payload) {
		out = append(out, payload[i]^mask[i&3])
	}
	return out
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

// masked is a right frame of a client.
func masked(fin bool, op Op, payload string) []byte {
	first := byte(op)
	if fin {
		first |= bitFin
	}
	return frame(first, &testMask, payload)
}

type readerCase struct {
	name   string
	stream []byte
	want   []string
	code   CloseCode
	lim    Limits
}

func readerCases() []readerCase {
	long16 := strings.Repeat("0123456789abcdef", 20)
	long64 := strings.Repeat("0123456789abcdef", 5000)
	return []readerCase{
		{name: "text", stream: masked(true, OpText, "hello"), want: []string{`1 "hello"`}},
		{name: "binary", stream: masked(true, OpBinary, "\x00\xff"), want: []string{`2 "\x00\xff"`}},
		{name: "empty messages", stream: join(masked(true, OpText, ""), masked(true, OpBinary, "")), want: []string{`1 ""`, `2 ""`}},
		{name: "126 bytes", stream: masked(true, OpBinary, long16[:126]), want: []string{fmt.Sprintf("2 %q", long16[:126])}},
		{name: "length 16", stream: masked(true, OpBinary, long16), want: []string{fmt.Sprintf("2 %q", long16)}},
		{name: "length 64", stream: masked(true, OpText, long64), want: []string{fmt.Sprintf("1 %q", long64)}},
		{
			name:   "fragments",
			stream: join(masked(false, OpText, "a"), masked(false, OpContinuation, ""), masked(false, OpContinuation, "bc"), masked(true, OpContinuation, "")),
			want:   []string{`1 "abc"`},
		},
		{
			name: "control frames between fragments",
			stream: join(masked(false, OpBinary, "ab"), masked(true, OpPing, "p"), masked(false, OpContinuation, "cd"),
				masked(true, OpPong, ""), masked(true, OpPing, strings.Repeat("x", 125)), masked(true, OpContinuation, "ef")),
			want: []string{`9 "p"`, `10 ""`, fmt.Sprintf("9 %q", strings.Repeat("x", 125)), `2 "abcdef"`},
		},
		{
			name:   "a rune over fragments with a ping inside",
			stream: join(masked(false, OpText, "\xf0\x9f"), masked(true, OpPing, "\xff"), masked(false, OpContinuation, "\x98"), masked(true, OpContinuation, "\x80")),
			want:   []string{`9 "\xff"`, "1 \"\U0001F600\""},
		},
		{name: "close", stream: masked(true, OpClose, "\x03\xe8bye"), want: []string{`8 "\x03\xe8bye"`}},
		{name: "binary is not checked", stream: masked(true, OpBinary, "\xc0\x80"), want: []string{`2 "\xc0\x80"`}},
		{name: "mask of zeros", stream: frame(0x82, &[4]byte{}, "plain"), want: []string{`2 "plain"`}},
		{name: "largest message", stream: join(masked(false, OpBinary, "12345"), masked(true, OpContinuation, "678")), lim: Limits{MessageBytesMax: 8}, want: []string{`2 "12345678"`}},
		{name: "limits are per message", stream: bytes.Repeat(masked(true, OpBinary, "1234"), 3), lim: Limits{MessageBytesMax: 4, FragmentsMax: 1}, want: []string{`2 "1234"`, `2 "1234"`, `2 "1234"`}},
	}
}

// badCases are row B9, B10 and class 20: every way a frame can be wrong, and the code that ends the connection.
func badCases() []readerCase {
	ok := masked(true, OpText, "ok")
	seen := []string{`1 "ok"`}
	raw := func(b ...byte) []byte { return join(ok, b) }
	return []readerCase{
		{name: "unmasked", stream: join(ok, frame(0x81, nil, "x")), want: seen, code: ProtocolError},
		{name: "unmasked empty", stream: raw(0x82, 0x00), want: seen, code: ProtocolError},
		{name: "rsv1, compressed", stream: join(ok, frame(0xC1, &testMask, "x")), want: seen, code: ProtocolError},
		{name: "rsv2", stream: join(ok, frame(0xA1, &testMask, "x")), want: seen, code: ProtocolError},
		{name: "rsv3 on control", stream: join(ok, frame(0x99, &testMask, "x")), want: seen, code: ProtocolError},
		{name: "opcode 3", stream: raw(0x83, 0x80), want: seen, code: ProtocolError},
		{name: "opcode 7", stream: raw(0x87, 0x80), want: seen, code: ProtocolError},
		{name: "opcode 11", stream: raw(0x8B, 0x80), want: seen, code: ProtocolError},
		{name: "opcode 15", stream: raw(0x8F, 0x80), want: seen, code: ProtocolError},
		{name: "ping of 126", stream: join(ok, frame(0x89, &testMask, strings.Repeat("x", 126))), want: seen, code: ProtocolError},
		{name: "close of 64 KiB", stream: join(ok, frame(0x88, &testMask, strings.Repeat("x", 1<<16))), want: seen, code: ProtocolError},
		{name: "fragmented ping", stream: join(ok, frame(0x09, &testMask, "x")), want: seen, code: ProtocolError},
		{name: "fragmented close", stream: join(ok, frame(0x08, &testMask, "")), want: seen, code: ProtocolError},
		{name: "64-bit length with the top bit", stream: raw(0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4), want: seen, code: ProtocolError},
		{name: "64-bit length of -1", stream: raw(0x82, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4), want: seen, code: ProtocolError},
		{name: "length 2^63-1", stream: raw(0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4), want: seen, code: TooBig},
		{name: "length 2^63-1 in a continuation", stream: join(ok, masked(false, OpBinary, "ab"), []byte{0x80, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4}), want: seen, code: TooBig},
		{name: "125 in 16 bits", stream: raw(0x82, 0xFE, 0, 125, 1, 2, 3, 4), want: seen, code: ProtocolError},
		{name: "65535 in 64 bits", stream: raw(0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 1, 2, 3, 4), want: seen, code: ProtocolError},
		{name: "continuation without start", stream: join(ok, masked(true, OpContinuation, "x")), want: seen, code: ProtocolError},
		{name: "continuation after the end", stream: join(ok, masked(false, OpText, "a"), masked(true, OpContinuation, "b"), masked(true, OpContinuation, "c")), want: []string{`1 "ok"`, `1 "ab"`}, code: ProtocolError},
		{name: "text inside a message", stream: join(ok, masked(false, OpText, "a"), masked(true, OpText, "b")), want: seen, code: ProtocolError},
		{name: "binary inside a message", stream: join(ok, masked(false, OpBinary, "a"), masked(false, OpBinary, "b")), want: seen, code: ProtocolError},
		{name: "frame over the limit", stream: join(ok, masked(true, OpBinary, "123456789")), lim: Limits{MessageBytesMax: 8}, want: seen, code: TooBig},
		{name: "message over the limit", stream: join(ok, masked(false, OpBinary, "12345"), masked(true, OpContinuation, "6789")), lim: Limits{MessageBytesMax: 8}, want: seen, code: TooBig},
		{name: "default limit from the header", stream: raw(0x82, 0xFF, 0, 0, 0, 0, 0, 0x10, 0, 1, 1, 2, 3, 4), want: seen, code: TooBig},
		{name: "a fragment too many", stream: join(ok, masked(false, OpText, "a"), masked(false, OpContinuation, "b"), masked(true, OpContinuation, "c")), lim: Limits{FragmentsMax: 2}, want: seen, code: PolicyViolation},
		{
			name:   "fragment bomb with pings between",
			stream: join(masked(false, OpBinary, ""), bytes.Repeat(join(masked(false, OpContinuation, ""), masked(true, OpPing, "")), 20)),
			lim:    Limits{FragmentsMax: 4}, want: []string{`9 ""`, `9 ""`, `9 ""`}, code: PolicyViolation,
		},
		{name: "text not UTF-8", stream: join(ok, masked(true, OpText, "a\xffb")), want: seen, code: InvalidPayload},
		{name: "surrogate", stream: join(ok, masked(true, OpText, "\xed\xa0\x80")), want: seen, code: InvalidPayload},
		{name: "overlong NUL", stream: join(ok, masked(true, OpText, "\xc0\x80")), want: seen, code: InvalidPayload},
		{name: "above U+10FFFF", stream: join(ok, masked(true, OpText, "\xf4\x90\x80\x80")), want: seen, code: InvalidPayload},
		{name: "rune not finished", stream: join(ok, masked(true, OpText, "a\xe2\x82")), want: seen, code: InvalidPayload},
		{name: "rune not finished by an empty last fragment", stream: join(ok, masked(false, OpText, "\xe2\x82"), masked(true, OpContinuation, "")), want: seen, code: InvalidPayload},
		{name: "bad UTF-8 over fragments", stream: join(ok, masked(false, OpText, "\xe2"), masked(false, OpContinuation, "\x82"), masked(true, OpContinuation, "A")), want: seen, code: InvalidPayload},
		{name: "MQTT instead of a frame", stream: []byte{0x10, 0x0C, 0, 4, 'M', 'Q', 'T', 'T'}, code: ProtocolError},
		{name: "TLS instead of a frame", stream: []byte{0x16, 0x03, 0x01, 0x02}, code: ProtocolError},
		{name: "HTTP instead of a frame", stream: []byte("GET / HTTP/1.1\r\n"), code: ProtocolError},
	}
}

func (c *readerCase) record() *record { return &record{got: c.want, code: c.code} }

// TestReaderEveryCut runs every case whole, cut at every position, and byte by byte.
func TestReaderEveryCut(t *testing.T) {
	for _, c := range append(readerCases(), badCases()...) {
		t.Run(c.name, func(t *testing.T) {
			step := 1 + len(c.stream)/2000 // of the longest streams not every inner byte
			for cut := 0; cut <= len(c.stream); cut += step {
				var r Reader
				var got record
				got.feed(&r, c.stream[:cut], &c.lim)
				got.feed(&r, c.stream[cut:], &c.lim)
				if diff := got.diff(c.record()); diff != "" {
					t.Fatalf("cut at %d: %s", cut, diff)
				}
			}
			var r Reader
			var got record
			for i := range c.stream {
				got.feed(&r, c.stream[i:i+1], &c.lim)
			}
			if diff := got.diff(c.record()); diff != "" {
				t.Fatalf("byte by byte: %s", diff)
			}
		})
	}
}

// TestReaderToldAtOnce checks that a wrong header is judged before its payload, and a wrong second byte before the rest.
func TestReaderToldAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		in   []byte
		code CloseCode
	}{
		"unmasked, from two bytes":   {[]byte{0x82, 0x7F}, ProtocolError},
		"long ping, from two bytes":  {[]byte{0x89, 0xFE}, ProtocolError},
		"256 MB, from the header":    {[]byte{0x82, 0xFF, 0, 0, 0, 0, 0x10, 0, 0, 0, 1, 2, 3, 4}, TooBig},
		"not minimal, from a header": {[]byte{0x82, 0xFE, 0, 1, 1, 2, 3, 4}, ProtocolError},
	} {
		var r Reader
		if _, n, code := r.Next(c.in, &Limits{}); n != 0 || code != c.code {
			t.Errorf("%s: n %d, code %v, want %v", name, n, code, c.code)
		}
	}
}

// TestReaderLeavesTheRest checks that bytes which were not consumed are not changed, and that chunks cannot grow into
// the bytes behind them.
func TestReaderLeavesTheRest(t *testing.T) {
	first, second := masked(true, OpBinary, "first"), masked(true, OpBinary, "second")
	p := join(first, second[:len(second)-1])
	var r Reader
	ch, n, code := r.Next(p, &Limits{})
	if n != len(first) || code != 0 || cap(ch.Payload) != len(ch.Payload) {
		t.Fatalf("n %d, code %v, cap %d", n, code, cap(ch.Payload))
	}
	if !bytes.Equal(p[n:], second[:len(second)-1]) {
		t.Fatal("the bytes behind the chunk changed")
	}
}

func TestInMessage(t *testing.T) {
	var r Reader
	for i, step := range []struct {
		frame []byte
		want  bool
	}{
		{masked(true, OpText, "a"), false},
		{masked(false, OpText, "a"), true},
		{masked(true, OpPing, ""), true},
		{masked(true, OpContinuation, "b"), false},
	} {
		if _, n, code := r.Next(step.frame, &Limits{}); n != len(step.frame) || code != 0 || r.InMessage() != step.want {
			t.Fatalf("step %d: n %d, code %v, in message %v", i, n, code, r.InMessage())
		}
	}
}

func TestClientReader(t *testing.T) {
	stream := join(AppendFrame(nil, OpText, []byte("up")), AppendFrame(nil, OpPing, nil), frame(0x01, nil, "\xe2"), frame(0x80, nil, "\x82\xac"), AppendClose(nil, GoingAway, "drain"))
	want := record{got: []string{`1 "up"`, `9 ""`, `1 "€"`, `8 "\x03\xe9drain"`}}
	for cut := range len(stream) + 1 {
		var r ClientReader
		var got record
		got.feed(&r, stream[:cut], &Limits{})
		got.feed(&r, stream[cut:], &Limits{})
		if diff := got.diff(&want); diff != "" {
			t.Fatalf("cut at %d: %s", cut, diff)
		}
	}
	var r ClientReader
	if _, _, code := r.Next(masked(true, OpText, "x"), &Limits{}); code != ProtocolError {
		t.Fatalf("a masked frame from a server: %v", code)
	}
}

// TestReaderRandomLives sends random right conversations in random pieces.
func TestReaderRandomLives(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 300 {
		stream, want := randomStream(rng)
		var r Reader
		var got record
		for at := 0; at < len(stream); {
			n := min(1+rng.IntN(1+rng.IntN(400)), len(stream)-at)
			got.feed(&r, stream[at:at+n], &Limits{})
			at += n
		}
		if diff := got.diff(&want); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
		if len(got.tail) != 0 {
			t.Fatalf("seed %d: %d bytes left over", seed, len(got.tail))
		}
	}
}

// randomStream makes messages of random runes or bytes, cut anywhere into fragments, with pings between.
func randomStream(rng *rand.Rand) (stream []byte, want record) {
	for range 1 + rng.IntN(8) {
		op := OpBinary
		var payload []byte
		if rng.IntN(2) == 0 {
			op = OpText
			for range rng.IntN(60) {
				payload = append(payload, string([]rune{'a', 'é', '€', '😀', 0, 0xD7FF, 0x10FFFF}[rng.IntN(7)])...)
			}
		} else {
			payload = make([]byte, rng.IntN(300))
			for i := range payload {
				payload[i] = byte(rng.Uint32())
			}
		}
		message, rest, kind := payload, payload, op
		for {
			n := rng.IntN(len(rest) + 1)
			last := n == len(rest)
			mask := [4]byte{byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())}
			first := byte(kind)
			if last {
				first |= bitFin
			}
			stream = append(stream, frame(first, &mask, string(rest[:n]))...)
			rest, kind = rest[n:], OpContinuation
			if last {
				break
			}
			if rng.IntN(3) == 0 {
				stream = append(stream, frame(0x89, &mask, "ping")...)
				want.got = append(want.got, `9 "ping"`)
			}
		}
		want.got = append(want.got, fmt.Sprintf("%d %q", op, message))
	}
	return stream, want
}
