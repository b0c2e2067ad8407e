package mqtt

import (
	"encoding/binary"
	"fmt"
)

// stringBytesMax is the longest string or binary field: its length is two bytes (§1.5.4, §1.5.6).
const stringBytesMax = 65535

// varintMax is the largest variable byte integer: four bytes of seven bits (§1.5.5).
const varintMax = 268435455

// readVarint reads the variable byte integer at the start of p. size 0 with ok: p ends before the integer does. ok
// is false when a fourth byte asks for a fifth. (§1.5.5)
func readVarint(p []byte) (value, size int, ok bool) {
	for i := range min(len(p), 4) {
		value |= int(p[i]&0x7F) << (7 * i)
		if p[i] < 0x80 {
			return value, i + 1, true
		}
	}
	return 0, 0, len(p) < 4
}

// overlong tells whether a variable byte integer of this size, whose last byte is last, could have been shorter.
// [MQTT-1.5.5-1]
func overlong(size int, last byte) bool { return size > 1 && last == 0 }

// takeVarint splits a minimal variable byte integer from p. All of them inside a packet are MQTT 5, so the minimal
// form is demanded.
func takeVarint(p []byte) (value int, rest []byte, ok bool) {
	value, size, ok := readVarint(p)
	if !ok || size == 0 || overlong(size, p[size-1]) {
		return 0, nil, false
	}
	return value, p[size:], true
}

func takeUint16(p []byte) (v uint16, rest []byte, ok bool) {
	if len(p) < 2 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(p), p[2:], true
}

// takeBinary splits a length-prefixed field from p. The field keeps no capacity beyond its end.
func takeBinary(p []byte) (field, rest []byte, ok bool) {
	if len(p) < 2 {
		return nil, nil, false
	}
	end := 2 + int(binary.BigEndian.Uint16(p))
	if end > len(p) {
		return nil, nil, false
	}
	return p[2:end:end], p[end:], true
}

// takeString is takeBinary for a field that must be UTF-8 by the rules of MQTT.
func takeString(p []byte) (field, rest []byte, ok bool) {
	field, rest, ok = takeBinary(p)
	return field, rest, ok && validString(field)
}

func appendUint16(dst []byte, v uint16) []byte { return append(dst, byte(v>>8), byte(v)) }

func appendUint32(dst []byte, v uint32) []byte {
	return append(dst, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// appendBinary appends a length-prefixed field. A field that has no form on the wire is our own fault: its cut-off
// length would make the peer read the rest of the stream as something else.
func appendBinary(dst, field []byte) []byte {
	if len(field) > stringBytesMax {
		panic(fmt.Sprintf("mqtt: a field of %d bytes, the wire carries %d", len(field), stringBytesMax))
	}
	return append(appendUint16(dst, uint16(len(field))), field...)
}

func appendVarint(dst []byte, v int) []byte {
	for v > 0x7F {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// varintSize is how many bytes v takes. A value beyond the wire's reach is our own fault.
func varintSize(v int) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	case v <= varintMax:
		return 4
	}
	panic(fmt.Sprintf("mqtt: a length of %d bytes, the wire carries %d", v, varintMax))
}

// open appends the first byte of a packet and a place for its length; seal fills the place.
func open(dst []byte, t Type, flags byte) (out []byte, mark int) {
	dst = append(dst, byte(t)<<4|flags, 0)
	return dst, len(dst)
}

// openBlock appends a place for the length of a property block; seal fills it.
func openBlock(dst []byte) (out []byte, mark int) {
	dst = append(dst, 0)
	return dst, len(dst)
}

// seal writes the number of bytes behind mark into the place before it. One byte is reserved, which is right for
// nearly every packet that is built this way; longer ones are moved.
func seal(dst []byte, mark int) []byte {
	n := len(dst) - mark
	if n < 0x80 {
		dst[mark-1] = byte(n)
		return dst
	}
	var room [3]byte
	extra := varintSize(n) - 1
	dst = append(dst, room[:extra]...)
	copy(dst[mark+extra:], dst[mark:mark+n])
	appendVarint(dst[:mark-1], n)
	return dst
}
