package ws

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

var testKey = [16]byte([]byte("the sample nonce"))

// testPolicy is a gateway's: two paths, one with a subprotocol.
func testPolicy() *Policy {
	return &Policy{Accept: func(path []byte, offered []string) (string, int) {
		switch {
		case string(path) == "/mqtt":
			for _, o := range offered {
				if o == "mqtt" {
					return o, 0
				}
			}
			return "", http.StatusBadRequest
		case bytes.HasPrefix(path, []byte("/ws/")):
			return "", 0
		}
		return "", http.StatusNotFound
	}}
}

// request builds a right handshake for /mqtt, with lines replaced ("Name: value"), removed ("-Name") or added.
func request(first string, edits ...string) string {
	lines := []string{
		"Host: localhost:8083", "Upgrade: websocket", "Connection: keep-alive, Upgrade", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: mqtt",
	}
	for _, e := range edits {
		name, _, _ := strings.Cut(strings.TrimPrefix(e, "-"), ":")
		kept := lines[:0:0]
		for _, l := range lines {
			if !strings.HasPrefix(l, name+":") {
				kept = append(kept, l)
			}
		}
		if lines = kept; !strings.HasPrefix(e, "-") {
			lines = append(lines, e)
		}
	}
	return first + "\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

const getMQTT = "GET /mqtt HTTP/1.1"

// doubled is a right request with one line twice.
func doubled(line string) string {
	return strings.Replace(request(getMQTT, line), line, line+"\r\n"+line, 1)
}

type upgradeCase struct {
	name   string
	in     string
	status int
	policy *Policy
}

func upgradeCases() []upgradeCase {
	origins := func(list ...string) *Policy { return &Policy{Origins: list} }
	return []upgradeCase{
		{name: "right", in: request(getMQTT), status: 101},
		{name: "a browser's list", in: request(getMQTT, "Sec-WebSocket-Protocol: json, mqtt,,other"), status: 101},
		{name: "any case", in: strings.NewReplacer("Upgrade: websocket", "UPGRADE: WebSocket", "Sec-WebSocket-Key", "sec-websocket-key", "keep-alive, Upgrade", "UPGRADE").Replace(request(getMQTT)), status: 101},
		{name: "query", in: request("GET /mqtt?token=x HTTP/1.1"), status: 101},
		{name: "absolute target", in: request("GET http://localhost:8083/mqtt HTTP/1.1"), status: 101},
		{name: "an offered extension is not taken", in: request(getMQTT, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"), status: 101},
		{name: "empty body announced", in: request(getMQTT, "Content-Length: 0"), status: 101},
		{name: "header line of 5000 bytes", in: request(getMQTT, "Cookie: "+strings.Repeat("x", 5000)), status: 101},

		{name: "unknown path", in: request("GET /other HTTP/1.1"), status: 404},
		{name: "subprotocol missing", in: request(getMQTT, "-Sec-WebSocket-Protocol"), status: 400},
		{name: "subprotocol wrong", in: request(getMQTT, "Sec-WebSocket-Protocol: wamp"), status: 400},
		{name: "subprotocol no token", in: request(getMQTT, "Sec-WebSocket-Protocol: mq(tt"), status: 400},
		{name: "plain GET", in: "GET /mqtt HTTP/1.1\r\nHost: a\r\n\r\n", status: 426},
		{name: "version 8", in: request(getMQTT, "Sec-WebSocket-Version: 8"), status: 426},
		{name: "no version", in: request(getMQTT, "-Sec-WebSocket-Version"), status: 400},
		{name: "other upgrade", in: request(getMQTT, "Upgrade: h2c"), status: 400},
		{name: "no connection", in: request(getMQTT, "-Connection"), status: 400},
		{name: "connection close", in: request(getMQTT, "Connection: close"), status: 400},
		{name: "no host", in: request(getMQTT, "-Host"), status: 400},
		{name: "no key", in: request(getMQTT, "-Sec-WebSocket-Key"), status: 400},
		{name: "short key", in: request(getMQTT, "Sec-WebSocket-Key: AAAA"), status: 400},
		{name: "key is no base64", in: request(getMQTT, "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!!!"), status: 400},
		{name: "key of 18 bytes", in: request(getMQTT, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAAA"), status: 400},
		{name: "POST", in: request("POST /mqtt HTTP/1.1"), status: 405},
		{name: "lower-case method", in: request("get /mqtt HTTP/1.1"), status: 405},
		{name: "HTTP/1.0", in: request("GET /mqtt HTTP/1.0"), status: 505},
		{name: "HTTP/2 preface", in: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status: 505},

		{name: "doubled key", in: doubled("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), status: 400},
		{name: "doubled version", in: doubled("Sec-WebSocket-Version: 13"), status: 400},
		{name: "doubled upgrade", in: doubled("Upgrade: websocket"), status: 400},
		{name: "doubled host", in: doubled("Host: localhost:8083"), status: 400},
		{name: "doubled origin", in: doubled("Origin: http://localhost:8083"), status: 400},
		{name: "doubled length", in: doubled("Content-Length: 0"), status: 400},
		{name: "body", in: request(getMQTT, "Content-Length: 5"), status: 413},
		{name: "length of letters", in: request(getMQTT, "Content-Length: abc"), status: 400},
		{name: "length with a sign", in: request(getMQTT, "Content-Length: +0"), status: 400},
		{name: "transfer encoding", in: request(getMQTT, "Transfer-Encoding: chunked"), status: 400},
		{name: "space before colon", in: request(getMQTT, "Transfer-Encoding : chunked"), status: 400},
		{name: "folded line", in: request(getMQTT, "X-A: b\r\n c"), status: 400},
		{name: "no colon", in: request(getMQTT, "nonsense"), status: 400},
		{name: "empty name", in: request(getMQTT, ": x"), status: 400},
		{name: "NUL in a value", in: request(getMQTT, "X-A: a\x00b"), status: 400},
		{name: "CR in a value", in: request(getMQTT, "X-A: a\rb"), status: 400},
		{name: "bare LF", in: strings.Replace(request(getMQTT), "\r\n", "\n", 1), status: 400},
		{name: "bare LF everywhere", in: strings.ReplaceAll(request(getMQTT), "\r\n", "\n"), status: 400},
		{name: "two requests on one line", in: request("GET /mqtt HTTP/1.1 GET /x HTTP/1.1"), status: 400},
		{name: "two spaces", in: request("GET  /mqtt HTTP/1.1"), status: 400},
		{name: "no target", in: request("GET HTTP/1.1"), status: 400},
		{name: "relative target", in: request("GET mqtt HTTP/1.1"), status: 400},
		{name: "other scheme", in: request("GET ftp://a/mqtt HTTP/1.1"), status: 400},
		{name: "absolute target without path", in: request("GET http://a HTTP/1.1"), status: 400},
		{name: "fragment", in: request("GET /mqtt#a HTTP/1.1"), status: 400},
		{name: "control byte in the target", in: request("GET /mq\x01tt HTTP/1.1"), status: 400},
		{name: "version of letters", in: request("GET /mqtt HTTP/x.y"), status: 400},
		{name: "leading empty line", in: "\r\n" + request(getMQTT), status: 400},
		{name: "101 header lines", in: request(getMQTT, strings.Repeat("A: b\r\n", 95)+"A: b"), status: 431},
		{name: "header flood", in: getMQTT + "\r\n" + strings.Repeat("A: b\r\n", 2000), status: 431},
		{name: "giant line", in: getMQTT + "\r\nCookie: " + strings.Repeat("x", 9000), status: 431},
		{name: "giant target", in: "GET /" + strings.Repeat("x", 9000), status: 431},
		{name: "own limit", in: request(getMQTT), status: 431, policy: &Policy{HeaderBytesMax: 100}},

		{name: "TLS hello", in: "\x16\x03\x01\x02\x00\x01\x00", status: 400},
		{name: "MQTT CONNECT", in: "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c", status: 400},
		{name: "PROXY v1", in: "PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n" + request(getMQTT), status: 400},
		{name: "PROXY v2", in: "\r\n\r\n\x00\r\nQUIT\n", status: 400},
		{name: "no method ends", in: "AAAAAAAAAAAAAAAAAAAA", status: 400},
		{name: "a space first", in: " GET / HTTP/1.1\r\n\r\n", status: 400},

		{name: "no origin", in: request(getMQTT), status: 101, policy: origins()},
		{name: "same host", in: request(getMQTT, "Origin: http://LOCALHOST:8083"), status: 101, policy: origins()},
		{name: "cross-site", in: request(getMQTT, "Origin: https://evil.example"), status: 403, policy: origins()},
		{name: "other port", in: request(getMQTT, "Origin: http://localhost:9999"), status: 403, policy: origins()},
		{name: "null origin", in: request(getMQTT, "Origin: null"), status: 403, policy: origins()},
		{name: "empty origin", in: request(getMQTT, "Origin: "), status: 403, policy: origins()},
		{name: "listed", in: request(getMQTT, "Origin: https://app.example"), status: 101, policy: origins("other.example", "app.example")},
		{name: "not listed, though the same host", in: request(getMQTT, "Origin: http://localhost:8083"), status: 403, policy: origins("app.example")},
		{name: "suffix of a listed one", in: request(getMQTT, "Origin: https://evil-app.example"), status: 403, policy: origins("app.example")},
		{name: "any", in: request(getMQTT, "Origin: null"), status: 101, policy: origins("*")},
	}
}

// TestUpgrade runs every case whole, at every cut, and checks that the answer is HTTP that says what it should.
func TestUpgrade(t *testing.T) {
	for _, c := range upgradeCases() {
		t.Run(c.name, func(t *testing.T) {
			p := c.policy
			if p == nil {
				p = testPolicy()
			}
			in := []byte(c.in)
			out, _, n, status := p.Upgrade(nil, in)
			if status != c.status {
				t.Fatalf("status %d, want %d\n%s", status, c.status, out)
			}
			if (status == 101) != (n == len(in)) || (status != 101 && n != 0) {
				t.Fatalf("status %d took %d of %d bytes", status, n, len(in))
			}
			if string(in) != c.in {
				t.Fatal("the input was changed")
			}
			checkAnswerHTTP(t, out, status)
			for cut := range len(in) {
				early, _, n, s := p.Upgrade(nil, in[:cut])
				if s == 0 && n == 0 && len(early) == 0 {
					continue
				}
				if s != status || s == 101 || !bytes.Equal(early, out) {
					t.Fatalf("cut at %d: status %d, whole %d", cut, s, status)
				}
			}
		})
	}
}

// checkAnswerHTTP reads an answer as a client would.
func checkAnswerHTTP(t *testing.T, out []byte, status int) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), nil)
	if err != nil {
		t.Fatalf("not HTTP: %v\n%s", err, out)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		t.Fatalf("status line %d, want %d; %v", resp.StatusCode, status, err)
	}
	switch {
	case status == 101 && resp.Header.Get("Sec-WebSocket-Extensions") != "":
		t.Fatal("an extension was negotiated")
	case status == 101 && resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=": // RFC 6455 §1.3
		t.Fatalf("accept key %q", resp.Header.Get("Sec-WebSocket-Accept"))
	case status != 101 && (len(body) == 0 || !resp.Close):
		t.Fatalf("a refusal without words or without close:\n%s", out)
	case status == 426 && (resp.Header.Get("Sec-WebSocket-Version") != "13" || resp.Header.Get("Upgrade") != "websocket"):
		t.Fatalf("426 that does not say what is spoken:\n%s", out)
	case status == 405 && resp.Header.Get("Allow") != "GET":
		t.Fatalf("405 without Allow:\n%s", out)
	}
}

// TestUpgradePipelined checks that frames behind the handshake stay the caller's.
func TestUpgradePipelined(t *testing.T) {
	head := request(getMQTT, "Cookie: "+strings.Repeat("y", 3000))
	behind := masked(true, OpBinary, "\x10\x0c")
	in := append([]byte(head), behind...)
	out, req, n, status := testPolicy().Upgrade([]byte("before"), in)
	if status != 101 || n != len(head) || !bytes.HasPrefix(out, []byte("beforeHTTP/1.1 101 ")) {
		t.Fatalf("status %d, n %d of %d", status, n, len(head))
	}
	if !bytes.Equal(in[n:], behind) {
		t.Fatal("the frame behind the head changed")
	}
	if req.Subprotocol != "mqtt" || string(req.Path) != "/mqtt" {
		t.Fatalf("request %+v", req)
	}
}

func TestUpgradeRequest(t *testing.T) {
	in := []byte(request("GET /ws/pump-7?a=1?b HTTP/1.1", "Origin: http://localhost:8083", "authorization: Bearer x", "-Sec-WebSocket-Protocol"))
	_, req, n, status := testPolicy().Upgrade(nil, in)
	if status != 101 || n != len(in) {
		t.Fatalf("status %d", status)
	}
	for name, pair := range map[string][2]string{
		"path":   {string(req.Path), "/ws/pump-7"},
		"query":  {string(req.Query), "a=1?b"},
		"host":   {string(req.Host), "localhost:8083"},
		"origin": {string(req.Origin), "http://localhost:8083"},
		"header": {string(req.Header("Authorization")), "Bearer x"},
		"none":   {string(req.Header("X-None")), ""},
		"sub":    {req.Subprotocol, ""},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", name, pair[0], pair[1])
		}
	}
}

// TestUpgradeForeignSubprotocol: answering what was not offered is our mistake.
func TestUpgradeForeignSubprotocol(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("a subprotocol that was not offered was answered")
		}
	}()
	p := &Policy{Accept: func([]byte, []string) (string, int) { return "other", 0 }}
	p.Upgrade(nil, []byte(request(getMQTT)))
}

func TestHandshakeRoundTrip(t *testing.T) {
	in := AppendHandshake(nil, "localhost:8083", "/mqtt", "mqtt", testKey, [2]string{"Origin", "http://localhost:8083"})
	out, req, _, status := testPolicy().Upgrade(nil, in)
	if status != 101 || string(req.Origin) != "http://localhost:8083" {
		t.Fatalf("status %d, origin %q", status, req.Origin)
	}
	frames := AppendFrame(nil, OpPing, nil)
	stream := append(bytes.Clone(out), frames...)
	for cut := range len(out) {
		if n, _, status, err := ParseHandshake(stream[:cut], testKey); n != 0 || status != 0 || err != nil {
			t.Fatalf("cut at %d: %d %d %v", cut, n, status, err)
		}
	}
	n, sub, status, err := ParseHandshake(stream, testKey)
	if n != len(out) || string(sub) != "mqtt" || status != 101 || err != nil {
		t.Fatalf("n %d of %d, %q, %d, %v", n, len(out), sub, status, err)
	}
}

func TestParseHandshakeBad(t *testing.T) {
	accept := AcceptKey(testKey)
	right := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + string(accept[:]) + "\r\n\r\n"
	for _, c := range []struct {
		name, in string
		status   int
		err      error
	}{
		{"right", right, 101, nil},
		{"refused", "HTTP/1.1 404 Not Found\r\n\r\nnothing", 404, nil},
		{"not HTTP", "\x20\x02\x00\x00", 0, errAnswer},
		{"no status", "HTTP/1.1 xyz\r\n\r\n", 0, errAnswer},
		{"status of zeros", "HTTP/1.00000\r\n\r\n", 0, errAnswer},
		{"signed status", "HTTP/1.1 +10\r\n\r\n", 0, errAnswer},
		{"short line", "HTTP/1.1\r\n\r\n", 0, errAnswer},
		{"wrong accept", strings.Replace(right, string(accept[:4]), "AAAA", 1), 101, errAcceptKey},
		{"no upgrade", strings.Replace(right, "Upgrade: websocket\r\n", "", 1), 101, errNotUpgraded},
		{"no connection", strings.Replace(right, "Connection: Upgrade\r\n", "", 1), 101, errNotUpgraded},
		{"extension", strings.Replace(right, "\r\n\r\n", "\r\nSec-WebSocket-Extensions: x\r\n\r\n", 1), 101, errNotRequested},
		{"too long", "HTTP/1.1 101 x\r\nA: " + strings.Repeat("x", 9000), 0, errAnswerLong},
	} {
		if _, _, status, err := ParseHandshake([]byte(c.in), testKey); status != c.status || err != c.err {
			t.Errorf("%s: %d %v, want %d %v", c.name, status, err, c.status, c.err)
		}
	}
}
