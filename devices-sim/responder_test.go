package main

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// responder is a tiny broker for tests, on the same loop and codecs: MQTT over TCP and WebSocket and plain WebSocket
// devices on one port, told apart by the first byte. It routes by exact topic and by one + level, and it can be told to
// misbehave. Owned by its loop; the settings are read-only once it runs.
type responder struct {
	loop  *epoll.Loop
	conns epoll.Chunks[client]
	pkt   mqtt.Packet

	refuse    bool // every CONNECT
	loseEach  int  // acknowledge but do not route every nth PUBLISH
	twiceEach int  // route every nth PUBLISH twice
	swapEach  int  // route every nth PUBLISH after the one that follows
	dropEach  int  // end the connection instead of taking every nth PUBLISH
	muteSec   uint32
	keep      bool // persistent sessions, with what they are owed
	forget    bool // but not of devices that come back
	spill     bool // but not what they are owed

	sessions   map[string]*kept
	subscribes int
	published  int
	held       func() // the PUBLISH that swapEach holds back
}

// client is one connection of the responder.
type client struct {
	mode     byte // 0 not yet known, 'm' MQTT, 'w' MQTT over WebSocket, 'p' plain
	reader   ws.Reader
	stream   []byte // MQTT bytes out of frames
	version  mqtt.Version
	id       string
	filters  []string
	released []uint16
	session  *kept
}

// kept is a persistent session.
type kept struct {
	filters []string
	conn    epoll.Handle      // 0: it is away
	owed    []mqtt.PublishOut // until they are acknowledged
}

// newResponder starts a responder and returns its address; it ends with the test.
func newResponder(t *testing.T, r *responder) netip.AddrPort {
	t.Helper()
	var err error
	if r.loop, err = epoll.New(epoll.Options{}, r, r); err != nil {
		t.Fatal(err)
	}
	_, addr, err := r.loop.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- r.loop.Run() }()
	t.Cleanup(func() {
		r.loop.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return addr
}

func (r *responder) OnWake()               {}
func (r *responder) OnTickEnd()            {}
func (r *responder) OnDrained(*epoll.Conn) {}
func (r *responder) OnOpen(c *epoll.Conn)  { *r.conns.At(c.Slot()) = client{} }

// OnTimeout ends a connection that has been silent for muteSec, as keep-alive would.
func (r *responder) OnTimeout(c *epoll.Conn) { c.Close() }

func (r *responder) OnClose(c *epoll.Conn, _ epoll.Cause) {
	k := r.conns.At(c.Slot())
	if k.session != nil && k.session.conn == c.Handle() {
		k.session.conn = 0
	}
	*k = client{}
}

func (r *responder) OnData(c *epoll.Conn, p []byte) []byte {
	if r.muteSec > 0 {
		c.Arm(r.loop.NowSec() + r.muteSec)
	}
	k := r.conns.At(c.Slot())
	if k.mode == 0 && p[0] != 'G' {
		k.mode = 'm'
	}
	switch k.mode {
	case 'm':
		n := r.packets(c, k, p)
		return p[n:]
	case 0:
		return r.upgrade(c, k, p)
	}
	return r.frames(c, k, p)
}

func (r *responder) upgrade(c *epoll.Conn, k *client, p []byte) []byte {
	policy := ws.Policy{Accept: func(path []byte, offered []string) (string, int) {
		if id, ok := strings.CutPrefix(string(path), "/ws/"); ok {
			k.mode, k.id, k.filters = 'p', id, []string{"devices/" + id + "/down"}
			return "", 0
		}
		if string(path) != "/mqtt" || !slices.Contains(offered, "mqtt") {
			return "", http.StatusNotFound
		}
		k.mode = 'w'
		return "mqtt", 0
	}}
	out, _, n, status := policy.Upgrade(c.Begin(), p)
	c.End(out)
	switch {
	case status == 0:
		return p
	case status != http.StatusSwitchingProtocols:
		c.Finish(1)
		return nil
	}
	return r.frames(c, k, p[n:])
}

func (r *responder) frames(c *epoll.Conn, k *client, p []byte) []byte {
	for !c.Closing() {
		ch, n, code := k.reader.Next(p, &ws.Limits{})
		switch {
		case code != 0:
			c.End(ws.AppendClose(c.Begin(), code, ""))
			c.Finish(1)
			return nil
		case n == 0:
			return p
		case ch.Op == ws.OpClose:
			c.End(ws.AppendClose(c.Begin(), ws.CloseNormal, ""))
			c.Finish(1)
			return nil
		case k.mode == 'p' && !ch.Op.IsControl():
			r.route("devices/"+k.id+"/up", slices.Clone(ch.Payload))
		case ch.Op == ws.OpBinary:
			k.stream = append(k.stream, ch.Payload...)
			k.stream = slices.Delete(k.stream, 0, r.packets(c, k, k.stream))
		}
		p = p[n:]
	}
	return nil
}

// packets handles whole packets and returns how many bytes they took.
func (r *responder) packets(c *epoll.Conn, k *client, p []byte) (n int) {
	for !c.Closing() {
		packet, size, reason := mqtt.Next(p[n:], 1<<20)
		if reason == mqtt.Success && size == 0 {
			return n
		}
		if reason == mqtt.Success {
			reason = mqtt.Decode(packet, k.version, &r.pkt)
		}
		if reason != mqtt.Success {
			c.Close()
			break
		}
		n += size
		r.handle(c, k)
	}
	return len(p)
}

// reply sends one packet, in a frame of its own where there are frames.
func (r *responder) reply(c *epoll.Conn, k *client, packet []byte) {
	switch k.mode {
	case 'm':
		c.End(append(c.Begin(), packet...))
	default:
		// Split in two frames, as some brokers do: packets may span them.
		c.End(ws.AppendFrame(c.Begin(), ws.OpBinary, packet[:1]))
		c.End(ws.AppendFrame(c.Begin(), ws.OpBinary, packet[1:]))
	}
}

func (r *responder) handle(c *epoll.Conn, k *client) {
	pkt := &r.pkt
	switch pkt.Type {
	case mqtt.TypeConnect:
		k.version, k.id = pkt.Version, string(pkt.Connect.ClientID)
		out := mqtt.ConnackOut{MaxQoS: 0xFF}
		if r.refuse {
			out.Reason = mqtt.NotAuthorized
		}
		out.SessionPresent = r.resume(c, k, !pkt.Connect.CleanStart)
		r.reply(c, k, mqtt.AppendConnack(nil, k.version, &out))
		if k.session != nil {
			for i := range k.session.owed {
				r.reply(c, k, mqtt.AppendPublish(nil, k.version, &k.session.owed[i]))
			}
		}
		if r.refuse {
			c.Finish(1)
		}
	case mqtt.TypeSubscribe:
		r.subscribes++
		reasons := make([]mqtt.Reason, len(pkt.Filters))
		for i, f := range pkt.Filters {
			k.filters = append(k.filters, string(f.Topic))
			reasons[i] = mqtt.Reason(f.QoS)
		}
		if k.session != nil {
			k.session.filters = k.filters
		}
		r.reply(c, k, mqtt.AppendSuback(nil, k.version, pkt.PacketID, reasons, nil))
	case mqtt.TypePublish:
		r.publish(c, k, pkt)
	case mqtt.TypePuback:
		if k.session != nil {
			k.session.owed = slices.DeleteFunc(k.session.owed, func(o mqtt.PublishOut) bool { return o.PacketID == pkt.PacketID })
		}
	case mqtt.TypePubrel:
		k.released = slices.DeleteFunc(k.released, func(id uint16) bool { return id == pkt.PacketID })
		r.reply(c, k, mqtt.AppendPubcomp(nil, k.version, pkt.PacketID, mqtt.Success))
	case mqtt.TypePubrec:
		r.reply(c, k, mqtt.AppendPubrel(nil, k.version, pkt.PacketID, mqtt.Success))
	case mqtt.TypePingreq:
		r.reply(c, k, mqtt.AppendPingresp(nil))
	case mqtt.TypeDisconnect:
		c.Finish(1)
	}
}

// publish acknowledges and routes, or misbehaves.
func (r *responder) publish(c *epoll.Conn, k *client, pkt *mqtt.Packet) {
	nth := func(each int) bool { return each > 0 && r.published%each == 0 }
	if r.published++; nth(r.dropEach) {
		c.Close()
		return
	}
	topic, payload, again := string(pkt.Topic), slices.Clone(pkt.Payload), slices.Contains(k.released, pkt.PacketID)
	switch pkt.QoS {
	case 1:
		r.reply(c, k, mqtt.AppendPuback(nil, k.version, pkt.PacketID, mqtt.Success))
	case 2:
		k.released = append(k.released, pkt.PacketID)
		r.reply(c, k, mqtt.AppendPubrec(nil, k.version, pkt.PacketID, mqtt.Success))
	}
	if (pkt.QoS == 2 && again) || nth(r.loseEach) {
		return
	}
	send := func() { r.route(topic, payload) }
	held := r.held
	if r.held = nil; held == nil && nth(r.swapEach) {
		r.held = send
		return
	}
	if send(); nth(r.twiceEach) {
		send()
	}
	if held != nil {
		held()
	}
}

// resume gives a connection its session and tells whether there was one.
func (r *responder) resume(c *epoll.Conn, k *client, persistent bool) (present bool) {
	if !r.keep || !persistent {
		return false
	}
	if k.session = r.sessions[k.id]; k.session != nil && !r.forget {
		k.filters, k.session.conn = k.session.filters, c.Handle()
		return true
	}
	if r.sessions == nil {
		r.sessions = map[string]*kept{}
	}
	k.session = &kept{conn: c.Handle()}
	r.sessions[k.id] = k.session
	return false
}

// route sends a message to every subscriber, with the QoS byte of the first digit in its client id's end: all at 1.
func (r *responder) route(topic string, payload []byte) {
	shared := 0
	out := mqtt.PublishOut{Topic: []byte(topic), Payload: payload, QoS: 1, PacketID: 1 + uint16(r.published&0x7FFF)}
	for _, s := range r.sessions {
		if (s.conn != 0 || !r.spill) && slices.ContainsFunc(s.filters, func(f string) bool { return matches(f, topic) }) {
			s.owed = append(s.owed, out)
		}
	}
	r.loop.Each(func(c *epoll.Conn) {
		k := r.conns.At(c.Slot())
		if slices.ContainsFunc(k.filters, func(f string) bool { return strings.HasPrefix(f, sharePrefix) }) {
			if shared++; shared != 1+r.published%2 { // one or the other
				return
			}
		}
		if !slices.ContainsFunc(k.filters, func(f string) bool { return matches(f, topic) }) {
			return
		}
		if c.Closing() || (k.session != nil && k.session.conn != c.Handle()) {
			return
		}
		if k.mode == 'p' {
			c.End(ws.AppendFrame(c.Begin(), ws.OpBinary, payload))
			return
		}
		r.reply(c, k, mqtt.AppendPublish(nil, k.version, &out))
	})
}

func matches(filter, topic string) bool {
	filter = strings.TrimPrefix(filter, sharePrefix)
	before, after, wild := strings.Cut(filter, "+")
	if !wild {
		return filter == topic
	}
	return strings.HasPrefix(topic, before) && strings.HasSuffix(topic, after) && len(topic) > len(before)+len(after)
}
