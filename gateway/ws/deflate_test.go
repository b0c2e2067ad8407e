package ws

import (
	"bytes"
	"compress/flate"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
)

// deflatedBy is a sender's message of blocks, as compress/flate makes it: without the four bytes that RFC 7692 §7.2.1 leaves
// out.
func deflatedBy(t testing.TB, level int, payload []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(payload); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()[:b.Len()-4]
}

// lastBy is the same, ended by a last block.
func lastBy(t testing.TB, payload []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(payload); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// hello in the forms of RFC 7692 §7.2.3.
const (
	helloFixed  = "\xf2\x48\xcd\xc9\xc9\x07\x00"
	helloShared = "\xf2\x00\x11\x00\x00"
	helloStored = "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"
	helloFinal  = "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"
	helloBlocks = "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"
)

func TestInflate(t *testing.T) {
	long := strings.Repeat("a message that goes on ", 10000)
	streams := strings.Repeat("\x03\x00", finalBlocksMax-1)
	for _, c := range []struct {
		name, in, want string
		op             Op
		max            int
		code           CloseCode
	}{
		{name: "7.2.3.1 one block", in: helloFixed, want: "Hello"},
		{name: "7.2.3.2 a window shared with the message before", in: helloShared, code: InvalidPayload},
		{name: "7.2.3.3 without compression", in: helloStored, want: "Hello"},
		{name: "7.2.3.4 last block", in: helloFinal, want: "Hello"},
		{name: "7.2.3.5 two blocks", in: helloBlocks, want: "Hello"},
		{name: "7.2.3.6 empty", in: "\x00", want: ""},
		{name: "nothing", in: "", want: ""},
		{name: "last block without the empty one", in: helloFinal[:7], want: "Hello"},
		{name: "a block behind the last one", in: helloFinal[:7] + helloFixed, want: "HelloHello"},
		{name: "a window shared with the stream before", in: helloFinal[:7] + helloShared, want: "HelloHello"},
		{name: "many streams", in: streams + helloFixed, want: "Hello"},
		{name: "too many streams", in: streams + "\x03\x00" + helloFixed, code: PolicyViolation},
		{name: "long", in: string(deflatedBy(t, 9, []byte(long))), want: long},
		{name: "at the limit", in: string(deflatedBy(t, 9, []byte(long))), want: long, max: len(long)},
		{name: "one beyond the limit", in: string(deflatedBy(t, 9, []byte(long))), max: len(long) - 1, code: TooBig},
		{name: "beyond the limit before it is wrong", in: string(deflatedBy(t, 9, []byte(long))) + "\xff\xff", max: 100, code: TooBig},
		{name: "reserved block type", in: "\x07", code: InvalidPayload},
		{name: "stored length", in: "\x00\x05\x00\xfa\xfe\x48\x65\x6c\x6c\x6f\x00", code: InvalidPayload},
		{name: "noise", in: "\xff\xfe\xfd\xfc\xfb", code: InvalidPayload},
		{name: "UTF-8", in: string(deflatedBy(t, 1, []byte("é€😀"))), op: OpText, want: "é€😀"},
		{name: "not UTF-8", in: string(deflatedBy(t, 1, []byte("a\xff"))), op: OpText, code: InvalidPayload},
		{name: "half a rune", in: string(deflatedBy(t, 1, []byte("a\xf0\x9f"))), op: OpText, code: InvalidPayload},
		{name: "binary is not checked", in: string(deflatedBy(t, 1, []byte("a\xff"))), want: "a\xff"},
	} {
		var f Inflater
		for round, dst := range [][]byte{nil, []byte("before"), make([]byte, 0, 1<<20)} {
			if c.op == 0 {
				c.op = OpBinary
			}
			out, code := f.Append(dst, c.op, []byte(c.in), c.max)
			switch {
			case code != c.code:
				t.Errorf("%s, round %d: code %v, want %v", c.name, round, code, c.code)
			case !bytes.HasPrefix(out, dst):
				t.Errorf("%s, round %d: what was before is changed", c.name, round)
			case code == 0 && string(out[len(dst):]) != c.want:
				t.Errorf("%s, round %d: %.50q, want %.50q", c.name, round, out[len(dst):], c.want)
			}
		}
	}
}

// TestInflateTruncated: a message cut anywhere is told from a whole one, or is one (its blocks may end there).
func TestInflateTruncated(t *testing.T) {
	text := []byte(strings.Repeat("temperature 21.5, ", 40))
	var f Inflater
	for name, whole := range map[string][]byte{"fixed": []byte(helloFixed), "level 1": deflatedBy(t, 1, text), "level 9": deflatedBy(t, 9, text), "last": lastBy(t, text)} {
		for cut := 1; cut < len(whole); cut++ {
			if out, code := f.Append(nil, OpBinary, whole[:cut], 0); code != InvalidPayload {
				t.Errorf("%s cut at %d of %d: code %v, %q", name, cut, len(whole), code, out)
			}
		}
	}
}

// TestInflateBomb: 64 MiB in 64 KiB cost what the limit allows, and are not inflated to their end.
func TestInflateBomb(t *testing.T) {
	const limit = 1 << 20
	bomb := deflatedBy(t, 9, make([]byte, 64<<20))
	var f Inflater
	if _, code := f.Append(nil, OpBinary, []byte(helloFixed), 0); code != 0 { // its own tables
		t.Fatal(code)
	}
	scratch := make([]byte, 0, limit)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	out, code := f.Append(scratch, OpBinary, bomb, limit)
	runtime.ReadMemStats(&after)
	if code != TooBig || len(out) > limit {
		t.Fatalf("code %v, %d bytes", code, len(out))
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<10 {
		t.Errorf("%d bytes allocated beside the room that was given", grown)
	}
	// Without that room no more than the limit is made, though it is doubled on the way.
	out, _ = f.Append(nil, OpBinary, bomb, limit-1)
	if cap(out) > limit {
		t.Errorf("room for %d bytes made, %d allowed", cap(out), limit-1)
	}
}

// TestInflateMemory holds what a loop pays, once it has such a connection.
func TestInflateMemory(t *testing.T) {
	size := func(use func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		use()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	var in Inflater
	scratch := make([]byte, 0, 1024)
	if n := size(func() { _, _ = in.Append(scratch, OpText, []byte(helloFixed), 0) }); n > 48<<10 {
		t.Errorf("an Inflater takes %d bytes", n)
	}
	var out Deflater
	payload := bytes.Repeat([]byte("x"), 1024)
	if n := size(func() { scratch = out.AppendFrame(scratch[:0], OpText, payload) }); n > 1300<<10 {
		t.Errorf("a Deflater takes %d bytes", n)
	}
	if n := testing.AllocsPerRun(100, func() { scratch = out.AppendFrame(scratch[:0], OpText, payload) }); n > 0 {
		t.Errorf("a message is deflated with %v allocations", n)
	}
}

// TestDeflaterFrames: what is short, or would not become shorter, goes as it is; each message stands on its own.
func TestDeflaterFrames(t *testing.T) {
	noise := make([]byte, 5000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	var f Deflater
	for _, c := range []struct {
		name       string
		payload    []byte
		compressed bool
	}{
		{"empty", nil, false},
		{"short", bytes.Repeat([]byte("a"), DeflateBytesMin-1), false},
		{"just long enough", bytes.Repeat([]byte("a"), DeflateBytesMin), true},
		{"noise", noise, false},
		{"length in 2 bytes", bytes.Repeat(noise[:1000], 5), true},
		{"length in 8 bytes", bytes.Repeat(noise, 100), true},
	} {
		for _, dst := range [][]byte{nil, []byte("before")} {
			out := f.AppendFrame(dst, OpBinary, c.payload)
			wire := out[len(dst):]
			if compressed := wire[0]&bitRsv1 != 0; compressed != c.compressed {
				t.Errorf("%s: compressed %v", c.name, compressed)
			}
			if !c.compressed && !bytes.Equal(wire, AppendFrame(nil, OpBinary, c.payload)) {
				t.Errorf("%s: not as it is", c.name)
			}
			if got := inflated(t, wire, len(c.payload)); !bytes.Equal(got, c.payload) || !bytes.HasPrefix(out, dst) {
				t.Errorf("%s: it comes back as another", c.name)
			}
		}
	}
}

// inflated reads one frame as a client would that has only just come.
func inflated(t testing.TB, wire []byte, lengthMax int) []byte {
	t.Helper()
	var r ClientReader
	r.r.AcceptDeflate()
	ch, n, code := r.Next(wire, &Limits{MessageBytesMax: lengthMax + 64})
	if code != 0 || n != len(wire) || !ch.Last {
		t.Fatalf("code %v after %d of %d bytes", code, n, len(wire))
	}
	if !ch.Compressed {
		return ch.Payload
	}
	var f Inflater
	out, code := f.Append(nil, ch.Op, ch.Payload, lengthMax)
	if code != 0 {
		t.Fatal(code)
	}
	return out
}

// TestDeflaterControl: control frames are never compressed, RFC 7692 §6.1.
func TestDeflaterControl(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a ping was compressed")
		}
	}()
	new(Deflater).AppendFrame(nil, OpPing, nil)
}

// pressed is a compressed frame of a client.
func pressed(fin bool, op Op, payload string) []byte {
	out := masked(fin, op, payload)
	out[0] |= bitRsv1
	return out
}

// inflating is a receiver that has negotiated compression and inflates what it collects.
type inflating struct {
	record
	r       Reader
	f       Inflater
	message []byte
}

func (v *inflating) feed(p []byte, lim *Limits) {
	if v.code != 0 {
		return
	}
	p = append(v.tail, p...)
	v.r.AcceptDeflate()
	for {
		ch, n, code := v.r.Next(p, lim)
		if v.code = code; code != 0 {
			return
		}
		if n == 0 {
			v.tail = bytes.Clone(p)
			return
		}
		p = p[n:]
		if ch.Op.IsControl() {
			v.got = append(v.got, fmt.Sprintf("%d %q", ch.Op, ch.Payload))
			continue
		}
		if v.message = append(v.message, ch.Payload...); !ch.Last {
			continue
		}
		text := v.message
		if ch.Compressed {
			if text, v.code = v.f.Append(nil, ch.Op, v.message, lim.MessageBytesMax); v.code != 0 {
				return
			}
		}
		v.got = append(v.got, fmt.Sprintf("%d %q", ch.Op, text))
		v.message = v.message[:0]
	}
}

type deflateCase struct {
	name   string
	stream []byte
	want   []string
	code   CloseCode
}

func deflateCases() []deflateCase {
	smiley := "\xf0\x9f\x98\x80"
	return []deflateCase{
		{name: "one frame", stream: pressed(true, OpText, helloFixed), want: []string{`1 "Hello"`}},
		{
			name:   "7.2.3.1 fragments",
			stream: join(pressed(false, OpText, helloFixed[:3]), masked(true, OpContinuation, helloFixed[3:])),
			want:   []string{`1 "Hello"`},
		},
		{
			name: "control frames between",
			stream: join(pressed(false, OpBinary, helloFixed[:1]), masked(true, OpPing, "p"), masked(false, OpContinuation, ""), masked(true, OpPong, ""),
				masked(false, OpContinuation, helloFixed[1:5]), masked(true, OpPing, "q"), masked(true, OpContinuation, helloFixed[5:])),
			want: []string{`9 "p"`, `10 ""`, `9 "q"`, `2 "Hello"`},
		},
		{
			name:   "compressed or not, message by message",
			stream: join(pressed(true, OpText, helloFixed), masked(true, OpText, smiley), pressed(true, OpText, helloStored), masked(false, OpText, "a"), masked(true, OpContinuation, "b")),
			want:   []string{`1 "Hello"`, "1 \"\U0001F600\"", `1 "Hello"`, `1 "ab"`},
		},
		{name: "empty", stream: join(pressed(true, OpText, "\x00"), pressed(false, OpText, ""), masked(true, OpContinuation, "\x00")), want: []string{`1 ""`, `1 ""`}},
		{name: "text is not checked before it is inflated", stream: pressed(true, OpText, "\x00\x04\x00\xfb\xff"+smiley+"\x00"), want: []string{"1 \"\U0001F600\""}},
		{name: "text is checked where it is not compressed", stream: join(pressed(true, OpText, helloFixed), masked(true, OpText, "\xff")), want: []string{`1 "Hello"`}, code: InvalidPayload},
		{name: "RSV1 on a continuation", stream: join(pressed(false, OpText, helloFixed[:3]), pressed(true, OpContinuation, helloFixed[3:])), code: ProtocolError},
		{name: "RSV1 on a continuation only", stream: join(masked(false, OpText, "a"), pressed(true, OpContinuation, "b")), code: ProtocolError},
		{name: "RSV1 on a ping", stream: pressed(true, OpPing, ""), code: ProtocolError},
		{name: "RSV1 on a close", stream: pressed(true, OpClose, "\x03\xe8"), code: ProtocolError},
		{name: "RSV2", stream: frame(0xA2, &testMask, "x"), code: ProtocolError},
		{name: "RSV1 and RSV3", stream: frame(0xD2, &testMask, "x"), code: ProtocolError},
		{name: "too big on the wire", stream: pressed(true, OpBinary, strings.Repeat("x", 301)), code: TooBig},
		{name: "too big when inflated", stream: pressed(true, OpBinary, "\x4b\x4c\x1c\x05\xa3\x60\x14\x0c\x77\x00\x00"), code: TooBig},
		{name: "not whole", stream: pressed(true, OpBinary, helloFixed[:6]), code: InvalidPayload},
	}
}

// TestReaderDeflate: what comes is the same however the stream is cut; the limit is 300 bytes.
func TestReaderDeflate(t *testing.T) {
	for _, c := range deflateCases() {
		want := &record{got: c.want, code: c.code}
		for cut := range len(c.stream) + 1 {
			var got inflating
			got.feed(c.stream[:cut], &fuzzLimits)
			got.feed(c.stream[cut:], &fuzzLimits)
			if diff := got.diff(want); diff != "" {
				t.Fatalf("%s, cut at %d: %s", c.name, cut, diff)
			}
		}
		// Who has not negotiated it takes no compressed message.
		var r Reader
		if c.stream[0]&bitRsv1 != 0 {
			if _, _, code := r.Next(c.stream, &fuzzLimits); code != ProtocolError {
				t.Errorf("%s: code %v without negotiation", c.name, code)
			}
		}
	}
}

// FuzzInflate: no bytes make it panic, and none exceed the limit.
func FuzzInflate(f *testing.F) {
	for _, s := range []string{helloFixed, helloShared, helloStored, helloFinal, helloBlocks, "\x00", "", helloFinal[:7] + helloShared} {
		f.Add([]byte(s), uint16(5), true)
		f.Add([]byte(s), uint16(4), false)
	}
	f.Add(deflatedBy(f, 9, make([]byte, 100000)), uint16(1000), true)
	var in Inflater
	f.Fuzz(func(t *testing.T, payload []byte, limit uint16, text bool) {
		op, original := OpBinary, bytes.Clone(payload)
		if text {
			op = OpText
		}
		limit = max(limit, 1)
		out, code := in.Append(nil, op, payload, int(limit))
		if len(out) > int(limit) || cap(out) > int(limit) {
			t.Fatalf("%d bytes, room for %d, limit %d", len(out), cap(out), limit)
		}
		if !bytes.Equal(payload, original) {
			t.Fatal("the input was changed")
		}
		// The one before leaves nothing behind.
		again, code2 := new(Inflater).Append(nil, op, payload, int(limit))
		if code2 != code || !bytes.Equal(again, out) {
			t.Fatalf("code %v, then %v", code, code2)
		}
		if code == 0 {
			if more, code := in.Append(nil, op, payload, len(out)+1); code != 0 || !bytes.Equal(more, out) {
				t.Fatalf("with a limit of %d it is another: %v", len(out)+1, code)
			}
		}
	})
}

// FuzzDeflate: what a Deflater sends comes back, and what compress/flate makes of it at every level does, too.
func FuzzDeflate(f *testing.F) {
	f.Add([]byte("hello"), uint16(100), byte(9))
	f.Add([]byte{0, 1, 2, 3}, uint16(3000), byte(1))
	f.Add([]byte{}, uint16(1), byte(0))
	var out Deflater
	var in Inflater
	f.Fuzz(func(t *testing.T, seed []byte, times uint16, level byte) {
		if len(seed)*int(times) > 1<<20 {
			return
		}
		payload := bytes.Repeat(seed, int(times))
		if got := inflated(t, out.AppendFrame(nil, OpBinary, payload), len(payload)); !bytes.Equal(got, payload) {
			t.Fatal("it comes back as another")
		}
		if got, code := in.Append(nil, OpBinary, deflatedBy(t, int(level%10), payload), len(payload)); code != 0 || !bytes.Equal(got, payload) {
			t.Fatalf("level %d: code %v", level%10, code)
		}
	})
}

// FuzzReaderDeflate is FuzzReader with compression.
func FuzzReaderDeflate(f *testing.F) {
	for _, c := range deflateCases() {
		f.Add(c.stream, uint16(len(c.stream)/2))
	}
	f.Fuzz(func(t *testing.T, stream []byte, cut uint16) {
		if len(stream) > 4096 {
			return
		}
		var whole, got inflating
		whole.feed(stream, &fuzzLimits)
		at := min(int(cut), len(stream))
		got.feed(stream[:at], &fuzzLimits)
		got.feed(stream[at:], &fuzzLimits)
		if diff := got.diff(&whole.record); diff != "" {
			t.Fatalf("cut at %d of % x: %s", at, stream, diff)
		}
	})
}
