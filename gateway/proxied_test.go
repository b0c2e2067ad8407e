package gateway

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// balanced is a gateway whose first two listeners want a PROXY header, of loopback.
func balanced(t *testing.T, mods ...func(c *Config)) *rig {
	t.Helper()
	return start(t, append([]func(c *Config){unrecorded, func(c *Config) {
		c.Listeners = []string{"mqtt://127.0.0.1:0?proxy=any", "ws://127.0.0.1:0?proxy=v2", "any://127.0.0.1:0"}
		c.Proxy.Trusted = []string{"127.0.0.0/8"}
	}}, mods...)...)
}

// proxyHeader is what a load balancer says of a client at 203.0.113.7:40001.
func proxyHeader(t *testing.T, version byte, tlvs ...proxyproto.TLV) []byte {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(version, &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 40001}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1883})
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

// knownOf is what the gateway knows of the live device of a client id.
func (r *rig) knownOf(id string) (peer netip.AddrPort, tls *auth.Peer) {
	r.t.Helper()
	if !r.onLoop(r.gw.home([]byte(id)), func(s *shard) bool {
		sess := s.table.Get([]byte(id))
		if sess == nil {
			return false
		}
		c := s.loop.Conn(epoll.Handle(sess.Owner()))
		if c == nil {
			return false
		}
		d := s.devices.At(c.Slot())
		peer = s.peerOf(c, d)
		if w := d.who(); w != nil {
			tls = w.tls
		}
		return true
	}) {
		r.t.Errorf("no connection of %s", id)
	}
	return peer, tls
}

var clientBehind = netip.MustParseAddrPort("203.0.113.7:40001")

// TestProxyHeader: the device's address and its TLS follow from the header, whichever its version, on every transport, and on its home shard.
func TestProxyHeader(t *testing.T) {
	t.Parallel()
	r := balanced(t)
	ssl, err := tlvparse.PP2SSL{Client: 7, TLV: []proxyproto.TLV{{Type: proxyproto.PP2_SUBTYPE_SSL_CN, Value: []byte("pump-7")}}}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	tlvs := []proxyproto.TLV{{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("mqtt.example")}, {Type: proxyproto.PP2_TYPE_ALPN, Value: []byte("mqtt")}, ssl}
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} { // so many that some move home
		c := r.open(mqtt.V5, r.mqtt)
		c.write(proxyHeader(t, 1))
		r.connectOn(c, id)
		if peer, tls := r.knownOf(id); peer != clientBehind || tls != nil {
			t.Errorf("version 1: %v, %+v", peer, tls)
		}
		c = r.open(mqtt.V5, r.mqtt)
		c.write(append(proxyHeader(t, 2, tlvs...), c.connectPacket(id)...)) // at once
		c.expect(mqtt.TypeConnack)
		peer, tls := r.knownOf(id)
		if peer != clientBehind || tls == nil || tls.ServerName != "mqtt.example" || tls.Protocol != "mqtt" || tls.CN != "pump-7" {
			t.Errorf("version 2: %v, %+v", peer, tls)
		}
	}
	c := r.open(mqtt.V5, r.ws)
	c.framed = true
	if _, err := c.conn.Write(append(proxyHeader(t, 2), ws.AppendHandshake(nil, r.ws, "/mqtt", "mqtt", testKey)...)); err != nil {
		t.Fatal(err)
	}
	if status := c.handshaken("mqtt"); status != 101 {
		t.Fatalf("handshake: %d", status)
	}
	r.connectOn(c, "w")
	if peer, _ := r.knownOf("w"); peer != clientBehind {
		t.Errorf("WebSocket: %v", peer)
	}
}

// TestProxyHeaderLocal: what the balancer says for itself leaves the connection's own address.
func TestProxyHeaderLocal(t *testing.T) {
	t.Parallel()
	r := balanced(t)
	c := r.open(mqtt.V5, r.mqtt)
	c.write([]byte("PROXY UNKNOWN\r\n"))
	r.connectOn(c, "local")
	if peer, _ := r.knownOf("local"); peer.String() != c.conn.LocalAddr().String() {
		t.Errorf("%v, not %v", peer, c.conn.LocalAddr())
	}
}

// TestProxyHeaderCuts: however TCP cuts the header, the result is the same.
func TestProxyHeaderCuts(t *testing.T) {
	t.Parallel()
	r := balanced(t)
	for _, version := range []byte{1, 2} {
		p := proxyHeader(t, version)
		for cut := 1; cut < len(p); cut += 7 {
			c := r.open(mqtt.V5, r.mqtt)
			c.write(p[:cut])
			r.sum() // asks every loop, so that it has seen this much or not, as it may be
			c.write(p[cut:])
			r.connectOn(c, "cut")
			if peer, _ := r.knownOf("cut"); peer != clientBehind {
				t.Fatalf("version %d cut at %d: %v", version, cut, peer)
			}
		}
	}
}

// ended waits for the end of the connection, answers it, and tells how many bytes came before.
func (c *client) ended() int64 {
	n, _ := io.Copy(io.Discard, c.conn)
	_ = c.conn.Close()
	return n
}

// TestFault24ProxySpoofed: a header counts only from those who may send it, and where it is asked for.
func TestFault24ProxySpoofed(t *testing.T) {
	t.Parallel()
	r := balanced(t, func(c *Config) { c.Proxy.Trusted = []string{"10.0.0.0/8", "127.0.0.9"} })
	before := r.closedBy(reasonProxyStranger)
	c := r.open(mqtt.V5, r.mqtt)
	_, _ = c.conn.Write(proxyHeader(t, 2)) // the connection may be closed already
	c.ended()
	r.closesBy(reasonProxyStranger, before, 1)

	before = r.closedBy(reasonProxyHeader)
	for _, version := range []byte{1, 2} { // the third listener wants none
		c = r.open(mqtt.V5, r.any)
		c.write(proxyHeader(t, version))
		c.end()
	}
	r.closesBy(reasonProxyHeader, before, 2)
}

// TestFault24ProxyMalformed: a bad header, one of another version, or none ends the connection, before anything else is read.
func TestFault24ProxyMalformed(t *testing.T) {
	t.Parallel()
	r := balanced(t)
	overrun := append(proxyHeader(t, 2), 0x02, 0xFF, 0xFF, 'a') // EMQX #17330: a value beyond the header
	overrun[15] += 4
	for name, row := range map[string]struct {
		addr string
		p    []byte
	}{
		"none":            {r.mqtt, (&client{v: mqtt.V5}).connectPacket("x")},
		"TLV overrun":     {r.mqtt, overrun},
		"too long":        {r.mqtt, []byte("PROXY " + strings.Repeat("x", 200))},
		"another version": {r.ws, proxyHeader(t, 1)},
		"HTTP":            {r.ws, ws.AppendHandshake(nil, "h", "/mqtt", "mqtt", testKey)},
		"TLS":             {r.mqtt, []byte("\x16\x03\x01\x02\x00\x01\x00")},
	} {
		before := r.closedBy(reasonNoProxyHeader)
		c := r.open(mqtt.V5, row.addr)
		c.write(row.p)
		if n := c.ended(); n != 0 {
			t.Errorf("%s: %d bytes in answer", name, n)
		}
		r.closesBy(reasonNoProxyHeader, before, 1)
	}
}

// TestProxyHeaderLate: who does not finish the header in time is closed like one that does not finish CONNECT.
func TestProxyHeaderLate(t *testing.T) {
	t.Parallel()
	r := balanced(t, func(c *Config) { c.Limits.ConnectTime = 1e9 })
	before := r.closedBy(reasonConnectTimeout)
	c := r.open(mqtt.V5, r.mqtt)
	c.write(proxyHeader(t, 2)[:20])
	c.ended()
	r.closesBy(reasonConnectTimeout, before, 1)
}

// TestForwarded: the rightmost address that is not a trusted proxy's counts, and only a trusted proxy is asked.
func TestForwarded(t *testing.T) {
	trusted, err := parsePrefixes([]string{"127.0.0.0/8", "10.0.0.0/8", "fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		named bool
		peer  string
		lines string // separated by |
		want  string
	}{
		{false, "127.0.0.1:5", "203.0.113.7", "203.0.113.7:0"},
		{false, "192.0.2.9:5", "203.0.113.7", "192.0.2.9:5"},
		{false, "127.0.0.1:5", "198.51.100.1, 203.0.113.7", "203.0.113.7:0"},
		{false, "127.0.0.1:5", "198.51.100.1, 203.0.113.7, 10.1.2.3", "203.0.113.7:0"},
		{false, "127.0.0.1:5", "198.51.100.1|203.0.113.7|10.1.2.3 ,127.0.0.2", "203.0.113.7:0"},
		{false, "127.0.0.1:5", "10.1.2.3", "10.1.2.3:0"},
		{false, "127.0.0.1:5", "203.0.113.7:4711", "203.0.113.7:4711"},
		{false, "127.0.0.1:5", "::ffff:203.0.113.7", "203.0.113.7:0"},
		{false, "127.0.0.1:5", "[2001:db8::7]:99", "[2001:db8::7]:99"},
		{false, "127.0.0.1:5", "[2001:db8::7]", "[2001:db8::7]:0"},
		{false, "127.0.0.1:5", "203.0.113.7, unknown", "127.0.0.1:5"},
		{false, "127.0.0.1:5", "203.0.113.7, unknown, 10.1.2.3", "10.1.2.3:0"},
		{false, "127.0.0.1:5", "", "127.0.0.1:5"},
		{false, "127.0.0.1:5", `"open, 203.0.113.7`, "203.0.113.7:0"},
		{true, "127.0.0.1:5", `for=198.51.100.1, for="203.0.113.7:80";proto=https;by=10.0.0.1`, "203.0.113.7:80"},
		{true, "127.0.0.1:5", `for="[2001:db8::7]:80", FOR=10.0.0.1`, "[2001:db8::7]:80"},
		{true, "127.0.0.1:5", `for="[2001:db8::7]"`, "[2001:db8::7]:0"},
		{true, "127.0.0.1:5", `for=", for=203.0.113.7`, "203.0.113.7:0"},
		{true, "127.0.0.1:5", `for=203.0.113.7, for=_hidden`, "127.0.0.1:5"},
		{true, "127.0.0.1:5", `for=203.0.113.7, by=10.0.0.1`, "127.0.0.1:5"},
	} {
		var lines [][]byte
		for line := range strings.SplitSeq(row.lines, "|") {
			lines = append(lines, []byte(line))
		}
		if got := forwardedFor(lines, row.named, netip.MustParseAddrPort(row.peer), trusted); got.String() != row.want {
			t.Errorf("%s from %s: %v, want %s", row.lines, row.peer, got, row.want)
		}
	}
}

// TestForwardedHeader: the one header that is set counts, from a trusted proxy; and not that of anybody else.
func TestForwardedHeader(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		trusted []string
		header  string
		lines   string
		want    string // "" the connection's own
	}{
		{[]string{"127.0.0.0/8"}, "x-forwarded-for", "X-Forwarded-For: 198.51.100.1\r\nx-forwarded-for: 203.0.113.7\r\nX-Real-IP: 198.51.100.9\r\n", "203.0.113.7:0"},
		{[]string{"127.0.0.0/8"}, "x-real-ip", "X-Forwarded-For: 198.51.100.1\r\nX-Real-IP: 203.0.113.7\r\n", "203.0.113.7:0"},
		{[]string{"127.0.0.0/8"}, "forwarded", "Forwarded: for=203.0.113.7\r\nX-Forwarded-For: 198.51.100.1\r\n", "203.0.113.7:0"},
		{[]string{"10.0.0.0/8"}, "x-forwarded-for", "X-Forwarded-For: 203.0.113.7\r\n", ""},
		{nil, "x-forwarded-for", "X-Forwarded-For: 203.0.113.7\r\n", ""},
	} {
		r := start(t, unrecorded, func(c *Config) { c.WebSocket.TrustedProxies, c.WebSocket.ForwardedHeader = row.trusted, row.header })
		c := r.open(mqtt.V5, r.ws)
		c.framed = true
		head := string(ws.AppendHandshake(nil, r.ws, "/mqtt", "mqtt", testKey))
		c.write([]byte(strings.TrimSuffix(head, "\r\n") + row.lines + "\r\n"))
		if status := c.handshaken("mqtt"); status != 101 {
			t.Fatalf("handshake: %d", status)
		}
		r.connectOn(c, "w")
		want := row.want
		if want == "" {
			want = c.conn.LocalAddr().String()
		}
		if peer, _ := r.knownOf("w"); peer.String() != want {
			t.Errorf("%v %s: %v, want %s", row.trusted, row.header, peer, want)
		}
	}
}

func TestValidateProxies(t *testing.T) {
	for name, row := range map[string]struct {
		mod  func(c *Config)
		path string
	}{
		"nobody trusted":       {func(c *Config) { c.Proxy.Header = "v2" }, "listeners[0]"},
		"nobody, one listener": {func(c *Config) { c.Listeners = []string{"mqtt://127.0.0.1:1", "mqtt://127.0.0.1:2?proxy=v1"} }, "listeners[1]"},
		"version":              {func(c *Config) { c.Proxy.Header = "v3" }, "proxy.header"},
		"version, listener":    {func(c *Config) { c.Listeners = []string{"mqtt://127.0.0.1:1?proxy=yes"} }, "listeners[0].proxy"},
		"range":                {func(c *Config) { c.Proxy.Trusted = []string{"10.0.0.0/33"} }, "proxy.trusted"},
		"mapped":               {func(c *Config) { c.Proxy.Trusted = []string{"::ffff:10.0.0.0/104"} }, "proxy.trusted"},
		"name":                 {func(c *Config) { c.WebSocket.TrustedProxies = []string{"lb.example"} }, "websocket.trusted_proxies"},
		"header":               {func(c *Config) { c.WebSocket.ForwardedHeader = "via" }, "websocket.forwarded_header"},
	} {
		c := Default()
		row.mod(&c)
		errs := c.Validate()
		if !slices.ContainsFunc(errs, func(e *FieldError) bool { return e.Path == row.path }) {
			t.Errorf("%s: %v", name, errs)
		}
	}
}
