package ws

import (
	"encoding/binary"
	"strconv"

	gobwas "github.com/gobwas/ws"
)

// AppendFrame appends payload as one whole, unmasked frame, as a server sends it. A control frame longer than
// ControlBytesMax is our mistake and panics.
func AppendFrame(dst []byte, op Op, payload []byte) []byte {
	dst = appendHeader(dst, op, len(payload), 0)
	return append(dst, payload...)
}

// AppendMasked appends payload as one whole, masked frame, as a client sends it. payload is not changed. The mask is
// the caller's: chance is an argument here.
func AppendMasked(dst []byte, op Op, payload []byte, mask [4]byte) []byte {
	dst = appendHeader(dst, op, len(payload), bitMasked)
	dst = append(dst, mask[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	gobwas.Cipher(dst[start:], mask, 0)
	return dst
}

// appendHeader appends a header up to and including the length, in its minimal form; masked is 0 or bitMasked.
func appendHeader(dst []byte, op Op, length int, masked byte) []byte {
	if op.IsControl() && length > ControlBytesMax {
		panic("ws: control frame of " + strconv.Itoa(length) + " bytes")
	}
	first := bitFin | byte(op)
	switch {
	case length < len16:
		return append(dst, first, masked|byte(length))
	case length <= 0xFFFF:
		return append(dst, first, masked|len16, byte(length>>8), byte(length))
	}
	dst = append(dst, first, masked|len64)
	return binary.BigEndian.AppendUint64(dst, uint64(length))
}

// headerGuess is the room BeginFrame leaves: right for payloads of 126 to 65,535 bytes. A shorter one is moved by two
// bytes, which costs next to nothing because it is short; a longer one by six, which is rare.
const headerGuess = 4

// BeginFrame reserves room for the header of a frame whose length is not yet known. Append the payload to out, then
// call EndFrame with mark.
func BeginFrame(dst []byte) (out []byte, mark int) {
	return append(dst, make([]byte, headerGuess)...), len(dst)
}

// EndFrame closes the frame that BeginFrame opened at mark: everything appended since is its payload. Only data frames
// are built this way. With nothing appended it is an empty frame; cut dst back to mark to drop it instead.
func EndFrame(dst []byte, mark int, op Op) []byte {
	length := len(dst) - mark - headerGuess
	var head [10]byte
	h := appendHeader(head[:0], op, length, 0)
	if len(h) > headerGuess {
		dst = append(dst, make([]byte, len(h)-headerGuess)...)
	}
	if len(h) != headerGuess {
		copy(dst[mark+len(h):], dst[mark+headerGuess:mark+headerGuess+length])
	}
	copy(dst[mark:], h)
	return dst[:mark+len(h)+length]
}
