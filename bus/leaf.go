package bus

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// Leaf makes the embedded server a leaf node of another NATS, the hub: an edge site that goes on while its link is down. The site has a
// JetStream of its own, in a domain of its own, so that what is stored there is stored whether or not the hub can be reached. Natural subjects pass the
// link both ways, by core NATS; what gateways keep and say among themselves stays on its side (decision 0014).
type Leaf struct {
	URLs   []string // of the hub's servers, nats-leaf://HOST:7422; tried until one answers
	Domain string   // of the site's JetStream: letters, digits, - and _; no other site of the hub may have it

	// CredsFile, or User and Password, or user and password in the URLs.
	CredsFile, User, Password string

	TLS                                bool // demand TLS even if the URLs do not say tls://
	TLSCAFile, TLSCertFile, TLSKeyFile string

	// HubDomain is the domain of the hub's JetStream. With it the Bus has the hub keep a copy of the log, in a stream LogCopy(Domain). "": it does not.
	HubDomain string
}

// DomainBytesMax is the longest name of a JetStream domain here: it goes into every message of a site that is stored.
const DomainBytesMax = 64

// LogCopy is the stream in which a hub keeps a copy of the log of a site.
func LogCopy(domain string) string { return streamLog + "_" + domain }

// ValidDomain tells whether text can be the name of a JetStream domain, and part of one of a stream.
func ValidDomain(text string) bool {
	return text != "" && len(text) <= DomainBytesMax && !strings.ContainsFunc(text, func(r rune) bool { return !isDomainRune(r) })
}

func isDomainRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}

// DomainOf makes the name of a domain of that of a node.
func DomainOf(node string) string {
	domain := strings.Map(func(r rune) rune {
		if isDomainRune(r) {
			return r
		}
		return '-'
	}, node)
	return domain[:min(len(domain), DomainBytesMax)]
}

// leafDeny is what passes the link in neither direction: what gateways store, and what they say among themselves and to those who ask them. Events
// of presence do pass, to who subscribes to them. JetStream's own subjects are kept apart by the server, as the domains differ. The lists of both directions
// are one because nats-server 2.15 holds what it sends over a link to the denied imports, too.
var leafDeny = []string{
	ourLevel + ".>", "$KV.>", logSubject + ">", log2Subject + ">", relSubject + ">", presenceState + ">", "$TG.service.>", "$TG.control.>",
}

// site is the domain that the header of a stored message names, "" for no leaf.
func (o *Options) site() string {
	if o.Leaf == nil {
		return ""
	}
	return o.Leaf.Domain
}

// check finds mistakes in Leaf.
func (l *Leaf) check(embedded bool) error {
	var bad []error
	if !embedded {
		bad = append(bad, errors.New("bus: only the embedded NATS can be made a leaf node here; configure an external server itself"))
	}
	if len(l.URLs) == 0 {
		bad = append(bad, errors.New("bus: a leaf node needs the URL of its hub, such as nats-leaf://hub.example.com:7422"))
	}
	if !ValidDomain(l.Domain) {
		bad = append(bad, fmt.Errorf("bus: %q is no JetStream domain: choose up to %d letters, digits, - and _", l.Domain, DomainBytesMax))
	}
	if l.HubDomain != "" && !ValidDomain(l.HubDomain) {
		bad = append(bad, fmt.Errorf("bus: %q is no JetStream domain: give that of the hub's servers, or none", l.HubDomain))
	}
	if l.Domain == l.HubDomain {
		bad = append(bad, fmt.Errorf("bus: the site and the hub have the same JetStream domain %q: choose another for the site", l.Domain))
	}
	return errors.Join(bad...)
}

// remote is the link as nats-server takes it.
func (l *Leaf) remote() (*server.RemoteLeafOpts, error) {
	r := &server.RemoteLeafOpts{
		Credentials: l.CredsFile, DenyImports: leafDeny, DenyExports: leafDeny,
		DialTimeout: dialTimeout, FirstInfoTimeout: dialTimeout, TLSTimeout: dialTimeout.Seconds(),
	}
	if l.CredsFile != "" {
		if _, err := os.ReadFile(l.CredsFile); err != nil {
			return nil, fmt.Errorf("bus: leaf credentials file: %w", err)
		}
	}
	secure := l.TLS
	for _, s := range l.URLs {
		u, err := ParseLeafURL(s)
		if err != nil {
			return nil, fmt.Errorf("bus: %w", err)
		}
		if u.User == nil && l.User != "" {
			u.User = url.UserPassword(l.User, l.Password)
		}
		secure = secure || u.Scheme == "tls" || u.Scheme == "wss"
		r.URLs = append(r.URLs, u)
	}
	c, err := clientTLS(l.TLSCAFile, l.TLSCertFile, l.TLSKeyFile)
	if err != nil {
		return nil, err
	}
	if secure || c != nil {
		if c == nil {
			c = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		r.TLS, r.TLSConfig = true, c
	}
	return r, nil
}

// ParseLeafURL reads the address of a hub. The error does not repeat it, as it may hold a password.
func ParseLeafURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("the URL of a hub does not parse; it should look like nats-leaf://hub.example.com:7422")
	}
	port := "7422" // where leaf nodes are expected
	switch u.Scheme {
	case "nats-leaf", "nats", "tls":
	case "ws":
		port = "80"
	case "wss":
		port = "443"
	default:
		return nil, fmt.Errorf("the URL of a hub begins with %q; it should be nats-leaf, tls, ws or wss", u.Scheme)
	}
	if u.Port() == "" {
		u.Host += ":" + port
	}
	return u, nil
}

// setLeaf makes the embedded server a leaf node.
func (o *Options) setLeaf(so *server.Options) error {
	r, err := o.Leaf.remote()
	if err != nil {
		return err
	}
	so.JetStreamDomain = o.Leaf.Domain
	so.LeafNode.Remotes = []*server.RemoteLeafOpts{r}
	so.PingInterval, so.MaxPingsOut = pingEvery, 2 // a link that died without a word is found out and made anew
	return nil
}
