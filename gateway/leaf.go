package gateway

import (
	"fmt"
	"strings"
	"time"

	"github.com/tidegate/tidegate/bus"
)

// Leaf makes the embedded NATS a leaf node of a hub; see docs/edge.md.
type Leaf struct {
	URL string `yaml:"url" doc:"nats-leaf://HOST:7422 of the hub, or of several of its servers, separated by commas; empty for no hub"`

	Domain string `yaml:"domain" doc:"name of the JetStream domain of this site, which no other site of the hub may have; default: from node"`
	Creds  string `yaml:"creds" doc:"file with user JWT and seed for the hub"`
	User   string `yaml:"user" doc:"user name at the hub"`

	Password string  `yaml:"password" secret:"true" doc:"password at the hub"`
	TLS      NATSTLS `yaml:"tls" doc:"TLS towards the hub"`

	Copy      bool   `yaml:"copy" doc:"have the hub keep a copy of the log, in the stream TG_LOG_DOMAIN there; needs hub_domain"`
	HubDomain string `yaml:"hub_domain" doc:"JetStream domain of the hub's servers; empty when they have none"`
}

// validate finds mistakes. Without a URL nothing else counts.
func (l *Leaf) validate(v *validator, embedded bool) {
	if l.URL == "" {
		return
	}
	if !embedded {
		v.add("nats.leaf.url", "only the embedded NATS can be made a leaf node here", "nats.url: embedded; or leave nats.leaf.url out, and configure the leaf node in that NATS server")
	}
	for s := range strings.SplitSeq(l.URL, ",") {
		if _, err := bus.ParseLeafURL(strings.TrimSpace(s)); err != nil {
			v.add("nats.leaf.url", err.Error(), "nats-leaf://hub.example.com:7422")
		}
	}
	letters := fmt.Sprintf("a name of up to %d letters, digits, - and _, such as plant-2", bus.DomainBytesMax)
	if l.Domain != "" && !bus.ValidDomain(l.Domain) {
		v.add("nats.leaf.domain", fmt.Sprintf("%q is no JetStream domain", l.Domain), letters)
	}
	if l.HubDomain != "" && !bus.ValidDomain(l.HubDomain) {
		v.add("nats.leaf.hub_domain", fmt.Sprintf("%q is no JetStream domain", l.HubDomain), "the domain in the jetstream block of the hub's configuration, or empty when there is none")
	}
	if l.Domain != "" && l.Domain == l.HubDomain {
		v.add("nats.leaf.domain", "the site and the hub have the same JetStream domain, so that NATS could not tell their streams apart", "another domain for the site")
	}
	if l.Creds != "" && l.User != "" {
		v.add("nats.leaf", "creds and user are different ways to log in", "keep one of them")
	}
	if l.Password != "" && l.User == "" {
		v.add("nats.leaf.password", "a password without a user", "nats.leaf.user")
	}
	if (l.TLS.Cert == "") != (l.TLS.Key == "") {
		v.add("nats.leaf.tls", "a client certificate needs both cert and key", "")
	}
}

// leaf is the link that the bus has to make; nil for none.
func (g *Gateway) leaf() *bus.Leaf {
	l := &g.cfg.NATS.Leaf
	if l.URL == "" {
		return nil
	}
	o := &bus.Leaf{
		Domain: l.Domain, CredsFile: l.Creds, User: l.User, Password: l.Password,
		TLS: l.TLS.Enabled, TLSCAFile: l.TLS.CA, TLSCertFile: l.TLS.Cert, TLSKeyFile: l.TLS.Key,
	}
	for s := range strings.SplitSeq(l.URL, ",") {
		o.URLs = append(o.URLs, strings.TrimSpace(s))
	}
	if o.Domain == "" {
		o.Domain = bus.DomainOf(g.cfg.Node)
	}
	if l.Copy {
		o.HubDomain = l.HubDomain
		if o.HubDomain == "" && g.durable.wanted() {
			g.log.Warn().Msgf("the hub keeps no copy of the log: without the domain of its JetStream it can't be asked to; set nats.leaf.hub_domain, or nats.leaf.copy: false "+
				"and make the stream %s at the hub yourself, as docs/edge.md says", bus.LogCopy(o.Domain))
		}
	}
	return o
}

// nobodyTime is NATS.NobodyTime, but never at a site: a device at the hub, or at another site, may have taken what came to our shapes as well, and
// gateways don't hear each other over the link.
func (g *Gateway) nobodyTime() time.Duration {
	if g.cfg.NATS.Leaf.URL != "" {
		return 0
	}
	return g.cfg.NATS.NobodyTime
}

// leafStatus runs on a bus goroutine.
func (g *Gateway) leafStatus(s bus.LeafStatus) {
	if g.draining.Load() {
		return
	}
	switch {
	case s.Up != g.leafUp.Load():
		g.leafUp.Store(s.Up)
		if s.Up {
			g.log.Info().Msg("the hub is linked")
		} else {
			g.log.Warn().Msg("the link to the hub is down: devices go on, what is stored is copied when it is back")
		}
	case s.CopyErr != nil:
		g.log.Error().Err(s.CopyErr).Msg("the hub does not copy the log; what is stored here stays here, as long as durable.log_age and log_bytes keep it")
	case s.Copied:
		g.log.Info().Msg("the hub copies the log")
	}
}

// leafCheck tells of the link in /readyz. A site without its hub is ready: that is what it is for.
func (g *Gateway) leafCheck() (c check, ok bool) {
	if g.cfg.NATS.Leaf.URL == "" {
		return c, false
	}
	s := g.bus.Leaf()
	text := "down; devices go on"
	if s.Up {
		text = "up"
	}
	switch {
	case s.CopyErr != nil:
		text += "; no copy of the log: " + s.CopyErr.Error()
	case s.Copied:
		text += fmt.Sprintf("; the hub lacks %d messages of the log", s.Lag)
	}
	return check{"hub", true, text}, true
}

// leaf emits the link to the hub.
func (e emitter) leaf(g *Gateway) {
	s, up, copied := g.bus.Leaf(), 0.0, 0.0 // zeros without a hub
	if s.Up {
		up = 1
	}
	if s.Copied && s.CopyErr == nil {
		copied = 1
	}
	e.gauge("gateway_hub_linked", up)
	e.counter("gateway_hub_links_total", float64(s.Ups))
	e.gauge("gateway_hub_copies_log", copied)
	e.gauge("gateway_hub_copy_lag_messages", float64(s.Lag))
}
