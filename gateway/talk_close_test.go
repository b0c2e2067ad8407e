package gateway

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

var closeText = regexp.MustCompile(`^[a-z_]+$|^[a-z_]+ retry_ms=([2-9][0-9]{3})$`)

// TestTalkCloseTable: every reason has a code that is in a range of the contract or one that RFC 6455 demands, and the text
// belongs to the range.
func TestTalkCloseTable(t *testing.T) {
	for r := reasonPeerReset + 1; r < reasonCount; r++ {
		code, text := talkClose(r)
		switch {
		case code/100 == 41:
			if !closeText.MatchString(text) || !strings.Contains(text, "retry_ms=") {
				t.Errorf("%v: %d %q", r, code, text)
			}
		case code/100 == 40, code/100 == 44:
			if text != r.String() {
				t.Errorf("%v: %d %q", r, code, text)
			}
		case r != reasonClientID && r != reasonAuthMethod && r != reasonTopic && r != reasonFilter && r != reasonQoS && r != reasonRetain &&
			code != ws.ProtocolError && code != ws.Unsupported && code != ws.InvalidPayload && code != ws.TooBig:
			t.Errorf("%v: %d is in no range", r, code) // those of MQTT alone, and of before the handshake, aside
		}
		if !code.OnWire() {
			t.Errorf("%v: %d", r, code)
		}
	}
}

// TestTalkCloses brings about every code that a device with commands can get.
func TestTalkCloses(t *testing.T) {
	inBoth(t, func(t *testing.T, protocol string) {
		t.Parallel()
		r := start(t, func(c *Config) {
			c.Limits.ConnectTime, c.Limits.PacketTime, c.Limits.StallTime, c.WebSocket.PingInterval = time.Second, time.Second, time.Second, time.Second
			c.Limits.BatchBytesMax, c.Session.QueueCountMax, c.Session.QueuePolicy = 4<<10, 1, "disconnect"
		})
		raw := func(j *client) (websocket.StatusCode, string) { // a device that is no WebSocket library
			defer j.conn.Close()
			for j.unframe(); j.closed == 0; j.unframe() {
				if err := j.fill(); err != nil {
					t.Fatal(err)
				}
			}
			return websocket.StatusCode(j.closed), ""
		}
		hello := ws.AppendMasked(nil, ws.OpText, []byte(`{"id":1,"op":"connect"}`), [4]byte{1, 2, 3, 4})
		if protocol == protocolCBOR {
			hello = ws.AppendMasked(nil, ws.OpBinary, mustCBOR(map[string]any{"id": 1, "op": "connect"}), [4]byte{1, 2, 3, 4})
		}
		framed := func(id string, frames ...string) *client {
			c := r.openWS(mqtt.V5, "/ws/"+id, protocol)
			if _, err := c.conn.Write([]byte(string(hello) + strings.Join(frames, ""))); err != nil {
				t.Fatal(err)
			}
			return c
		}
		for _, tc := range []struct {
			name string
			code websocket.StatusCode
			text string
			why  reason
			run  func(r *rig) (websocket.StatusCode, string)
		}{
			{"closed by the device", 1000, "", reasonPeerClosed, func(r *rig) (websocket.StatusCode, string) {
				return raw(framed("c1000", frame(0x88, "\x03\xe8")))
			}},
			{"taken over", 4400, "taken_over", reasonTakenOver, func(r *rig) (websocket.StatusCode, string) {
				j := r.talks(protocol, "c4400")
				defer r.talks(protocol, "c4400").c.CloseNow()
				return j.ends()
			}},
			{"sixteen bad ones", 4402, "bad_commands", reasonBadCommands, func(r *rig) (websocket.StatusCode, string) {
				j := r.talks(protocol, "c4402")
				for i := range badMax {
					if i == badMax/2 { // a good one begins the count anew
						j.says(`{"id":1,"op":"ping"}`)
					}
					j.says(`{"id":1,"op":"fly"}`)
				}
				j.says("[" + strings.Repeat(`{},`, badMax/2-1) + `{"id":7}]`)
				for range badMax + 1 {
					j.next()
				}
				for range badMax / 2 {
					if e, _ := j.next()["error"].(map[string]any); e["code"] != "bad_command" {
						t.Errorf("%v", e)
					}
				}
				return j.ends()
			}},
			{"no connect", 4102, "connect_timeout", reasonConnectTimeout, func(r *rig) (websocket.StatusCode, string) {
				return r.opens(protocol, "c4102").ends()
			}},
			{"no pong", 4001, "keep_alive_timeout", reasonKeepAlive, func(r *rig) (websocket.StatusCode, string) { return raw(framed("c4001")) }},
			{"half a message", 4003, "packet_timeout", reasonPacketTimeout, func(r *rig) (websocket.StatusCode, string) {
				return raw(framed("c4003", "\x81\x90\x01\x02\x03\x04abc"))
			}},
			{"a full queue", 4100, "quota", reasonQuota, func(r *rig) (websocket.StatusCode, string) {
				j := r.talks(protocol, "c4100", `"inflight":1`)
				p := r.connect(mqtt.V5, "p"+protocol)
				for range 4 {
					p.publish(1, "devices/c4100/down", "x")
				}
				return j.ends()
			}},
			{"against RFC 6455", 1002, "websocket_protocol", reasonFrame, func(r *rig) (websocket.StatusCode, string) { return raw(framed("c1002", "\x83\x80\x00\x00\x00\x00")) }},
			{"not UTF-8", 1007, "websocket_text", reasonText, func(r *rig) (websocket.StatusCode, string) { return raw(framed("c1007", frame(0x81, "\xff"))) }},
			{"too big", 1009, "websocket_too_big", reasonMessageTooBig, func(r *rig) (websocket.StatusCode, string) {
				return raw(framed("c1009", frame(0x82, strings.Repeat("x", 1<<20+1))[:20]))
			}},
			{"too big before connect", 1009, "websocket_too_big", reasonMessageTooBig, func(r *rig) (websocket.StatusCode, string) {
				c := r.openWS(mqtt.V5, "/ws/early", protocol)
				if _, err := c.conn.Write([]byte(frame(0x82, strings.Repeat("x", 17<<10))[:20])); err != nil {
					t.Fatal(err)
				}
				return raw(c)
			}},
		} {
			before := r.closedBy(tc.why)
			code, text := tc.run(r.in(t))
			label, wait, _ := strings.Cut(text, " ")
			if code != tc.code || text != "" && label != tc.text || (code/100 == 41) != (wait != "") && text != "" {
				t.Errorf("%s: %d %q, want %d %q", tc.name, code, text, tc.code, tc.text)
			}
			r.closesBy(tc.why, before, 1)
		}
		j := r.talks(protocol, "last")
		stopped := make(chan error, 1)
		go func() { stopped <- r.stop() }()
		if code, text := j.ends(); code != 4000 || text != "shutdown" {
			t.Errorf("%d %q", code, text)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

// TestTalkFull: a gateway without room for sessions says when to come again.
func TestTalkFull(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Session.Max, c.Loops = 1, 1 })
	r.connect(mqtt.V5, "one")
	j := r.opens(protocolJSON, "two")
	j.says(`{"id":1,"op":"connect"}`)
	if code, text := j.ends(); code != 4100 || !closeText.MatchString(text) {
		t.Errorf("%d %q", code, text)
	}
}
