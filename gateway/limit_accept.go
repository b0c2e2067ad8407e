package gateway

import (
	"net/http"
	"net/netip"
	"sync/atomic"

	"github.com/tidegate/tidegate/epoll"
)

// verdict is whether a new connection may stay, or why it is only told to go.
type verdict uint8

const (
	welcome verdict = iota
	turnedFull
	turnedDraining
	turnedListenerFull
	turnedListenerRate
	turnedAddressFull
	turnedAddressRate
	turnedBanned
	turnedMemory
	turnedLag
	verdictCount
)

// verdicts are how each looks to a device and in metrics.
var verdicts = [verdictCount]struct {
	label   string // of gateway_accept_refused_total
	reason  reason
	refusal refusal
	status  int // of HTTP
}{
	turnedFull:         {"full", reasonFull, refusedFull, http.StatusServiceUnavailable},
	turnedDraining:     {"draining", reasonShutdown, refusedDraining, http.StatusServiceUnavailable},
	turnedListenerFull: {"listener_full", reasonFull, refusedListenerFull, http.StatusServiceUnavailable},
	turnedListenerRate: {"listener_rate", reasonConnectRate, refusedConnectRate, http.StatusServiceUnavailable},
	turnedAddressFull:  {"address_full", reasonFull, refusedAddressFull, http.StatusTooManyRequests},
	turnedAddressRate:  {"address_rate", reasonConnectRate, refusedAddressRate, http.StatusTooManyRequests},
	turnedBanned:       {"banned", reasonBanned, refusedBanned, http.StatusForbidden}, // told only in HTTP
	turnedMemory:       {"memory", reasonMemory, refusedMemory, http.StatusServiceUnavailable},
	turnedLag:          {"lag", reasonLag, refusedLag, http.StatusServiceUnavailable},
}

// gate holds the connections of one listener, of all loops, to its limits. Safe from any goroutine.
type gate struct {
	max  int64 // 0: no limit
	rate rate
	open atomic.Int64
	came sharedCell
}

// newGate returns nil for a listener without such limits.
func newGate(b *Bounds) *gate {
	if b.ConnectionsMax == 0 && b.ConnectRate == 0 {
		return nil
	}
	return &gate{max: int64(b.ConnectionsMax), rate: newRate(b.ConnectRate, b.ConnectBurst)}
}

// enter takes a place.
func (x *gate) enter(now int64) verdict {
	if x.max > 0 && x.open.Add(1) > x.max {
		x.leave()
		return turnedListenerFull
	}
	if x.rate.limits() && x.came.take(now, &x.rate) > 0 {
		x.leave()
		return turnedListenerRate
	}
	return welcome
}

// leave gives it back.
func (x *gate) leave() {
	if x.max > 0 {
		x.open.Add(-1)
	}
}

// mayEnter tells whether enter would have a place.
func (x *gate) mayEnter(now int64) bool {
	c := cell(x.came.at.Load())
	return (x.max == 0 || x.open.Load() < x.max) && (!x.rate.limits() || c.take(now, &x.rate) == 0)
}

// admit is epoll.Options.Admit: a connection from a banned address, or one that could not even be told to go, is reset before it costs anything.
func (s *shard) admit(listener int, peer netip.AddrPort) bool {
	from := s.gw.answerable(listener, peer, nil)
	if s.gw.bannedAddress(from) {
		s.count.turnedAway[turnedBanned]++
		s.count.bannedUnheard++
		return false
	}
	return s.refusing < s.gw.refusalsMax || !s.draining && s.gw.mayEnter(listener, from, s.loop.Now())
}

// takePlace counts a new connection in, or makes it one that is only told to go.
func (s *shard) takePlace(c *epoll.Conn, d *device) {
	v := turnedDraining
	if !s.draining {
		v = s.gw.enter(c.Listener(), s.gw.answerable(c.Listener(), c.Peer(), nil), s.loop.Now())
	}
	if v != welcome {
		s.unwelcomes(c, d, v)
	}
}

// unwelcomes makes a connection that has no place one that is only told to go.
func (s *shard) unwelcomes(c *epoll.Conn, d *device, v verdict) {
	d.unwelcome, d.verdict = true, v
	s.refusing++
	s.count.turnedAway[v]++
	if s.refusing > s.gw.refusalsMax {
		c.Close() // too many are being told
	}
}

// givePlace counts it out.
func (s *shard) givePlace(c *epoll.Conn, d *device) {
	d.giveTenantPlace()
	if d.unwelcome {
		s.refusing--
		return
	}
	s.gw.leave(c.Listener(), s.gw.answerable(c.Listener(), c.Peer(), d.who()), s.loop.Now())
}

// enter takes a place in everything that is limited: the room is last, as one that is full for a moment is not ready. The address is before the
// listener, so that a single one cannot use up the rate of all.
func (g *Gateway) enter(listener int, from netip.Addr, now int64) verdict {
	if v := g.guard.turns(); v != welcome {
		return v
	}
	if v := g.addresses.enter(from, now); v != welcome {
		return v
	}
	v, x := welcome, g.gates[listener]
	if x != nil {
		v = x.enter(now)
	}
	if v == welcome && !g.room.enter() {
		v = turnedFull
		if x != nil {
			x.leave()
		}
	}
	if v != welcome {
		g.addresses.leave(from, now)
	}
	return v
}

// mayEnter tells whether enter would have a place.
func (g *Gateway) mayEnter(listener int, from netip.Addr, now int64) bool {
	x := g.gates[listener]
	return g.guard.turns() == welcome && g.room.open.Load() < g.room.max && (x == nil || x.mayEnter(now)) && g.addresses.mayEnter(from, now)
}

// leave gives them back.
func (g *Gateway) leave(listener int, from netip.Addr, now int64) {
	g.room.leave()
	if x := g.gates[listener]; x != nil {
		x.leave()
	}
	g.addresses.leave(from, now)
}

// turned is why a connection is told to go, as it is now.
func (s *shard) turned(d *device) verdict {
	if s.draining {
		return turnedDraining
	}
	return d.verdict
}

// turnAway answers the CONNECT of a device that may not stay.
func (s *shard) turnAway(c *epoll.Conn, d *device) {
	v := &verdicts[s.turned(d)]
	s.sendRefusal(c, d, v.refusal.code(), v.refusal.text())
	s.close(c, d, v.reason)
}

// turnAwayHTTP answers the WebSocket handshake of such a device, or with what is wrong with it.
func (s *shard) turnAwayHTTP(c *epoll.Conn, d *device, p []byte) (rest []byte) {
	v := &verdicts[s.turned(d)]
	s.turnStatus = v.status
	out, _, _, status := s.noUpgrade.Upgrade(c.Begin(), p)
	c.End(out)
	if status == 0 {
		return p
	}
	s.close(c, d, v.reason)
	return nil
}
