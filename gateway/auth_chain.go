package gateway

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth"
	"github.com/tidegate/tidegate/gateway/auth/chain"
)

// noChain is the name of no chain.
const noChain = "none"

// AuthProvider is one of a chain. Which settings it needs depends on its type.
type AuthProvider struct {
	Chain      string        `yaml:"chain" doc:"name of the chain that it belongs to"`
	Type       string        `yaml:"type" doc:"http or nats: a service of yours is asked"`
	URL        string        `yaml:"url" doc:"http: where questions are posted, https://HOST/PATH"`
	SecretFile string        `yaml:"secret_file" doc:"http: file with what stands in the Authorization header, such as Bearer TOKEN"`
	Subject    string        `yaml:"subject" doc:"nats: subject of requests; default: $TG.auth.connect"`
	Timeout    time.Duration `yaml:"timeout" doc:"auth.timeout of this one"`
	Fail       string        `yaml:"fail" doc:"when it cannot tell: deny (nobody gets in, as without it) or next (the next one is asked)"`
}

// authSubject is where NATS callbacks are asked, unless the configuration says otherwise. Devices reach nothing that begins with $.
const authSubject = "$TG.auth.connect"

// validateChain judges the name of a chain.
func (c *Config) validateChain(v *validator, path, name string) {
	if name == noChain {
		return
	}
	for i := range c.Auth.Chains {
		if c.Auth.Chains[i].Chain == name {
			return
		}
	}
	v.add(path, fmt.Sprintf("auth.chains has no chain %q", name), "name one that it has, or "+noChain)
}

func (c *Config) validateChains(v *validator) {
	a := &c.Auth
	c.validateChain(v, "auth.chain", a.Chain)
	v.between("auth.workers", a.Workers, 1, 1024)
	v.between("auth.waiting_max", a.WaitingMax, 1, 1_000_000)
	v.between("auth.cache_max", a.CacheMax, 0, 1_000_000)
	v.lasts("auth.timeout", a.Timeout, 10*time.Millisecond)
	v.lasts("auth.cache_time", a.CacheTime, 0)
	v.lasts("auth.deny_time", a.DenyTime, 0)
	for i := range a.Chains {
		p, path := &a.Chains[i], fmt.Sprintf("auth.chains[%d]", i)
		if p.Chain == "" || p.Chain == noChain || strings.ContainsAny(p.Chain, "/?&= ") {
			v.add(path+".chain", fmt.Sprintf("%q is not the name of a chain", p.Chain), "a word such as devices")
		}
		if p.Fail != "" {
			v.oneOf(path+".fail", p.Fail, "deny", "next")
		}
		if p.Timeout != 0 {
			v.lasts(path+".timeout", p.Timeout, 10*time.Millisecond)
		}
		if _, err := p.open(a, nil); err != nil {
			v.add(path, err.Error(), "docs/authentication.md has examples")
		}
	}
}

// open makes the provider. It asks nobody yet. request is how NATS is asked.
func (p *AuthProvider) open(a *Auth, request chain.RequestFunc) (auth.Provider, error) {
	switch p.Type {
	case "http":
		o := chain.HTTPOptions{URL: p.URL, Connections: a.Workers}
		if p.SecretFile != "" {
			if _, err := readSecret(p.SecretFile); err != nil {
				return nil, err
			}
			o.Secret = func() (string, error) { return readSecret(p.SecretFile) }
		}
		h, err := chain.NewHTTP(o)
		if err != nil {
			return nil, fmt.Errorf("url: %w", err)
		}
		return h, nil
	case "nats":
		subject := p.Subject
		if subject == "" {
			subject = authSubject
		}
		if !bus.Reserved([]byte(subject)) || strings.ContainsAny(subject, " \t\r\n*>") || strings.Contains("."+subject+".", "..") {
			return nil, fmt.Errorf("subject: %q is none that is out of reach for devices, which could answer on any other; it begins with $, as %s does", subject, authSubject)
		}
		return chain.NewNATS(subject, request), nil
	}
	return nil, fmt.Errorf("type: %q is none of http, nats", p.Type)
}

// readSecret reads one line.
func readSecret(name string) (string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("secret_file: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" || strings.ContainsAny(secret, "\r\n") {
		return "", fmt.Errorf("secret_file: %s does not have one line", name)
	}
	return secret, nil
}

// door is how devices of one listener come in.
type door struct {
	chain     *chain.Chain // nil: none is asked
	anonymous bool         // who nobody knows and shows no password comes in
	listener  string       // as it is configured, without its bounds
}

// doors are those of all listeners, and who is asked at them. Not changed once the gateway is open.
type doors struct {
	byListener []door
	links      []link
	throttle   *chain.Throttle
	chained    bool // some listener has a chain
}

type link struct {
	*chain.Link
	name string // in metrics
}

// doorOf is the door through which a connection came.
func (s *shard) doorOf(c *epoll.Conn) *door { return &s.gw.doors.byListener[c.Listener()] }

// openDoors makes the chains.
func (g *Gateway) openDoors() error {
	ds, a := &g.doors, &g.cfg.Auth
	ds.throttle = chain.NewThrottle()
	chains := map[string][]*chain.Link{}
	for i := range a.Chains {
		p := &a.Chains[i]
		provider, err := p.open(a, g.bus.Request)
		if err != nil {
			return fmt.Errorf("auth.chains[%d].%w", i, err)
		}
		set := chain.Settings{
			Workers: a.Workers, WaitingMax: a.WaitingMax, Timeout: a.Timeout, CacheMax: a.CacheMax, AllowTime: a.CacheTime, DenyTime: a.DenyTime,
			Remote: true, FailNext: p.Fail == "next",
		}
		if p.Timeout != 0 {
			set.Timeout = p.Timeout
		}
		l := chain.NewLink(provider, set)
		chains[p.Chain] = append(chains[p.Chain], l)
		ds.links = append(ds.links, link{l, fmt.Sprintf("%s/%d/%s", p.Chain, len(chains[p.Chain]), p.Type)})
	}
	for i := range g.bounds {
		l, err := ParseListener(g.cfg.Listeners[i])
		if err != nil {
			return err
		}
		d := door{listener: l.String(), anonymous: a.Anonymous == "anywhere" || a.Anonymous == "loopback" && l.Addr.Addr().IsLoopback()}
		if name := g.bounds[i].Auth; name != noChain {
			d.chain, ds.chained = chain.New(ds.throttle, chains[name]...), true
		}
		ds.byListener = append(ds.byListener, d)
	}
	return nil
}
