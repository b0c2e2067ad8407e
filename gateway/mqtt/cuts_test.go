package mqtt

import (
	"bytes"
	"slices"
	"testing"
)

func TestEverySampleDecodes(t *testing.T) {
	for i := range samples {
		s := &samples[i]
		packet, n, r := Next(s.packet, 0)
		if r != Success || n != len(s.packet) || !bytes.Equal(packet, s.packet) {
			t.Fatalf("%s: Next gave %d bytes, %s", s, n, r)
		}
		var p Packet
		if r := Decode(packet, s.v, &p); r != Success {
			t.Fatalf("%s: %s", s, r)
		}
		if p.Type != Type(s.packet[0]>>4) || p.Version != s.v {
			t.Fatalf("%s: decoded as %s of %s", s, p.Type, p.Version)
		}
	}
}

// However TCP cuts the stream, Next finds the same packets.
func TestNextEveryCut(t *testing.T) {
	var stream []byte
	for i := range samples {
		stream = append(stream, samples[i].packet...)
	}
	for cut := range len(stream) + 1 {
		var got int
		take := func(p []byte) (rest []byte) {
			for {
				packet, n, r := Next(p, len(stream))
				if r != Success {
					t.Fatalf("cut at %d, packet %d: %s", cut, got, r)
				}
				if n == 0 {
					return p
				}
				if !bytes.Equal(packet, samples[got].packet) {
					t.Fatalf("cut at %d, packet %d: % x, want % x", cut, got, packet, samples[got].packet)
				}
				got, p = got+1, p[n:]
			}
		}
		rest := take(stream[:cut])
		rest = take(append(slices.Clone(rest), stream[cut:]...))
		if got != len(samples) || len(rest) != 0 {
			t.Fatalf("cut at %d: %d of %d packets, %d bytes left", cut, got, len(samples), len(rest))
		}
	}
}

// Each packet is cut at each byte, with a remaining length that says so: it is malformed, unless what is left is
// whole again.
func TestDecodeEveryTruncation(t *testing.T) {
	for i := range samples {
		s := &samples[i]
		_, body, _, _ := split(s.packet)
		for cut := range len(body) {
			want := MalformedPacket
			if slices.Contains(s.whole, cut) {
				want = Success
			}
			if slices.Contains(s.empty, cut) {
				want = ProtocolError
			}
			packet := frame(int(s.packet[0]), slices.Clone(body[:cut]))
			var p Packet
			if got := Decode(packet, s.v, &p); got != want {
				t.Errorf("%s cut to %d bytes: %s, want %s", s, cut, got, want)
			}
		}
	}
}

// A packet with a byte too many is malformed, save a PUBLISH, whose payload takes what there is, and packets that
// end in a list of codes.
func TestDecodeTrailingByte(t *testing.T) {
	for i := range samples {
		s := &samples[i]
		_, body, _, _ := split(s.packet)
		want := MalformedPacket
		switch Type(s.packet[0] >> 4) {
		case TypePublish, TypeSuback:
			continue
		case TypeUnsuback:
			if s.v == V5 {
				continue
			}
		case TypePuback, TypePubrec, TypePubrel, TypePubcomp, TypeDisconnect, TypeAuth:
			if s.v == V5 && (len(body) == 0 || len(body) == 2) {
				want = ProtocolError // the byte is read as a reason
			}
		}
		var p Packet
		got := Decode(frame(int(s.packet[0]), slices.Clone(body), 0xAA), s.v, &p)
		if got != want {
			t.Errorf("%s with a byte too many: %s", s, got)
		}
	}
}

// Decode is given what Next returns, yet it must stand any slice.
func TestDecodeOfNoPacket(t *testing.T) {
	for _, b := range [][]byte{nil, {}, {0x10}, {0x30, 0x80}, {0x30, 0x05, 0}, {0xC0, 0, 0}, {0x00, 0x00}, {0xC0, 0x80, 0x80, 0x80, 0x80, 0}} {
		if r := Decode(b, V5, new(Packet)); r != MalformedPacket {
			t.Errorf("% x: %s", b, r)
		}
	}
}

// A reused packet shows nothing of the one before it.
func TestDecodeIntoUsedPacket(t *testing.T) {
	var used Packet
	for i := range samples {
		for j := range samples {
			Decode(samples[i].packet, samples[i].v, &used)
			Decode(samples[j].packet, samples[j].v, &used)
			if got, want := describe(&used), describe(decoded(t, samples[j].packet, samples[j].v)); got != want {
				t.Fatalf("%s after %s:\n got %s\nwant %s", &samples[j], &samples[i], got, want)
			}
		}
	}
}

// One huge packet does not leave its arrays behind.
func TestDecodeForgetsHugeArrays(t *testing.T) {
	filters := slices.Repeat([]Filter{{Topic: []byte("a")}}, 50_000)
	var p Packet
	if r := Decode(AppendSubscribe(nil, V311, 1, filters, 0), V311, &p); r != Success || len(p.Filters) != len(filters) {
		t.Fatalf("%d filters: %s", len(p.Filters), r)
	}
	ids := slices.Repeat([]uint32{7}, 50_000)
	if r := Decode(AppendPublish(nil, V5, &PublishOut{Topic: []byte("a"), SubscriptionIDs: ids}), V5, &p); r != Success || len(p.Props.SubscriptionIDs) != len(ids) {
		t.Fatalf("%d subscription identifiers: %s", len(p.Props.SubscriptionIDs), r)
	}
	Decode(AppendPingreq(nil), V5, &p)
	if cap(p.Filters) > reusedMax || cap(p.Props.SubscriptionIDs) > reusedMax {
		t.Fatalf("room kept for %d filters and %d identifiers", cap(p.Filters), cap(p.Props.SubscriptionIDs))
	}
}
