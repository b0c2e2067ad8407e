package gateway

import (
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

func compressing(c *Config) { c.WebSocket.Compression = true }

// extension is how a gateway without context takeover answers.
const extension = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// dialDeflate connects coder/websocket, which offers to compress, and says what was answered.
func (r *rig) dialDeflate(path string, mode websocket.CompressionMode, protocols ...string) (c *websocket.Conn, answered string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, "ws://"+r.ws+path, &websocket.DialOptions{Subprotocols: protocols, CompressionMode: mode, CompressionThreshold: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	c.SetReadLimit(16 << 20)
	r.t.Cleanup(func() { _ = c.CloseNow() })
	return c, resp.Header.Get("Sec-WebSocket-Extensions")
}

// pressed is a message as a client sends it, compressed; the mask is zero.
func pressed(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	p := ws.AppendMasked(nil, ws.OpText, b.Bytes()[:b.Len()-4], [4]byte{})
	p[0] |= 0x40
	return string(p)
}

// TestDeflate: with websocket.compression, messages of plain, JSON and echo devices may be compressed both ways, on either
// shard; backends see what was meant.
func TestDeflate(t *testing.T) {
	t.Parallel()
	r := start(t, compressing)
	nc := r.nats()
	long := strings.Repeat("é€😀 21.5 ", 2000)
	for shard := range 2 {
		for _, mode := range []websocket.CompressionMode{websocket.CompressionNoContextTakeover, websocket.CompressionContextTakeover} {
			id := r.ids(fmt.Sprint("deflate", mode), shard, 1)[0]
			up := r.backend(nc, "devices."+id+".up")
			plain, answered := r.dialDeflate("/ws/"+id, mode)
			if answered != extension {
				t.Fatalf("answered %q", answered)
			}
			for _, text := range []string{"short", long, ""} {
				writeWS(t, plain, websocket.MessageText, text)
				r.eventually("it is at the backend", func() bool { return up.has("devices." + id + ".up " + text) })
				if err := nc.Publish("devices."+id+".down", []byte(text)); err != nil {
					t.Fatal(err)
				}
				if _, got := readWS(t, plain); got != text {
					t.Fatalf("%.40q came down, want %.40q", got, text)
				}
			}

			echo, answered := r.dialDeflate("/echo", mode)
			writeWS(t, echo, websocket.MessageBinary, long)
			if kind, got := readWS(t, echo); answered != extension || kind != websocket.MessageBinary || got != long {
				t.Fatalf("%q, %v, %d bytes echoed", answered, kind, len(got))
			}

			commands, answered := r.dialDeflate("/ws/"+r.ids(fmt.Sprint("deflate-json", mode), shard, 1)[0], mode, protocolJSON)
			writeWS(t, commands, websocket.MessageText, `{"id":9,"op":"connect"}`)
			if _, got := readWS(t, commands); !strings.HasPrefix(got, `{"id":9,"ok":true,`) {
				t.Fatal(got)
			}
			writeWS(t, commands, websocket.MessageText, `{"id":1,"op":"subscribe","filter":"deflate/x","qos":0}`)
			if _, got := readWS(t, commands); answered != extension || got != `{"id":1,"ok":true}` {
				t.Fatalf("%q, %s", answered, got)
			}
			writeWS(t, commands, websocket.MessageText, fmt.Sprintf(`{"id":2,"op":"publish","topic":"deflate/x","text":%q}`, long))
			got := map[string]bool{}
			for range 2 {
				_, text := readWS(t, commands)
				got[text] = true
			}
			if !got[`{"id":2,"ok":true}`] || !got[`{"op":"message","topic":"deflate/x","text":"`+long+`"}`] {
				t.Fatalf("%d answers", len(got))
			}
		}
	}
}

// TestDeflateOff: who has not switched it on, or speaks MQTT, gets no compression; a compressed frame ends the connection.
func TestDeflateOff(t *testing.T) {
	t.Parallel()
	off, on := start(t), start(t, compressing)
	for _, c := range []struct {
		r         *rig
		path      string
		protocols []string
	}{{off, "/ws/a", nil}, {off, "/echo", nil}, {on, "/mqtt", []string{"mqtt"}}, {on, "/", []string{"mqtt"}}} {
		if _, answered := c.r.dialDeflate(c.path, websocket.CompressionContextTakeover, c.protocols...); answered != "" {
			t.Errorf("%s answered %q", c.path, answered)
		}
	}
	c := on.openWS(mqtt.V5, "/ws/no-offer", "")
	if _, err := c.conn.Write([]byte(pressed(t, "x"))); err != nil {
		t.Fatal(err)
	}
	c.endsWith(0, ws.ProtocolError)
}

// TestDeflateSent: what goes down is compressed on the wire, where it is long.
func TestDeflateSent(t *testing.T) {
	t.Parallel()
	r := start(t, compressing)
	nc := r.nats()
	long := strings.Repeat("21.5 ", 2000)
	for name, ask := range map[string]func() *client{
		"plain": func() *client { return r.openDeflate("/ws/sent-plain", "") },
		"json": func() *client {
			c := r.openDeflate("/ws/sent-json", protocolJSON)
			if _, err := c.conn.Write(ws.AppendMasked(nil, ws.OpText, []byte(`{"id":1,"op":"connect","down_qos":0}`), [4]byte{1, 2, 3, 4})); err != nil {
				t.Fatal(err)
			}
			for !bytes.HasSuffix(c.raw, []byte("}}")) { // below the length that is worth it
				if err := c.fill(); err != nil {
					t.Fatal(err)
				}
			}
			c.raw = nil
			return c
		},
		"echo": func() *client { return r.openDeflate("/echo", "") },
	} {
		for text, first := range map[string]byte{"short": 0x81, long: 0xC1} {
			c := ask()
			if name == "echo" {
				if _, err := c.conn.Write([]byte(pressed(t, text))); err != nil {
					t.Fatal(err)
				}
			} else if err := nc.Publish("devices.sent-"+name+".down", []byte(text)); err != nil {
				t.Fatal(err)
			}
			for len(c.raw) < 2 {
				if err := c.fill(); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if c.raw[0] != first || len(c.raw) > 300 {
				t.Errorf("%s: %d bytes went out as a frame %#x… of %d bytes", name, len(text), c.raw[0], len(c.raw))
			}
		}
	}
}

// openDeflate is a raw plain device that has negotiated compression.
func (r *rig) openDeflate(path, subprotocol string) *client {
	r.t.Helper()
	c := r.open(mqtt.V5, r.ws)
	c.framed = true
	if _, err := c.conn.Write(ws.AppendHandshake(nil, r.ws, path, subprotocol, testKey, [2]string{"Sec-WebSocket-Extensions", "permessage-deflate"})); err != nil {
		r.t.Fatal(err)
	}
	end := []byte("\r\n\r\n")
	for !bytes.Contains(c.raw, end) {
		if err := c.fill(); err != nil {
			r.t.Fatal(err)
		}
	}
	answer, rest, _ := bytes.Cut(c.raw, end)
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 101 ")) || !bytes.Contains(answer, []byte(extension)) {
		r.t.Fatalf("%s", answer)
	}
	c.raw = rest
	return c
}

// TestDeflateBad: what does not inflate, or to too much, ends with its close code and costs no more than the limit.
func TestDeflateBad(t *testing.T) {
	t.Parallel()
	r := start(t, compressing)
	raw := func(payload string) string { return frame(0xC1, payload) }
	for _, c := range []struct {
		name, bytes string
		code        ws.CloseCode
		why         reason
	}{
		{"bomb", pressed(t, strings.Repeat("x", 50<<20)), 1009, reasonMessageTooBig},
		{"one beyond the limit", pressed(t, strings.Repeat("x", 1<<20+1)), 1009, reasonMessageTooBig},
		{"too many streams", raw(strings.Repeat("\x03\x00", 100)), 1009, reasonMessageTooBig},
		{"noise", raw("\xff\xff\xff"), 1007, reasonText},
		{"cut short", raw("\xf2\x48\xcd\xc9"), 1007, reasonText},
		{"not UTF-8", pressed(t, "a\xff"), 1007, reasonText},
		{"RSV1 on a continuation", frame(0x41, "\xf2\x48") + frame(0xC0, "\xcd"), 1002, reasonFrame},
		{"RSV1 on a ping", frame(0xC9, ""), 1002, reasonFrame},
	} {
		for _, path := range []string{"/ws/bad", "/echo"} {
			before := r.closedBy(c.why)
			d := r.openDeflate(path, "")
			if _, err := d.conn.Write([]byte(c.bytes)); err != nil {
				t.Fatal(err)
			}
			if _, code := d.end(); code != c.code {
				t.Errorf("%s on %s: closed with %v, want %v", c.name, path, code, c.code)
			}
			r.closesBy(c.why, before, 1)
		}
	}
	// At the limit it is taken.
	d, _ := r.dialDeflate("/echo", websocket.CompressionNoContextTakeover)
	whole := strings.Repeat("x", 1<<20)
	writeWS(t, d, websocket.MessageText, whole)
	if _, got := readWS(t, d); got != whole {
		t.Errorf("%d bytes came back", len(got))
	}
}

// TestDeflateMalformedOffer: a list that is none fails the handshake (RFC 6455 §9.1); one that can't be kept is declined.
func TestDeflateMalformedOffer(t *testing.T) {
	t.Parallel()
	r := start(t, compressing)
	for offer, want := range map[string]int{"permessage-deflate;": http.StatusBadRequest, "permessage-deflate; server_max_window_bits=10": 101} {
		c := r.open(mqtt.V5, r.ws)
		c.framed = true
		c.write(ws.AppendHandshake(nil, r.ws, "/ws/a", "", testKey, [2]string{"Sec-WebSocket-Extensions", offer}))
		if status := c.handshaken(""); status != want {
			t.Errorf("%q: status %d, want %d", offer, status, want)
		}
	}
}

// TestDeflateTurns: small messages that inflate to much end the turn of their sender, as any that make much work.
func TestDeflateTurns(t *testing.T) {
	t.Parallel()
	const n = 40
	r := start(t, compressing)
	d := r.openDeflate("/ws/busy", "")
	up := r.backend(r.nats(), "devices.busy.up")
	if _, err := d.conn.Write([]byte(strings.Repeat(pressed(t, strings.Repeat("x", 900<<10)), n))); err != nil {
		t.Fatal(err)
	}
	r.eventually("all at the backend", func() bool { return len(up.all()) >= n })
	if turns := r.sum().turnsEnded; turns < n/2 {
		t.Errorf("%d MB out of a few kB ended %d turns", n, turns)
	}
}

// TestDeflateWaits: a compressed message for which the uplink has no room waits as it came, and arrives whole.
func TestDeflateWaits(t *testing.T) {
	t.Parallel()
	const n = 30
	away := bustest.Start(t)
	r := start(t, compressing, outside(away))
	back := r.backend(away.Conn(t), "devices.waiting.up")
	d := r.openDeflate("/ws/waiting", "")
	away.Shut()
	var want []string
	var stream strings.Builder
	for i := range n {
		text := fmt.Sprintf("%04d", i) + strings.Repeat("x", 600<<10)
		stream.WriteString(pressed(t, text))
		want = append(want, "devices.waiting.up "+text)
	}
	if _, err := d.conn.Write([]byte(stream.String())); err != nil {
		t.Fatal(err)
	}
	r.eventually("its reading pauses", func() bool { return r.sum().pausedPublishers > 0 })
	away.Reopen()
	r.eventually("all at the backend", func() bool { return len(back.all()) >= n })
	checkOnce(t, "backend", back.all(), want, "-")
}
