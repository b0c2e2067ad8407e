package gateway

import (
	"hash/maphash"

	"github.com/tidegate/tidegate/epoll"
)

// Two devices with one client id take the session from each other for ever, each connecting again as soon as the other has it. Nothing in MQTT tells them.
// So whoever looks after them is told, with both addresses, and the one that comes has to wait: the one that is connected can work meanwhile.

// duels are the client ids of a shard whose connections take over from each other. Owned by one loop.
type duels struct {
	seed   maphash.Seed
	of     map[uint64]cell // by the hash of the id
	saidAt int64
}

// A takeover now and then is a device that lost its connection without the gateway's knowing; duelTakeovers within duelWindow are none. One in
// duelLogTime is logged by each loop.
const (
	duelTakeovers = 6
	duelWindow    = 60 * secondNanos
	duelsMax      = 1 << 12
	duelLogTime   = 60 * secondNanos
)

var duelRate = rate{duelTakeovers, duelWindow, duelWindow}

func newDuels() *duels {
	return &duels{seed: maphash.MakeSeed(), of: map[uint64]cell{}, saidAt: -duelLogTime}
}

// tookOver counts that a connection lost its session to another, and tells of a duel.
func (s *shard) tookOver(old *epoll.Conn) {
	d := s.devices.At(old.Slot())
	if d.sess == nil {
		return
	}
	x, now, client := s.duels, s.loop.Now(), d.sess.ClientID()
	h := maphash.String(x.seed, client)
	c, known := x.of[h]
	if !known && len(x.of) >= duelsMax && !x.forget(now) {
		return
	}
	fights := c.take(now, &duelRate) > 0
	x.of[h] = c
	if !fights {
		return
	}
	s.count.duels++
	if now-x.saidAt < duelLogTime {
		return
	}
	x.saidAt = now
	newer := "another gateway"
	if c := s.connOf(s.table.Get([]byte(client))); c != nil && c != old {
		newer = s.peerOf(c, s.devices.At(c.Slot())).String()
	}
	s.gw.log.Warn().Str("client", client).Stringer("older", s.peerOf(old, d)).Str("newer", newer).
		Msg("two devices seem to have the same client id and take the session from each other; give one of them another id (the loop is silent about further ones for a minute; gateway_duplicate_ids_total counts)")
}

// forget removes those that are at peace; false: there were none.
func (x *duels) forget(now int64) (found bool) {
	look := addressForgetMax
	for h, c := range x.of {
		if c.idle(now) {
			delete(x.of, h)
			found = true
		}
		if look--; look == 0 {
			break
		}
	}
	return found
}

// waitsOut has a CONNECT wait whose client id another connection has, and is fought over; false: it need not, or has waited.
func (s *shard) waitsOut(c *epoll.Conn, d *device, client []byte) bool {
	x, now := s.duels, s.loop.Now()
	if len(x.of) == 0 || d.waited || s.cfg.Bans.DuplicateWait == 0 {
		return false
	}
	if f, known := x.of[maphash.Bytes(x.seed, client)]; !known || f.take(now, &duelRate) == 0 || s.connOf(s.table.Get(client)) == nil {
		return false
	}
	d.waited = true
	c.PauseRead()
	s.pauses.add(c.Handle(), now, now+int64(s.cfg.Bans.DuplicateWait))
	return true
}
