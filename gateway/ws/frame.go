package ws

import "encoding/binary"

// Op is the kind of a frame (RFC 6455 §5.2).
type Op byte

// The opcodes of RFC 6455 §11.8. Every other value is reserved and refused.
const (
	OpContinuation Op = 0x0
	OpText         Op = 0x1
	OpBinary       Op = 0x2
	OpClose        Op = 0x8
	OpPing         Op = 0x9
	OpPong         Op = 0xA
)

// IsControl reports whether frames of this kind are control frames: whole, at most ControlBytesMax long, and allowed
// between the fragments of a message.
func (op Op) IsControl() bool { return op&0x8 != 0 }

func (op Op) defined() bool { return op <= OpBinary || (op >= OpClose && op <= OpPong) }

// ControlBytesMax is the longest payload of a control frame (RFC 6455 §5.5).
const ControlBytesMax = 125

const (
	bitFin    = 0x80
	bitsRsv   = 0x70
	bitRsv1   = 0x40 // of the first frame of a message: it is compressed, RFC 7692 §6
	bitsOp    = 0x0F
	bitMasked = 0x80

	len16 = 126 // the length follows in 2 bytes
	len64 = 127 // the length follows in 8 bytes
)

// header is a parsed frame header.
//
//	 0               1               2 …
//	+-+---+---------+-+-------------+----------------+--------------+
//	|F|RSV| opcode  |M|  length 7   | length 16 / 64 | mask, if M   |
//	+-+---+---------+-+-------------+----------------+--------------+
type header struct {
	length  uint64
	mask    [4]byte
	bytes   int // of the header itself; 0: p does not yet hold all of it
	op      Op
	fin     bool
	deflate bool
}

// parseHeader reads the frame header at the start of p. fragmented tells that a message has begun and not ended,
// masked which way the frame goes, deflate that its message may be compressed. What can be judged from the first two bytes is judged from them, so a peer that
// speaks something else is told at once, not when it happens to send more.
func parseHeader(p []byte, fragmented, masked, deflate bool) (h header, code CloseCode) {
	if len(p) < 2 {
		return header{}, 0
	}
	h.fin, h.deflate, h.op = p[0]&bitFin != 0, p[0]&bitRsv1 != 0, Op(p[0]&bitsOp)
	short := p[1] &^ bitMasked
	switch {
	case p[0]&(bitsRsv&^bitRsv1) != 0, h.deflate && !deflate: // RFC 6455 §5.2: not without an extension
	case h.deflate && (h.op.IsControl() || h.op == OpContinuation): // RFC 7692 §6.1, §6.2
	case !h.op.defined():
	case (p[1]&bitMasked != 0) != masked: // §5.1, both ways
	case h.op.IsControl() && (!h.fin || short > ControlBytesMax): // §5.5
	case h.op == OpContinuation && !fragmented: // §5.4
	case !h.op.IsControl() && h.op != OpContinuation && fragmented: // §5.4
	default:
		return parseLength(p, h, short, masked)
	}
	return header{}, ProtocolError
}

// parseLength reads what follows the first two bytes of a header.
func parseLength(p []byte, h header, short byte, masked bool) (header, CloseCode) {
	n := 2
	switch short {
	case len16:
		n += 2
	case len64:
		n += 8
	}
	lengthEnd := n
	if masked {
		n += len(h.mask)
	}
	if len(p) < n {
		return header{}, 0
	}
	// "the minimal number of bytes MUST be used to encode the length", and the top bit of 64 must be 0. §5.2
	switch short {
	case len16:
		h.length = uint64(binary.BigEndian.Uint16(p[2:]))
		if h.length < len16 {
			return header{}, ProtocolError
		}
	case len64:
		h.length = binary.BigEndian.Uint64(p[2:])
		if h.length>>63 != 0 || h.length <= 0xFFFF {
			return header{}, ProtocolError
		}
	default:
		h.length = uint64(short)
	}
	if masked {
		copy(h.mask[:], p[lengthEnd:n])
	}
	h.bytes = n
	return h, 0
}
