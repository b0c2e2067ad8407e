package mqtt

import (
	"bytes"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2/packets"
)

// seed gives a fuzz target our samples and the vectors of mochi's own tests, whole and cut in half.
func seed(f *testing.F) {
	for i := range samples {
		f.Add(samples[i].packet, byte(samples[i].v))
	}
	for _, cases := range mochi.TPacketData {
		for _, c := range cases {
			v := byte(V311)
			if c.Packet != nil && c.Packet.ProtocolVersion == byte(V5) {
				v = byte(V5)
			}
			f.Add(c.RawBytes, v)
			f.Add(c.RawBytes[:len(c.RawBytes)/2], v)
		}
	}
}

// asVersion makes one of the three versions of any byte.
func asVersion(b byte) Version { return V31 + Version(b)%3 }

// FuzzNext feeds a stream in two pieces: the packets, their number and the end must be those of the stream in one
// piece.
func FuzzNext(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, stream []byte, at byte) {
		const limit = 1 << 16
		take := func(p []byte) (packets [][]byte, rest []byte, r Reason) {
			for {
				packet, n, r := Next(p, limit)
				if n < 0 || n > len(p) || n > limit || len(packet) != n || r != Success && n != 0 {
					t.Fatalf("%d bytes of %d, %s", n, len(p), r)
				}
				if n == 0 {
					return packets, p, r
				}
				packets, p = append(packets, packet), p[n:]
			}
		}
		whole, rest, r := take(stream)
		cut := int(at) % (len(stream) + 1)
		first, tail, early := take(stream[:cut])
		if early != Success {
			if early != r || len(first) != len(whole) {
				t.Fatalf("cut at %d: %s after %d packets, whole: %s after %d", cut, early, len(first), r, len(whole))
			}
			return
		}
		second, end, late := take(append(bytes.Clone(tail), stream[cut:]...))
		if late != r || len(first)+len(second) != len(whole) || !bytes.Equal(end, rest) {
			t.Fatalf("cut at %d: %d and %d packets, %s; whole: %d, %s", cut, len(first), len(second), late, len(whole), r)
		}
	})
}

// FuzzDecode must not panic, must not read past the packet, and what it accepts must survive being written and read
// again.
func FuzzDecode(f *testing.F) {
	seed(f)
	var p, again Packet
	f.Fuzz(func(t *testing.T, packet []byte, v byte) {
		id, peeked, known := PeekClientID(packet)
		r := Decode(packet, asVersion(v), &p)
		if r != Success {
			if !r.Failed() {
				t.Fatalf("refused with %s", r)
			}
			return
		}
		if p.Type == TypeConnect && (!known || peeked != p.Version || !bytes.Equal(id, p.Connect.ClientID)) {
			t.Fatalf("peeked %q of %s, decoded %q of %s", id, peeked, p.Connect.ClientID, p.Version)
		}
		if _, n, r := Next(packet, len(packet)); r != Success || n != len(packet) {
			t.Fatalf("Next gives %d bytes of %d, %s", n, len(packet), r)
		}
		written, spoken := encoded(&p)
		if !spoken {
			return
		}
		if r := Decode(written, p.Version, &again); r != Success {
			t.Fatalf("% x, written % x: %s", packet, written, r)
		}
		if a, b := describe(&p), describe(&again); a != b {
			t.Fatalf("was %s\nnow %s", a, b)
		}
		var block, twice Properties
		if forward := p.Props.AppendForward(nil); p.Type == TypePublish {
			if !ParseForward(forward, &block) || !ParseForward(block.AppendForward(nil), &twice) || describeProps(&block) != describeProps(&twice) {
				t.Fatalf("forward block % x", forward)
			}
		}
	})
}

// FuzzFilter holds the filter check against a plain restatement of §4.7 and §4.8.2.
func FuzzFilter(f *testing.F) {
	for filter := range filterCases {
		f.Add([]byte(filter))
	}
	f.Fuzz(func(t *testing.T, filter []byte) {
		if got, want := ValidFilter(filter), plainFilter(filter); got != want {
			t.Fatalf("%q: %t, want %t", filter, got, want)
		}
		if got, want := ValidTopic(filter), plainFilter(filter) && !bytes.ContainsAny(filter, "+#"); got != want && !shared(filter) {
			t.Fatalf("topic %q: %t, want %t", filter, got, want)
		}
	})
}

func plainFilter(filter []byte) bool {
	if len(filter) == 0 || len(filter) > stringBytesMax || !validString(filter) {
		return false
	}
	levels := bytes.Split(filter, []byte("/"))
	if len(levels) > 1 && string(levels[0]) == "$share" {
		if len(levels) < 3 || len(levels[1]) == 0 || bytes.ContainsAny(levels[1], "+#") || len(levels) == 3 && len(levels[2]) == 0 {
			return false
		}
		levels = levels[2:]
	}
	for i, level := range levels {
		if bytes.ContainsAny(level, "+#") && len(level) > 1 || string(level) == "#" && i < len(levels)-1 {
			return false
		}
	}
	return true
}
