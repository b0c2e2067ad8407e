package gateway

import (
	"fmt"
	"net/netip"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth"
	"github.com/tidegate/tidegate/gateway/proxy"
)

// Behind a load balancer every connection comes from the balancer. What it says of the device's own address is believed only if it is one of those
// that may say so, and only where it is asked for: anybody can write such a header.

// Proxy says who may speak for devices with a PROXY header.
type Proxy struct {
	Header  string   `yaml:"header" doc:"PROXY header that connections have to begin with, and nobody else is let in: off, v1, v2 or any"`
	Trusted []string `yaml:"trusted" doc:"addresses of the load balancers that send it, such as 10.0.0.0/8"`
}

// proxyVersions are those that each value of the setting takes.
var proxyVersions = map[string]proxy.Versions{"off": 0, "v1": proxy.V1, "v2": proxy.V2, "any": proxy.Any}

// prefixes is a list of addresses. Not changed once made, so safe from any goroutine.
type prefixes []netip.Prefix

// parsePrefixes reads addresses and ranges of them.
func parsePrefixes(texts []string) (list prefixes, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if a, errAddr := netip.ParseAddr(text); errAddr == nil {
			p, err = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			return nil, fmt.Errorf("%q is no address and no range of addresses", text)
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

func (l prefixes) has(a netip.Addr) bool {
	for _, p := range l {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// validateProxies judges who may speak for devices.
func (c *Config) validateProxies(v *validator) {
	for _, list := range []struct {
		path  string
		texts []string
	}{{"proxy.trusted", c.Proxy.Trusted}, {"websocket.trusted_proxies", c.WebSocket.TrustedProxies}} {
		if _, err := parsePrefixes(list.texts); err != nil {
			v.add(list.path, err.Error(), "addresses of load balancers, such as 10.0.0.0/8 or 192.0.2.7")
		}
	}
	v.oneOf("websocket.forwarded_header", c.WebSocket.ForwardedHeader, forwardedHeaders...)
}

// validateProxy judges the setting of a listener, or of all.
func (b *Bounds) validateProxy(v *validator, path string) {
	v.oneOf(path, b.Proxy, "off", "v1", "v2", "any")
}

// expectProxy has a listener with a setting of its own refused that nobody could use.
func (c *Config) expectProxy(v *validator, path string, b *Bounds) {
	if proxyVersions[b.Proxy] != 0 && len(c.Proxy.Trusted) == 0 {
		v.add(path, "wants a PROXY header, and nobody may send it: no device could connect", "proxy.trusted: the addresses of your load balancers, such as [10.0.0.0/8]")
	}
}

// expectHeader has a new connection begin with a PROXY header if its listener wants one; false: it comes from somebody who may not send it.
func (s *shard) expectHeader(c *epoll.Conn, d *device) bool {
	if proxyVersions[s.boundsOf(c).Proxy] == 0 {
		return true
	}
	if !s.gw.proxies.has(c.Peer().Addr()) {
		s.gw.hint(reasonProxyStranger, c.Peer())
		s.close(c, d, reasonProxyStranger)
		return false
	}
	d.headed = true
	return true
}

// onProxyHeader takes the PROXY header off what came. What follows it is as if it had come from the device itself, TLS included.
func (s *shard) onProxyHeader(c *epoll.Conn, d *device, p []byte) (rest []byte) {
	h, n, err := proxy.Parse(p, proxyVersions[s.boundsOf(c).Proxy])
	switch {
	case err != nil:
		s.gw.hint(reasonNoProxyHeader, c.Peer())
		s.close(c, d, reasonNoProxyHeader)
		return nil
	case n == 0:
		return p
	}
	d.headed = false
	if h.Source.IsValid() {
		d.known().peer = h.Source
		s.placeBehind(c, d, false)
	}
	if h.TLS || h.Authority != nil || h.ALPN != nil {
		d.known().tls = &auth.Peer{ServerName: string(h.Authority), Protocol: string(h.ALPN), CN: string(h.CN)}
	}
	return p[n:]
}
