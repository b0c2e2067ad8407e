package mqtt

import (
	"bytes"
	"testing"
)

// As soon as the id is there it is found, and never a wrong one before.
func TestPeekEveryCut(t *testing.T) {
	for i := range samples {
		s := &samples[i]
		if Type(s.packet[0]>>4) != TypeConnect {
			continue
		}
		want := decoded(t, s.packet, 0).Connect.ClientID
		found := false
		for cut := range len(s.packet) + 1 {
			id, v, ok := PeekClientID(s.packet[:cut])
			if found && !ok || ok && (!bytes.Equal(id, want) || v != s.v) {
				t.Fatalf("%s cut at %d: %q of %s, %t", s, cut, id, v, ok)
			}
			found = ok
		}
		if id, v, ok := PeekClientID(append(s.packet[:len(s.packet):len(s.packet)], 0xC0, 0)); !ok || v != s.v || !bytes.Equal(id, want) {
			t.Fatalf("%s with another packet behind: %q of %s, %t", s, id, v, ok)
		}
	}
}

func TestPeekOfNoConnect(t *testing.T) {
	for _, c := range []struct {
		name   string
		packet []byte
		v      Version
		ok     bool
	}{
		{"nothing", nil, 0, false},
		{"another packet", []byte{0x30}, 0, true},
		{"flags", []byte{0x11}, 0, true},
		{"length to come", []byte{0x10, 0xFF}, 0, false},
		{"length of five bytes", []byte{0x10, 0xFF, 0xFF, 0xFF, 0xFF}, 0, true},
		{"nothing in it", []byte{0x10, 0}, 0, true},
		{"unknown level", frame(0x10, text("MQTT"), 6, 0), V5, true},
		{"unknown name", frame(0x10, text("HTTP"), 1, 0), V311, true},
		{"name past the end", frame(0x10, u16(9), "MQTT"), 0, true},
		{"cut behind the level", frame(0x10, text("MQTT"), 4, 2), V311, true},
		{"properties past the end", frame(0x10, text("MQTT"), 5, 2, u16(0), 9), V5, true},
		{"property length of five bytes", frame(0x10, text("MQTT"), 5, 2, u16(0), 0xFF, 0xFF, 0xFF, 0xFF, text("c"))[:16], V5, true},
		{"id past the end", frame(0x10, text("MQTT"), 4, 2, u16(0), u16(9), "c"), V311, true},
		{"id to come", frame(0x10, text("MQTT"), 4, 2, u16(0), text("c1"))[:15], V311, false},
	} {
		if id, v, ok := PeekClientID(c.packet); len(id) != 0 || v != c.v || ok != c.ok {
			t.Errorf("%s: %q of %s, %t", c.name, id, v, ok)
		}
	}
}
