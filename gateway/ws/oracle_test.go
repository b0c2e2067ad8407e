package ws

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"unicode/utf8"

	gobwas "github.com/gobwas/ws"
)

// FuzzOracle compares one frame header, and the close body behind it, with gobwas.
func FuzzOracle(f *testing.F) {
	for _, c := range append(readerCases(), badCases()...) {
		if len(c.stream) < 1000 {
			f.Add(c.stream, false)
			f.Add(c.stream, true)
		}
	}
	f.Fuzz(func(t *testing.T, p []byte, fragmented bool) {
		for _, side := range []gobwas.State{gobwas.StateServerSide, gobwas.StateClientSide} {
			compareHeader(t, p, fragmented, side)
		}
		compareClose(t, p)
	})
}

// compareHeader allows two differences, both ours on purpose: gobwas takes lengths that are not minimal (RFC 6455 §5.2
// says MUST), and it judges a header only once it is whole.
func compareHeader(t *testing.T, p []byte, fragmented bool, state gobwas.State) {
	want, err := gobwas.ReadHeader(bytes.NewReader(p))
	short := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if fragmented {
		state = state.Set(gobwas.StateFragmented)
	}
	if err == nil {
		err = gobwas.CheckHeader(want, state)
	}
	got, code := parseHeader(p, fragmented, state.ServerSide(), false)
	switch {
	case short:
		if got.bytes != 0 {
			t.Fatalf("% x: gobwas asks for more, we are done after %d", p, got.bytes)
		}
	case err != nil:
		if code != ProtocolError {
			t.Fatalf("% x: gobwas says %v, we say %v", p, err, code)
		}
	case code != 0:
		if notMinimal := p[1]&0x7F >= len16 && want.Length < len16 || p[1]&0x7F == len64 && want.Length <= 0xFFFF; !notMinimal {
			t.Fatalf("% x: gobwas takes it, we say %v", p, code)
		}
	case got.fin != want.Fin || byte(got.op) != byte(want.OpCode) || got.length != uint64(want.Length) || got.mask != want.Mask || got.bytes != gobwas.HeaderSize(want):
		t.Fatalf("% x: %+v, gobwas %+v", p, got, want)
	}
}

// compareClose allows two differences: 1012 to 1014, registered with IANA after the RFC, are news to gobwas, and it lets
// pass 5000 and more, for which RFC 6455 §7.4.2 has no range.
func compareClose(t *testing.T, p []byte) {
	if len(p) < 2 {
		return
	}
	status, reason := gobwas.ParseCloseFrameData(p)
	err := gobwas.CheckCloseFrameData(status, reason)
	code, _, bad := ParseClose(p)
	registered := status >= 1012 && status <= 1014 && utf8.ValidString(reason)
	switch {
	case status >= 5000:
		if bad != ProtocolError {
			t.Fatalf("% x: code %d taken", p, status)
		}
	case err == nil && (bad != 0 || uint16(code) != uint16(status)), err != nil && bad == 0 && !registered:
		t.Fatalf("% x: gobwas says %v, we say %v %v", p, err, code, bad)
	}
}

// TestCipherOracle checks the unmasking we rely on against the sentence of RFC 6455 §5.3, at every length, offset in the
// mask and alignment around its blocks: gobwas does it in assembly.
func TestCipherOracle(t *testing.T) {
	buffer := make([]byte, 320)
	for align := range 17 {
		for length := range 270 {
			for offset := range 4 {
				p := buffer[align : align+length]
				for i := range buffer {
					buffer[i] = byte(i * 7)
				}
				gobwas.Cipher(p, testMask, offset)
				for i := range buffer {
					want := byte(i * 7)
					if j := i - align; j >= 0 && j < length {
						want ^= testMask[(offset+j)&3]
					}
					if buffer[i] != want {
						t.Fatalf("align %d, length %d, offset %d: byte %d is %#x, want %#x", align, length, offset, i, buffer[i], want)
					}
				}
			}
		}
	}
}
