package gateway

import (
	"cmp"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth"
	"github.com/tidegate/tidegate/gateway/command"
)

// A device with commands whose listener has a chain shows a newer token: the chain is asked about it as about that of connect. Meanwhile the device goes
// on with what it has, and keeps it when the chain refuses.

// askAgain has the chain look at a newer token.
func (s *shard) askAgain(c *epoll.Conn, d *device, cmd *command.Command) {
	if d.inquiry() != nil { // one is under way
		s.fail(c, d, cmd, command.ErrTooMany)
		return
	}
	door, w, id := s.doorOf(c), d.known(), cmd.ID
	r := &auth.Request{
		Listener: door.listener, Addr: s.peerOf(c, d), Peer: w.tls, Protocol: "plain", ClientID: d.clientID(), Tenant: d.tenantName(),
		Password: []byte(cmd.Token), HasPassword: cmd.Token != "",
	}
	q := &inquiry{of: c.Handle(), clientID: r.ClientID, presented: r.HasPassword}
	w.inquiry = q
	q.cancel = door.chain.Ask(r, func(a auth.Answer) {
		a = s.gw.withRules(q, a)
		s.doSoon(func(s *shard) { s.answeredAgain(q, id, a) })
	})
}

// answeredAgain tells a device what its chain says of the newer token.
func (s *shard) answeredAgain(q *inquiry, id uint64, a auth.Answer) {
	c := s.loop.Conn(q.of)
	if c == nil || c.Closing() {
		return
	}
	d, cmd := s.devices.At(c.Slot()), &command.Command{ID: id}
	if d.inquiry() != q || d.state != stateLive {
		return
	}
	d.who().inquiry = nil
	if e := s.renew(d, q, a); e != nil {
		s.count.chainAnswers[chainRefused]++
		s.fail(c, d, cmd, e)
		return
	}
	s.count.chainAnswers[chainAllowed]++
	if w := d.who(); w.expiresSec == 0 {
		s.ok(c, d, cmd)
	} else {
		enc, _ := d.encoding()
		s.scratch3 = command.AppendRefreshed(s.scratch3[:0], enc, id, w.expiresSec-min(s.loop.NowSec(), w.expiresSec))
		s.say(c, d, s.scratch3)
	}
	s.arm(c, d)
	s.expelLoser(c, d) // it may have other rules
}

// renew has a device live by another answer of its chain, which is about the same user and the same client id; the error is for the device, which then
// keeps what it has.
func (s *shard) renew(d *device, q *inquiry, a auth.Answer) *command.Error {
	w := d.who()
	switch {
	case a.Verdict == auth.Deny && (a.Refusal == auth.Unavailable || a.Refusal == auth.Busy || a.Refusal == auth.Banned):
		return command.ErrAskedLater
	case a.Verdict != auth.Allow || !a.Standing.Holds():
		return command.ErrUnauthorized
	case !d.mayKeep(cmp.Or(a.User, q.username), a.Tenant) || a.ClientID != "" && a.ClientID != d.clientID():
		return command.ErrUnauthorized
	}
	expiresSec, ended := s.endOf(a.ExpiresSec, w.tls)
	if ended {
		return command.ErrUnauthorized
	}
	w.rules, w.standing, w.expiresSec = q.rules, a.Standing, expiresSec
	return nil
}
