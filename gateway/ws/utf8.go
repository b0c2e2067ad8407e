package ws

import "unicode/utf8"

// utf8State is where in a rune a stream of UTF-8 stands: one byte, so that text can be checked as it arrives without
// keeping any of it. Each state names which byte may come next (Unicode 15, table 3-7).
type utf8State uint8

const (
	utf8Boundary utf8State = iota // between two runes
	utf8Need1                     // 80..BF, then done
	utf8Need2                     // 80..BF, then Need1
	utf8Need3                     // 80..BF, then Need2
	utf8AfterE0                   // A0..BF, then Need1: less would be overlong
	utf8AfterED                   // 80..9F, then Need1: more would be a surrogate
	utf8AfterF0                   // 90..BF, then Need2: less would be overlong
	utf8AfterF4                   // 80..8F, then Need2: more would be above U+10FFFF
)

// continuation is the row of a state: the next byte's range and the state behind it.
var continuation = [...]struct {
	lo, hi byte
	next   utf8State
}{
	utf8Need1:   {0x80, 0xBF, utf8Boundary},
	utf8Need2:   {0x80, 0xBF, utf8Need1},
	utf8Need3:   {0x80, 0xBF, utf8Need2},
	utf8AfterE0: {0xA0, 0xBF, utf8Need1},
	utf8AfterED: {0x80, 0x9F, utf8Need1},
	utf8AfterF0: {0x90, 0xBF, utf8Need2},
	utf8AfterF4: {0x80, 0x8F, utf8Need2},
}

// feed advances the state over p and reports whether p can still become UTF-8. All but a rune that spans the ends of
// p goes through utf8.Valid, which reads eight bytes at a time.
func (s *utf8State) feed(p []byte) bool {
	for *s != utf8Boundary {
		if len(p) == 0 {
			return true
		}
		if !s.step(p[0]) {
			return false
		}
		p = p[1:]
	}
	whole := len(p) - unfinished(p)
	if !utf8.Valid(p[:whole]) {
		return false
	}
	for _, b := range p[whole:] {
		if !s.step(b) {
			return false
		}
	}
	return true
}

// step advances the state over one byte.
func (s *utf8State) step(b byte) bool {
	if *s != utf8Boundary {
		row := &continuation[*s]
		*s = row.next
		return row.lo <= b && b <= row.hi
	}
	switch {
	case b < 0x80:
	case 0xC2 <= b && b <= 0xDF:
		*s = utf8Need1
	case b == 0xE0:
		*s = utf8AfterE0
	case b == 0xED:
		*s = utf8AfterED
	case 0xE1 <= b && b <= 0xEF:
		*s = utf8Need2
	case b == 0xF0:
		*s = utf8AfterF0
	case 0xF1 <= b && b <= 0xF3:
		*s = utf8Need3
	case b == 0xF4:
		*s = utf8AfterF4
	default: // a continuation without a start, C0, C1, F5..FF
		return false
	}
	return true
}

// unfinished returns how many bytes at the end of p are the beginning of a rune that p does not hold to its end.
func unfinished(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if tail := p[len(p)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}
