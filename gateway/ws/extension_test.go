package ws

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// deflatePolicy lets plain devices compress, and nobody else.
func deflatePolicy() *Policy {
	p := testPolicy()
	p.Deflate = func(path []byte, _ string) bool { return bytes.HasPrefix(path, []byte("/ws/")) }
	return p
}

// TestNegotiate: what is offered, and what is answered.
func TestNegotiate(t *testing.T) {
	const yes, bits = deflateAnswer, deflateAnswer + "; server_max_window_bits=15"
	const malformed = "malformed"
	for _, c := range []struct{ offer, want string }{
		{"permessage-deflate", yes},
		{"permessage-deflate; client_max_window_bits", yes}, // Chromium
		{"permessage-deflate; client_max_window_bits=8", yes},
		{"permessage-deflate; client_max_window_bits=15", yes},
		{"permessage-deflate; server_no_context_takeover; client_no_context_takeover", yes},
		{"permessage-deflate;server_no_context_takeover", yes},
		{" permessage-deflate\t;\tclient_max_window_bits = \"9\" ", yes},
		{"permessage-deflate; server_max_window_bits=15", bits},
		{`permessage-deflate; server_max_window_bits="15"; client_max_window_bits`, bits},
		{`permessage-deflate; server_max_window_bits="1\5"`, bits},

		{"permessage-deflate; server_max_window_bits=14", ""},
		{"permessage-deflate; server_max_window_bits=8", ""},
		{"permessage-deflate; server_max_window_bits", ""},
		{"permessage-deflate; server_max_window_bits=16", ""},
		{"permessage-deflate; server_max_window_bits=015", ""},
		{"permessage-deflate; client_max_window_bits=7", ""},
		{"permessage-deflate; client_max_window_bits=16", ""},
		{"permessage-deflate; client_max_window_bits=08", ""},
		{"permessage-deflate; client_max_window_bits=100", ""},
		{"permessage-deflate; client_max_window_bits=x", ""},
		{"permessage-deflate; server_no_context_takeover=1", ""},
		{"permessage-deflate; client_no_context_takeover=true", ""},
		{"permessage-deflate; client_no_context_takeover; client_no_context_takeover", ""},
		{"permessage-deflate; client_max_window_bits; client_max_window_bits=10", ""},
		{"permessage-deflate; server_max_window_bits=15; server_max_window_bits=15", ""},
		{"permessage-deflate; other", ""},
		{"permessage-deflate; other=1", ""},
		{"permessage-bzip2", ""},
		{"x-webkit-deflate-frame", ""},

		{"permessage-deflate; server_max_window_bits=10, permessage-deflate", yes},
		{"permessage-bzip2; level=9, permessage-deflate; client_max_window_bits", yes},
		{"permessage-deflate, permessage-deflate; server_max_window_bits=15", yes},
		{"permessage-deflate; server_max_window_bits=15, permessage-deflate", bits},
		{",, permessage-deflate ,", yes},
		{"", ""},

		{"permessage deflate", malformed},
		{"permessage-deflate;", malformed},
		{";client_max_window_bits", malformed},
		{"permessage-deflate; =1", malformed},
		{"permessage-deflate; client_max_window_bits=", malformed},
		{`permessage-deflate; client_max_window_bits=""`, malformed},
		{`permessage-deflate; client_max_window_bits="15`, malformed},
		{`permessage-deflate; client_max_window_bits="15\`, malformed},
		{`permessage-deflate; client_max_window_bits="1 5"`, malformed},
		{`permessage-deflate; client_max_window_bits="15"x`, malformed},
		{"permessage-deflate; client_max_window_bits=1(5", malformed},
		{"permessage-deflate, permessage-deflate;", malformed},
	} {
		in := request("GET /ws/pump-7 HTTP/1.1", "-Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions: "+c.offer)
		checkNegotiation(t, in, c.offer, c.want, c.want == malformed)
	}
	lines := func(list ...string) string {
		return request("GET /ws/pump-7 HTTP/1.1", "-Sec-WebSocket-Protocol", "sec-websocket-extensions: "+strings.Join(list, "\r\nSec-WebSocket-Extensions: "))
	}
	checkNegotiation(t, lines("permessage-bzip2", "permessage-deflate"), "two lines", yes, false)
	checkNegotiation(t, lines("permessage-deflate", "permessage-deflate; server_max_window_bits=15"), "two offers in two lines", yes, false)
	checkNegotiation(t, lines("permessage-deflate", ";"), "a bad second line", "", true)
	checkNegotiation(t, request("GET /ws/pump-7 HTTP/1.1", "-Sec-WebSocket-Protocol"), "no offer", "", false)
	// Where it is not to be compressed, nobody reads the offer.
	checkNegotiation(t, request(getMQTT, "Sec-WebSocket-Extensions: permessage-deflate"), "MQTT", "", false)
	checkNegotiation(t, request(getMQTT, "Sec-WebSocket-Extensions: ;"), "MQTT, bad list", "", false)
}

func checkNegotiation(t *testing.T, in, name, want string, malformed bool) {
	t.Helper()
	out, req, _, status := deflatePolicy().Upgrade(nil, []byte(in))
	if malformed {
		if status != http.StatusBadRequest {
			t.Errorf("%q: status %d, want 400", name, status)
		}
		return
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), nil)
	if err != nil || status != http.StatusSwitchingProtocols {
		t.Errorf("%q: status %d, %v", name, status, err)
		return
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if got := strings.Join(resp.Header.Values("Sec-WebSocket-Extensions"), " and "); got != want {
		t.Errorf("%q: answered %q, want %q", name, got, want)
	}
	if req.Deflate != (want != "") {
		t.Errorf("%q: Request.Deflate is %v", name, req.Deflate)
	}
}

// TestNegotiateWithSubprotocol: both are answered, and the decision hears the subprotocol.
func TestNegotiateWithSubprotocol(t *testing.T) {
	p := testPolicy()
	p.Deflate = func(path []byte, subprotocol string) bool { return string(path) == "/mqtt" && subprotocol == "mqtt" }
	out, req, _, status := p.Upgrade(nil, []byte(request(getMQTT, "Sec-WebSocket-Extensions: permessage-deflate")))
	if status != 101 || !req.Deflate || req.Subprotocol != "mqtt" {
		t.Fatalf("status %d, %+v", status, req)
	}
	for _, line := range []string{"\r\nSec-WebSocket-Protocol: mqtt\r\n", "\r\nSec-WebSocket-Extensions: " + deflateAnswer + "\r\n"} {
		if !bytes.Contains(out, []byte(line)) {
			t.Errorf("no %q in\n%s", line, out)
		}
	}
}

// FuzzNegotiate: no list makes it panic, and an answer is one of two.
func FuzzNegotiate(f *testing.F) {
	f.Add(`permessage-deflate; server_max_window_bits="1\5", x;y=z`)
	f.Fuzz(func(t *testing.T, list string) {
		answer, ok := negotiateList([]byte(list))
		if answer != "" && (!ok || !strings.HasPrefix(answer, deflateAnswer) || !strings.Contains(list, deflateName)) {
			t.Fatalf("%q: %q, %v", list, answer, ok)
		}
	})
}
