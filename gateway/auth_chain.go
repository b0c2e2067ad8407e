package gateway

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth/chain"
)

// noChain is the name of no chain.
const noChain = "none"

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
	offers := map[string]bool{}
	for i := range a.Chains {
		p, path := &a.Chains[i], fmt.Sprintf("auth.chains[%d]", i)
		if p.Chain == "" || p.Chain == noChain || strings.ContainsAny(p.Chain, "/?&= ") {
			v.add(path+".chain", fmt.Sprintf("%q is not the name of a chain", p.Chain), "a word such as devices")
		}
		if p.Type == "scram" && offers[p.Chain] {
			v.add(path+".type", fmt.Sprintf("chain %s has a row of type scram already, and a device names none of them", p.Chain), "put all users into one file")
		}
		offers[p.Chain] = offers[p.Chain] || p.Type == "scram"
		if p.Fail != "" {
			v.oneOf(path+".fail", p.Fail, "deny", "next")
		}
		if p.Timeout != 0 {
			v.lasts(path+".timeout", p.Timeout, 10*time.Millisecond)
		}
		if _, err := p.open(a, nil); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				v.add(path, line, "docs/authentication.md has examples")
			}
		}
	}
}

// door is how devices of one listener come in.
type door struct {
	chain     *chain.Chain     // nil: none is asked
	methods   map[string]offer // of the chain
	anonymous bool             // who nobody knows and shows no password comes in
	listener  string           // as it is configured, without its bounds
}

// doors are those of all listeners, and who is asked at them. Not changed once the gateway is open.
type doors struct {
	byListener []door
	links      []*link
	settings   []*link // auth.scram_file and auth.jwt_secret_file, which are in no chain
	files      []*authFile
	throttle   *chain.Throttle
	chained    bool // some listener has a chain
}

type link struct {
	*chain.Link
	name    string                 // in metrics
	keys    *chain.JWKS            // nil: it follows no key server
	reloads [reloads]atomic.Uint64 // of its file, or from its key server
}

// doorOf is the door through which a connection came.
func (s *shard) doorOf(c *epoll.Conn) *door { return &s.gw.doors.byListener[c.Listener()] }

// openDoors makes the chains.
func (g *Gateway) openDoors() error {
	ds, a := &g.doors, &g.cfg.Auth
	ds.throttle = chain.NewThrottle()
	chains, methods := map[string][]*chain.Link{}, map[string]map[string]offer{}
	rows := map[string]int{}
	for i := range a.Chains {
		p := &a.Chains[i]
		provider, err := p.open(a, g.bus.Request)
		if err != nil {
			return fmt.Errorf("auth.chains[%d].%w", i, err)
		}
		set := chain.Settings{
			Workers: a.Workers, WaitingMax: a.WaitingMax, Timeout: a.Timeout, CacheMax: a.CacheMax, AllowTime: a.CacheTime, DenyTime: a.DenyTime,
			Remote: provider.remote, FailNext: p.Fail == "next",
		}
		if provider.costly { // a hash has 19 MiB, and loops and NATS need cores as well
			set.Workers = min(a.Workers, halfOfCores)
		}
		if p.Timeout != 0 {
			set.Timeout = p.Timeout
		}
		l := &link{Link: chain.NewLink(provider, set), keys: provider.keys}
		rows[p.Chain]++
		l.name = fmt.Sprintf("%s/%d/%s", p.Chain, rows[p.Chain], p.Type)
		if m := provider.method; m != nil {
			methods[p.Chain] = map[string]offer{m.Name(): {m, l}}
		} else {
			chains[p.Chain] = append(chains[p.Chain], l.Link)
		}
		ds.links = append(ds.links, l)
		if provider.file != nil {
			provider.file.link = l
			ds.files = append(ds.files, provider.file)
		}
	}
	for i := range g.bounds {
		l, err := ParseListener(g.cfg.Listeners[i])
		if err != nil {
			return err
		}
		d := door{listener: l.String(), anonymous: a.Anonymous == "anywhere" || a.Anonymous == "loopback" && l.Addr.Addr().IsLoopback()}
		if name := g.bounds[i].Auth; name != noChain {
			d.chain, d.methods, ds.chained = chain.New(ds.throttle, chains[name]...), methods[name], true
		}
		ds.byListener = append(ds.byListener, d)
	}
	return nil
}
