package gateway

import (
	"bytes"
	"net/netip"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// strays are the beginnings of what speaks on the wrong port.
var strays = []struct {
	begin  string
	reason reason
}{
	{"\x16\x03", reasonTLSHello},
	{"GET ", reasonHTTP}, {"POST", reasonHTTP}, {"HEAD", reasonHTTP}, {"PUT ", reasonHTTP},
	{"PROXY ", reasonProxyHeader}, {"\r\n\r\n\x00", reasonProxyHeader},
}

// stray tells what speaks on the wrong port, by its first bytes; more: these are too few to tell.
func stray(p []byte) (r reason, more bool) {
	for _, s := range strays {
		if bytes.HasPrefix(p, []byte(s.begin)) {
			return s.reason, false
		}
		more = more || bytes.HasPrefix([]byte(s.begin), p)
	}
	return reasonNone, more
}

// sniffed is what came of a look at the first bytes.
type sniffed uint8

const (
	sniffKnown sniffed = iota
	sniffMore          // too few bytes yet
	sniffRefused
)

// sniff settles what the connection speaks.
func (s *shard) sniff(c *epoll.Conn, d *device, p []byte) sniffed {
	r, more := stray(p)
	switch {
	case len(p) == 0 || more:
		return sniffMore
	case r == reasonHTTP && d.wire != wireMQTT:
		d.wire = wireHTTP
	case r != reasonNone:
		s.gw.hint(r, s.peerOf(c, d))
		s.close(c, d, r)
		return sniffRefused
	case d.wire == wireHTTP && mqtt.Type(p[0]>>4) == mqtt.TypeConnect && p[0]&15 == 0:
		s.gw.hint(reasonNotHTTP, s.peerOf(c, d))
		s.close(c, d, reasonNotHTTP)
		return sniffRefused
	case d.wire == wireUnknown && p[0] >= 'A' && p[0] <= 'Z':
		d.wire = wireHTTP // a method we need not know; the handshake answers it
	case d.wire == wireUnknown:
		d.wire = wireMQTT
	}
	return sniffKnown
}

// hint logs, at most once a minute for each kind, what speaks on the wrong port.
func (g *Gateway) hint(r reason, peer netip.AddrPort) {
	now, last := int64(epoll.NowSec()), g.hints[r].Load()
	if last != 0 && now-last < 60 || !g.hints[r].CompareAndSwap(last, now) {
		return
	}
	advice := map[reason]string{
		reasonTLSHello:      "a client speaks TLS to a plain port; use mqtt:// or ws:// there, or make it an mqtts://, wss:// or tls:// listener",
		reasonHTTP:          "a client speaks HTTP to an MQTT port; WebSocket needs a ws:// or any:// listener",
		reasonProxyHeader:   "a load balancer sends a PROXY header that is not expected; give the listener proxy=v1, v2 or any and put the balancer into proxy.trusted, or switch it off there",
		reasonProxyStranger: "a connection without a load balancer reaches a listener that wants a PROXY header; add its address to proxy.trusted if it is one, or keep others from this port",
		reasonNoProxyHeader: "a load balancer sends no PROXY header, a bad one or another version; switch it on there, or see the proxy setting of the listener",
		reasonPlainOnTLS:    "a client speaks to a TLS port without TLS; switch TLS on there, or use a plain listener",
		reasonNotHTTP:       "a client speaks MQTT to a WebSocket port; it needs an mqtt:// or any:// listener",
	}[r]
	g.log.Warn().Stringer("peer", peer).Stringer("reason", r).Msg(advice)
}
