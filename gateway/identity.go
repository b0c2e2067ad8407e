package gateway

import (
	"net/netip"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth"
	"github.com/tidegate/tidegate/gateway/auth/acl"
)

// identity is who a connection is, as far as it is known: from where it came, from TLS, and from CONNECT. Owned by the connection's loop.
type identity struct {
	peer netip.AddrPort // the device's own address behind a trusted proxy; not valid: the connection's
	tls  *auth.Peer     // nil: no TLS
	user string         // proved, not only said
	of   *tenant        // whose it is, by all that is known so far; nil: nobody's

	inquiry    *inquiry      // until its chain's answer has been heeded
	tenant     string        // that a chain or a token named
	placed     bool          // it counts for its tenant
	clientID   string        // the only one that a chain has for it; empty: any
	rules      *acl.Policy   // of its own, before those of the gateway; nil: none
	standing   auth.Standing // what its chain's answer rests on
	expiresSec uint32        // when its leave to be here ends, by the loop's clock; 0: never
}

// expired tells whether the device's leave to be here has ended.
func (w *identity) expired(nowSec uint32) bool {
	return w != nil && w.expiresSec != 0 && nowSec >= w.expiresSec
}

// who is what is known of the device, nil for nothing.
func (d *device) who() *identity {
	if d.more == nil {
		return nil
	}
	return d.more.who
}

// known is who, to be added to.
func (d *device) known() *identity {
	more := d.extra()
	if more.who == nil {
		more.who = &identity{}
	}
	return more.who
}

// peerOf is the address of the device, also behind a trusted proxy.
func (s *shard) peerOf(c *epoll.Conn, d *device) netip.AddrPort {
	if w := d.who(); w != nil && w.peer.IsValid() {
		return w.peer
	}
	return c.Peer()
}
