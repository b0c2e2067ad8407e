package gateway

import (
	"net/netip"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth"
)

// identity is who a connection is, as far as it is known: from where it came, from TLS, and from CONNECT. Owned by the connection's loop.
type identity struct {
	peer netip.AddrPort // the device's own address behind a trusted proxy; not valid: the connection's
	tls  *auth.Peer     // nil: no TLS
	user string         // proved, not only said
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
