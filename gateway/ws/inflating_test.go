package ws

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestInflating: in steps of any size a message is what it is at once, though its bytes are elsewhere at each step; and a step is bounded.
func TestInflating(t *testing.T) {
	const bytesMax = 300 << 10
	rng := rand.New(rand.NewPCG(4, 4))
	noise := make([]byte, 40_000)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	words := []byte(strings.Repeat("a message that goes on ", 10_000))
	stored := "\x00\xff\xff\x00\x00" + string(noise) + strings.Repeat("x", 0xffff-len(noise)) + "\x00"
	var x Inflating
	var f Inflater
	for name, in := range map[string]string{
		"short": helloFixed, "empty": "\x00", "nothing": "", "words": string(deflatedBy(t, 9, words)), "noise": string(deflatedBy(t, 1, noise)), "stored": stored,
		"streams": helloFinal[:7] + helloShared, "too many streams": strings.Repeat("\x03\x00", 20), "bad": "\x07", "cut": string(deflatedBy(t, 9, words))[:100],
		"bomb": string(deflatedBy(t, 9, make([]byte, 4<<20))), "empty blocks": strings.Repeat("\x00\x00\x00\xff\xff", 9000),
	} {
		want, wantCode := f.Append([]byte("before"), OpText, []byte(in), bytesMax)
		for _, units := range []int{1, 7, 256, 1 << 20} {
			x.Begin([]byte("before"), OpText, bytesMax)
			for steps := 0; ; steps++ {
				payload := []byte(in)
				out, code, used, done := x.Step(payload, units)
				clear(payload)
				if used > units+2*deflateWindow/inflatedPerUnit {
					t.Fatalf("%s: %d units in a step of %d", name, used, units)
				}
				if !done && steps <= len(in)+bytesMax {
					continue
				}
				if code != wantCode || wantCode == 0 && !bytes.Equal(out, want) {
					t.Fatalf("%s in steps of %d: %d bytes, code %d; at once %d, %d", name, units, len(out), code, len(want), wantCode)
				}
				break
			}
			x.End()
		}
	}
}

// TestInflatingEnds: a message that is given up leaves nothing behind, and the next one is as if it had never been.
func TestInflatingEnds(t *testing.T) {
	var x Inflating
	whole := deflatedBy(t, 9, make([]byte, 1<<20))
	for range 3 {
		x.Begin(nil, OpBinary, 2<<20)
		if _, _, _, done := x.Step(whole, 16); done {
			t.Fatal("a megabyte in one small step")
		}
	}
	x.End()
	x.Begin(nil, OpText, 0)
	out, code, _, done := x.Step([]byte(helloFixed), 1000)
	if string(out) != "Hello" || code != 0 || !done {
		t.Fatalf("%q, %d, %v", out, code, done)
	}
	x.End()
}

// BenchmarkInflating is Append in steps of 256 units.
func BenchmarkInflating(b *testing.B) {
	payload := deflatedBy(b, 1, []byte(strings.Repeat("a message that goes on ", 5000)))
	b.Run("steps", func(b *testing.B) {
		var x Inflating
		var out []byte
		for b.Loop() {
			x.Begin(out[:0], OpText, 0)
			for done := false; !done; {
				out, _, _, done = x.Step(payload, 256)
			}
			x.End()
		}
	})
	b.Run("once", func(b *testing.B) {
		var f Inflater
		var out []byte
		for b.Loop() {
			out, _ = f.Append(out[:0], OpText, payload, 0)
		}
	})
}
