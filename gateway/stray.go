package gateway

import (
	"net/netip"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// stray tells what speaks on the wrong port, by its first bytes.
func stray(p []byte) reason {
	switch {
	case len(p) >= 2 && p[0] == 0x16 && p[1] == 0x03:
		return reasonTLSHello
	case len(p) >= 4 && (string(p[:4]) == "GET " || string(p[:4]) == "POST" || string(p[:4]) == "HEAD" || string(p[:4]) == "PUT "):
		return reasonHTTP
	case len(p) >= 6 && string(p[:6]) == "PROXY ":
		return reasonProxyHeader
	case len(p) >= 5 && string(p[:5]) == "\r\n\r\n\x00":
		return reasonProxyHeader
	}
	return reasonNone
}

// sniff settles what the connection speaks; false: it was refused.
func (s *shard) sniff(c *epoll.Conn, d *device, p []byte) bool {
	if len(p) == 0 {
		return true
	}
	r := stray(p)
	switch {
	case r == reasonHTTP && d.wire != wireMQTT:
		d.wire = wireHTTP
		return true
	case r != reasonNone:
		s.gw.hint(r, c.Peer())
		s.close(c, d, r)
		return false
	case d.wire == wireHTTP && mqtt.Type(p[0]>>4) == mqtt.TypeConnect && p[0]&15 == 0:
		s.gw.hint(reasonNotHTTP, c.Peer())
		s.close(c, d, reasonNotHTTP)
		return false
	case d.wire == wireUnknown && p[0] >= 'A' && p[0] <= 'Z':
		d.wire = wireHTTP // a method we need not know; the handshake answers it
	case d.wire == wireUnknown:
		d.wire = wireMQTT
	}
	return true
}

// hint logs, at most once a minute for each kind, what speaks on the wrong port.
func (g *Gateway) hint(r reason, peer netip.AddrPort) {
	now, last := int64(epoll.NowSec()), g.hints[r].Load()
	if last != 0 && now-last < 60 || !g.hints[r].CompareAndSwap(last, now) {
		return
	}
	advice := map[reason]string{
		reasonTLSHello:    "a client speaks TLS to a plain port; use mqtt:// or ws:// there, or terminate TLS in front",
		reasonHTTP:        "a client speaks HTTP to an MQTT port; WebSocket needs a ws:// or any:// listener",
		reasonProxyHeader: "a load balancer sends a PROXY header that is not expected; switch it off there",
		reasonNotHTTP:     "a client speaks MQTT to a WebSocket port; it needs an mqtt:// or any:// listener",
	}[r]
	g.log.Warn().Stringer("peer", peer).Stringer("reason", r).Msg(advice)
}
