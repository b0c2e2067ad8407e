package gateway

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// conversation is everything one client says, and what it must hear, whatever pieces TCP makes of it.
type conversation struct {
	name   string
	addr   func(r *rig) string
	stream []byte
}

// mqttConversation is a life in MQTT: subscribe, messages of each QoS to itself with all their acknowledgements, a ping,
// a refusal, and the end that is given.
func mqttConversation(v mqtt.Version, last []byte) []byte {
	p := mqtt.AppendConnect(nil, v, &mqtt.ConnectOut{
		ClientID: []byte("cutter"), CleanStart: true, KeepAliveSec: 60, Username: []byte("u"), Password: []byte("p"),
		HasWill: true, WillTopic: []byte("cut/will"), WillPayload: []byte("w"),
	})
	p = mqtt.AppendSubscribe(p, v, 1, []mqtt.Filter{{Topic: []byte("cut/+"), QoS: 2}, {Topic: []byte("cut/x/#"), QoS: 1}}, 0)
	for qos := range byte(3) {
		out := mqtt.PublishOut{Topic: []byte("cut/x"), Payload: []byte("hello"), QoS: qos, PacketID: 10 + uint16(qos)}
		if v == mqtt.V5 {
			out.Props = mqtt.AppendUserProperty(nil, []byte("k"), []byte("v"))
			out.TopicAlias = 1
			p = mqtt.AppendPublish(p, v, &out)
			out.Topic, out.PacketID = nil, 20+uint16(qos)
		}
		p = mqtt.AppendPublish(p, v, &out)
	}
	p = mqtt.AppendPubrel(p, v, 12, mqtt.Success)
	ids := []uint16{1, 2} // of the messages to itself: in MQTT 5 each comes twice
	if v == mqtt.V5 {
		ids = []uint16{1, 3}
	}
	p = mqtt.AppendPuback(p, v, ids[0], mqtt.Success)
	p = mqtt.AppendPubrec(p, v, ids[1], mqtt.Success)
	p = mqtt.AppendPingreq(p)
	p = mqtt.AppendUnsubscribe(p, v, 2, []mqtt.Filter{{Topic: []byte("cut/+")}, {Topic: []byte("other")}})
	return append(p, last...)
}

// inFrames is a WebSocket stream of p in frames of these sizes, over and over.
func inFrames(p []byte, sizes ...int) []byte {
	out := ws.AppendHandshake(nil, "h", "/mqtt", "mqtt", testKey)
	for i := 0; len(p) > 0; i++ {
		n := min(sizes[i%len(sizes)], len(p))
		out = ws.AppendMasked(out, ws.OpBinary, p[:n], [4]byte{byte(i), 2, 3, 4})
		p = p[n:]
		if i == 3 {
			out = ws.AppendMasked(out, ws.OpPing, []byte("?"), [4]byte{4, 3, 2, 1})
		}
	}
	return out
}

func jsonConversation(commands ...string) []byte {
	out := ws.AppendHandshake(nil, "h", "/ws/cutter", protocolJSON, testKey)
	for i, c := range commands {
		if half := len(c) / 2; i%2 == 1 { // in two fragments
			first := ws.AppendMasked(nil, ws.OpText, []byte(c[:half]), [4]byte{1, 1, 1, 1})
			first[0] &^= 0x80
			out = append(out, first...)
			out = ws.AppendMasked(out, ws.OpContinuation, []byte(c[half:]), [4]byte{2, 2, 2, 2})
			continue
		}
		out = ws.AppendMasked(out, ws.OpText, []byte(c), [4]byte{3, 3, 3, 3})
	}
	return ws.AppendMasked(out, ws.OpClose, []byte{3, 0xE8}, [4]byte{5, 5, 5, 5})
}

func conversations() []conversation {
	onTCP := func(r *rig) string { return r.mqtt }
	onWS := func(r *rig) string { return r.ws }
	onAny := func(r *rig) string { return r.any }
	bye := func(v mqtt.Version) []byte { return mqtt.AppendDisconnect(nil, v, mqtt.Success, nil) }
	return []conversation{
		{"3.1", onTCP, mqttConversation(mqtt.V31, bye(mqtt.V31))},
		{"3.1.1", onTCP, mqttConversation(mqtt.V311, bye(mqtt.V311))},
		{"5", onTCP, mqttConversation(mqtt.V5, bye(mqtt.V5))},
		{"5 on any", onAny, mqttConversation(mqtt.V5, bye(mqtt.V5))},
		{"5 ends malformed", onTCP, mqttConversation(mqtt.V5, []byte(fixed(0x30, str("a/#")+"\x00")))},
		{"3.1.1 in frames", onWS, inFrames(mqttConversation(mqtt.V311, bye(mqtt.V311)), 1000)},
		{"5 across frames", onWS, inFrames(mqttConversation(mqtt.V5, bye(mqtt.V5)), 1, 30, 2, 7)},
		{"5 across frames on any", onAny, inFrames(mqttConversation(mqtt.V5, bye(mqtt.V5)), 50, 3)},
		{"5 in frames ends malformed", onWS, append(inFrames(mqttConversation(mqtt.V5, nil), 64), "\x82\x00"...)},
		{"json", onWS, jsonConversation(`{"id":1,"op":"connect","down_qos":0}`, `[{"id":1,"op":"ping"},{"op":"ack","ack":7},{"id":9,"op":"ping"}]`, `{"id":2,"op":"subscribe","filter":"cut/+"}`,
			`{"id":3,"op":"publish","topic":"cut/x","text":"hällo"}`, `{"id":4,"op":"publish","topic":"devices/cutter/down","json":{"n":1}}`,
			`{"id":5,"op":"unsubscribe","filter":"cut/+"}`, `nonsense`, `{"id":6,"op":"publish","topic":"bad/#"}`)},
	}
}

// TestEveryCut cuts each conversation at every position, makes sure that the gateway has read the first part by itself, and
// expects the same answers to the byte; and once more one byte at a time.
func TestEveryCut(t *testing.T) {
	for _, conv := range conversations() {
		t.Run(conv.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, memoryOnly) // whose acknowledgements come in the same place each time
			// NATS knows the filters already, so that SUBACK never has to wait, which would change the order of answers.
			for shard := range 2 {
				holder := r.connect(mqtt.V311, r.ids("holder", shard, 1)[0])
				holder.subscribe(0, "cut/+", "cut/x/#")
			}
			var want []byte
			for cut := range len(conv.stream) + 1 {
				got := r.converse(conv, cut)
				if cut == 0 {
					want = got
				}
				if !bytes.Equal(got, want) {
					t.Fatalf("cut at %d of %d:\n got %q\nwant %q", cut, len(conv.stream), got, want)
				}
			}
			if len(want) < 40 {
				t.Fatalf("hardly an answer: %q", want)
			}
			if got := r.converse(conv, -1); !bytes.Equal(got, want) {
				t.Fatalf("byte by byte:\n got %q\nwant %q", got, want)
			}
		})
	}
}

// converse sends a conversation in two parts (cut), or byte by byte (-1), and returns all that comes back.
func (r *rig) converse(conv conversation, cut int) []byte {
	r.t.Helper()
	c := r.dial(conv.addr(r))
	defer c.Close()
	send := func(p []byte) {
		if _, err := c.Write(p); err != nil {
			r.t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	if cut < 0 {
		for _, b := range conv.stream {
			send([]byte{b})
		}
	} else {
		before := r.sum().loop.ReadBytes
		send(conv.stream[:cut])
		for deadline := time.Now().Add(patience); r.sum().loop.ReadBytes < before+uint64(cut); runtime.Gosched() {
			if time.Now().After(deadline) {
				r.t.Fatalf("cut at %d: the first part is not read", cut)
			}
		}
		send(conv.stream[cut:])
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		r.t.Fatalf("cut at %d: %v after %q", cut, err, answer)
	}
	return sessionToken.ReplaceAll(answer, []byte(`"session":"…"`))
}

// sessionToken is another one for each session.
var sessionToken = regexp.MustCompile(`"session":"[^"]+"`)

// TestTruncatedPackets sends every packet type with its body cut at every byte and with bytes added, the remaining length
// adjusted, so that the packet is whole but wrong, or the connection ends in it. It is answered as if it were right, or
// closed with a reason for it; nobody else notices; see B2 and classes 2 and 3.
func TestTruncatedPackets(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			r := start(t)
			w := r.witness()
			props := mqtt.AppendContentType(mqtt.AppendUserProperty(nil, []byte("k"), []byte("v")), []byte("t"))
			packets := [][]byte{
				mqtt.AppendPublish(nil, v, &mqtt.PublishOut{Topic: []byte("a/b"), Payload: []byte("p"), QoS: 1, PacketID: 3, Props: props, HasExpiry: true, ExpirySec: 9}),
				mqtt.AppendPublish(nil, v, &mqtt.PublishOut{Topic: []byte("a/b"), QoS: 2, PacketID: 3}),
				mqtt.AppendPuback(nil, v, 3, mqtt.UnspecifiedError), mqtt.AppendPubrec(nil, v, 3, mqtt.UnspecifiedError),
				mqtt.AppendPubrel(nil, v, 3, mqtt.PacketIdentifierNotFound), mqtt.AppendPubcomp(nil, v, 3, mqtt.PacketIdentifierNotFound),
				mqtt.AppendSubscribe(nil, v, 3, []mqtt.Filter{{Topic: []byte("a/+"), QoS: 1}, {Topic: []byte("b"), QoS: 2}}, 300),
				mqtt.AppendUnsubscribe(nil, v, 3, []mqtt.Filter{{Topic: []byte("a/+")}, {Topic: []byte("b")}}),
				mqtt.AppendPingreq(nil), []byte(fixed(0xE0, "\x04"+block("\x1f"+str("why")))),
				[]byte(fixed(0xF0, "\x18"+block("\x15"+str("m")+"\x16"+str("d")))),
			}
			connect := mqtt.AppendConnect(nil, v, &mqtt.ConnectOut{
				ClientID: []byte("id"), Username: []byte("u"), Password: []byte("p"), CleanStart: true, HasWill: true,
				WillTopic: []byte("w"), WillPayload: []byte("x"), WillProps: props, ReceiveMax: 3, UserProps: props[:0],
			})
			for _, way := range transports {
				for cut := range len(connect) + 3 {
					c := r.via(way, v)
					c.write(resized(connect, cut))
					if cut == len(connect)-2 {
						c.expect(mqtt.TypeConnack)
					} else {
						c.drain() // a refusal may come in the form of another version
					}
					c.conn.Close()
				}
				for _, p := range packets {
					for cut := range len(p) + 3 {
						if cut > 127 {
							break
						}
						c, _ := r.connectOn(r.via(way, v), "cut")
						c.write(append(resized(p, cut), 0xC0, 0)) // and PINGREQ, to see whether it lives
						c.endsInKnownWay()
						c.conn.Close()
						c, _ = r.connectOn(r.via(way, v), "cut")
						c.write(p[:min(cut, len(p))])
						c.cut()
					}
				}
				w.check()
			}
			r.eventually("only the witnesses are left", func() bool { return r.sockets() == len(w.devices) })
			if n := r.sum().panics; n != 0 {
				t.Errorf("%d panics", n)
			}
		})
	}
}

// resized is packet p (of one length byte) with a body of n bytes: cut, or filled up.
func resized(p []byte, n int) []byte {
	body := append(bytes.Clone(p[2:]), 0, 0, 0, 0)
	n = min(n, len(body))
	return append([]byte{p[0], byte(n)}, body[:n]...)
}

// drain reads to the end, whatever comes.
func (c *client) drain() {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, c.conn); err != nil {
		c.t.Fatalf("not closed: %v", err)
	}
}

// endsInKnownWay reads until the gateway closes, or answers the ping.
func (c *client) endsInKnownWay() {
	c.t.Helper()
	for {
		g, err := c.next()
		switch {
		case err == io.EOF:
			return
		case err != nil:
			c.t.Fatalf("neither closed nor answered: %v", err)
		case g.Type == mqtt.TypePingresp, g.Type == mqtt.TypeConnack && g.Reason == 0 && g.ReturnCode == 0:
			return
		case g.Type == mqtt.TypeDisconnect && !g.Reason.Failed():
			c.t.Fatal(fmt.Sprint("DISCONNECT with ", g.Reason))
		}
	}
}

// TestNothingAfterGoodbye: a SUBACK that still waits for NATS when its device is closed does not follow the DISCONNECT
// and the close frame.
func TestNothingAfterGoodbye(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, way := range transports {
		for i := range 20 {
			c, _ := r.connectOn(r.via(way, mqtt.V5), "c")
			p := mqtt.AppendSubscribe(nil, c.v, 1, []mqtt.Filter{{Topic: fmt.Append(nil, "new/", way, i)}}, 0)
			c.write(append(p, connect5(0x02, "", str("again"))...))
			last := mqtt.TypeConnack
			for g, err := c.next(); err == nil; g, err = c.next() {
				last = g.Type
			}
			if last != mqtt.TypeDisconnect {
				t.Fatalf("%v came last", last)
			}
			rest, err := io.ReadAll(c.conn)
			if err != nil || len(c.raw)+len(c.in)+len(rest) > 0 {
				t.Fatalf("after the close frame: %x %x, %v", c.raw, rest, err)
			}
			c.conn.Close()
		}
	}
}

// TestCloseFrameDoesNotOvertake: DISCONNECT and messages in frames before a close frame count also when all come in one
// segment, as they do from most clients: the messages are published and the will is not.
func TestCloseFrameDoesNotOvertake(t *testing.T) {
	t.Parallel()
	r := start(t)
	nc := r.nats()
	watch := r.connect(mqtt.V5, "watch")
	watch.subscribe(1, "w/x", "last", "fence")
	for shard := range 2 {
		c, _ := r.connectOn(r.via("ws", mqtt.V311), r.ids("leaves", shard, 1)[0], will("wrong", 0))
		mask := [4]byte{1, 2, 3, 4}
		p := mqtt.AppendPublish(nil, c.v, &mqtt.PublishOut{Topic: []byte("last"), Payload: []byte("words")})
		out := ws.AppendMasked(nil, ws.OpBinary, p, mask)
		out = ws.AppendMasked(out, ws.OpBinary, mqtt.AppendDisconnect(nil, c.v, mqtt.Success, nil), mask)
		out = ws.AppendMasked(out, ws.OpClose, []byte{3, 0xE8}, mask)
		if _, err := c.conn.Write(out); err != nil {
			t.Fatal(err)
		}
		c.drain()
		c.conn.Close()
		before := r.fence(nc, watch)[0]
		if len(before) != 1 || before[0].topic != "last" {
			t.Errorf("shard %d: %d messages, the first on %q", shard, len(before), before[0].topic)
		}
	}
}
