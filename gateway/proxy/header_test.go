package proxy

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

var (
	client4 = &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 40001}
	client6 = &net.TCPAddr{IP: net.ParseIP("2001:db8::7"), Port: 40002}
	front4  = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1883}
	front6  = &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 1883}
)

// theirs is a header as go-proxyproto writes it.
func theirs(t testing.TB, h *proxyproto.Header, tlvs ...proxyproto.TLV) []byte {
	t.Helper()
	if len(tlvs) > 0 {
		if err := h.SetTLVs(tlvs); err != nil {
			t.Fatal(err)
		}
	}
	p, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// tls is the value of a client that came over TLS with a certificate.
func tls(t testing.TB, flags byte, verify uint32, cn string) proxyproto.TLV {
	t.Helper()
	v, err := tlvparse.PP2SSL{Client: flags, Verify: verify, TLV: []proxyproto.TLV{
		{Type: proxyproto.PP2_SUBTYPE_SSL_VERSION, Value: []byte("TLSv1.3")}, {Type: proxyproto.PP2_SUBTYPE_SSL_CN, Value: []byte(cn)},
	}}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// summed writes the CRC32C of a header whose last value is one of four zeros.
func summed(p []byte) []byte {
	binary.BigEndian.PutUint32(p[len(p)-4:], crc32.Checksum(p, castagnoli))
	return p
}

// v2 is a header of version 2, byte by byte.
func v2(command, family byte, body string) []byte {
	p := append([]byte(signature), 0x20|command, family)
	return append(binary.BigEndian.AppendUint16(p, uint16(len(body))), body...)
}

// good are headers and what they say.
func good(t testing.TB) map[string]struct {
	in   []byte
	want Header
} {
	from := func(a *net.TCPAddr) netip.AddrPort {
		at := a.AddrPort()
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	}
	second := func(from, to net.Addr, tlvs ...proxyproto.TLV) []byte {
		return theirs(t, proxyproto.HeaderProxyFromAddrs(2, from, to), tlvs...)
	}
	sum := proxyproto.TLV{Type: proxyproto.PP2_TYPE_CRC32C, Value: make([]byte, 4)}
	type row = struct {
		in   []byte
		want Header
	}
	return map[string]row{
		"v1 TCP4":         {theirs(t, proxyproto.HeaderProxyFromAddrs(1, client4, front4)), Header{Source: from(client4)}},
		"v1 TCP6":         {theirs(t, proxyproto.HeaderProxyFromAddrs(1, client6, front6)), Header{Source: from(client6)}},
		"v1 UNKNOWN":      {[]byte("PROXY UNKNOWN\r\n"), Header{}},
		"v1 UNKNOWN long": {[]byte("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"), Header{}},
		"v2 inet":         {second(client4, front4), Header{Source: from(client4)}},
		"v2 inet6":        {second(client6, front6), Header{Source: from(client6)}},
		"v2 mapped":       {v2(1, 0x21, strings.Repeat("\x00", 10)+"\xff\xff\xcb\x00\x71\x07"+strings.Repeat("\x00", 16)+"\x9c\x41\x07\x5b"), Header{Source: from(client4)}},
		"v2 unix": {second(&net.UnixAddr{Net: "unix", Name: "/a"}, &net.UnixAddr{Net: "unix", Name: "/b"},
			proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("a.example")}), Header{Authority: []byte("a.example")}},
		"v2 datagram":            {second(&net.UDPAddr{IP: client4.IP, Port: 1}, &net.UDPAddr{IP: front4.IP, Port: 2}), Header{}},
		"v2 local":               {theirs(t, &proxyproto.Header{Version: 2, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}), Header{}},
		"v2 local with rubbish":  {v2(0, 0x11, "rubbish"), Header{}},
		"v2 unspec with rubbish": {v2(1, 0x00, "rubbish"), Header{}},
		"v2 names": {second(client4, front4, proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("mqtt.example")},
			proxyproto.TLV{Type: proxyproto.PP2_TYPE_ALPN, Value: []byte("mqtt")}, proxyproto.TLV{Type: proxyproto.PP2_TYPE_UNIQUE_ID, Value: []byte("\x00\xff17")},
			proxyproto.TLV{Type: proxyproto.PP2_TYPE_NOOP, Value: make([]byte, 9)}),
			Header{Source: from(client4), Authority: []byte("mqtt.example"), ALPN: []byte("mqtt")}},
		"v2 certificate":         {second(client4, front4, tls(t, 7, 0, "pump-7")), Header{Source: from(client4), TLS: true, CN: []byte("pump-7")}},
		"v2 certificate resumed": {second(client4, front4, tls(t, 5, 0, "pump-7")), Header{Source: from(client4), TLS: true, CN: []byte("pump-7")}},
		"v2 not verified":        {second(client4, front4, tls(t, 3, 1, "pump-7")), Header{Source: from(client4), TLS: true}},
		"v2 no certificate":      {second(client4, front4, tls(t, 1, 0, "pump-7")), Header{Source: from(client4), TLS: true}},
		"v2 no TLS":              {second(client4, front4, tls(t, 6, 0, "pump-7")), Header{Source: from(client4)}},
		"v2 checked":             {summed(second(client4, front4, tls(t, 3, 0, "pump-7"), sum)), Header{Source: from(client4), TLS: true, CN: []byte("pump-7")}},
	}
}

// TestParseEveryCut: what is not whole is waited for, and what is behind the header is left alone.
func TestParseEveryCut(t *testing.T) {
	for name, row := range good(t) {
		for cut := range row.in {
			if _, n, err := Parse(row.in[:cut], Any); n != 0 || err != nil {
				t.Fatalf("%s: cut at %d: %d bytes, %v", name, cut, n, err)
			}
		}
		h, n, err := Parse(append(bytes.Clone(row.in), "\x10\x0c\x00\x04MQTT"...), Any)
		if err != nil || n != len(row.in) || !reflect.DeepEqual(h, row.want) {
			t.Errorf("%s: got %+v, %d of %d bytes, %v; want %+v", name, h, n, len(row.in), err, row.want)
		}
	}
}

func TestVersions(t *testing.T) {
	first, second := theirs(t, proxyproto.HeaderProxyFromAddrs(1, client4, front4)), theirs(t, proxyproto.HeaderProxyFromAddrs(2, client4, front4))
	for take, want := range map[Versions][2]bool{V1: {true, false}, V2: {false, true}, Any: {true, true}} {
		for i, in := range [][]byte{first, second} {
			if _, n, err := Parse(in, take); (n == len(in)) != want[i] || (err == nil) != want[i] {
				t.Errorf("version %d by %d: %d, %v", i+1, take, n, err)
			}
		}
	}
}

func TestParseMalformed(t *testing.T) {
	const from4 = "\x7f\x00\x00\x01\x7f\x00\x00\x02\x00\x01\x00\x02"
	sum := summed(v2(1, 0x11, from4+"\x03\x00\x04\x00\x00\x00\x00"))
	sum[20] ^= 1
	for name, in := range map[string][]byte{
		"CONNECT":             []byte("\x10\x0c\x00\x04MQTT\x04"),
		"HTTP":                []byte("GET /mqtt HTTP/1.1\r\n"),
		"TLS":                 []byte("\x16\x03\x01\x02\x00"),
		"v1 endless":          []byte("PROXY " + strings.Repeat("x", 200)),
		"v1 one byte too far": []byte("PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n"),
		"v1 no CR":            []byte("PROXY UNKNOWN\n"),
		"v1 family":           []byte("PROXY TCP5 127.0.0.1 127.0.0.1 1 2\r\n"),
		"v1 wrong family":     []byte("PROXY TCP6 127.0.0.1 127.0.0.1 1 2\r\n"),
		"v1 zone":             []byte("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n"),
		"v1 two spaces":       []byte("PROXY TCP4  127.0.0.1 127.0.0.1 1 2\r\n"),
		"v1 a word more":      []byte("PROXY TCP4 127.0.0.1 127.0.0.1 1 2 3\r\n"),
		"v1 a word less":      []byte("PROXY TCP4 127.0.0.1 127.0.0.1 1\r\n"),
		"v1 port":             []byte("PROXY TCP4 127.0.0.1 127.0.0.1 65536 2\r\n"),
		"v1 port 01":          []byte("PROXY TCP4 127.0.0.1 127.0.0.1 01 2\r\n"),
		"v1 port +1":          []byte("PROXY TCP4 127.0.0.1 127.0.0.1 1 +2\r\n"),
		"v2 version 3":        append([]byte(signature), 0x31),
		"v2 command":          v2(2, 0x11, from4),
		"v2 family":           v2(1, 0x41, from4),
		"v2 transport":        v2(1, 0x13, from4),
		"v2 too short":        v2(1, 0x11, from4[:11]),
		"v2 too short, unix":  v2(1, 0x31, strings.Repeat("x", 215)),
		"v2 too long":         v2(1, 0x11, from4+strings.Repeat("\x04\x00\x00", 1400)),
		"v2 half a TLV":       v2(1, 0x11, from4+"\x04\x00"),
		"v2 TLV overrun":      v2(1, 0x11, from4+"\x02\xff\xffa.example"), // EMQX #17330
		"v2 TLV a byte over":  v2(1, 0x11, from4+"\x02\x00\x03ab"),
		"v2 SSL too short":    v2(1, 0x11, from4+"\x20\x00\x04\x07\x00\x00\x00"),
		"v2 SSL overrun":      v2(1, 0x11, from4+"\x20\x00\x0a\x07\x00\x00\x00\x00\x22\x00\x09ab"),
		"v2 empty CN":         v2(1, 0x11, from4+"\x20\x00\x08\x07\x00\x00\x00\x00\x22\x00\x00"),
		"v2 two authorities":  v2(1, 0x11, from4+"\x02\x00\x01a\x02\x00\x01b"),
		"v2 two ALPN":         v2(1, 0x11, from4+"\x01\x00\x01a\x01\x00\x01b"),
		"v2 two SSL":          v2(1, 0x11, from4+strings.Repeat("\x20\x00\x05\x00\x00\x00\x00\x00", 2)),
		"v2 two CN":           v2(1, 0x11, from4+"\x20\x00\x0d\x07\x00\x00\x00\x00"+strings.Repeat("\x22\x00\x01a", 2)),
		"v2 NUL":              v2(1, 0x11, from4+"\x02\x00\x03a\x00b"),
		"v2 no UTF-8":         v2(1, 0x11, from4+"\x02\x00\x01\xff"),
		"v2 long authority":   v2(1, 0x11, from4+"\x02\x01\x00"+strings.Repeat("a", 256)),
		"v2 wrong sum":        sum,
		"v2 short sum":        v2(1, 0x11, from4+"\x03\x00\x02\x00\x00"),
	} {
		if h, n, err := Parse(in, Any); err == nil || n != 0 || !reflect.DeepEqual(h, Header{}) {
			t.Errorf("%s: %+v, %d, %v", name, h, n, err)
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	in := theirs(t, proxyproto.HeaderProxyFromAddrs(2, client4, front4), tls(t, 3, 0, "pump-7"))
	if n := testing.AllocsPerRun(100, func() { _, _, _ = Parse(in, Any) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParse: no panic; what is taken is bounded, and is taken alike with anything behind it; and what it says of an address, go-proxyproto says, too.
func FuzzParse(f *testing.F) {
	for _, row := range good(f) {
		f.Add(row.in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		h, n, err := Parse(in, Any)
		if err != nil || n == 0 {
			if n != 0 || err == nil && len(in) >= BytesMax {
				t.Fatalf("%d bytes of %d, %v", n, len(in), err)
			}
			return
		}
		if n > len(in) || n > BytesMax {
			t.Fatalf("%d bytes of %d", n, len(in))
		}
		again, m, err := Parse(append(bytes.Clone(in[:n]), 0xFF), Any)
		if err != nil || m != n || !reflect.DeepEqual(h, again) {
			t.Fatalf("with a byte behind it: %+v, %d, %v; without: %+v, %d", again, m, err, h, n)
		}
		if h.Source.IsValid() {
			agree(t, h, in[:n])
		}
	})
}
