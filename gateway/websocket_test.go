package gateway

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// TestPacketsAcrossFrames: packets may share a frame and span frames, fragments and control frames between them
// [MQTT-6.0.0-2], and may come in the same segment as the handshake, before its answer is read.
func TestPacketsAcrossFrames(t *testing.T) {
	t.Parallel()
	for shard := range 2 { // the CONNECT of one of them moves the connection with all that follows it
		r := start(t)
		c := r.open(mqtt.V5, r.ws)
		c.framed = true
		stream := c.connectPacket(r.ids("span", shard, 1)[0])
		stream = mqtt.AppendSubscribe(stream, c.v, 1, []mqtt.Filter{{Topic: []byte("sp/x"), QoS: 1}}, 0)
		stream = mqtt.AppendPublish(stream, c.v, &mqtt.PublishOut{Topic: []byte("sp/y"), Payload: bytes.Repeat([]byte("y"), 70_000), QoS: 1, PacketID: 2})
		stream = mqtt.AppendPingreq(stream)
		mask := [4]byte{5, 6, 7, 8}
		out := ws.AppendHandshake(nil, r.ws, "/mqtt", "mqtt", testKey)
		out = ws.AppendMasked(out, ws.OpBinary, stream[:1], mask) // a frame with the first byte alone
		first := ws.AppendMasked(nil, ws.OpBinary, stream[1:40], mask)
		first[0] &^= 0x80 // not the last fragment
		out = append(out, first...)
		out = ws.AppendMasked(out, ws.OpPing, []byte("between"), mask)
		middle := ws.AppendMasked(nil, ws.OpContinuation, nil, mask)
		middle[0] &^= 0x80
		out = append(out, middle...)
		out = ws.AppendMasked(out, ws.OpContinuation, stream[40:], mask)
		if _, err := c.conn.Write(out); err != nil {
			t.Fatal(err)
		}
		c.handshaken("mqtt")
		c.expect(mqtt.TypeConnack)
		acks := map[mqtt.Type]bool{}
		for range 3 { // SUBACK waits for NATS, the others do not
			acks[c.must().Type] = true
		}
		if !acks[mqtt.TypeSuback] || !acks[mqtt.TypePuback] || !acks[mqtt.TypePingresp] {
			t.Errorf("answers %v", acks)
		}
		c.publish(0, "sp/x", "own")
		c.gets("sp/x", "own")
	}
}

// TestWebSocketSubprotocols: mqtt and mqttv3.1 are answered as offered, on /mqtt and /; see [MQTT-6.0.0-3], [MQTT-6.0.0-4].
func TestWebSocketSubprotocols(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, path := range []string{"/mqtt", "/", "/mqtt?token=x"} {
		r.connectOn(r.openWS(mqtt.V5, path, "mqtt"), "a")
		r.connectOn(r.openWS(mqtt.V31, path, "mqttv3.1"), "b")
	}
}

// TestPlainWebSocket: text and binary up and down, the same id space as MQTT, takeover, and a frame sent without
// waiting for the handshake.
func TestPlainWebSocket(t *testing.T) {
	t.Parallel()
	for shard := range 2 {
		r := start(t)
		nc := r.nats()
		id := r.ids("pl", shard, 1)[0]
		up, err := nc.SubscribeSync("devices." + id + ".up")
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		c := r.dialWS("/ws/" + id)
		for _, m := range []struct {
			kind    websocket.MessageType
			payload string
		}{{websocket.MessageText, "hällo"}, {websocket.MessageBinary, "\x00\xff"}, {websocket.MessageText, ""}, {websocket.MessageBinary, strings.Repeat("\xfe", 200_000)}} {
			writeWS(t, c, m.kind, m.payload)
			got, err := up.NextMsg(answerTime)
			if err != nil || string(got.Data) != m.payload || got.Header.Get("TG") != "0 c="+id {
				t.Fatalf("up: %.40v, %v", got, err)
			}
			if err := nc.Publish("devices."+id+".down", []byte(m.payload)); err != nil {
				t.Fatal(err)
			}
			kind, payload := readWS(t, c)
			want := m.kind
			if m.payload == "" {
				want = websocket.MessageText
			}
			if kind != want || payload != m.payload {
				t.Errorf("down: %v %.40q, want %v %.40q", kind, payload, want, m.payload)
			}
		}
		// An MQTT device can write to it, too.
		p := r.connect(mqtt.V5, "writer")
		p.publish(1, "devices/"+id+"/down", "from a device")
		if _, payload := readWS(t, c); payload != "from a device" {
			t.Errorf("down: %q", payload)
		}
		// One id, one session: an MQTT client takes the plain one's place and the other way round.
		m := r.connect(mqtt.V5, id)
		if code := closeCodeWS(t, c); code != websocket.StatusPolicyViolation {
			t.Errorf("close code %v at takeover", code)
		}
		r.dialWS("/ws/" + id)
		m.endsWith(mqtt.SessionTakenOver, 0)
		raw := r.open(mqtt.V5, r.ws)
		out := ws.AppendHandshake(nil, r.ws, "/ws/"+id, "", testKey)
		out = ws.AppendMasked(out, ws.OpText, []byte("eager"), [4]byte{1, 2, 3, 4})
		if _, err := raw.conn.Write(out); err != nil {
			t.Fatal(err)
		}
		if got, err := up.NextMsg(answerTime); err != nil || string(got.Data) != "eager" {
			t.Errorf("pipelined frame: %v, %v", got, err)
		}
	}
}

// TestPlainIDs: the id in the path is percent-decoded and must be a topic level.
func TestPlainIDs(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	up, err := nc.SubscribeSync("devices.*.up")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	handshake := func(path string) int {
		c := r.open(mqtt.V5, r.ws)
		c.framed = true
		c.write(ws.AppendHandshake(nil, r.ws, path, "", testKey))
		status := c.handshaken("")
		if status == 101 {
			_, _ = c.conn.Write(ws.AppendMasked(nil, ws.OpText, []byte("x"), [4]byte{1, 2, 3, 4})) // NATS shows it
		}
		return status
	}
	for path, want := range map[string]int{
		"/ws/a%20b": 101, "/ws/%C3%BC": 101, "/ws/": 400, "/ws/a%2Fb": 400, "/ws/a/b": 400, "/ws/%2B": 400, "/ws/a%23": 400, "/ws/$x": 400,
		"/ws/%00": 400, "/ws/%zz": 400, "/ws/%FF": 400, "/ws/" + strings.Repeat("x", 257): 400, "/ws": 404, "/elsewhere": 404,
	} {
		if got := handshake(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
		if want == 101 {
			if _, err := up.NextMsg(answerTime); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// TestServerPings: a silent plain device is pinged; whoever answers stays, whoever misses two is closed with 1001.
func TestServerPings(t *testing.T) {
	for _, path := range []string{"/ws/p", "/echo"} {
		t.Run(path[1:], func(t *testing.T) {
			t.Parallel()
			r := start(t, short)
			c := r.open(mqtt.V5, r.ws)
			c.framed = true
			c.write(ws.AppendHandshake(nil, r.ws, path, "", testKey))
			c.handshaken("")
			pings := 0
			next := func() ws.Chunk {
				t.Helper()
				for {
					chunk, n, code := c.frames.Next(c.raw, &ws.Limits{})
					if code != 0 {
						t.Fatal(code)
					}
					if n > 0 {
						c.raw = c.raw[n:]
						return chunk
					}
					if err := c.fill(); err != nil {
						t.Fatal(err)
					}
				}
			}
			for range 2 { // more than two intervals, answered
				if chunk := next(); chunk.Op != ws.OpPing {
					t.Fatalf("%v, want a ping", chunk.Op)
				}
				if _, err := c.conn.Write(ws.AppendMasked(nil, ws.OpPong, nil, [4]byte{1, 2, 3, 4})); err != nil {
					t.Fatal(err)
				}
			}
			began := time.Now()
			chunk := next()
			for ; chunk.Op == ws.OpPing; chunk = next() {
				pings++
			}
			if code, _, bad := ws.ParseClose(chunk.Payload); chunk.Op != ws.OpClose || bad != 0 || code != ws.GoingAway {
				t.Errorf("%v %v", chunk.Op, code)
			}
			if took := time.Since(began); pings != 2 || took < 1500*time.Millisecond {
				t.Errorf("closed after %d pings and %v, want 2 and about 3 s", pings, took)
			}
			c.conn.Close()
			r.closesBy(reasonKeepAlive, 0, 1)
		})
	}
}

// TestEcho returns every message as it came, any size up to the limit; larger ones are closed with 1009. Without
// diagnostics there is no such path.
func TestEcho(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.dialWS("/echo")
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		for _, size := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20} {
			payload := strings.Repeat("e", size)
			writeWS(t, c, kind, payload)
			if got, p := readWS(t, c); got != kind || p != payload {
				t.Fatalf("%v of %d bytes came back as %v of %d", kind, size, got, len(p))
			}
		}
	}
	for range 100 { // pipelined, and in order
		writeWS(t, c, websocket.MessageText, "one")
		writeWS(t, c, websocket.MessageBinary, "two")
	}
	for range 100 {
		if _, p := readWS(t, c); p != "one" {
			t.Fatal(p)
		}
		if _, p := readWS(t, c); p != "two" {
			t.Fatal(p)
		}
	}
	writeWS(t, c, websocket.MessageBinary, strings.Repeat("e", 1<<20+1))
	if code := closeCodeWS(t, c); code != websocket.StatusMessageTooBig {
		t.Errorf("close code %v", code)
	}
	r.closesBy(reasonMessageTooBig, 0, 1)

	off := start(t, func(c *Config) { c.Diagnostics = false })
	raw := off.open(mqtt.V5, off.ws)
	raw.framed = true
	raw.write(ws.AppendHandshake(nil, off.ws, "/echo", "", testKey))
	if status := raw.handshaken(""); status != 404 {
		t.Errorf("status %d", status)
	}
}

// TestCloseHandshake answers a close frame with its code and ends; the device is gone like one that hung up.
func TestCloseHandshake(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.dialWS("/ws/polite")
	if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Errorf("close handshake: %v", err)
	}
	r.eventually("the session is gone", func() bool { return r.sum().sessions == 0 })
	r.closesBy(reasonPeerClosed, 0, 1)
}

// TestAnyListener takes MQTT and WebSocket on one port.
func TestAnyListener(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		r.connectOn(r.open(v, r.any), "tcp")
	}
	c := r.open(mqtt.V5, r.any)
	c.framed = true
	c.write(ws.AppendHandshake(nil, r.any, "/mqtt", "mqtt", testKey))
	c.handshaken("mqtt")
	r.connectOn(c, "ws")
	c = r.open(mqtt.V5, r.any)
	for _, b := range c.connectPacket("bytewise") {
		if _, err := c.conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	c.expect(mqtt.TypeConnack)
	c = r.open(mqtt.V5, r.any)
	c.framed = true
	for _, b := range ws.AppendHandshake(nil, r.any, "/mqtt", "mqtt", testKey) {
		if _, err := c.conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	c.handshaken("mqtt")
}

// TestPlainRetained: a retained message on its down topic reaches a plain device when it connects.
func TestPlainRetained(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.connect(mqtt.V5, "backend").publish(1, "devices/lamp-9/down", "be green", retained)
	c := r.dialWS("/ws/lamp-9")
	if kind, text := readWS(t, c); text != "be green" {
		t.Errorf("got %v %q", kind, text)
	}
}

// TestPlainPartialLevel: a down topic whose level is more than the client id is heard from the first message on.
func TestPlainPartialLevel(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.WebSocket.DownTopic = "d/x-{client-id}/down" })
	nc := r.nats()
	for shard := range 2 {
		id := r.ids("partial", shard, 1)[0]
		c := r.dialWS("/ws/" + id)
		if err := nc.Publish("d.x-"+id+".down", []byte("first")); err != nil {
			t.Fatal(err)
		}
		if _, got := readWS(t, c); got != "first" {
			t.Errorf("%q", got)
		}
	}
	if got := everyPlain("a/x-{client-id}/{client-id}"); got != "a/+/+" {
		t.Errorf("asks for %s", got)
	}
}
