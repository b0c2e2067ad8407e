package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// patience is how long a test waits for what must come; it is long because the machine may be busy, and costs nothing
// when all is well.
const patience = time.Minute

// got is one packet that a client received, with its own copy of everything.
type got struct {
	mqtt.Packet
	topic, payload string
	raw            []byte // the whole packet
	size           int    // of the whole packet
}

// client is a bare MQTT client over TCP or WebSocket: it sends exactly the bytes it is told to and shows every packet it
// receives. Real clients are in real_test.go; this one is for what they would never do.
type client struct {
	t      testing.TB
	conn   net.Conn
	v      mqtt.Version
	framed bool // MQTT in WebSocket frames
	raw    []byte
	in     []byte // MQTT bytes
	frames ws.ClientReader
	closed ws.CloseCode // of the close frame received
	id     uint16
	early  []*got // packets that came while message waited for a PUBREL
}

// in is the rig for a subtest.
func (r *rig) in(t *testing.T) *rig {
	sub := *r
	sub.t = t
	return &sub
}

// open connects without sending anything; addr is the listener's.
func (r *rig) open(v mqtt.Version, addr string) *client {
	r.t.Helper()
	return &client{t: r.t, conn: r.dial(addr), v: v}
}

var testKey = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// openWS connects and does the WebSocket handshake for path.
func (r *rig) openWS(v mqtt.Version, path, subprotocol string) *client {
	r.t.Helper()
	c := r.open(v, r.ws)
	c.framed = true
	c.write(ws.AppendHandshake(nil, r.ws, path, subprotocol, testKey))
	if status := c.handshaken(subprotocol); status != 101 {
		r.t.Fatalf("handshake for %s: %d", path, status)
	}
	return c
}

// handshaken reads the answer to the WebSocket handshake.
func (c *client) handshaken(subprotocol string) (status int) {
	c.t.Helper()
	for {
		n, chosen, status, err := ws.ParseHandshake(c.raw, testKey)
		switch {
		case err != nil:
			c.t.Fatal(err)
		case n > 0:
			if status == 101 && string(chosen) != subprotocol {
				c.t.Fatalf("subprotocol %q, want %q", chosen, subprotocol)
			}
			c.raw = c.raw[n:]
			return status
		}
		if err := c.fill(); err != nil {
			c.t.Fatalf("handshake: %v", err)
		}
	}
}

// transports are the ways MQTT comes in.
var transports = []string{"tcp", "ws"}

// via connects over a transport without CONNECT.
func (r *rig) via(transport string, v mqtt.Version) *client {
	r.t.Helper()
	if transport == "ws" {
		return r.openWS(v, "/mqtt", "mqtt")
	}
	return r.open(v, r.mqtt)
}

// connect is a client with a clean session.
func (r *rig) connect(v mqtt.Version, id string, mods ...func(c *mqtt.ConnectOut)) *client {
	r.t.Helper()
	c, _ := r.connectOn(r.open(v, r.mqtt), id, mods...)
	return c
}

// connectOn sends CONNECT and expects success.
func (r *rig) connectOn(c *client, id string, mods ...func(c *mqtt.ConnectOut)) (*client, *got) {
	r.t.Helper()
	c.write(c.connectPacket(id, mods...))
	ack := c.expect(mqtt.TypeConnack)
	if ack.Reason != 0 || ack.ReturnCode != 0 {
		r.t.Fatalf("CONNACK for %q: %v, return code %d", id, ack.Reason, ack.ReturnCode)
	}
	return c, ack
}

func (c *client) connectPacket(id string, mods ...func(c *mqtt.ConnectOut)) []byte {
	o := mqtt.ConnectOut{ClientID: []byte(id), CleanStart: true}
	for _, mod := range mods {
		mod(&o)
	}
	return mqtt.AppendConnect(nil, c.v, &o)
}

// persistent keeps the session for an hour.
func persistent(c *mqtt.ConnectOut) { c.CleanStart, c.SessionExpirySec = false, 3600 }

// write sends MQTT bytes, in one frame on a WebSocket once it is open.
func (c *client) write(p []byte) {
	c.t.Helper()
	if err := c.tryWrite(p); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

func (c *client) tryWrite(p []byte) error {
	if c.framed && !bytes.HasPrefix(p, []byte("GET ")) {
		p = ws.AppendMasked(nil, ws.OpBinary, p, [4]byte{9, 8, 7, 6})
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := c.conn.Write(p)
	return err
}

// fill reads once.
func (c *client) fill() error {
	var p [32 << 10]byte
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	n, err := c.conn.Read(p[:])
	if !c.framed {
		c.in = append(c.in, p[:n]...)
		return err
	}
	c.raw = append(c.raw, p[:n]...)
	return err
}

// unframe takes what is whole out of its frames.
func (c *client) unframe() {
	for c.framed && c.closed == 0 {
		chunk, n, code := c.frames.Next(c.raw, &ws.Limits{})
		if code != 0 {
			c.t.Fatalf("the gateway sent a bad frame: %v", code)
		}
		if n == 0 {
			return
		}
		switch chunk.Op {
		case ws.OpClose:
			c.closed = ws.NoStatus
			if len(chunk.Payload) >= 2 {
				c.closed = ws.CloseCode(binary.BigEndian.Uint16(chunk.Payload))
			}
		case ws.OpBinary:
			c.in = append(c.in, chunk.Payload...)
		}
		c.raw = c.raw[n:]
	}
}

// next is the next packet; io.EOF when the gateway closed.
func (c *client) next() (*got, error) {
	if len(c.early) > 0 {
		g := c.early[0]
		c.early = c.early[1:]
		return g, nil
	}
	return c.receive()
}

// receive is the next packet from the connection.
func (c *client) receive() (*got, error) {
	for {
		c.unframe()
		packet, n, r := mqtt.Next(c.in, 0)
		if r != mqtt.Success {
			c.t.Fatalf("the gateway sent a bad packet: %v", r)
		}
		if n > 0 {
			g := &got{raw: bytes.Clone(packet), size: n}
			if r := mqtt.Decode(g.raw, c.v, &g.Packet); r != mqtt.Success {
				c.t.Fatalf("the gateway sent %x: %v", packet, r)
			}
			if r := mqtt.ServerFault(&g.Packet); r != mqtt.Success {
				c.t.Fatalf("the gateway sent a client's %v", g.Type)
			}
			g.topic, g.payload = string(g.Topic), string(g.Payload)
			c.in = c.in[n:]
			return g, nil
		}
		if c.closed != 0 {
			return nil, io.EOF
		}
		if err := c.fill(); err != nil && (!c.framed || len(c.raw) == 0) {
			return nil, err
		}
	}
}

// must is the next packet, whatever it is.
func (c *client) must() *got {
	c.t.Helper()
	g, err := c.next()
	if err != nil {
		c.t.Fatalf("no packet: %v", err)
	}
	return g
}

// expect is the next packet, which must be of type ty.
func (c *client) expect(ty mqtt.Type) *got {
	c.t.Helper()
	g := c.must()
	if g.Type != ty {
		c.t.Fatalf("%v (reason %v, topic %q), want %v", g.Type, g.Reason, g.topic, ty)
	}
	return g
}

// message is the next PUBLISH, acknowledged as its QoS asks.
func (c *client) message() *got {
	c.t.Helper()
	g := c.expect(mqtt.TypePublish)
	switch g.QoS {
	case 1:
		c.write(mqtt.AppendPuback(nil, c.v, g.PacketID, mqtt.Success))
	case 2:
		c.write(mqtt.AppendPubrec(nil, c.v, g.PacketID, mqtt.Success))
		c.released(g.PacketID)
		c.write(mqtt.AppendPubcomp(nil, c.v, g.PacketID, mqtt.Success))
	}
	return g
}

// released waits for PUBREL; other packets that come before it are kept for next.
func (c *client) released(id uint16) {
	c.t.Helper()
	for {
		g, err := c.receive()
		switch {
		case err != nil:
			c.t.Fatalf("no PUBREL %d: %v", id, err)
		case g.Type == mqtt.TypePubrel && g.PacketID == id:
			return
		}
		c.early = append(c.early, g)
	}
}

// gets expects one message with this topic and payload.
func (c *client) gets(topic, payload string) *got {
	c.t.Helper()
	g := c.message()
	if g.topic != topic || g.payload != payload {
		c.t.Fatalf("message %q %.60q, want %q %.60q", g.topic, g.payload, topic, payload)
	}
	return g
}

// subscribe waits for SUBACK and returns its reasons.
func (c *client) subscribe(qos byte, filters ...string) []mqtt.Reason {
	c.t.Helper()
	list := make([]mqtt.Filter, 0, len(filters))
	for _, f := range filters {
		list = append(list, mqtt.Filter{Topic: []byte(f), QoS: qos})
	}
	return c.subscribeTo(0, list...)
}

func (c *client) subscribeTo(subID uint32, filters ...mqtt.Filter) []mqtt.Reason {
	c.t.Helper()
	c.id++
	c.write(mqtt.AppendSubscribe(nil, c.v, c.id, filters, subID))
	ack := c.expect(mqtt.TypeSuback)
	if ack.PacketID != c.id || len(ack.Reasons) != len(filters) {
		c.t.Fatalf("SUBACK %d %v", ack.PacketID, ack.Reasons)
	}
	return ack.Reasons
}

// publish sends a message and goes through its whole acknowledgement, which must be the next packets.
func (c *client) publish(qos byte, topic, payload string, mods ...func(p *mqtt.PublishOut)) (answer mqtt.Reason) {
	c.t.Helper()
	p := mqtt.PublishOut{Topic: []byte(topic), Payload: []byte(payload), QoS: qos}
	if qos > 0 {
		c.id++
		p.PacketID = c.id
	}
	for _, mod := range mods {
		mod(&p)
	}
	c.write(mqtt.AppendPublish(nil, c.v, &p))
	switch qos {
	case 1:
		return c.acknowledged(mqtt.TypePuback, p.PacketID)
	case 2:
		if r := c.acknowledged(mqtt.TypePubrec, p.PacketID); r.Failed() {
			return r
		}
		c.write(mqtt.AppendPubrel(nil, c.v, p.PacketID, mqtt.Success))
		return c.acknowledged(mqtt.TypePubcomp, p.PacketID)
	}
	return mqtt.Success
}

// publishes is publish with QoS 1 of n messages, some at a time, which saves their round trips.
func (c *client) publishes(n int, message func(i int) (topic, payload string), mods ...func(p *mqtt.PublishOut)) {
	c.t.Helper()
	const group = 100
	for from := 0; from < n; from += group {
		var out []byte
		first := c.id + 1
		for i := from; i < min(n, from+group); i++ {
			c.id++
			topic, payload := message(i)
			p := mqtt.PublishOut{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, PacketID: c.id}
			for _, mod := range mods {
				mod(&p)
			}
			out = mqtt.AppendPublish(out, c.v, &p)
		}
		c.write(out)
		for id := first; id <= c.id; id++ {
			if r := c.acknowledged(mqtt.TypePuback, id); r.Failed() {
				c.t.Fatalf("PUBACK %v", r)
			}
		}
	}
}

func (c *client) acknowledged(ty mqtt.Type, id uint16) mqtt.Reason {
	c.t.Helper()
	g := c.expect(ty)
	if g.PacketID != id {
		c.t.Fatalf("%v %d, want %d", ty, g.PacketID, id)
	}
	return g.Reason
}

func retained(p *mqtt.PublishOut) { p.Retain = true }

// ping proves that everything the gateway appended before is read: the answer must be the next packet.
func (c *client) ping() {
	c.t.Helper()
	c.write(mqtt.AppendPingreq(nil))
	c.expect(mqtt.TypePingresp)
}

// end is how the gateway ended the connection: the reason of its DISCONNECT (Success if none came) and its close code.
// Our side is closed then, too, so that the gateway need not linger.
func (c *client) end() (mqtt.Reason, ws.CloseCode) {
	c.t.Helper()
	defer c.conn.Close()
	var reason mqtt.Reason
	for {
		g, err := c.next()
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			c.t.Fatal("the connection is not closed")
		case err != nil:
			return reason, c.closed
		case g.Type == mqtt.TypeDisconnect:
			reason = g.Reason
		}
	}
}

// endsWith expects the gateway to close with this DISCONNECT reason, and on a WebSocket with this close code.
func (c *client) endsWith(reason mqtt.Reason, code ws.CloseCode) {
	c.t.Helper()
	r, w := c.end()
	if r != reason {
		c.t.Errorf("DISCONNECT with %#x %v, want %#x %v", byte(r), r, byte(reason), reason)
	}
	if c.framed && w != code {
		c.t.Errorf("close code %v, want %v", w, code)
	}
}

func (c *client) disconnect() {
	c.t.Helper()
	c.write(mqtt.AppendDisconnect(nil, c.v, mqtt.Success, nil))
	c.end()
}

// cut drops the TCP connection with no word, by FIN.
func (c *client) cut() { c.conn.Close() }

// reset drops the TCP connection by RST.
func (c *client) reset() {
	_ = c.conn.(*net.TCPConn).SetLinger(0)
	c.conn.Close()
}

// ids are client ids whose homes are the shards 0 and 1, and one more for each, so that a test can choose same or across.
func (r *rig) ids(prefix string, shard, n int) []string {
	var list []string
	for i := 0; len(list) < n; i++ {
		if id := prefix + "-" + strconv.Itoa(i); r.homeOf(id) == shard {
			list = append(list, id)
		}
	}
	return list
}

// closedBy is the counter gateway_disconnects_total{reason}.
func (r *rig) closedBy(why reason) uint64 {
	sum := r.sum()
	return sum.closed[why]
}

// closesBy waits until the counter of a reason has grown by exactly n since before.
func (r *rig) closesBy(why reason, before, n uint64) {
	r.t.Helper()
	r.eventually("closes by "+why.String(), func() bool { return r.closedBy(why) >= before+n })
	if now := r.closedBy(why); now != before+n {
		r.t.Errorf("closes by %v grew by %d, want %d", why, now-before, n)
	}
}
