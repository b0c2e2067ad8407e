package record

import (
	"bytes"
	"testing"
)

// fuzzed is the state at the reading end, the same in each run.
func fuzzed(suite uint16) (writer, reader State) {
	secret, other := bytes.Repeat([]byte{1}, 48), bytes.Repeat([]byte{2}, 48)
	u := suiteOf(suite)
	if u.is12 {
		return must2(New12(suite, secret, secret[:32], other[:32], true)), must2(New12(suite, secret, secret[:32], other[:32], false))
	}
	secret, other = secret[:u.hashLen()], other[:u.hashLen()]
	return must2(New13(suite, secret, other)), must2(New13(suite, other, secret))
}

// FuzzOpen gives Open records as they come, and the same bytes as contents that are sealed well.
func FuzzOpen(f *testing.F) {
	f.Add(uint8(0), uint8(typeHandshake), []byte{24, 0, 0, 1, 1})
	f.Add(uint8(0), uint8(typeHandshake), []byte{4, 0, 0, 200, 1})
	f.Add(uint8(4), uint8(typeAlert), []byte{1, 0})
	f.Add(uint8(8), uint8(typeData), []byte{23, 3, 3, 0, 1, 1})
	f.Fuzz(func(t *testing.T, which, content uint8, p []byte) {
		writer, reader := fuzzed(suites[int(which)%len(suites)].id)
		k := NewCiphers(8)
		raw := reader
		if _, kind, err := raw.Open(k, 2, bytes.Clone(p)); err == nil || kind != 0 {
			t.Fatalf("kind %d of %x", kind, p)
		}
		for part := range bytes.SplitSeq(p, []byte{0, 0, 0, 0}) {
			text := part[:min(len(part), plainMax)]
			plain, kind, err := reader.Open(k, 2, writer.seal(k, 1, nil, content, text))
			switch {
			case err != nil:
				if kind != 0 || plain != nil {
					t.Fatalf("%q, kind %d beside %v", plain, kind, err)
				}
				return
			case kind == Data && !bytes.Equal(plain, text) && content != 0:
				t.Fatalf("%x became %x", text, plain)
			case kind == Data && len(plain) == 0:
				t.Fatal("data without data")
			}
			if !reader.is(is12) && reader.read.sequence == 0 {
				writer.write.update(suiteOf(writer.suite))
			}
		}
	})
}

// FuzzWhole: the length never lies beyond the input, and what is whole stays so with more behind it.
func FuzzWhole(f *testing.F) {
	f.Add([]byte{23, 3, 3, 0, 1, 1, 23})
	f.Add([]byte{22, 3, 1, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, p []byte) {
		n, err := Whole(p)
		if n < 0 || n > len(p) || n > headerLen+PayloadMax || err != nil && n != 0 || n > 0 && n < headerLen {
			t.Fatalf("%d, %v of %d bytes", n, err, len(p))
		}
		if n == 0 {
			return
		}
		if again, err := Whole(p[:n]); again != n || err != nil {
			t.Fatalf("%d, %v; was %d", again, err, n)
		}
		if short, err := Whole(p[:n-1]); short != 0 || err != nil {
			t.Fatalf("%d, %v with a byte less", short, err)
		}
	})
}
