package gateway

import (
	"cmp"
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth"
	"github.com/tidegate/tidegate/gateway/command"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// onConnectCommand opens the session, answers, and sends what the session still owes; false: the connection is closed.
func (s *shard) onConnectCommand(c *epoll.Conn, d *device, cmd *command.Command) bool {
	if d.state != stateOpening {
		s.fail(c, d, cmd, command.ErrAgain)
		return true
	}
	own, now := d.more.clientID, s.loop.NowSec()
	answer := command.Connected{Client: string(own), PingSec: uint32(s.cfg.WebSocket.PingInterval.Seconds())}
	if s.gw.tokens != nil {
		left, ok := s.authorize(d, own, cmd.Token)
		if !ok {
			s.count.refusedConnects++
			s.fail(c, d, cmd, command.ErrUnauthorized)
			s.close(c, d, reasonNotAuthorized)
			return false
		}
		answer.TokenSec, answer.HasToken = left, true
	} else if s.doorOf(c).chain != nil && !s.vouchedToken(c, d, cmd, &answer) {
		return false
	}
	id, ok := s.commandMayHave(c, d, cmd)
	if !ok {
		return false
	}
	inflight := cmp.Or(cmd.Inflight, 65535)
	in := session.Connect{
		ClientID: id, CleanStart: !s.mayResume(id, cmd.Session), Version: uint8(mqtt.V5), ReceiveMax: inflight, Upgrade: true,
		Class:     s.class(c),
		ExpirySec: s.boundsOf(c).expirySec(cmd.ResumeSec),
	}
	s.out.Reset()
	sess, present := s.openSession(c, &in, nil)
	if sess == nil {
		s.out.Reset()
		s.count.refusedConnects++
		s.close(c, d, reasonQuota)
		return false
	}
	s.own(d, sess)
	evicted := s.evict(s.out.Evict)
	d.sess, d.state, d.lastSec, d.partialSec = sess, stateLive, now, 0
	d.more.clientID, d.more.talk.arrays = nil, cmd.Batch
	s.count.live[d.kind()]++
	s.count.connects++
	s.claim(c, sess, in.CleanStart, nil)
	// The answer comes first, then what the connect set off, then what is owed.
	answer.Session = s.gw.appendSessionToken(nil, sess)
	answer.Resumed, answer.ResumeSec = present, sess.ExpirySec()
	answer.Limits = command.Limits{
		PacketBytes: s.boundsOf(c).PacketBytesMax, TopicBytes: s.boundsOf(c).TopicBytesMax, Subscriptions: s.boundsOf(c).SubscriptionsMax,
		Requests: s.cfg.Limits.RequestsMax, Inflight: min(int(inflight), s.boundsOf(c).InflightMax),
	}
	enc, _ := d.encoding()
	s.scratch3 = command.AppendConnected(s.scratch3[:0], enc, cmd.ID, &answer)
	s.say(c, d, s.scratch3)
	if s.answering == d { // what is owed does not wait for the rest of an array
		s.endAnswers(c, d)
		s.answering = d
	}
	s.applyTable(&s.out)
	s.hearDown(c, d, cmd.DownQoS)
	if present && !evicted {
		s.tellHeld(sess, true)
	}
	s.event = session.Event{Kind: session.Resume, Congested: s.measured(c)}
	if !s.step(c, d, &s.event) {
		return false
	}
	if s.restricts && present {
		s.dropForbidden(c, d)
	}
	s.autoSubscribe(c, d)
	return !c.Closing()
}

// commandMayHave is the client id, as it is inside, of a device that connects with a command; false: it may not have it, or moves home.
func (s *shard) commandMayHave(c *epoll.Conn, d *device, cmd *command.Command) (id []byte, ok bool) {
	id = d.more.clientID
	if s.gw.tenants != nil {
		if r := s.assignTenant(c, d); r != refusedNot {
			s.turnDownCommand(c, d, cmd, r)
			return nil, false
		}
		if s.goesHome(c, d, id) { // a token says whose it is
			return nil, false
		}
		id = d.tenant().idIn(id)
	}
	if !s.owns(d, id) {
		s.turnDownCommand(c, d, cmd, refusedOwner)
		return nil, false
	}
	if s.banned(id, nil, d) || s.flapped(id) {
		s.count.refusedConnects++
		s.close(c, d, reasonBanned)
		return nil, false
	}
	return id, s.entersTenant(c, d, id)
}

// hearDown subscribes a device to its down topic, or tells a subscription that is there its QoS. NATS is not waited for: it has
// known since before the first device, see expectPlain.
func (s *shard) hearDown(c *epoll.Conn, d *device, qos uint8) {
	s.scratch2 = appendPattern(s.scratch2[:0], s.cfg.WebSocket.DownTopic, d.clientID())
	s.filters = append(s.filters[:0], session.Filter{Topic: s.scratch2, QoS: qos, RetainHandling: 1})
	s.boundFilters(s.boundsOf(c), false)
	if s.restricts && !s.permitFilters(c, d) {
		s.doomed = append(s.doomed, doomed{c.Handle(), reasonNotAuthorized})
	}
	s.takeFilters(d)
	s.event = session.Event{Kind: session.Subscribe, PacketID: 1, Filters: s.filters}
	d.sess.Step(s.loop.NowSec(), &s.event, &s.out)
	s.applyInterests(s.out.Interests)
	for _, want := range s.out.Replays {
		s.replay(want)
	}
	s.out.Reset()
}

// The token of a session names it and proves that its device was told: nothing has to be remembered of it.

// appendSessionToken appends the token with which a device goes on with its session.
func (g *Gateway) appendSessionToken(dst []byte, sess *session.Session) []byte {
	raw := binary.BigEndian.AppendUint32(nil, sess.Stamp())
	raw = g.secret.appendMAC(raw, macSession, raw, []byte(sess.ClientID()))
	return base64.RawURLEncoding.AppendEncode(dst, raw)
}

// mayResume tells whether there is a session that token belongs to. One that an MQTT device had last may hold what a device with
// commands can't take: it begins anew.
func (s *shard) mayResume(id []byte, token string) bool {
	sess := s.table.Get(id)
	return sess != nil && token != "" && sess.Upgraded() && hmac.Equal([]byte(token), s.gw.appendSessionToken(nil, sess))
}

// openTokens reads the secret of the tokens that devices have to show.
func (g *Gateway) openTokens() error {
	file := g.cfg.Auth.JWTSecretFile
	if file == "" {
		return nil
	}
	f, err := newAuthFile(file, "auth.jwt_secret_file")
	if err != nil {
		return err
	}
	tokens := auth.NewJWT(&auth.Keys{}, auth.JWTOptions{}, false)
	f.load = func(text []byte) error {
		keys, err := auth.SecretKey(text)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		tokens.SetKeys(keys)
		return nil
	}
	if _, err := f.read(); err != nil {
		return fmt.Errorf("%w; write a secret into it, or leave the setting out to let devices in without tokens", err)
	}
	g.tokens = tokens
	g.doors.follow(f, tokens)
	return nil
}

// authorize checks the token of a device; leftSec is how long it is good for.
func (s *shard) authorize(d *device, id []byte, token string) (leftSec uint32, ok bool) {
	now := time.Now().Unix()
	a, _ := s.gw.tokens.Ask(&auth.Request{Password: []byte(token), HasPassword: true}, now)
	if a.Verdict != auth.Allow || a.ClientID != string(id) || d.sess != nil && !d.mayKeep(a.User, a.Tenant) {
		return 0, false
	}
	rules, err := compileRules(a.Rules)
	if err != nil {
		return 0, false
	}
	leftSec = uint32(min(a.ExpiresSec-now, tokenSecMax))
	w := d.known()
	if d.sess == nil {
		d.more.user, w.user, w.tenant = []byte(a.User), a.User, a.Tenant
	}
	w.rules, w.standing = rules, a.Standing
	d.more.talk.tokenSec = s.loop.NowSec() + leftSec
	return leftSec, true
}

// tokenSecMax is how far ahead the end of a token is looked at: ten years.
const tokenSecMax = 10 * 365 * 24 * 3600

// onRefresh takes a newer token. A wrong one leaves the old one in force.
func (s *shard) onRefresh(c *epoll.Conn, d *device, cmd *command.Command) {
	if s.gw.tokens == nil && s.doorOf(c).chain != nil {
		s.askAgain(c, d, cmd)
		return
	}
	if s.gw.tokens == nil {
		s.fail(c, d, cmd, command.ErrUnsupported)
		return
	}
	left, ok := s.authorize(d, []byte(d.clientID()), cmd.Token)
	if !ok {
		s.fail(c, d, cmd, command.ErrUnauthorized)
		return
	}
	enc, _ := d.encoding()
	s.scratch3 = command.AppendRefreshed(s.scratch3[:0], enc, cmd.ID, left)
	s.say(c, d, s.scratch3)
	if s.restricts { // the token may have other rules
		s.expelLoser(c, d)
	}
}
