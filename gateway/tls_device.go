package gateway

import (
	"github.com/tidegate/tidegate/epoll"
)

// typeHandshake is the first byte of a TLS connection (RFC 8446 §5.1).
const typeHandshake = 0x16

// seals begins TLS on a connection whose listener has it, with its first bytes; false: what comes is plaintext. It is no sooner begun, so that who
// says nothing costs nothing, and who speaks without TLS is told apart.
func (s *shard) seals(c *epoll.Conn, d *device, p []byte) (rest []byte, sealed bool) {
	x := s.gw.tls
	if x == nil || x.doors[c.Listener()] == nil || c.IsTLS() || len(p) == 0 {
		return nil, false
	}
	switch {
	case d.unwelcome: // a handshake is more than there is to say
		s.close(c, d, verdicts[s.turned(d)].reason)
	case p[0] != typeHandshake:
		s.gw.hint(reasonPlainOnTLS, s.peerOf(c, d))
		s.close(c, d, reasonPlainOnTLS)
	default:
		c.StartTLS(&x.doors[c.Listener()].epoll)
		return p, true
	}
	return nil, true
}

// OnSecured is part of epoll.Securer: the handshake is over, and says who the device is.
func (s *shard) OnSecured(c *epoll.Conn) {
	d := s.devices.At(c.Slot())
	p, _ := c.Secured().(*tlsPeer)
	w := d.known()
	w.tls = &p.Peer
	var over bool
	w.expiresSec, over = s.endOf(0, w.tls)
	if over || s.recalled(c) { // while the worker told us
		s.close(c, d, reasonRevoked)
		return
	}
	if d.wire != wireUnknown {
		return
	}
	switch p.Protocol {
	case alpnMQTT:
		d.wire = wireMQTT
	case alpnHTTP:
		d.wire = wireHTTP
	}
}
