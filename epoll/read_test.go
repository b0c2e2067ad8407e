package epoll

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// frames cuts length-prefixed frames out of p and calls f for each; it returns what is left.
func frames(p []byte, f func(frame []byte) (more bool)) []byte {
	for len(p) >= 2 {
		n := 2 + int(binary.BigEndian.Uint16(p))
		if len(p) < n {
			break
		}
		frame := p[2:n]
		p = p[n:]
		if !f(frame) {
			break
		}
	}
	return p
}

// frameStream is frames of many lengths: empty, short, and around each limit of the tail.
func frameStream() (stream []byte, want []string) {
	for i, n := range []int{0, 1, 2, 300, 511, 513, tailShort - 2, tailShort - 1, tailShort, 3, 4500, 7} {
		body := pattern(n + i)[i:]
		stream = binary.BigEndian.AppendUint16(stream, uint16(n))
		stream = append(stream, body...)
		want = append(want, string(body))
	}
	return stream, want
}

func TestEveryCutGivesTheSame(t *testing.T) {
	stream, want := frameStream()
	for _, o := range []Options{{}, {ReadBytes: 1}, {ReadBytes: 700}} {
		step := 1
		if o.ReadBytes == 1 || checked {
			step = 97
		}
		t.Run(fmt.Sprintf("read %d", o.ReadBytes), func(t *testing.T) {
			r := newRig(t, o)
			var got []string
			r.data = func(c *Conn, p []byte) []byte {
				return frames(p, func(frame []byte) bool {
					got = append(got, string(frame))
					return true
				})
			}
			for cut := 0; cut <= len(stream); cut += step {
				got = nil
				_, p := r.pair()
				p.send(stream[:cut])
				r.tick()
				p.send(stream[cut:])
				p.close()
				r.untilClosed(cut/step + 1)
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("cut at %d: %d frames, want %d, or they differ", cut, len(got), len(want))
				}
			}
		})
	}
}

// A handler that takes one frame and pauses, to be resumed in a later tick, sees the same frames in the same order.
func TestPauseKeepsBytesAndOrder(t *testing.T) {
	stream, want := frameStream()
	r := newRig(t, Options{ReadBytes: 1000})
	var got []string
	r.data = func(c *Conn, p []byte) []byte {
		if c.Paused() {
			t.Error("OnData while paused")
		}
		return frames(p, func(frame []byte) bool {
			got = append(got, string(frame))
			c.PauseRead()
			return false
		})
	}
	c, p := r.pair()
	p.send(stream)
	for i := 1; i <= len(want); i++ {
		r.until("a frame", func() bool { return len(got) == i })
		reads := r.stats.Reads
		r.tick()
		r.tick()
		if len(got) != i || r.stats.Reads != reads {
			t.Fatalf("the pause after frame %d was not kept", i)
		}
		c.ResumeRead()
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatal("frames differ")
	}
}

func TestPauseMutesOnlyWhenBytesArrive(t *testing.T) {
	r := newRig(t, Options{})
	c, p := r.pair()
	c.PauseRead()
	r.tick()
	if c.is(isMuted) {
		t.Fatal("muted although nothing came")
	}
	p.send([]byte("x"))
	r.tick()
	if !c.is(isMuted) || r.stats.Reads != 0 {
		t.Fatal("a paused connection with bytes must be muted, not read")
	}
	if n, _ := r.poll.look(); n != 0 {
		t.Fatalf("a muted connection still reports %d events", n)
	}
	var got []byte
	r.data = func(c *Conn, p []byte) []byte { got = append(got, p...); return nil }
	c.ResumeRead()
	r.tick()
	same(t, "after the pause", got, []byte("x"))
}

func TestResetDuringPauseEndsTheConnection(t *testing.T) {
	r := newRig(t, Options{})
	c, p := r.tcp()
	c.PauseRead()
	p.reset()
	if why := r.untilClosed(1); why != CausePeerReset {
		t.Fatal(why)
	}
}

func TestPeerEndedDuringPause(t *testing.T) {
	r := newRig(t, Options{})
	c, p := r.tcp()
	r.data = func(c *Conn, p []byte) []byte { c.PauseRead(); return p }
	p.send([]byte("abc"))
	r.tick()
	p.send([]byte("def"))
	if c.PeerEnded() {
		t.Fatal("the peer is there")
	}
	p.shutWrite()
	if !c.PeerEnded() {
		t.Fatal("the peer is gone, and its last bytes unread")
	}
}

// ResumeRead within OnData must not spin in the tick.
func TestResumeInsideOnDataComesNextTick(t *testing.T) {
	r := newRig(t, Options{})
	calls := 0
	r.data = func(c *Conn, p []byte) []byte {
		calls++
		c.PauseRead()
		c.ResumeRead()
		return p
	}
	_, p := r.pair()
	p.send([]byte("abc"))
	r.tick() // read, then the resumed tail
	for i := 2; i < 5; i++ {
		if calls != i {
			t.Fatalf("%d calls of OnData, want %d", calls, i)
		}
		if !r.again {
			t.Fatal("the loop would sleep on a tail that is to be offered")
		}
		r.tick()
	}
}

func TestFloodDoesNotStarve(t *testing.T) {
	r := newRig(t, Options{ReadBytes: 4096})
	reads := map[*Conn]int{}
	longest := 0
	r.data = func(c *Conn, p []byte) []byte {
		reads[c]++
		longest = max(longest, len(p))
		return nil
	}
	flooder, fp := r.pair()
	quiet, qp := r.pair()
	fp.flood()
	for i := 1; i <= 200; i++ {
		fp.flood()
		qp.send([]byte("x"))
		r.tick()
		if reads[quiet] != i || reads[flooder] != i {
			t.Fatalf("tick %d: the quiet one had %d reads, the flooder %d", i, reads[quiet], reads[flooder])
		}
	}
	if longest > 4096 {
		t.Fatalf("%d bytes in one turn", longest)
	}
}

// A packet of a megabyte, one byte a read, must not be copied again and again.
func TestLongTailCostsAmortisedConstantCopying(t *testing.T) {
	size := 1 << 20
	if checked {
		size = 1 << 16
	}
	r := newRig(t, Options{ReadBytes: 1})
	want := pattern(size)
	var got []byte
	r.data = func(c *Conn, p []byte) []byte {
		if len(p) < size {
			return p
		}
		got = bytes.Clone(p)
		return nil
	}
	c, p := r.pair()
	for rest := want; len(rest) > 0; {
		n, _ := send(int32(p.fd), rest)
		rest = rest[n:]
		for range max(n, 1) {
			r.tick()
		}
	}
	r.until("the packet", func() bool { return got != nil })
	same(t, "packet", got, want)
	limit := uint64(tailShort*tailShort + 3*size)
	if copied := r.stats.TailCopyBytes; copied > limit {
		t.Fatalf("%d bytes copied for %d, want at most %d", copied, size, limit)
	}
	if c.tail != 0 {
		t.Fatal("an empty tail holds memory")
	}
}

// A handler that takes a little of a long tail at a time must not make it be moved each time.
func TestConsumingALongTailPieceByPiece(t *testing.T) {
	const size, piece = 512 << 10, 64
	r := newRig(t, Options{})
	want := pattern(size)
	var got []byte
	r.data = func(c *Conn, p []byte) []byte {
		got = append(got, p[:piece]...)
		c.PauseRead()
		c.ResumeRead()
		return p[piece:]
	}
	c, _ := r.pair()
	c.Offer(want)
	c.ResumeRead()
	r.until("all", func() bool { return len(got) == size })
	same(t, "bytes", got, want)
	if copied := r.stats.TailCopyBytes; copied > 3*size {
		t.Fatalf("%d bytes copied", copied)
	}
}

func TestTailTooLong(t *testing.T) {
	r := newRig(t, Options{ReadBytes: 1000, TailBytesMax: 5000})
	longest := 0
	r.data = func(c *Conn, p []byte) []byte { longest = len(p); return p }
	_, p := r.pair()
	p.send(make([]byte, 20000))
	if why := r.untilClosed(1); why != CauseTailTooLong || longest != 6000 {
		t.Fatal(why, longest)
	}
}

// The handler may compact p in place and return any part of it.
func TestHandlerMayRewriteWhatItWasGiven(t *testing.T) {
	for _, size := range []int{100, 3000, 9000} {
		r := newRig(t, Options{})
		var last []byte
		r.data = func(c *Conn, p []byte) []byte {
			last = bytes.Clone(p)
			copy(p[1:], p[len(p)/2:])
			return p[1 : 1+len(p)-len(p)/2]
		}
		_, p := r.pair()
		want := pattern(size)
		p.send(want)
		r.tick()
		want = append(bytes.Clone(want[size/2:]), 'x')
		p.send([]byte("x"))
		r.tick()
		same(t, fmt.Sprintf("first %d", size), last, want)
		want = append(bytes.Clone(want[len(want)/2:]), 'y')
		p.send([]byte("y"))
		r.tick()
		same(t, fmt.Sprintf("second %d", size), last, want)
	}
}

func TestForeignRestPanics(t *testing.T) {
	r := newRig(t, Options{})
	r.data = func(c *Conn, p []byte) []byte { return []byte("not mine") }
	_, p := r.pair()
	p.send(make([]byte, 100))
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	r.tick()
}

func TestOfferReplacesTheTail(t *testing.T) {
	r := newRig(t, Options{})
	var got string
	r.data = func(c *Conn, p []byte) []byte { got = string(p); return p }
	c, p := r.pair()
	p.send([]byte("old"))
	r.tick()
	c.Offer([]byte("new"))
	p.send([]byte("er"))
	r.tick()
	if got != "newer" {
		t.Fatal(got)
	}
	c.Offer(nil)
	if c.tail != 0 {
		t.Fatal("an empty tail holds memory")
	}
}

// Check builds overwrite what was lent, so a handler that keeps it sees other bytes.
func TestBorrowedBytesAreOverwritten(t *testing.T) {
	if !checked {
		t.Skip("check builds only: -race or -tags gwcheck")
	}
	r := newRig(t, Options{})
	var kept []byte
	r.data = func(c *Conn, p []byte) []byte { kept = p; return nil }
	_, p := r.pair()
	p.send([]byte("secret"))
	r.tick()
	if string(kept) == "secret" {
		t.Fatal("borrowed bytes survived the callback")
	}
}

func TestPeerEnds(t *testing.T) {
	for _, end := range []struct {
		name string
		do   func(p *peer)
		want Cause
	}{
		{"FIN", (*peer).close, CausePeerClosed},
		{"half-close", (*peer).shutWrite, CausePeerClosed},
		{"RST", (*peer).reset, CausePeerReset},
	} {
		t.Run(end.name, func(t *testing.T) {
			r := newRig(t, Options{})
			_, p := r.tcp()
			end.do(p)
			if why := r.untilClosed(1); why != end.want {
				t.Fatal(why)
			}
		})
	}
}

// Bytes that came before the FIN are delivered before OnClose.
func TestBytesBeforeFIN(t *testing.T) {
	r := newRig(t, Options{ReadBytes: 10})
	var got []byte
	r.data = func(c *Conn, p []byte) []byte { got = append(got, p...); return nil }
	_, p := r.pair()
	want := pattern(95)
	p.send(want)
	p.close()
	if why := r.untilClosed(1); why != CausePeerClosed {
		t.Fatal(why)
	}
	same(t, "before FIN", got, want)
}

func TestReadErrorNumbers(t *testing.T) {
	r := newRig(t, Options{})
	c, _ := r.pair()
	if r.received(c, 0, unix.EAGAIN) || r.received(c, 0, unix.EINTR) || c.Closing() {
		t.Fatal("EAGAIN and EINTR are no end")
	}
	if r.received(c, 0, unix.ETIMEDOUT) || c.cause != CausePeerReset {
		t.Fatal("a socket error is an end")
	}
}

// TestPacedTail: a connection that is read packet by packet, with a pause after each, keeps what one read brought and not what its peer could send
// meanwhile.
func TestPacedTail(t *testing.T) {
	r := newRig(t, Options{ReadBytes: 1000})
	calls := 0
	r.data = func(c *Conn, p []byte) []byte {
		if len(p) > 1000 {
			t.Fatalf("%d bytes offered", len(p))
		}
		calls++
		c.PauseRead()
		return p[2:]
	}
	c, p := r.pair()
	r.tickEnd = func() { c.ResumeRead() }
	p.send(pattern(20_000))
	r.until("all", func() bool { return calls == 10_000 })
	r.tickEnd = nil
}
