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
	looked       uint32 // bytes of the tail that waitForRoom has looked at
	partialSec   uint32 // since when a packet is incomplete; 0: none is
	packetMax    uint32 // largest packet the device takes [MQTT-3.1.2-24]; 0: any
	keepAliveSec uint16

	state   deviceState
	wire    wire
	version mqtt.Version
	reason  reason // why it is closed, once it is
	missed  uint8  // server pings without any answer (plain WebSocket)
	op      ws.Op  // opcode of the message that waits for room in the uplink
	eager   bool   // in shard.eager
	paused  bool   // in uplink.paused
	resting bool   // in shard.resting
	whole   bool   // there is one: the first decoded bytes of the tail

	unwelcome bool    // it may not stay: it is only told so
	headed    bool    // a PROXY header comes first
	verdict   verdict // why
	waited    bool    // its CONNECT has waited for the end of a duel
	awaits    bool    // its CONNECT waits for the record of its session, see shard.openings, or for the answer of a chain, see inquiry
}

// deviceMore is what only some devices need.
type deviceMore struct {
	aliases [][]byte // topics by alias, 1-based, as the device set them up; empty but not nil: to a topic that was refused

	aliasesOut *aliasesOut // those towards the device; nil until it is sent something

	user     []byte
	clientID []byte // plain devices: the id from the path, until the session is open
	talk     *talk  // devices with commands
	login    *login // nil unless CONNECT named a method
	who      *identity
	expiry   uint32 // session expiry that CONNECT asked for, in seconds
	aliasMax uint8  // aliases that the device takes from us [MQTT-3.1.2-26], [MQTT-3.1.2-27]
	terse    bool   // no reason strings on acknowledgements [MQTT-3.1.2-29]
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
	wireCBOR      // tidegate.bin.v1
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
	if s.pacer != nil {
		s.pacer.begin(c, s.loop.NowSec())
	}
	s.outflow.begin(c)
	s.takePlace(c, d)
	if s.expectHeader(c, d) {
		s.arm(c, d)
	}
}

// OnData is part of epoll.Handler.
func (s *shard) OnData(c *epoll.Conn, p []byte) (rest []byte) {
	d := s.devices.At(c.Slot())
	defer s.containPanic(c, d)
	s.beginTurn()
	if d.headed {
		if p = s.onProxyHeader(c, d, p); d.headed || len(p) == 0 {
			return p
		}
	}
	if d.state == stateOpening && d.wire <= wireHTTP && !d.loggingIn() {
		if rest, sealed := s.seals(c, d, p); sealed {
			return rest
		}
		switch s.sniff(c, d, p) {
		case sniffMore:
			return p
		case sniffRefused:
			return nil
		}
	}
	switch d.wire {
	case wireMQTT:
		rest = s.onPackets(c, d, p)
	case wireHTTP:
		if d.unwelcome {
			return s.turnAwayHTTP(c, d, p)
		}
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

// arm sets the one timer of a connection to whichever of its deadlines comes first.
func (s *shard) arm(c *epoll.Conn, d *device) {
	if !c.Closing() {
		c.Arm(s.before(c, s.deadline(d)))
	}
}

func (s *shard) deadline(d *device) uint32 {
	switch {
	case d.state == stateOpening && d.unwelcome:
		return d.lastSec + refusalSec
	case d.state == stateOpening && d.awaits && d.inquiry() == nil:
		return d.lastSec + openSec + 1
	case d.state == stateOpening || d.state == stateMoving:
		return d.lastSec + uint32(s.cfg.Limits.ConnectTime.Seconds()) + 1 // the clock ticks in seconds: late rather than early
	case d.state == stateDraining:
		return 0
	}
	var at uint32
	switch d.wire {
	case wirePlain, wireJSON, wireCBOR, wireEcho:
		at = d.lastSec + (1+uint32(d.missed))*uint32(s.cfg.WebSocket.PingInterval.Seconds())
	default:
		if d.keepAliveSec > 0 {
			// One and a half times the keep-alive [MQTT-3.1.2-22]; a second more as the clock ticks in seconds.
			at = d.lastSec + (uint32(d.keepAliveSec)*3+1)/2 + 1
		}
	}
	if d.talks() && d.more.talk.tokenSec != 0 {
		at = min(at, d.more.talk.tokenSec)
	}
	if w := d.who(); w != nil && w.expiresSec != 0 && (at == 0 || w.expiresSec < at) {
		at = w.expiresSec
	}
	if d.partialSec != 0 {
		if partial := d.partialSec + uint32(s.cfg.Limits.PacketTime.Seconds()) + 1; at == 0 || partial < at {
			at = partial
		}
	}
	return at
}

// OnTimeout is part of epoll.Handler.
func (s *shard) OnTimeout(c *epoll.Conn) {
	d := s.devices.At(c.Slot())
	now := s.loop.NowSec()
	at := s.before(c, s.deadline(d))
	switch {
	case at == 0:
	case s.outlived(c, d):
		s.close(c, d, reasonLifetime)
	case d.state == stateLive && (d.talks() && d.more.talk.tokenSec != 0 && now >= d.more.talk.tokenSec || d.who().expired(now)):
		s.close(c, d, reasonTokenExpired)
	case d.state == stateOpening && d.awaits && now >= at:
		s.giveUpOpening(c, d)
	case now < at || c.Paused() || now < s.graceSec:
		// It was heard since, or it is we who did not listen.
		c.Arm(max(at, now+1))
	case d.state == stateOpening || d.state == stateMoving:
		s.close(c, d, reasonConnectTimeout)
	case d.partialSec != 0 && now > d.partialSec+uint32(s.cfg.Limits.PacketTime.Seconds()):
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
	if c.Closing() || d.state == stateMoving || d.state == stateDraining {
		return
	}
	if c.Paused() {
		d.lastSec = s.loop.NowSec() // see resumePublishers
		c.ResumeRead()
	}
	if d.sess != nil {
		s.proceed(c, d)
	}
}

// kind is the metric label of a live device.
func (d *device) kind() liveKind {
	switch d.wire {
	case wirePlain:
		return livePlain
	case wireJSON:
		return liveJSON
	case wireCBOR:
		return liveCBOR
	case wireFrameMQTT:
		return liveWS31 + liveKind(d.version) - liveKind(mqtt.V31)
	}
	return live31 + liveKind(d.version) - liveKind(mqtt.V31)
}
