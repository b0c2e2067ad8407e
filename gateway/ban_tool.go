package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/tidegate/tidegate/bus"
)

// What tools do with the NATS of a gateway that runs elsewhere.

// dialTime is how long a tool waits for NATS.
const dialTime = 5 * time.Second

// DialNATS connects to the NATS that c describes, as a tool beside the gateway; an embedded one it reaches where that listens. The caller closes
// what it gets. The error says what to do.
func DialNATS(ctx context.Context, c *Config) (*bus.Bus, error) {
	o := c.clientOptions()
	if c.NATS.URL == "embedded" {
		at, err := netip.ParseAddrPort(c.NATS.Listen)
		if err != nil || at.Port() == 0 {
			return nil, errors.New("the embedded NATS has no address of its own; set nats.listen as the gateway has it, such as --nats-listen 127.0.0.1:4222")
		}
		if at.Addr().IsUnspecified() {
			at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port())
		}
		o = bus.Options{URLs: []string{"nats://" + at.String()}}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	b, err := bus.Open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("NATS: %w", err)
	}
	if s := b.Status(); !s.Connected() {
		_ = b.Close(ctx)
		return nil, fmt.Errorf("NATS at %s does not answer: %w; give the settings of the gateway (--config, --nats), and see whether it runs", redacted(o.URLs), s.Err)
	}
	return b, nil
}

// redacted are the addresses of NATS servers without what may be a password in them.
func redacted(urls []string) string {
	var hosts []string
	for _, u := range urls {
		hosts = append(hosts, u[strings.LastIndexByte(u, '@')+1:])
	}
	return strings.Join(hosts, ", ")
}

// clientOptions are address and login of an external NATS.
func (c *Config) clientOptions() (o bus.Options) {
	n := &c.NATS
	for s := range strings.SplitSeq(n.URL, ",") {
		o.URLs = append(o.URLs, strings.TrimSpace(s))
	}
	o.CredsFile, o.NKeyFile, o.Token, o.User, o.Password = n.Creds, n.NKey, n.Token, n.User, n.Password
	o.TLS, o.TLSCAFile, o.TLSCertFile, o.TLSKeyFile = n.TLS.Enabled, n.TLS.CA, n.TLS.Cert, n.TLS.Key
	return o
}

// NewBan is a ban as all gateways write it: addresses and networks have one form. lasts 0 is until it is removed.
func NewBan(kind, name, reason string, lasts time.Duration) (*bus.Ban, error) {
	name, err := BanName(kind, name)
	if err != nil {
		return nil, err
	}
	b := &bus.Ban{Kind: kind, Name: name, Reason: reason, At: time.Now().UTC().Truncate(time.Second)}
	if lasts < 0 || lasts > 0 && lasts < time.Second {
		return nil, fmt.Errorf("%v is no time to be banned for; give a second or more, such as 1h", lasts)
	}
	if lasts > 0 {
		b.Until = time.Now().UTC().Add(lasts)
	}
	return b, nil
}

// BanName is the form of a name in bans.
func BanName(kind, name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("nobody is named")
	case kind != bus.BanAddress:
		return name, nil
	}
	network, err := parseNetwork(name)
	switch {
	case err != nil:
		return "", fmt.Errorf("%q is neither an address nor a network such as 192.0.2.0/24 or 2001:db8::/32", name)
	case network.Bits() == 0:
		return "", fmt.Errorf("%s is everybody", network)
	case network.IsSingleIP():
		return network.Addr().String(), nil
	}
	return network.String(), nil
}
