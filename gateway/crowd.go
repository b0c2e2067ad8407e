package gateway

import (
	"net/netip"
	"time"

	"github.com/tidegate/tidegate/epoll"
)

// What devices of one tenant, or of one address, send together is held to a rate as that of a single device is: whoever sends when it is used up is not read
// for a while. Nobody is closed for it, as nobody knows whose fault it is.

// crowd is what some devices of all loops send. nil and the zero crowd have no bound. Safe from any goroutine.
type crowd struct {
	packetRate, byteRate rate
	packets, bytes       sharedCell
}

func newCrowd(packets, bytes int, burst time.Duration) crowd {
	return crowd{packetRate: bursts(packets, burst), byteRate: bursts(bytes, burst)}
}

// bursts allows perSec events a second, and at once those of a time. perSec 0: no limit.
func bursts(perSec int, burst time.Duration) rate {
	if perSec == 0 {
		return rate{}
	}
	return lastingRate(perSec, burst.Nanoseconds())
}

func (x *crowd) limits() bool { return x != nil && (x.packetRate.limits() || x.byteRate.limits()) }

// charge counts packets of n bytes; wait is how long nothing more may come.
func (x *crowd) charge(now int64, packets, n int) (wait int64) {
	if x == nil {
		return 0
	}
	if x.packetRate.limits() {
		wait = x.packets.charge(now, &x.packetRate, packets)
	}
	if x.byteRate.limits() {
		wait = max(wait, x.bytes.charge(now, &x.byteRate, n))
	}
	return wait
}

// idle tells that the crowd is as if it had sent nothing.
func (x *crowd) idle(now int64) bool {
	return x == nil || x.packets.at.Load() <= now && x.bytes.at.Load() <= now
}

// chargeCrowds counts what a live device has sent for its tenant and its address.
func (s *shard) chargeCrowds(c *epoll.Conn, d *device, x *pace, now int64, packets, n int) (wait int64) {
	if t := d.tenant(); t != nil && t.sends.limits() {
		if wait = t.sends.charge(now, packets, n); wait > 0 {
			t.refused[tenantPace].Add(1)
		}
	}
	if !x.placed {
		x.placed, x.from = true, s.gw.addresses.crowdOf(s.gw.answerable(c.Listener(), c.Peer(), d.who()))
	}
	return max(wait, x.from.charge(now, packets, n))
}

// crowdOf is what comes from an address that is counted; nil: nobody bounds it.
func (x *addresses) crowdOf(a netip.Addr) *crowd {
	if x == nil || !x.sends.limits() || !x.counts(a) {
		return nil
	}
	a = networkOf(a)
	p := x.part(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	state, known := p.of[a]
	if !known {
		return nil
	}
	if state.sends == nil {
		state.sends = &crowd{packetRate: x.sends.packetRate, byteRate: x.sends.byteRate}
		p.of[a] = state
	}
	return state.sends
}
