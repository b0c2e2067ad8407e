package gateway

import (
	"bytes"
	"cmp"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth"
	"github.com/tidegate/tidegate/gateway/auth/acl"
	"github.com/tidegate/tidegate/gateway/command"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// A device whose listener has a chain waits until that has said who it is. CONNECT stays unread meanwhile, as it does for openings: nothing of
// a session is touched, the end of the connection is seen, and the time that CONNECT may take goes on. When the answer is here CONNECT is read
// once more, and goes on with it.

// inquiry is what a chain is asked about one device. Owned by the device's loop.
type inquiry struct {
	of        epoll.Handle
	cancel    func()
	here      bool // the answer is
	refused   refusal
	username  string
	clientID  string
	presented bool        // a password
	rules     *acl.Policy // those of the answer
}

// inquiry is that of the device; nil: there is none, or it has been heeded.
func (d *device) inquiry() *inquiry {
	if w := d.who(); w != nil {
		return w.inquiry
	}
	return nil
}

// forgetInquiry lets a chain know that nobody waits for its answer any more.
func (d *device) forgetInquiry() {
	if q := d.inquiry(); q != nil && !q.here {
		q.cancel()
	}
}

// idOr is the client id that the device's chain has for it, id when it has none.
func (d *device) idOr(id []byte) []byte {
	if w := d.who(); len(id) == 0 && w != nil && w.clientID != "" {
		return []byte(w.clientID)
	}
	return id
}

// inquired tells whether the chain has answered; if it has not been asked yet it is now, with what the device showed.
func (s *shard) inquired(c *epoll.Conn, d *device, show func(r *auth.Request)) (refused refusal, here bool) {
	if q := d.inquiry(); q != nil {
		if q.here && q.refused == refusedNot && !d.who().standing.Holds() { // it was, until now
			q.refused = refusedUnauthorized
		}
		return q.refused, q.here
	}
	door, who := s.doorOf(c), d.known()
	r := &auth.Request{Listener: door.listener, Addr: s.peerOf(c, d), Peer: who.tls, Tenant: d.tenantName()}
	show(r)
	q := &inquiry{of: c.Handle(), username: r.Username, clientID: r.ClientID, presented: r.HasPassword}
	who.inquiry, d.awaits = q, true
	q.cancel = door.chain.Ask(r, func(a auth.Answer) {
		a = s.gw.withRules(q, a)
		s.doSoon(func(s *shard) { s.answered(q, a) })
	})
	s.arm(c, d)
	return refusedNot, false
}

// answered goes on with a device that its chain has answered about.
func (s *shard) answered(q *inquiry, a auth.Answer) {
	c := s.loop.Conn(q.of)
	if c == nil || c.Closing() {
		return
	}
	d := s.devices.At(c.Slot())
	if d.inquiry() != q {
		return
	}
	q.refused = s.takeGrant(d, q, a, s.doorOf(c).anonymous && !q.presented)
	if q.refused == refusedNot && s.gw.tenants != nil {
		q.refused = s.assignTenant(c, d)
	}
	chained := s.doorOf(c).chain != nil
	switch {
	case !chained:
	case q.refused == refusedNot:
		s.count.chainAnswers[chainAllowed]++
	default:
		s.count.chainAnswers[chainRefused]++
	}
	if id := d.idOr([]byte(q.clientID)); chained && q.refused == refusedNot && len(id) > 0 && s.guards() && s.gw.durable.keepsSessions() {
		s.lookUp(d, q, d.tenant().idIn(id))
		return
	}
	s.goOn(c, d, q)
}

// lookUp asks NATS whose session there is of a client id, which may be in another gateway or in none.
func (s *shard) lookUp(d *device, q *inquiry, id []byte) {
	user := d.owner()
	s.gw.bus.LoadSession(bytes.Clone(id), func(r bus.SessionRecord, err error) {
		refused := refusedNot
		if head, _ := cutRecord(r.Value); err != nil {
			refused = refusedUnavailable
		} else if !mayOwn(user, head.user) {
			refused = refusedOwner
		}
		s.doSoon(func(s *shard) {
			c := s.loop.Conn(q.of)
			if c == nil || c.Closing() {
				return
			}
			if d := s.devices.At(c.Slot()); d.inquiry() == q {
				q.refused = refused
				s.goOn(c, d, q)
			}
		})
	})
}

// goOn has CONNECT read once more, or what a plain device has instead.
func (s *shard) goOn(c *epoll.Conn, d *device, q *inquiry) {
	q.here, d.awaits = true, false
	switch {
	case d.loggingIn():
		s.reconnect(c, d)
	case d.wire >= wirePlain && q.refused == refusedNot && s.goesHome(c, d, d.more.clientID):
	case d.wire == wirePlain:
		s.openPlain(c, d)
	}
	if !c.Closing() && d.state != stateMoving {
		c.ResumeRead()
		s.arm(c, d)
	}
}

// takeGrant notes what a chain said of a device; refused is why that does not let it in.
func (s *shard) takeGrant(d *device, q *inquiry, a auth.Answer, anonymous bool) refusal {
	switch {
	case a.Verdict == auth.Pass && anonymous:
		return refusedNot
	case a.Verdict == auth.Pass:
		return refusedCredentials
	case a.Verdict == auth.Deny:
		return refusalOf(a.Refusal)
	}
	w := d.known()
	expiresSec, ended := s.endOf(a.ExpiresSec, w.tls)
	if ended {
		return refusedUnauthorized
	}
	w.user, w.tenant, w.clientID, w.rules = cmp.Or(a.User, q.username), a.Tenant, a.ClientID, q.rules
	w.standing, w.expiresSec = a.Standing, expiresSec
	d.more.user = []byte(w.user)
	return refusedNot
}

// endOf is when leave that is given until a Unix time, 0 for ever, ends by the loop's clock, 0: never; or it has ended. It lasts no longer than the certificate
// that the device has shown, whoever has let it in. tls may be nil.
func (s *shard) endOf(untilSec int64, tls *auth.Peer) (sec uint32, ended bool) {
	if tls != nil && tls.ExpiresSec != 0 && (untilSec == 0 || tls.ExpiresSec < untilSec) {
		untilSec = tls.ExpiresSec
	}
	if untilSec == 0 {
		return 0, false
	}
	left := untilSec - time.Now().Unix()
	return s.loop.NowSec() + uint32(min(max(left, 0), tokenSecMax)), left <= 0
}

// refusalOf is what a device is told that a chain refuses.
func refusalOf(r auth.Refusal) refusal {
	switch r {
	case auth.NotAuthorized:
		return refusedUnauthorized
	case auth.BadClientID:
		return refusedOtherID
	case auth.Banned:
		return refusedGuessing
	case auth.Unavailable:
		return refusedAuthUnavailable
	case auth.Busy:
		return refusedAuthBusy
	}
	return refusedCredentials
}

// plainAwaits tells that the frames of a plain device wait for the answer of its chain.
func (s *shard) plainAwaits(c *epoll.Conn, d *device, p []byte) bool {
	if !d.awaits || d.wire < wirePlain {
		return false
	}
	if len(p) > waitBytesMax {
		c.PauseRead()
	}
	return true
}

// vouched tells whether CONNECT may go on; if not, it waits for the chain, or the device was refused.
func (s *shard) vouched(c *epoll.Conn, d *device, p *mqtt.Packet) bool {
	q := &p.Connect
	refused, here := s.inquired(c, d, func(r *auth.Request) {
		r.Protocol = protocolNames[p.Version]
		r.ClientID, r.Username, r.HasUsername = string(q.ClientID), string(q.Username), q.HasUsername
		r.Password, r.HasPassword = bytes.Clone(q.Password), q.HasPassword
	})
	if !here {
		return false
	}
	if w := d.who(); refused == refusedNot && w.clientID != "" && len(q.ClientID) > 0 && string(q.ClientID) != w.clientID {
		refused = refusedOtherID
	}
	if refused != refusedNot {
		s.turnDown(c, d, refused)
		return false
	}
	return true
}

// protocolNames are MQTT versions in auth.Request.
var protocolNames = map[mqtt.Version]string{mqtt.V31: "mqtt3.1", mqtt.V311: "mqtt3.1.1", mqtt.V5: "mqtt5"}

// turnDown refuses a device because of who it is.
func (s *shard) turnDown(c *epoll.Conn, d *device, r refusal) {
	if d.wire == wireMQTT || d.wire == wireFrameMQTT {
		s.sendRefusal(c, d, r.code(), r.text())
	} else {
		s.count.refusedConnects++
	}
	s.close(c, d, reasonOfRefusal(r))
}

// reasonOfRefusal is why the connection of a device is closed that was turned down.
func reasonOfRefusal(r refusal) reason {
	switch r {
	case refusedCredentials:
		return reasonCredentials
	case refusedOtherID:
		return reasonClientID
	case refusedGuessing:
		return reasonGuessing
	case refusedAuthUnavailable, refusedUnavailable:
		return reasonAuthUnavailable
	case refusedAuthBusy:
		return reasonAuthBusy
	case refusedTenantFull:
		return reasonFull
	case refusedTenantRate:
		return reasonConnectRate
	}
	return reasonNotAuthorized
}

// vouchedToken is vouched for a device with commands, whose token is its password.
func (s *shard) vouchedToken(c *epoll.Conn, d *device, cmd *command.Command, answer *command.Connected) bool {
	id := d.more.clientID
	refused, here := s.inquired(c, d, func(r *auth.Request) {
		r.Protocol, r.ClientID = "plain", string(id)
		r.Password, r.HasPassword = []byte(cmd.Token), cmd.Token != ""
	})
	if !here {
		return false
	}
	w := d.who()
	if refused == refusedNot && w.clientID != "" && w.clientID != string(id) {
		refused = refusedOtherID
	}
	if refused != refusedNot {
		s.turnDownCommand(c, d, cmd, refused)
		return false
	}
	if w.expiresSec != 0 {
		answer.TokenSec, answer.HasToken = w.expiresSec-min(s.loop.NowSec(), w.expiresSec), true
	}
	return true
}

// turnDownCommand answers connect of a device that is turned down.
func (s *shard) turnDownCommand(c *epoll.Conn, d *device, cmd *command.Command, r refusal) {
	s.fail(c, d, cmd, command.ErrUnauthorized)
	s.turnDown(c, d, r)
}

// vouchedPlain is vouched for a plain device, which can show no more than its id, its address and a certificate.
func (s *shard) vouchedPlain(c *epoll.Conn, d *device) bool {
	id := d.more.clientID
	refused, here := s.inquired(c, d, func(r *auth.Request) { r.Protocol, r.ClientID = "plain", string(id) })
	if !here {
		return false
	}
	if w := d.who(); refused == refusedNot && w.clientID != "" && w.clientID != string(id) {
		refused = refusedOtherID
	}
	if refused != refusedNot {
		s.turnDown(c, d, refused)
		return false
	}
	return true
}
