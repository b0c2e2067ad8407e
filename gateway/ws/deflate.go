package ws

import (
	"compress/flate"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"
)

// Compressed messages (RFC 7692), each on its own: nothing of one is needed for the next, so that the tables of DEFLATE
// belong to the loop and a connection costs two flags in its Reader. That gives away what messages have in common,
// which is most of what short messages have to give; short ones are not compressed at all. compress/flate at its fastest
// level is used because it is the one whose Reset does not clear 640 kB.

const (
	// DeflateBytesMin is the shortest message that is worth compressing, in bytes.
	DeflateBytesMin = 256

	// finalBlocksMax is how many DEFLATE streams one message may consist of. RFC 7692 §7.2.1 lets a sender end a stream
	// anywhere and begin the next, at two bytes each; each makes us set 40 kB up. Beyond it: PolicyViolation.
	finalBlocksMax = 16

	deflateWindow    = 32 << 10
	inflateRoomLeast = 4 << 10
)

// deflateEnd is what RFC 7692 §7.2.2 has the reader put behind a message, and a last block, upon which compress/flate tells
// that the blocks before it were whole.
var deflateEnd = []byte{0x00, 0x00, 0xFF, 0xFF, 0x01, 0x00, 0x00, 0xFF, 0xFF}

// Inflater inflates whole messages. It takes about 40 kB once it is used, and no more however long they are; its zero
// value is ready. Owned by one loop.
type Inflater struct {
	in   deflated
	out  io.Reader // a flate.Resetter, too
	over [1]byte   // what comes behind the limit
}

// Append appends the message that payload, the compressed bytes of all its frames, inflates to, as a message of kind op.
// bytesMax bounds what is appended, 0 means MessageBytesMaxDefault; not more than that is ever allocated for it.
//
//	TooBig           it is longer than bytesMax, told as soon as that is known
//	InvalidPayload   it does not inflate to its end, or is text and not UTF-8
//	PolicyViolation  it consists of more than 16 DEFLATE streams
//
// With a code, out is dst with an unspecified part of the message behind it.
func (f *Inflater) Append(dst []byte, op Op, payload []byte, bytesMax int) (out []byte, code CloseCode) {
	if bytesMax <= 0 {
		bytesMax = MessageBytesMaxDefault
	}
	if len(payload) == 0 { // nobody is to send this (§7.2.3.6), but what else could it be
		return dst, 0
	}
	f.in = deflated{left: payload}
	defer func() { f.in = deflated{} }()
	return f.message(dst, op, bytesMax)
}

// message appends the message in f.in.
func (f *Inflater) message(dst []byte, op Op, bytesMax int) (out []byte, code CloseCode) {
	start := len(dst)
	for streams := 0; ; streams++ {
		if streams == finalBlocksMax {
			return dst, PolicyViolation
		}
		f.reset(dst[max(start, len(dst)-deflateWindow):])
		if dst, code = f.stream(dst, start+bytesMax); code != 0 {
			return dst, code
		}
		if len(f.in.left) == 0 {
			break
		}
		if f.in.ended { // a last block of its own ended within our bytes
			return dst, InvalidPayload
		}
	}
	if op == OpText && !utf8.Valid(dst[start:]) { // RFC 6455 §8.1, on what was compressed
		return dst, InvalidPayload
	}
	return dst, 0
}

// reset begins a stream behind window, what the streams before it in the message have inflated to.
func (f *Inflater) reset(window []byte) {
	if f.out == nil {
		f.out = flate.NewReader(&f.in)
	}
	if err := f.out.(flate.Resetter).Reset(&f.in, window); err != nil {
		panic(err) // it has none to return
	}
}

// stream inflates to the end of the stream at hand; end is the length dst may grow to.
func (f *Inflater) stream(dst []byte, end int) (out []byte, code CloseCode) {
	for {
		if len(dst) == cap(dst) && len(dst) < end {
			dst = append(make([]byte, 0, min(end, max(2*cap(dst), len(dst)+inflateRoomLeast))), dst...)
		}
		room := dst[len(dst):min(cap(dst), end)]
		full := len(room) == 0
		if full {
			room = f.over[:]
		}
		n, err := f.out.Read(room)
		if full && n > 0 {
			return dst, TooBig
		}
		dst = dst[:len(dst)+n]
		f.in.units -= n / inflatedPerUnit
		if errors.Is(err, io.EOF) {
			return dst, 0
		}
		if err != nil {
			return dst, InvalidPayload
		}
	}
}

// deflated is a message on its way into compress/flate: its bytes and deflateEnd. It has ReadByte, so that no byte behind
// a stream is taken with it.
type deflated struct {
	left  []byte
	ended bool // left is of deflateEnd

	units int         // of the step at hand that are left, see Inflating
	pause func() bool // waits for the next step; false: there is none. nil: all is one step
}

// ReadByte is part of flate.Reader.
func (d *deflated) ReadByte() (byte, error) {
	if d.units--; d.units < 0 && d.pause != nil && !d.pause() {
		return 0, io.ErrUnexpectedEOF
	}
	if len(d.left) == 0 {
		if d.ended {
			return 0, io.EOF
		}
		d.left, d.ended = deflateEnd, true
	}
	b := d.left[0]
	d.left = d.left[1:]
	return b, nil
}

// Read is part of flate.Reader.
func (d *deflated) Read(p []byte) (n int, err error) {
	for n < len(p) {
		b, err := d.ReadByte()
		if err != nil {
			break
		}
		p[n] = b
		n++
		k := copy(p[n:], d.left)
		d.left = d.left[k:]
		n += k
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Deflater compresses whole messages. It takes about 1.2 MB once it is used; its zero value is ready. Owned by one loop.
type Deflater struct {
	w   *flate.Writer
	out appender
}

// AppendFrame appends payload as one whole frame, as a server sends it on a connection that negotiated compression. It is
// compressed unless it is shorter than DeflateBytesMin or would not become shorter; RFC 7692 §6 lets a sender choose message
// by message. Only data frames are built this way.
func (f *Deflater) AppendFrame(dst []byte, op Op, payload []byte) []byte {
	if op.IsControl() {
		panic("ws: control frame " + strconv.Itoa(int(op)) + " must not be compressed") // RFC 7692 §6.1
	}
	if len(payload) < DeflateBytesMin {
		return AppendFrame(dst, op, payload)
	}
	out, mark := BeginFrame(dst)
	start := len(out)
	out = f.deflate(out, payload)
	if len(out)-start >= len(payload) {
		return AppendFrame(out[:mark], op, payload)
	}
	out = EndFrame(out, mark, op)
	out[mark] |= bitRsv1
	return out
}

// deflate appends the compressed payload, without the empty block that Flush ends it with. RFC 7692 §7.2.1
func (f *Deflater) deflate(dst, payload []byte) []byte {
	if f.w == nil {
		w, err := flate.NewWriter(nil, flate.BestSpeed)
		if err != nil {
			panic(err) // the level is a constant
		}
		f.w = w
	}
	f.out.dst = dst
	f.w.Reset(&f.out)
	_, err := f.w.Write(payload)
	if err == nil {
		err = f.w.Flush()
	}
	if err != nil {
		panic(err) // an appender has none to return
	}
	dst, f.out.dst = f.out.dst, nil
	return dst[:len(dst)-4]
}

// appender is an io.Writer onto a slice.
type appender struct{ dst []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.dst = append(a.dst, p...)
	return len(p), nil
}
