package gateway

import (
	"github.com/tidegate/tidegate/session"
)

// A will is published when its device has gone, perhaps long after, and perhaps by another gateway. So it is looked at once more then, by acl.file and
// acl.default. But what goes with the connection is not known any more: rules of the device's own, its tenant, its certificate, its listener. Where one of
// these may have counted, what CONNECT decided holds.

// remains tells whether all that the permissions of a device go by is known without its connection.
func (p *permit) remains(d *device) bool {
	return p.own == nil && p.who.Tenant == "" && p.who.CN == "" && string(d.user()) == p.who.Username
}

// mayStillPublish tells whether a will that remains is permitted now.
func (s *shard) mayStillPublish(m *session.Message) bool {
	if !s.restricts {
		return true
	}
	p := permit{file: s.fileRules, allow: s.cfg.ACL.Default == aclAllow}
	p.who.Username = string(m.User)
	if m.From != nil {
		p.who.ClientID = m.From.ClientID()
	}
	return p.publish(m.Topic, m.QoS, m.Retain).Allow
}
