package mqtt

import "testing"

func TestNext(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		max  int
		n    int
		want Reason
	}{
		{"nothing", nil, 0, 0, Success},
		{"one byte", []byte{0x30}, 0, 0, Success},
		{"length to be continued", []byte{0x30, 0xFF, 0xFF, 0xFF}, 0, 0, Success},
		{"body to come", []byte{0x40, 2, 0}, 0, 0, Success},
		{"whole", []byte{0xC0, 0}, 2, 2, Success},
		{"whole with another behind", []byte{0xC0, 0, 0xC0, 0}, 2, 2, Success},
		{"length in two bytes where one would do", []byte{0xC0, 0x80, 0}, 0, 3, Success},
		{"at the limit", []byte{0x40, 2, 0, 1}, 4, 4, Success},
		{"over the limit, before the body", []byte{0x40, 2}, 3, 0, PacketTooLarge},
		{"largest length", []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}, 0, 0, Success},
		{"largest length, limited", []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}, 1 << 20, 0, PacketTooLarge},
		{"length of five bytes", []byte{0x30, 0x80, 0x80, 0x80, 0x80}, 0, 0, MalformedPacket},
		{"length of five bytes, limited", []byte{0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F}, 10, 0, MalformedPacket},
		{"type 0", []byte{0x00}, 0, 0, MalformedPacket},
		{"PUBLISH with QoS 3", []byte{0x36}, 0, 0, MalformedPacket},
		{"PUBLISH again with QoS 0", []byte{0x38}, 0, 0, MalformedPacket},
		{"PUBLISH again with QoS 1", []byte{0x3A}, 0, 0, Success},
		{"PUBREL without its flags", []byte{0x60}, 0, 0, MalformedPacket},
		{"PUBREL with more flags", []byte{0x63}, 0, 0, MalformedPacket},
		{"SUBSCRIBE without its flags", []byte{0x80}, 0, 0, MalformedPacket},
		{"UNSUBSCRIBE without its flags", []byte{0xA0}, 0, 0, MalformedPacket},
		{"CONNECT with a flag", []byte{0x11}, 0, 0, MalformedPacket},
		{"PINGREQ with a flag", []byte{0xC8}, 0, 0, MalformedPacket},
		{"AUTH with a flag", []byte{0xF2}, 0, 0, MalformedPacket},
		{"a TLS hello", []byte{0x16, 3, 1}, 0, 0, MalformedPacket},
		{"an HTTP request", []byte("GET / HTTP/1.1\r\n"), 0, 0, MalformedPacket},
	} {
		packet, n, r := Next(c.in, c.max)
		if n != c.n || r != c.want || len(packet) != n || cap(packet) != n {
			t.Errorf("%s: %d bytes, %s; want %d, %s", c.name, n, r, c.n, c.want)
		}
	}
}

// Of the 256 first bytes, 14 types have one set of flags, three of which MQTT 3.1 sends again with DUP, and PUBLISH
// has ten: three QoS with and without DUP and RETAIN, but no DUP at QoS 0.
func TestNextFirstBytes(t *testing.T) {
	var known int
	for first := range 256 {
		if _, _, r := Next([]byte{byte(first)}, 0); r == Success {
			known++
		}
	}
	if want := 14 + 3 + 10; known != want {
		t.Fatalf("%d first bytes are known, want %d", known, want)
	}
}
