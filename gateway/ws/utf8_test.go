package ws

import (
	"testing"
	"unicode/utf8"
)

// valid checks p in the pieces that cut makes.
func valid(p []byte, cut int) bool {
	var s utf8State
	return s.feed(p[:cut]) && s.feed(p[cut:]) && s == utf8Boundary
}

// TestUTF8AllShort compares every string of up to two bytes, and every string of three and four from the bytes that
// stand at the borders of table 3-7, with the standard library, at every cut.
func TestUTF8AllShort(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	borders := []byte{0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF}
	for length, alphabet := range [][]byte{1: all, 2: all, 3: borders, 4: borders} {
		each(make([]byte, length), 0, alphabet, func(p []byte) {
			want := utf8.Valid(p)
			for cut := range len(p) + 1 {
				if valid(p, cut) != want {
					t.Fatalf("% x cut at %d: got %v, the standard library says %v", p, cut, !want, want)
				}
			}
		})
	}
}

func each(p []byte, at int, alphabet []byte, f func(p []byte)) {
	if at == len(p) {
		f(p)
		return
	}
	for _, b := range alphabet {
		p[at] = b
		each(p, at+1, alphabet, f)
	}
}

// TestUTF8FailsEarly checks that a stream is refused with the byte that makes it wrong, not later.
func TestUTF8FailsEarly(t *testing.T) {
	for _, p := range []string{"a\xff", "\xed\xa0", "\xf4\x90", "\xe0\x9f", "\xf0\x8f", "\xc3A"} {
		var s utf8State
		for i := range len(p) {
			if ok := s.feed([]byte(p[i : i+1])); ok != (i < len(p)-1) {
				t.Errorf("%q: byte %d accepted: %v", p, i, ok)
			}
		}
	}
}
