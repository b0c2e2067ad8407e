package gateway

import (
	"hash/maphash"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// A client id flaps that connects again and again, as one does whose firmware crashes after each connect: each costs the gateways, NATS and every backend
// that follows who is connected. It is banned for a while. As whoever may connect as somebody can have that client id banned, it is off unless set.

// flaps are the client ids of a shard that connected of late. Owned by one loop.
type flaps struct {
	rate rate
	seed maphash.Seed
	of   map[uint64]cell // by the hash of the id
}

// flapsMax is how many client ids a loop notes, 2 MB of memory. Those beyond it may flap.
const flapsMax = 1 << 16

// newFlaps returns nil when nobody is to be banned for it.
func newFlaps(c *BansCfg) *flaps {
	if c.FlappingConnects == 0 {
		return nil
	}
	return &flaps{rate: rateIn(c.FlappingConnects, c.FlappingWindow), seed: maphash.MakeSeed(), of: map[uint64]cell{}}
}

// came counts a connect; true: it was one too many.
func (f *flaps) came(client []byte, now int64) bool {
	h := maphash.Bytes(f.seed, client)
	c, known := f.of[h]
	if !known && len(f.of) >= flapsMax && !f.forget(now, addressForgetMax) {
		return false
	}
	tooMany := c.take(now, &f.rate) > 0
	f.of[h] = c
	return tooMany
}

// forget removes those that did not come for long, of some that it looks at; false: there were none.
func (f *flaps) forget(now int64, look int) (found bool) {
	for h, c := range f.of {
		if c.idle(now) {
			delete(f.of, h)
			found = true
		}
		if look--; look == 0 {
			break
		}
	}
	return found
}

// keepFlapping refuses the CONNECT of such a client id; false: it is none. One that waits for its record comes here twice and is counted once.
func (s *shard) keepFlapping(c *epoll.Conn, d *device, q *mqtt.Connect) bool {
	if s.openings[c.Handle()] != nil || !s.flapped(q.ClientID) {
		return false
	}
	s.refuse(c, d, refusedBanned.code(), refusedBanned.text())
	return true
}

// flapped bans a client id that connects too often; false: it does not.
func (s *shard) flapped(client []byte) bool {
	if s.flaps == nil || !s.flaps.came(client, s.loop.Now()) {
		return false
	}
	s.count.flapped++
	now := time.Now()
	s.gw.bans.impose(&bus.Ban{
		Kind: bus.BanClient, Name: string(client), Reason: "flapping", By: s.gw.cfg.Node, At: now, Until: now.Add(s.cfg.Bans.FlappingBan),
	})
	return true
}
