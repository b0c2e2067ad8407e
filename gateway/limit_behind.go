package gateway

import (
	"net/netip"

	"github.com/tidegate/tidegate/epoll"
)

// Behind a load balancer all connections come from a few addresses, which no bound on an address is meant for. So a connection from one that may speak for
// devices counts for no address, until it has said for which one it speaks.

// answerable is the address that a connection from peer counts for, by what is known of it; not valid: none.
func (g *Gateway) answerable(listener int, peer netip.AddrPort, w *identity) netip.Addr {
	named := w != nil && w.peer.IsValid()
	switch {
	case named:
		peer = w.peer
	case proxyVersions[g.bounds[listener].Proxy] != 0 && g.proxies.has(peer.Addr()):
		return netip.Addr{}
	}
	if len(g.forwarders) > 0 && g.speaksHTTP(listener) && g.forwarders.has(peer.Addr()) {
		return netip.Addr{}
	}
	return peer.Addr()
}

// speaksHTTP tells whether there are WebSockets on a listener.
func (g *Gateway) speaksHTTP(listener int) bool {
	return listenerSchemes[g.addrs.Listeners[listener].Scheme] != listenMQTT
}

// placeBehind counts a connection for the address that it has just been said to come from; false: there is no place for it, so that it loses what it has
// and is only told to go. Who is banned is told so only where that is an answer to the balancer.
func (s *shard) placeBehind(c *epoll.Conn, d *device, http bool) bool {
	if d.unwelcome {
		return false
	}
	from := s.gw.answerable(c.Listener(), c.Peer(), d.who())
	v := turnedBanned
	if !s.gw.bannedAddress(from) {
		v = s.gw.addresses.enter(from, s.loop.Now())
	}
	if v == welcome {
		return true
	}
	s.gw.leave(c.Listener(), netip.Addr{}, s.loop.Now()) // it has none of an address yet
	s.unwelcomes(c, d, v)
	if v == turnedBanned && !http {
		d.reason = reasonBanned
		c.Close()
	}
	s.arm(c, d)
	return false
}
