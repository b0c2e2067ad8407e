package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// Listener is a parsed entry of Config.Listeners.
type Listener struct {
	Scheme string // one of listenerSchemes
	Addr   netip.AddrPort
	Query  string // its own bounds, as NAME=VALUE&NAME=VALUE
}

// listenerSchemes are what a listener may be, and what it speaks, within TLS for the latter three.
var listenerSchemes = map[string]listenerKind{
	"mqtt": listenMQTT, "ws": listenWS, "any": listenAny, "mqtts": listenMQTT, "wss": listenWS, "tls": listenAny,
}

// secure tells whether it speaks TLS.
func (l Listener) secure() bool { return l.Scheme == "mqtts" || l.Scheme == "wss" || l.Scheme == "tls" }

// String is where the listener listens, as it is written in a configuration.
func (l Listener) String() string { return l.Scheme + "://" + l.Addr.String() }

// ParseListener reads SCHEME://ADDR:PORT?QUERY. The bounds in the query are not looked at.
func ParseListener(s string) (Listener, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return Listener{}, fmt.Errorf("%q has no scheme", s)
	}
	if _, known := listenerSchemes[scheme]; !known {
		return Listener{}, fmt.Errorf("scheme %q is none of mqtt, ws, any, mqtts, wss, tls", scheme)
	}
	rest, query, _ := strings.Cut(rest, "?")
	addr, err := ResolveAddr(strings.TrimSuffix(rest, "/"))
	return Listener{scheme, addr, query}, err
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9_.-]*$`)

// ResolveAddr reads HOST:PORT; an empty host is every address, a name is looked up.
func ResolveAddr(s string) (netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is not ADDR:PORT", s)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is not a port number", portText)
	}
	if host == "" {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port)), nil
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(a, uint16(port)), nil
	}
	if !hostForm.MatchString(host) {
		return netip.AddrPort{}, fmt.Errorf("%q is not a host", host)
	}
	ips, err := net.LookupIP(host)
	if err != nil || len(ips) == 0 {
		return netip.AddrPort{}, errors.Join(fmt.Errorf("host %q is unknown", host), err)
	}
	a, _ := netip.AddrFromSlice(ips[0])
	return netip.AddrPortFrom(a.Unmap(), uint16(port)), nil
}
