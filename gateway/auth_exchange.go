package gateway

import (
	"bytes"
	"time"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Enhanced authentication (MQTT 5 §4.12).
//
//	CONNECT with a method -> Begin, Step -> AUTH 0x18 <-> AUTH 0x18 ... -> CONNACK
//	             live: AUTH 0x19 -> Begin, Step -> AUTH 0x18 <-> AUTH 0x18 ... -> AUTH 0x00
//
// Until CONNACK the device is still opening: the time and the bytes that CONNECT may take hold for the whole exchange, and
// nobody's session is touched. What CONNECT said is kept as the packet itself and decoded again at the end.

// login is what only a device that authenticates with a method needs, for as long as it is connected.
type login struct {
	method   offer
	exchange auth.Exchange // nil: none is under way
	connect  []byte        // CONNECT until it is answered, at most Limits.ConnectBytesMax
	final    []byte        // Authentication Data for CONNACK
}

// exchangeWork is what a step of an exchange counts for in shard.work: a tenth of a millisecond at most.
const exchangeWork = 8000

// login is that of the device, nil if CONNECT named no method.
func (d *device) login() *login {
	if d.more == nil {
		return nil
	}
	return d.more.login
}

// loggingIn tells that CONNECT waits for the end of an exchange.
func (d *device) loggingIn() bool { return d.state == stateOpening && d.login() != nil }

// checkLogin tells whether a CONNECT may go on to an exchange, or without one.
func (s *shard) checkLogin(c *epoll.Conn, p *mqtt.Packet) refusal {
	switch {
	case p.Version == mqtt.V5 && p.Props.Has(mqtt.PropAuthMethod):
		if _, offered := s.methodOf(c, p.Props.AuthMethod); !offered { // [MQTT-4.12.0-1]
			s.count.authentications[authUnknownMethod]++
			return refusedAuthMethod
		}
	case s.cfg.Auth.Anonymous == anonymousNobody && s.doorOf(c).chain == nil:
		s.count.authentications[authMissing]++
		return refusedAnonymous
	}
	return refusedNot
}

// beginLogin begins the exchange that CONNECT asks for; false: the connection does not go on.
func (s *shard) beginLogin(c *epoll.Conn, d *device, packet []byte) bool {
	p := &s.packet
	m, _ := s.methodOf(c, p.Props.AuthMethod)
	d.extra().login = &login{method: m, exchange: m.Begin(p.Connect.ClientID), connect: bytes.Clone(packet)}
	return s.stepLogin(c, d, p.Props.AuthData)
}

// onLoginPacket handles a packet of a device whose CONNECT is not answered yet; false: the connection does not go on. Nothing
// but CONNACK and AUTH may be sent [MQTT-3.2.0-1], so that is how it is told what was wrong.
func (s *shard) onLoginPacket(c *epoll.Conn, d *device, packet []byte) bool {
	p := &s.packet
	var text string
	r := mqtt.Decode(packet, d.version, p)
	if r == mqtt.Success {
		s.count.packetsIn[p.Type]++
		r = mqtt.ClientFault(p)
	}
	switch {
	case r != mqtt.Success:
		text = packetText(p.Type, r)
	case p.Type == mqtt.TypeDisconnect:
		s.onDisconnect(c, d, p)
		return false
	case p.Type != mqtt.TypeAuth || p.Reason != mqtt.ContinueAuthentication: // [MQTT-3.1.2-30], [MQTT-4.12.0-3]
		r, text = mqtt.ProtocolError, textBeforeConnack
	case string(p.Props.AuthMethod) != d.login().method.Name(): // [MQTT-4.12.0-5]
		r, text = mqtt.BadAuthenticationMethod, textOtherMethod
	default:
		return s.stepLogin(c, d, p.Props.AuthData)
	}
	s.refuse(c, d, r, text)
	return false
}

// stepLogin goes on with the exchange before CONNACK; false: the connection does not go on.
func (s *shard) stepLogin(c *epoll.Conn, d *device, data []byte) bool {
	answer, done, refused := s.stepExchange(c, d, data)
	switch {
	case refused != refusedNot:
		s.turnDown(c, d, refused) // [MQTT-4.12.0-4]; never why
		return false
	case !done:
		s.sendAuth(c, d, mqtt.ContinueAuthentication, answer)
		return true
	}
	return s.finishLogin(c, d, answer)
}

// finishLogin goes on with a device that has proved who it is, as with one about which its chain has answered.
func (s *shard) finishLogin(c *epoll.Conn, d *device, answer []byte) bool {
	l, p := d.login(), &s.packet
	grant := l.exchange.Grant()
	s.rereadConnect(d, p)
	// A User Name may be left out, but not be somebody else's: it would be shown beside the proof.
	if claimed := p.Connect.Username; len(claimed) > 0 && string(claimed) != grant.User {
		s.count.authentications[authRefused]++
		s.turnDown(c, d, refusedUnauthorized)
		return false
	}
	s.count.authentications[authAccepted]++
	l.exchange, l.final = nil, answer
	q := &inquiry{of: c.Handle(), cancel: func() {}, username: grant.User, clientID: string(p.Connect.ClientID), presented: true}
	d.known().inquiry, d.awaits = q, true
	s.doSoon(func(s *shard) { s.answered(q, grant) })
	return true
}

// rereadConnect decodes the CONNECT of an exchange once more.
func (s *shard) rereadConnect(d *device, p *mqtt.Packet) {
	if r := mqtt.Decode(d.login().connect, 0, p); r != mqtt.Success {
		panic("gateway: CONNECT decoded once and then not: " + r.String())
	}
}

// reconnect opens the session of a device that was let in by an exchange, or goes on with that when the record of the session is there.
func (s *shard) reconnect(c *epoll.Conn, d *device) {
	p := &s.packet
	s.rereadConnect(d, p)
	if !s.admits(c, d, p) {
		return
	}
	s.connect(c, d, p)
	if l := d.login(); l != nil && !d.awaits { // it is answered
		l.connect, l.final = nil, nil
	}
}

// admits tells whether a device may go on with what its exchange has granted; if not, it was refused, or goes on at its home.
func (s *shard) admits(c *epoll.Conn, d *device, p *mqtt.Packet) bool {
	w, id := d.who(), p.Connect.ClientID
	refused := w.inquiry.refused
	switch {
	case refused != refusedNot:
	case !w.standing.Holds(): // its line has gone meanwhile
		refused = refusedUnauthorized
	case w.clientID != "" && len(id) > 0 && string(id) != w.clientID:
		refused = refusedOtherID
	default:
		id = d.idOr(id)
		return len(id) == 0 || !s.goesHome(c, d, id)
	}
	s.turnDown(c, d, refused)
	return false
}

// nameMethod has CONNACK name the method and end the exchange [MQTT-4.12.0-5], [MQTT-4.12.0-6].
func (d *device) nameMethod(out *mqtt.ConnackOut) {
	if l := d.login(); l != nil {
		out.AuthMethod, out.AuthData = []byte(l.method.Name()), l.final
	}
}

// onAuth handles AUTH of a live device, which is re-authentication (§4.12.1); false: the connection is closed.
func (s *shard) onAuth(c *epoll.Conn, d *device, p *mqtt.Packet) bool {
	l := d.login()
	switch {
	case l == nil: // [MQTT-4.12.0-7]
		s.closeSaying(c, d, reasonProtocol, textAuthUnasked)
		return false
	case string(p.Props.AuthMethod) != l.method.Name(): // [MQTT-4.12.1-1]
		s.close(c, d, reasonAuthMethod)
		return false
	case p.Reason == mqtt.ReAuthenticate && l.exchange == nil:
		l.exchange = l.method.Begin([]byte(d.clientID()))
	case p.Reason != mqtt.ContinueAuthentication || l.exchange == nil:
		s.close(c, d, reasonProtocol)
		return false
	}
	answer, done, refused := s.stepExchange(c, d, p.Props.AuthData)
	switch {
	case refused == refusedNot && !done:
		s.sendAuth(c, d, mqtt.ContinueAuthentication, answer)
		return !c.Closing()
	case refused != refusedNot: // [MQTT-4.12.1-2]
		s.close(c, d, reasonNotAuthorized)
		return false
	case !s.regrant(d, l.exchange.Grant()):
		s.count.authentications[authRefused]++
		s.close(c, d, reasonNotAuthorized)
		return false
	}
	s.count.authentications[authAccepted]++
	l.exchange = nil
	s.sendAuth(c, d, mqtt.Success, answer)
	return !c.Closing()
}

// regrant takes what a re-authentication has granted. The session is not handed on to another user, tenant or client id.
func (s *shard) regrant(d *device, a auth.Answer) bool {
	w := d.who()
	if !d.mayKeep(a.User, a.Tenant) || a.ClientID != "" && a.ClientID != d.clientID() || !a.Standing.Holds() {
		return false
	}
	w.standing = a.Standing
	return true
}

// stepExchange is one step; refused, and counted, says why the device is not let in. Who guesses waits as at a chain, once the device has said its
// name, which is when it is to prove it.
func (s *shard) stepExchange(c *epoll.Conn, d *device, data []byte) (answer []byte, done bool, refused refusal) {
	s.work += exchangeWork
	l, throttle := d.login(), s.gw.doors.throttle
	try := &auth.Request{Addr: s.peerOf(c, d), Username: l.exchange.User(), HasPassword: true}
	proves := l.method.row != nil && try.Username != ""
	if proves && !throttle.Lets(try, time.Now()) {
		s.count.authentications[authRefused]++
		return nil, false, refusedGuessing
	}
	answer, done, err := l.exchange.Step(data)
	switch {
	case err != nil:
		s.count.authentications[authRefused]++
		refused = refusedUnauthorized
		if proves {
			throttle.Guessed(try, time.Now())
			l.method.row.Count(auth.Deny)
		}
	case done && proves:
		throttle.Knew(try, time.Now())
		l.method.row.Count(auth.Allow)
	}
	return answer, done, refused
}

func (s *shard) sendAuth(c *epoll.Conn, d *device, r mqtt.Reason, data []byte) {
	s.count.packetsOut[mqtt.TypeAuth]++
	s.send(c, d, mqtt.AppendAuth(s.scratch[:0], r, []byte(d.login().method.Name()), data))
}
