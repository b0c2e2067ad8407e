package ws

import gobwas "github.com/gobwas/ws"

// Defaults of Limits.
const (
	MessageBytesMaxDefault = 1 << 20
	FragmentsMaxDefault    = 1024
)

// Limits bound one incoming message; a field that is 0 means its default.
type Limits struct {
	// MessageBytesMax is the longest message, over all its fragments, in bytes of payload. A longer one is refused with
	// TooBig from the header of the frame that would exceed it, before its payload arrives. Default 1 MiB.
	MessageBytesMax int
	// FragmentsMax is the number of frames one message may come in, empty ones included. One more is refused with
	// PolicyViolation: a million one-byte fragments are an attack on the CPU. Default 1024.
	FragmentsMax int
}

// check judges a data frame from its header; bytes and frames are those of the message before it.
func (l *Limits) check(h *header, bytes uint64, frames uint32) CloseCode {
	bytesMax, framesMax := l.MessageBytesMax, l.FragmentsMax
	if bytesMax <= 0 {
		bytesMax = MessageBytesMaxDefault
	}
	if framesMax <= 0 {
		framesMax = FragmentsMaxDefault
	}
	// bytes never exceeds bytesMax, so the subtraction cannot wrap; the addition could, with a length near 2^63.
	if h.length > uint64(bytesMax)-min(bytes, uint64(bytesMax)) {
		return TooBig
	}
	if uint64(frames) >= uint64(framesMax) {
		return PolicyViolation
	}
	return 0
}

// Chunk is a run of payload, unmasked in place.
type Chunk struct {
	// Payload is borrowed from the input of Next. For a data frame it may be a part of a frame, and so of a message.
	Payload []byte
	// Op is OpText or OpBinary, that of the message (never OpContinuation), or the control opcode.
	Op Op
	// Compressed tells that the message is: its bytes, once they are together, are for an Inflater. Text is not yet known
	// to be UTF-8 then.
	Compressed bool
	// Last tells that the chunk ends its message. Always true for control frames, which come whole. A message may end
	// with an empty chunk.
	Last bool
}

// Reader is the receiving state of one connection of a server: 32 bytes without pointers, ready as its zero value.
// Owned by one loop.
type Reader struct {
	left   uint64    // payload bytes of the data frame at hand not yet returned
	bytes  uint64    // payload bytes of the message at hand, those of the frame at hand included
	mask   [4]byte   // of the frame at hand
	frames uint32    // of the message at hand
	maskAt uint8     // position in mask of the next byte
	text   utf8State // of the message at hand when it is text
	op     Op        // of the message at hand; OpContinuation (0) between messages
	fin    bool      // the frame at hand is the last of its message

	deflates   bool // compressed messages may come
	compressed bool // the message at hand is, or the last one was
}

// AcceptDeflate has the Reader take compressed messages: their handshake has negotiated it. To be called before Next.
func (r *Reader) AcceptDeflate() { r.deflates = true }

// Deflates reports whether the connection has negotiated compression.
func (r *Reader) Deflates() bool { return r.deflates }

// Compressed reports whether the message at hand is compressed; between messages, whether the last one was.
func (r *Reader) Compressed() bool { return r.compressed }

// Next takes the next chunk from p and returns its size n on the wire. n == 0 means that p does not yet hold one.
// code != 0 means that the peer is wrong: close the connection with it; the Reader is finished then, as it is after a
// chunk with OpClose. Control frames may come between the chunks of a message. Frames must be masked, as a client
// masks them (RFC 6455 §5.1); text is checked to be UTF-8 as it arrives, also where a rune spans chunks (§8.1), unless it is
// compressed. Limits hold for the bytes on the wire.
func (r *Reader) Next(p []byte, lim *Limits) (ch Chunk, n int, code CloseCode) {
	return r.next(p, lim, true)
}

// InMessage reports whether a message has begun and not ended.
func (r *Reader) InMessage() bool { return r.op != OpContinuation }

// ClientReader is the receiving state of one connection of a client: a Reader for frames as a server sends them,
// unmasked. Owned by one loop.
type ClientReader struct{ r Reader }

// Next is Reader.Next for frames from a server. A masked frame is refused (RFC 6455 §5.1).
func (c *ClientReader) Next(p []byte, lim *Limits) (ch Chunk, n int, code CloseCode) {
	return c.r.next(p, lim, false)
}

func (r *Reader) next(p []byte, lim *Limits, masked bool) (ch Chunk, n int, code CloseCode) {
	if r.left > 0 {
		if len(p) == 0 {
			return Chunk{}, 0, 0
		}
		return r.take(p, 0)
	}
	h, code := parseHeader(p, r.InMessage(), masked, r.deflates)
	if code != 0 || h.bytes == 0 {
		return Chunk{}, 0, code
	}
	if h.op.IsControl() {
		return control(p, &h)
	}
	if code := lim.check(&h, r.bytes, r.frames); code != 0 {
		return Chunk{}, 0, code
	}
	// A frame is begun with its first byte of payload: until then its header stays with the caller and nothing changes.
	if h.length > 0 && len(p) == h.bytes {
		return Chunk{}, 0, 0
	}
	r.begin(&h)
	return r.take(p, h.bytes)
}

// begin enters a data frame.
func (r *Reader) begin(h *header) {
	if h.op != OpContinuation {
		r.op, r.compressed, r.text = h.op, h.deflate, utf8Boundary
	}
	r.frames++
	r.bytes += h.length
	r.left, r.fin = h.length, h.fin
	r.mask, r.maskAt = h.mask, 0
}

// take returns what p holds of the data frame at hand; the first skip bytes of p are its header.
func (r *Reader) take(p []byte, skip int) (ch Chunk, n int, code CloseCode) {
	n = len(p) - skip
	if uint64(n) > r.left {
		n = int(r.left)
	}
	ch = Chunk{Payload: p[skip : skip+n : skip+n], Op: r.op, Compressed: r.compressed}
	if r.mask != [4]byte{} {
		gobwas.Cipher(ch.Payload, r.mask, int(r.maskAt))
		r.maskAt = (r.maskAt + uint8(n&3)) & 3
	}
	r.left -= uint64(n)
	ch.Last = r.fin && r.left == 0
	if r.op == OpText && !r.compressed {
		if !r.text.feed(ch.Payload) || (ch.Last && r.text != utf8Boundary) {
			return Chunk{}, 0, InvalidPayload
		}
	}
	if ch.Last {
		r.op, r.bytes, r.frames = OpContinuation, 0, 0
	}
	return ch, skip + n, 0
}

// control returns a control frame, which comes whole; the message it interrupts is not touched.
func control(p []byte, h *header) (ch Chunk, n int, code CloseCode) {
	n = h.bytes + int(h.length)
	if len(p) < n {
		return Chunk{}, 0, 0
	}
	ch = Chunk{Payload: p[h.bytes:n:n], Op: h.op, Last: true}
	gobwas.Cipher(ch.Payload, h.mask, 0)
	return ch, n, 0
}
