package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// frame is a masked frame with this first byte; the mask is zero, so that the payload can be read.
func frame(first byte, payload string) string {
	return string(append([]byte{first}, ws.AppendMasked(nil, ws.OpBinary, []byte(payload), [4]byte{})[1:]...))
}

// badFrames are frames that no client may send (RFC 6455 §5), and how that ends.
var badFrames = []struct {
	name  string
	bytes string
	code  ws.CloseCode
	why   reason
}{
	{"unmasked", "\x82\x01x", 1002, reasonFrame},
	{"RSV1, as of a deflated message", frame(0xC2, "x"), 1002, reasonFrame},
	{"RSV3", frame(0x92, "x"), 1002, reasonFrame},
	{"opcode 3", frame(0x83, "x"), 1002, reasonFrame},
	{"opcode 11", frame(0x8B, "x"), 1002, reasonFrame},
	{"ping of 126 bytes", frame(0x89, strings.Repeat("x", 126)), 1002, reasonFrame},
	{"fragmented ping", frame(0x09, "x"), 1002, reasonFrame},
	{"continuation without start", frame(0x80, "x"), 1002, reasonFrame},
	{"new message inside a message", frame(0x02, "") + frame(0x82, "x"), 1002, reasonFrame},
	{"length in more bytes than needed", "\x82\xfe\x00\x01\x00\x00\x00\x00x", 1002, reasonFrame},
	{"64-bit length with the top bit", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00", 1002, reasonFrame},
	{"2^63-1 bytes announced", "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", 1009, reasonMessageTooBig},
	{"a length that overflows with what came", frame(0x02, "") + "\x80\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", 1009, reasonMessageTooBig},
	{"more fragments than allowed", frame(0x02, "") + strings.Repeat(frame(0x00, ""), fragmentsMax), 1009, reasonMessageTooBig},
	{"fragments with pings between", frame(0x02, "") + strings.Repeat(frame(0x89, "")+frame(0x00, ""), fragmentsMax), 1009, reasonMessageTooBig},
	{"close with one byte", frame(0x88, "x"), 1002, reasonFrame},
	{"close with code 1005", frame(0x88, "\x03\xed"), 1002, reasonFrame},
	{"close with code 999", frame(0x88, "\x03\xe7"), 1002, reasonFrame},
	{"close with a reason that is no text", frame(0x88, "\x03\xe8\xff"), 1007, reasonText},
}

// badTextFrames are for those who may send text.
var badTextFrames = []struct{ name, bytes string }{
	{"no UTF-8", frame(0x81, "a\xff")},
	{"a surrogate", frame(0x81, "\xed\xa0\x80")},
	{"a rune cut short", frame(0x81, "\xe2\x82")},
	{"a rune split over fragments and wrong", frame(0x01, "\xe2") + frame(0x80, "\x28\xa1")},
}

// TestBadFrames: on every WebSocket path a bad frame ends the connection with its close code.
func TestBadFrames(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.witness()
	paths := map[string]func(r *rig) *client{
		"before CONNECT": func(r *rig) *client { return r.openWS(mqtt.V5, "/mqtt", "mqtt") },
		"mqtt":           func(r *rig) *client { c, _ := r.connectOn(r.openWS(mqtt.V5, "/mqtt", "mqtt"), "c"); return c },
		"plain":          func(r *rig) *client { return r.openWS(mqtt.V5, "/ws/c", "") },
		"json":           func(r *rig) *client { return r.openWS(mqtt.V5, "/ws/c", protocolJSON) },
		"echo":           func(r *rig) *client { return r.openWS(mqtt.V5, "/echo", "") },
	}
	bad := func(t *testing.T, open func(r *rig) *client, p string, code ws.CloseCode, why reason) {
		r := r.in(t)
		before := r.closedBy(why)
		c := open(r)
		if _, err := io.WriteString(c.conn, p); err != nil {
			t.Fatal(err)
		}
		if _, got := c.end(); got != code {
			t.Errorf("close code %v, want %v", got, code)
		}
		r.closesBy(why, before, 1)
	}
	for path, open := range paths {
		for _, row := range badFrames {
			t.Run(path+"/"+row.name, func(t *testing.T) { bad(t, open, row.bytes, row.code, row.why) })
		}
		for _, row := range badTextFrames {
			if strings.Contains(path, "CONNECT") || path == "mqtt" {
				continue
			}
			t.Run(path+"/"+row.name, func(t *testing.T) { bad(t, open, row.bytes, 1007, reasonText) })
		}
		w.check()
	}
	t.Run("mqtt in text", func(t *testing.T) { // [MQTT-6.0.0-1]
		bad(t, paths["mqtt"], frame(0x81, "{}"), 1003, reasonFrameType)
	})
	t.Run("a second request instead of frames", func(t *testing.T) {
		bad(t, paths["before CONNECT"], string(ws.AppendHandshake(nil, "h", "/mqtt", "mqtt", testKey)), 1002, reasonFrame)
	})
	t.Run("message larger than the limit", func(t *testing.T) {
		p := frame(0x82, strings.Repeat("x", 1<<20+1))
		bad(t, paths["plain"], p[:20], 1009, reasonMessageTooBig)
	})
}

// TestBadHandshake: HTTP that is no WebSocket handshake gets the status that says so, and is closed; see B12.
func TestBadHandshake(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.WebSocket.Origins = []string{"good.example"} })
	w := r.witness()
	good := string(ws.AppendHandshake(nil, "h", "/mqtt", "mqtt", testKey))
	with := func(line string) string { return strings.Replace(good, "\r\n\r\n", "\r\n"+line+"\r\n\r\n", 1) }
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	key := good[strings.Index(good, "Sec-WebSocket-Key"):]
	key = key[:strings.Index(key, "\r\n")+2]
	for _, tc := range []struct {
		name    string
		request string
		status  int
	}{
		{"not an upgrade", "GET /mqtt HTTP/1.1\r\nHost: h\r\n\r\n", http.StatusUpgradeRequired},
		{"POST", swap("GET", "POST"), http.StatusMethodNotAllowed},
		{"BREW", swap("GET", "BREW"), http.StatusMethodNotAllowed},
		{"HTTP/1.0", swap("HTTP/1.1", "HTTP/1.0"), http.StatusHTTPVersionNotSupported},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", http.StatusHTTPVersionNotSupported},
		{"version 8", swap("Version: 13", "Version: 8"), http.StatusUpgradeRequired},
		{"no key", strings.Replace(good, key, "", 1), http.StatusBadRequest},
		{"two keys", with(strings.TrimSpace(key)), http.StatusBadRequest},
		{"short key", strings.Replace(good, key, "Sec-WebSocket-Key: YWJj\r\n", 1), http.StatusBadRequest},
		{"no host", swap("Host: h\r\n", ""), http.StatusBadRequest},
		{"body", with("Content-Length: 5"), http.StatusRequestEntityTooLarge},
		{"chunked body", with("Transfer-Encoding: chunked"), http.StatusBadRequest},
		{"two lengths", with("Content-Length: 0\r\nContent-Length: 0"), http.StatusBadRequest},
		{"line without CR", swap("Host: h\r\n", "Host: h\n"), http.StatusBadRequest},
		{"folded line", with("X: a\r\n b"), http.StatusBadRequest},
		{"space before the colon", with("X : a"), http.StatusBadRequest},
		{"giant line", with("X: " + strings.Repeat("x", 9000)), http.StatusRequestHeaderFieldsTooLarge},
		{"header flood", with(strings.TrimSuffix(strings.Repeat("X: y\r\n", 200), "\r\n")), http.StatusRequestHeaderFieldsTooLarge},
		{"endless line", "GET /" + strings.Repeat("x", 9000), http.StatusRequestHeaderFieldsTooLarge},
		{"unknown path", swap("/mqtt", "/nowhere"), http.StatusNotFound},
		{"no subprotocol for MQTT", swap("Sec-WebSocket-Protocol: mqtt\r\n", ""), http.StatusBadRequest},
		{"another subprotocol", swap("Protocol: mqtt", "Protocol: stomp"), http.StatusBadRequest},
		{"foreign page", with("Origin: https://evil.example"), http.StatusForbidden},
		{"null origin", with("Origin: null"), http.StatusForbidden},
		{"good page", with("Origin: https://good.example"), http.StatusSwitchingProtocols},
		{"deflate offered", with("Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"), http.StatusSwitchingProtocols},
	} {
		for name, addr := range map[string]string{"ws": r.ws, "any": r.any} {
			t.Run(name+"/"+tc.name, func(t *testing.T) {
				r := r.in(t)
				before := r.closedBy(reasonHandshake)
				c := r.open(mqtt.V5, addr)
				defer c.conn.Close()
				if _, err := io.WriteString(c.conn, tc.request); err != nil {
					t.Fatal(err)
				}
				c.framed = true
				if got := c.handshaken("mqtt"); got != tc.status {
					t.Errorf("status %d, want %d", got, tc.status)
				}
				if tc.status == http.StatusSwitchingProtocols {
					return // ParseHandshake has seen to it that no extension was answered
				}
				rest, err := io.ReadAll(c.conn)
				if err != nil || bytes.Contains(rest, []byte("HTTP/1.1")) {
					t.Errorf("after the answer: %q, %v", rest, err)
				}
				c.conn.Close()
				r.closesBy(reasonHandshake, before, 1)
			})
		}
	}
	w.check()
}

// TestWrongPort: what speaks another protocol is told apart by its first bytes, closed, counted, and explained in the log;
// see B13.
func TestWrongPort(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.witness()
	hello := "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("r", 100)
	proxy := "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"
	proxy2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + strings.Repeat("\x00", 12)
	request := "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	packet := connect311(2, str("c"))
	for _, tc := range []struct {
		name, addr, bytes string
		why               reason
	}{
		{"TLS to mqtt", r.mqtt, hello, reasonTLSHello}, {"TLS to ws", r.ws, hello, reasonTLSHello}, {"TLS to any", r.any, hello, reasonTLSHello},
		{"HTTP to mqtt", r.mqtt, request, reasonHTTP}, {"POST to mqtt", r.mqtt, "POST / HTTP/1.1\r\n\r\n", reasonHTTP},
		{"MQTT to ws", r.ws, packet, reasonNotHTTP},
		{"PROXY to mqtt", r.mqtt, proxy + packet, reasonProxyHeader}, {"PROXY to ws", r.ws, proxy + request, reasonProxyHeader},
		{"PROXY to any", r.any, proxy + packet, reasonProxyHeader}, {"PROXY 2 to mqtt", r.mqtt, proxy2 + packet, reasonProxyHeader},
		{"PROXY 2 to any", r.any, proxy2 + packet, reasonProxyHeader}, {"noise to mqtt", r.mqtt, "\x00\x01\x02\x03", reasonMalformed},
		{"noise to ws", r.ws, "\x00\x01\x02\x03", reasonHandshake}, {"SSH to any", r.any, "SSH-2.0-OpenSSH_9.6\r\n", reasonHandshake},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := r.in(t)
			before := r.closedBy(tc.why)
			c := r.dial(tc.addr)
			if _, err := io.WriteString(c, tc.bytes); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(c)
			if err != nil || (len(answer) > 0 && tc.why != reasonHandshake) {
				t.Errorf("answer %q, %v", answer, err)
			}
			c.Close()
			r.closesBy(tc.why, before, 1)
		})
	}
	w.check()
}

// TestReasonsAreMetrics: a scrape names every reason with its count.
func TestReasonsAreMetrics(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.connect(mqtt.V5, "c")
	c.write(c.connectPacket("again"))
	c.end()
	r.closesBy(reasonProtocol, 0, 1)
	resp, err := http.Get(fmt.Sprintf("http://%v/metrics", r.gw.Addrs().Admin))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for why := reasonNormal; why < reasonCount; why++ {
		want := 0
		if why == reasonProtocol {
			want = 1
		}
		if line := fmt.Sprintf("gateway_disconnects_total{reason=%q} %d\n", why, want); !strings.Contains(string(text), line) {
			t.Errorf("no line %q", line)
		}
	}
	for _, m := range metricTable {
		if strings.HasPrefix(m.name, "gateway_tls_") || strings.HasPrefix(m.name, "gateway_tenant_") {
			continue // no listener here has TLS, and there are no tenants
		}
		if !strings.Contains(string(text), "# HELP "+m.name+" ") {
			t.Errorf("no metric %s", m.name)
		}
	}
}
