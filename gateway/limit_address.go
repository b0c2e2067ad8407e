package gateway

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// PerAddress bounds what comes from one address. IPv6 addresses count by their /64, which is what one customer has at least.
type PerAddress struct {
	ConnectionsMax int      `yaml:"connections_max" doc:"connections from one address; 0 for no bound; further ones are refused with 0x97 or 429"`
	ConnectRate    int      `yaml:"connect_rate" doc:"new connections a second from one address; 0 for no bound; further ones are refused with 0x9F or 429"`
	ConnectBurst   int      `yaml:"connect_burst" doc:"of these, how many may come at once"`
	PacketRate     int      `yaml:"packet_rate" doc:"packets or WebSocket messages a second from one address; 0 for no bound; who sends beyond it is not read for a while"`
	ByteRate       int      `yaml:"byte_rate" doc:"bytes a second of these; 0 for no bound"`
	Exempt         []string `yaml:"exempt" doc:"addresses and networks without these bounds, such as those of load balancers: 10.0.0.0/8"`
}

func (c *Config) validatePerAddress(v *validator) {
	p := &c.Limits.PerAddress
	v.between("limits.per_address.connections_max", p.ConnectionsMax, 0, 1<<30)
	v.between("limits.per_address.connect_rate", p.ConnectRate, 0, 1_000_000)
	v.between("limits.per_address.connect_burst", p.ConnectBurst, 1, 1_000_000)
	v.between("limits.per_address.packet_rate", p.PacketRate, 0, ratePerSecMax)
	v.between("limits.per_address.byte_rate", p.ByteRate, 0, ratePerSecMax)
	for _, text := range p.Exempt {
		if _, err := parseNetwork(text); err != nil {
			v.add("limits.per_address.exempt", err.Error(), "networks such as 10.0.0.0/8 or addresses such as 2001:db8::1")
		}
	}
}

// addresses knows how many connections come from where. It has a lock for each of its parts, held for a look into a map, and it is only asked when
// connections come and go.
//
// It has room for addressesMax addresses. Those beyond it, of an attacker with a large network, are counted and let in: they are still under the rate of
// their listener, and throwing out others for them would help the attacker. Safe from any goroutine; nil knows nothing and lets everybody in.
type addresses struct {
	max       int32
	rate      rate
	sends     crowd // the rates of each
	exempt    []netip.Prefix
	seed      maphash.Seed
	parts     [addressParts]addressPart
	uncounted atomic.Uint64 // connections for whose address there was no room
}

type addressPart struct {
	mu sync.Mutex
	of map[netip.Addr]addressState
}

// addressState is what is known of one address.
type addressState struct {
	open  int32
	came  cell
	sends *crowd // nil until a device there sends something, and where nobody bounds that
}

const (
	addressParts   = 64
	addressesMax   = 1 << 18
	addressPartMax = addressesMax / addressParts
	// addressForgetMax is how many entries are looked at for one that may go when there is no room.
	addressForgetMax = 16
)

// newAddresses returns nil when nothing is bounded.
func newAddresses(p *PerAddress, burst time.Duration) *addresses {
	if p.ConnectionsMax == 0 && p.ConnectRate == 0 && p.PacketRate == 0 && p.ByteRate == 0 {
		return nil
	}
	x := &addresses{sends: newCrowd(p.PacketRate, p.ByteRate, burst), max: int32(p.ConnectionsMax), rate: newRate(p.ConnectRate, p.ConnectBurst), seed: maphash.MakeSeed()}
	for _, text := range p.Exempt {
		if network, err := parseNetwork(text); err == nil { // Validate has judged them
			x.exempt = append(x.exempt, network)
		}
	}
	for i := range x.parts {
		x.parts[i].of = map[netip.Addr]addressState{}
	}
	return x
}

// mappedBits come before an IPv4 address in the form of IPv6 (RFC 4291 §2.5.5.2).
const mappedBits = 96

// parseNetwork reads an address or a network.
func parseNetwork(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if a := p.Addr(); a.Is4In6() && p.Bits() >= mappedBits {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-mappedBits)
	}
	return p.Masked(), err
}

// networkBits is how much of an IPv6 address counts.
const networkBits = 64

// networkOf is what an address counts as.
func networkOf(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is4() {
		return a
	}
	p, _ := a.WithZone("").Prefix(networkBits)
	return p.Addr()
}

// counts tells whether an address is bounded at all.
func (x *addresses) counts(a netip.Addr) bool {
	if x == nil || !a.IsValid() {
		return false
	}
	for _, p := range x.exempt {
		if p.Contains(a.Unmap()) {
			return false
		}
	}
	return true
}

func (x *addresses) part(a netip.Addr) *addressPart {
	return &x.parts[maphash.Comparable(x.seed, a)%addressParts]
}

// enter takes a place for a connection from a.
func (x *addresses) enter(a netip.Addr, now int64) verdict {
	if !x.counts(a) {
		return welcome
	}
	a = networkOf(a)
	p := x.part(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	state, known := p.of[a]
	switch {
	case !known && !p.hasRoom(now):
		x.uncounted.Add(1)
		return welcome
	case x.max > 0 && state.open >= x.max:
		return turnedAddressFull
	case x.rate.limits() && state.came.take(now, &x.rate) > 0:
		return turnedAddressRate
	}
	state.open++
	p.of[a] = state
	return welcome
}

// mayEnter tells whether enter would have a place.
func (x *addresses) mayEnter(a netip.Addr, now int64) bool {
	if !x.counts(a) {
		return true
	}
	a = networkOf(a)
	p := x.part(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	state := p.of[a]
	return (x.max == 0 || state.open < x.max) && (!x.rate.limits() || state.came.take(now, &x.rate) == 0)
}

// leave gives it back.
func (x *addresses) leave(a netip.Addr, now int64) {
	if !x.counts(a) {
		return
	}
	a = networkOf(a)
	p := x.part(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	state, known := p.of[a]
	if !known {
		return // it was not counted
	}
	state.open = max(0, state.open-1)
	p.keep(a, state, now)
}

// keep remembers a state for as long as it says something. The lock is held.
func (p *addressPart) keep(a netip.Addr, state addressState, now int64) {
	if state.open == 0 && state.came.idle(now) && state.sends.idle(now) {
		delete(p.of, a)
		return
	}
	p.of[a] = state
}

// hasRoom tells whether one more address can be remembered. The lock is held.
func (p *addressPart) hasRoom(now int64) bool {
	if len(p.of) < addressPartMax {
		return true
	}
	looked := 0
	for a, state := range p.of {
		p.keep(a, state, now)
		if looked++; looked == addressForgetMax {
			break
		}
	}
	return len(p.of) < addressPartMax
}

// forget removes what says nothing any more from one of the parts.
func (x *addresses) forget(part int, now int64) {
	if x == nil {
		return
	}
	p := &x.parts[part%addressParts]
	p.mu.Lock()
	defer p.mu.Unlock()
	for a, state := range p.of {
		p.keep(a, state, now)
	}
}

// known is how many addresses are remembered, and for how many connections there was no room to.
func (x *addresses) known() (n int, uncounted uint64) {
	if x == nil {
		return 0, 0
	}
	for i := range x.parts {
		p := &x.parts[i]
		p.mu.Lock()
		n += len(p.of)
		p.mu.Unlock()
	}
	return n, x.uncounted.Load()
}
