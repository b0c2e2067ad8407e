package gateway

import (
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
	"github.com/tidegate/tidegate/session"
)

// device is one connection as the gateway sees it. It lies in the shard's chunk at its connection's slot; an idle one
// owns nothing else but its session. The size is asserted in a test. Owned by one loop.
type device struct {
	sess    *session.Session // nil until CONNECT, and again once the session has moved on
	more    *deviceMore      // what only some devices need
	reader  ws.Reader        // WebSocket frames; unused on plain MQTT
	decoded uint32           // bytes at the front of the tail that are already out of their frames

	lastSec      uint32 // when the last whole packet came
	partialSec   uint32 // since when a packet is incomplete; 0: none is
	packetMax    uint32 // largest packet the device takes [MQTT-3.1.2-24]; 0: any
	keepAliveSec uint16

	state   deviceState
	wire    wire
	version mqtt.Version
	reason  reason // why it is closed, once it is
	missed  uint8  // server pings without any answer (plain WebSocket)
	op      ws.Op  // opcode of the message that waits for room in the uplink
	whole   bool   // there is one: the first decoded bytes of the tail
}

// deviceMore is what only some devices need.
type deviceMore struct {
	aliases  [][]byte // topics by alias, 1-based
	user     []byte
	clientID []byte // plain devices: the id from the path, until the session is open
	requests int    // unanswered requests of a JSON device
	expiry   uint32 // session expiry that CONNECT asked for, in seconds
}

// deviceState is where a connection is in its life; it only grows.
type deviceState uint8

const (
	stateOpening  deviceState = iota // nothing but CONNECT or an HTTP request may come
	stateMoving                      // on its way to its home shard
	stateLive                        // has a session, or is an echo
	stateDraining                    // said goodbye
)

// wire is what the bytes of a connection are.
type wire uint8

const (
	wireUnknown wire = iota // told by the first bytes
	wireMQTT
	wireHTTP      // the request of a WebSocket
	wireFrameMQTT // MQTT in WebSocket frames
	wirePlain     // messages of a plain device
	wireJSON      // tidegate.json.v1
	wireEcho
	wireCount
)

// extra makes room for what only some devices need.
func (d *device) extra() *deviceMore {
	if d.more == nil {
		d.more = &deviceMore{}
	}
	return d.more
}

// user is the name the device logged in with.
func (d *device) user() []byte {
	if d.more == nil {
		return nil
	}
	return d.more.user
}

// OnOpen is part of epoll.Handler.
func (s *shard) OnOpen(c *epoll.Conn) {
	d := s.devices.At(c.Slot())
	*d = device{lastSec: s.loop.NowSec()}
	switch s.listeners[c.Listener()] {
	case listenMQTT:
		d.wire = wireMQTT
	case listenWS:
		d.wire = wireHTTP
	}
	s.count.opened++
	s.arm(c, d)
}

// OnData is part of epoll.Handler.
func (s *shard) OnData(c *epoll.Conn, p []byte) (rest []byte) {
	d := s.devices.At(c.Slot())
	defer s.containPanic(c, d)
	if d.state == stateOpening && d.wire <= wireHTTP && !s.sniff(c, d, p) {
		return nil
	}
	switch d.wire {
	case wireMQTT:
		rest = s.onPackets(c, d, p)
	case wireHTTP:
		rest = s.onUpgrade(c, d, p)
	default:
		rest = s.onFrames(c, d, p)
	}
	if c.Closing() || d.state == stateDraining {
		return nil
	}
	s.arm(c, d)
	return rest
}

// stray tells what speaks on the wrong port, by its first bytes.
func stray(p []byte) reason {
	switch {
	case len(p) >= 2 && p[0] == 0x16 && p[1] == 0x03:
		return reasonTLSHello
	case len(p) >= 4 && (string(p[:4]) == "GET " || string(p[:4]) == "POST" || string(p[:4]) == "HEAD" || string(p[:4]) == "PUT "):
		return reasonHTTP
	case len(p) >= 6 && string(p[:6]) == "PROXY ":
		return reasonProxyHeader
	case len(p) >= 5 && string(p[:5]) == "\r\n\r\n\x00":
		return reasonProxyHeader
	}
	return reasonNone
}

// sniff settles what the connection speaks; false: it was refused.
func (s *shard) sniff(c *epoll.Conn, d *device, p []byte) bool {
	if len(p) == 0 {
		return true
	}
	r := stray(p)
	switch {
	case r == reasonHTTP && d.wire != wireMQTT:
		d.wire = wireHTTP
		return true
	case r != reasonNone:
		s.gw.hint(r, c.Peer())
		s.close(c, d, r)
		return false
	case d.wire == wireHTTP && mqtt.Type(p[0]>>4) == mqtt.TypeConnect && p[0]&15 == 0:
		s.gw.hint(reasonNotHTTP, c.Peer())
		s.close(c, d, reasonNotHTTP)
		return false
	case d.wire == wireUnknown && p[0] >= 'A' && p[0] <= 'Z':
		d.wire = wireHTTP // a method we need not know; the handshake answers it
	case d.wire == wireUnknown:
		d.wire = wireMQTT
	}
	return true
}

// arm sets the one timer of a connection to whichever of its deadlines comes first.
func (s *shard) arm(c *epoll.Conn, d *device) {
	if !c.Closing() {
		c.Arm(s.deadline(d))
	}
}

func (s *shard) deadline(d *device) uint32 {
	switch {
	case d.state == stateOpening || d.state == stateMoving:
		return d.lastSec + uint32(s.cfg.Limits.ConnectTime.Seconds())
	case d.state == stateDraining:
		return 0
	}
	var at uint32
	switch d.wire {
	case wirePlain, wireJSON, wireEcho:
		at = d.lastSec + (1+uint32(d.missed))*uint32(s.cfg.WebSocket.PingInterval.Seconds())
	default:
		if d.keepAliveSec > 0 {
			// One and a half times the keep-alive [MQTT-3.1.2-22]; a second more as the clock ticks in seconds.
			at = d.lastSec + (uint32(d.keepAliveSec)*3+1)/2 + 1
		}
	}
	if d.partialSec != 0 {
		if partial := d.partialSec + uint32(s.cfg.Limits.PacketTime.Seconds()); at == 0 || partial < at {
			at = partial
		}
	}
	return at
}

// OnTimeout is part of epoll.Handler.
func (s *shard) OnTimeout(c *epoll.Conn) {
	d := s.devices.At(c.Slot())
	now := s.loop.NowSec()
	at := s.deadline(d)
	switch {
	case at == 0:
	case now < at || c.Paused() || now < s.graceSec:
		// It was heard since, or it is we who did not listen.
		c.Arm(max(at, now+1))
	case d.state == stateOpening || d.state == stateMoving:
		s.close(c, d, reasonConnectTimeout)
	case d.partialSec != 0 && now >= d.partialSec+uint32(s.cfg.Limits.PacketTime.Seconds()):
		s.close(c, d, reasonPacketTimeout)
	case d.wire >= wirePlain:
		s.pingPlain(c, d)
	default:
		s.close(c, d, reasonKeepAlive)
	}
}

// OnDrained is part of epoll.Handler: the device reads again.
func (s *shard) OnDrained(c *epoll.Conn) {
	d := s.devices.At(c.Slot())
	if d.sess == nil || c.Closing() {
		return
	}
	s.proceed(c, d)
}

// proceed sends what waits in the session's queue, as far as the device's window and batch take it.
func (s *shard) proceed(c *epoll.Conn, d *device) {
	for d.sess != nil && d.sess.Pending() && c.Unsent() <= s.cfg.Limits.BatchBytesMax {
		s.dout.Reset()
		d.sess.Step(s.loop.NowSec(), &session.Event{Kind: session.Drained}, &s.dout)
		if len(s.dout.Sends) == 0 {
			break
		}
		s.applySends(c, d, d.sess, &s.dout)
		s.countDrops(&s.dout)
	}
	s.dout.Reset()
}

// OnClose is part of epoll.Handler.
func (s *shard) OnClose(c *epoll.Conn, why epoll.Cause) {
	d := s.devices.At(c.Slot())
	if d.reason == reasonNone {
		d.reason = reasonOfCause(why)
	}
	s.count.closed[d.reason]++
	s.gone(c, d, &session.Event{Kind: session.Lost, KeepWill: d.reason != reasonNormal})
	s.gw.log.Debug().Stringer("peer", c.Peer()).Stringer("reason", d.reason).Msg("closed")
	*d = device{state: stateDraining}
}

// gone tells the session, if it is still this connection's, that its connection ended.
func (s *shard) gone(c *epoll.Conn, d *device, ev *session.Event) {
	if d.wire == wireEcho && d.state == stateLive {
		s.count.live[liveEcho]--
		return
	}
	sess := d.sess
	if sess == nil {
		return
	}
	d.sess = nil
	s.count.live[d.kind()]--
	if sess.Owner() != uint64(c.Handle()) {
		return // taken over
	}
	s.out.Reset()
	sess.Step(s.loop.NowSec(), ev, &s.out)
	s.applyTable(&s.out)
}

// close ends a connection for a reason: the device is told as its protocol has it, and nothing more is read.
func (s *shard) close(c *epoll.Conn, d *device, r reason) {
	if c.Closing() || d.state == stateDraining {
		return
	}
	d.reason = r
	s.goodbye(c, d, r)
	s.leave(c, d, &session.Event{Kind: session.Lost, KeepWill: true})
}

// leave ends the session's part in the connection and closes it once the goodbye is written.
func (s *shard) leave(c *epoll.Conn, d *device, ev *session.Event) {
	s.gone(c, d, ev)
	d.state = stateDraining
	c.Finish(lingerSec)
}

// doomed is a connection to be closed once the shard has finished what it is doing.
type doomed struct {
	h epoll.Handle
	r reason
}

// closeDoomed closes the connections whose sessions asked for it while another device was being served.
func (s *shard) closeDoomed() {
	for _, v := range s.doomed {
		if c := s.loop.Conn(v.h); c != nil {
			s.close(c, s.devices.At(c.Slot()), v.r)
		}
	}
	s.doomed = s.doomed[:0]
}

// lingerSec is how long a closed device may take to read the goodbye.
const lingerSec = 2

// goodbye appends what the protocol has to say about the end of a connection.
func (s *shard) goodbye(c *epoll.Conn, d *device, r reason) {
	code := reasonTable[r]
	live := d.state == stateLive && d.sess != nil
	switch d.wire {
	case wireMQTT:
		if live && d.version == mqtt.V5 && r > reasonPeerReset {
			c.End(mqtt.AppendDisconnect(c.Begin(), d.version, code.mqtt, nil))
		}
	case wireFrameMQTT:
		dst := c.Begin()
		if live && d.version == mqtt.V5 && r > reasonPeerReset {
			var mark int
			dst, mark = ws.BeginFrame(dst)
			dst = ws.EndFrame(mqtt.AppendDisconnect(dst, d.version, code.mqtt, nil), mark, ws.OpBinary)
		}
		c.End(ws.AppendClose(dst, code.ws, ""))
	case wirePlain, wireJSON, wireEcho:
		c.End(ws.AppendClose(c.Begin(), code.ws, code.label))
	}
}

// kind is the metric label of a live device.
func (d *device) kind() liveKind {
	switch d.wire {
	case wirePlain:
		return livePlain
	case wireJSON:
		return liveJSON
	case wireFrameMQTT:
		return liveWS31 + liveKind(d.version) - liveKind(mqtt.V31)
	}
	return live31 + liveKind(d.version) - liveKind(mqtt.V31)
}
