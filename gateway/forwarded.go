package gateway

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/ws"
)

// forwardedHeaders are the headers in which HTTP proxies say for whom they speak. A gateway reads one of them: a proxy writes its own and passes on
// what the client put into the others.
var forwardedHeaders = []string{"x-forwarded-for", "x-real-ip", "forwarded"}

// onForwarded takes the device's address from the request of a WebSocket; false: there is no place for one from there.
func (s *shard) onForwarded(c *epoll.Conn, d *device, req *ws.Request) bool {
	peer := s.peerOf(c, d)
	if len(s.gw.forwarders) == 0 || !s.gw.forwarders.has(peer.Addr()) {
		return true
	}
	header := s.cfg.WebSocket.ForwardedHeader
	if from := forwardedFor(slices.Collect(req.Values(header)), header == "forwarded", peer, s.gw.forwarders); from != peer {
		d.known().peer = from
		return s.placeBehind(c, d, true)
	}
	return true
}

// forwardedFor is for whom peer speaks, by the lines of a header. Each hop adds, at the right, the address that it heard: so the list is
// read from there, for as long as who wrote an entry is trusted. What stands further left may be anybody's invention. An entry that names no
// address ends it, too.
func forwardedFor(lines [][]byte, named bool, peer netip.AddrPort, trusted prefixes) netip.AddrPort {
	for _, line := range slices.Backward(lines) {
		for more := true; more; {
			at := bytes.LastIndexByte(line, ',')
			entry := line[at+1:]
			more, line = at >= 0, line[:max(at, 0)]
			if !trusted.has(peer.Addr()) {
				return peer
			}
			if named {
				entry = forParameter(entry)
			}
			from, ok := parseHop(entry)
			if !ok {
				return peer
			}
			peer = from
		}
	}
	return peer
}

// forParameter is the value of "for" in an element of Forwarded (RFC 7239 §4). Addresses have no commas and semicolons, so that quotes
// need not be understood to find them; and one that the client left open can't swallow what the proxy added.
func forParameter(element []byte) []byte {
	for pair := range bytes.SplitSeq(element, []byte(";")) {
		name, value, _ := bytes.Cut(bytes.Trim(pair, " \t"), []byte("="))
		if bytes.EqualFold(name, []byte("for")) {
			return bytes.Trim(value, `"`)
		}
	}
	return nil
}

// parseHop reads an address as proxies write it: with or without a port, IPv6 in brackets or not.
func parseHop(text []byte) (from netip.AddrPort, ok bool) {
	s := string(bytes.Trim(text, " \t"))
	if at, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()), true
	}
	if len(s) > 1 && s[0] == '[' && s[len(s)-1] == ']' {
		s = s[1 : len(s)-1]
	}
	a, err := netip.ParseAddr(s)
	return netip.AddrPortFrom(a.Unmap().WithZone(""), 0), err == nil
}
