package gateway

import (
	"errors"
	"net"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// The tests named Test_v311_MQTT_x_y_z show the statement of MQTT 3.1.1 with that number, over a socket and written from
// the standard. They send and compare bytes, so that a mistake of our own codec cannot hide behind itself.

// packet is the next packet as it came, cut out without our codec; nil when the gateway closed.
func (c *client) packet() []byte {
	c.t.Helper()
	for {
		c.unframe()
		if p := c.whole(); p != nil {
			return p
		}
		if c.closed != 0 {
			return nil
		}
		err := c.fill()
		var timeout net.Error
		switch {
		case err == nil || c.framed && len(c.raw) > 0:
		case errors.As(err, &timeout) && timeout.Timeout():
			c.t.Fatalf("nothing more comes; unread %x", c.in)
		default:
			return nil
		}
	}
}

// whole takes the first packet out of what was read, if it is whole (3.1.1 §2.2.3).
func (c *client) whole() []byte {
	for i, length := 1, 0; i < len(c.in) && i <= 4; i++ {
		length |= int(c.in[i]&0x7F) << (7 * (i - 1))
		if end := 1 + i + length; c.in[i] < 0x80 && end <= len(c.in) {
			p := c.in[:end:end]
			c.in = c.in[end:]
			return p
		}
	}
	return nil
}

// answers expects these packets to be the next ones, byte for byte.
func (c *client) answers(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.packet(); string(got) != w {
			c.t.Fatalf("got %q, want %q", got, w)
		}
	}
}

// says sends bytes and expects these packets in return.
func (c *client) says(bytes string, want ...string) {
	c.t.Helper()
	c.write([]byte(bytes))
	c.answers(want...)
}

// silent proves that nothing was sent to the device that it has not read.
func (c *client) silent() {
	c.t.Helper()
	c.says("\xc0\x00", "\xd0\x00")
}

// shut expects the gateway to close without another word.
func (c *client) shut(what string) {
	c.t.Helper()
	defer c.conn.Close()
	if p := c.packet(); p != nil {
		c.t.Errorf("%s: answered with %q instead of the end", what, p)
	}
}

// accepted311 is the CONNACK of a session that is new, accepted311Present that of one that goes on.
const (
	accepted311        = "\x20\x02\x00\x00"
	accepted311Present = "\x20\x02\x01\x00"
)

// The connect flags (3.1.1 §3.1.2.3).
const (
	flagClean      = 0x02
	flagWill       = 0x04
	flagWillQoS1   = 0x08
	flagWillQoS2   = 0x10
	flagWillRetain = 0x20
	flagPassword   = 0x40
	flagUserName   = 0x80
)

// device311 is connected with these flags and nothing but a client id in the payload.
func (r *rig) device311(id string, flags byte, want string) *client {
	r.t.Helper()
	c := r.open(mqtt.V311, r.mqtt)
	c.says(connect311(flags, str(id)), want)
	return c
}

// clean311 is a device with a clean session.
func (r *rig) clean311(id string) *client {
	r.t.Helper()
	return r.device311(id, flagClean, accepted311)
}

// id16 is a packet identifier on the wire.
func id16(id uint16) string { return string([]byte{byte(id >> 8), byte(id)}) }

// publish311 is a PUBLISH; flags are the lower four bits of its first byte.
func publish311(flags byte, topic string, id uint16, payload string) string {
	if flags&0x06 == 0 {
		return fixed(0x30|flags, str(topic)+payload)
	}
	return fixed(0x30|flags, str(topic)+id16(id)+payload)
}

// The flags of PUBLISH (3.1.1 §3.3.1).
const (
	pubRetain = 0x01
	pubQoS1   = 0x02
	pubQoS2   = 0x04
	pubDup    = 0x08
)

func puback(id uint16) string  { return "\x40\x02" + id16(id) }
func pubrec(id uint16) string  { return "\x50\x02" + id16(id) }
func pubrel(id uint16) string  { return "\x62\x02" + id16(id) }
func pubcomp(id uint16) string { return "\x70\x02" + id16(id) }

// subscribe311 is a SUBSCRIBE for filters, each followed by its QoS byte: "a/b", "\x01".
func subscribe311(id uint16, filtersAndQoS ...string) string {
	body := id16(id)
	for i, s := range filtersAndQoS {
		if i%2 == 0 {
			s = str(s)
		}
		body += s
	}
	return fixed(0x82, body)
}

// suback is a SUBACK with one return code for each filter.
func suback(id uint16, codes string) string { return fixed(0x90, id16(id)+codes) }

func unsubscribe311(id uint16, filters ...string) string {
	body := id16(id)
	for _, f := range filters {
		body += str(f)
	}
	return fixed(0xa2, body)
}

func unsuback(id uint16) string { return "\xb0\x02" + id16(id) }

// takes subscribes to one filter.
func (c *client) takes(qos byte, filter string) {
	c.t.Helper()
	c.id++
	c.says(subscribe311(c.id, filter, string([]byte{qos})), suback(c.id, string([]byte{qos})))
}

// gives publishes at QoS 2 and goes through the handshake, so that whoever subscribed has been given the message or has
// it in a queue of another loop.
func (c *client) gives(flags byte, topic, payload string) {
	c.t.Helper()
	c.id++
	switch p := publish311(flags, topic, c.id, payload); flags & 0x06 {
	case 0:
		c.says(p+"\xc0\x00", "\xd0\x00")
	case pubQoS1:
		c.says(p, puback(c.id))
	default:
		c.says(p, pubrec(c.id))
		c.says(pubrel(c.id), pubcomp(c.id))
	}
}

// across is a device in each shard, for what must hold within a loop and between two.
func (r *rig) across(prefix string) []*client {
	r.t.Helper()
	var list []*client
	for shard := range len(r.gw.shards) {
		list = append(list, r.clean311(r.ids(prefix, shard, 1)[0]))
	}
	return list
}

// onNATS listens as a backend.
func (r *rig) onNATS(subject string) *natsEnd {
	r.t.Helper()
	nc := r.nats()
	sub, err := nc.SubscribeSync(subject)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		r.t.Fatal(err)
	}
	return &natsEnd{r.t, nc, sub}
}

type natsEnd struct {
	t   *testing.T
	nc  *nats.Conn
	sub *nats.Subscription
}

// gets expects the next message on NATS.
func (b *natsEnd) gets(subject, payload string) {
	b.t.Helper()
	m, err := b.sub.NextMsg(patience)
	if err != nil || m.Subject != subject || string(m.Data) != payload {
		b.t.Fatalf("NATS got %v, %v; want %s %q", m, err, subject, payload)
	}
}

// left waits until n connections with sessions are left.
func (r *rig) left(n int) {
	r.t.Helper()
	r.eventually("the end of a connection", func() bool { return r.sum().sessionsLive == n })
}
