package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// kind is what a device speaks.
type kind uint8

const (
	kindMQTT  kind = iota // MQTT over TCP
	kindWS                // MQTT over WebSocket, subprotocol mqtt
	kindPlain             // a plain WebSocket device: a message is a frame
)

func (k kind) String() string { return [...]string{"mqtt", "mqtt over ws", "plain ws"}[k] }

// target is one address of a server and what is spoken there.
type target struct {
	Kind kind
	Host string         // as given, for the Host field
	Addr netip.AddrPort // as resolved, once, by the parent
	Path string         // WebSocket only; a plain device's client id is appended
}

// parseTargets reads the --target list. Devices are dealt over the targets in turn; "any://host:port" is a port that
// tells protocols apart by their first bytes, and so stands for one target of each kind. plain turns ws:// targets
// without a path into plain WebSocket devices, and adds them to any://.
func parseTargets(list []string, plain bool) ([]target, error) {
	var targets []target
	for _, s := range list {
		u, err := url.Parse(s)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("--target %q: want mqtt://host[:port], ws://host[:port][/path] or any://host:port", s)
		}
		var kinds []kind
		switch u.Scheme {
		case "mqtt", "tcp":
			kinds = []kind{kindMQTT}
		case "ws":
			if kinds = []kind{kindWS}; plain || strings.HasPrefix(u.Path, "/ws/") {
				kinds = []kind{kindPlain}
			}
		case "any":
			if kinds = []kind{kindMQTT, kindWS}; plain {
				kinds = append(kinds, kindPlain)
			}
		default:
			return nil, fmt.Errorf("--target %q: scheme %q is none of mqtt, ws, any", s, u.Scheme)
		}
		for _, k := range kinds {
			t, err := newTarget(k, u)
			if err != nil {
				return nil, fmt.Errorf("--target %q: %w", s, err)
			}
			targets = append(targets, t)
		}
	}
	return targets, nil
}

// newTarget resolves the address and fills in the usual port and path.
func newTarget(k kind, u *url.URL) (target, error) {
	t := target{Kind: k, Host: u.Host, Path: u.Path}
	port := u.Port()
	if port == "" {
		if port = "8083"; k == kindMQTT {
			port = "1883"
		}
		t.Host = net.JoinHostPort(u.Hostname(), port)
	}
	addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return target{}, err
	}
	t.Addr = addr.AddrPort()
	t.Addr = netip.AddrPortFrom(t.Addr.Addr().Unmap(), t.Addr.Port())
	switch {
	case k == kindMQTT:
		t.Path = ""
	case t.Path != "" && t.Path != "/":
	case k == kindWS:
		t.Path = "/mqtt"
	default:
		t.Path = "/ws/"
	}
	return t, nil
}

// devicesPerSource keeps one source address well below the 28,000 ports the kernel deals for it, also when a storm
// leaves each connection's port in TIME_WAIT and takes new ones.
const devicesPerSource = 4000

// sourceOf is the loopback address that a device dials from on its nth attempt. Devices share an address in groups; an
// attempt moves the whole group on, so that ports in TIME_WAIT are not missed. Only for targets on 127.0.0.0/8;
// otherwise the kernel chooses.
func sourceOf(t *target, device uint32, attempt uint16) netip.Addr {
	if !t.Addr.Addr().Is4() || !t.Addr.Addr().IsLoopback() {
		return netip.Addr{}
	}
	group := device / devicesPerSource
	return netip.AddrFrom4([4]byte{127, byte(1 + attempt%200), byte(group >> 7), byte(1 + group&0x7F)})
}

// pattern is a topic with the device's client id in one place: "devices/{id}/telemetry".
type pattern struct{ before, after string }

// idMark stands for the client id in a pattern.
const idMark = "{id}"

func parsePattern(s string) (pattern, error) {
	before, after, ok := strings.Cut(s, idMark)
	if !ok || strings.Contains(after, idMark) {
		return pattern{}, fmt.Errorf("topic pattern %q: want %s exactly once", s, idMark)
	}
	return pattern{before, after}, nil
}

// append appends the topic of the device called id.
func (p pattern) append(dst, id []byte) []byte {
	dst = append(dst, p.before...)
	dst = append(dst, id...)
	return append(dst, p.after...)
}

// filter is the MQTT filter for all devices.
func (p pattern) filter() string { return p.before + "+" + p.after }

// subject is the NATS subject of a topic for the plain patterns the verifier takes: levels of letters, digits, - and _.
func subject(topic string) (string, error) {
	for _, level := range strings.Split(topic, "/") {
		plain := strings.Trim(level, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
		if level == "" || (!plain && level != "+") {
			return "", fmt.Errorf("topic %q: --verify takes topics of letters, digits, - and _ only", topic)
		}
	}
	return strings.NewReplacer("/", ".", "+", "*").Replace(topic), nil
}

// appendID appends the client id of a device: the prefix and six digits, at most 23 characters with a short prefix as
// MQTT 3.1 asks.
func appendID(dst []byte, prefix string, device uint32) []byte {
	dst = append(dst, prefix...)
	for limit := uint32(100000); limit > 1 && device < limit; limit /= 10 {
		dst = append(dst, '0')
	}
	return strconv.AppendUint(dst, uint64(device), 10)
}
