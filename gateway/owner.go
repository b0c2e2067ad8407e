package gateway

import (
	"errors"

	"github.com/tidegate/tidegate/session"
)

// A session belongs to the user that made it, where users are known: whoever else knows its client id neither gets what waits in it, nor ends it, nor
// closes its connection. A session of nobody, as those that were made before there were users, becomes that of the first user who comes.

// owns tells whether the user of a device may have the session of a client id that is here, or there is none.
func (s *shard) owns(d *device, clientID []byte) bool {
	if !s.guards() {
		return true
	}
	sess := s.table.Get(clientID)
	return sess == nil || mayOwn(d.owner(), sess.User())
}

// errOtherUser says that the record of a session is that of another user.
var errOtherUser = errors.New("the session belongs to another user")

// guards tells whether sessions belong to users.
func (s *shard) guards() bool {
	return s.cfg.Auth.SessionOwner && (s.gw.doors.chained || s.gw.tokens != nil || len(s.gw.methods) > 0)
}

// mayOwn tells whether a user may have what belongs to owner.
func mayOwn(user, owner string) bool { return owner == "" || owner == user }

// own has a session belong to the user of a device, which has come in with it.
func (s *shard) own(d *device, sess *session.Session) {
	if w := d.who(); w != nil {
		w.inquiry = nil
	}
	if user := d.owner(); user != "" && s.guards() {
		sess.BelongTo(user)
	}
}

// owner is the user of the device as far as that is proved.
func (d *device) owner() string {
	if w := d.who(); w != nil {
		return w.user
	}
	return ""
}
