package gateway

import (
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
)

// A gateway that NATS did not hear for longer than presence.lease_time counts as dead, and another takes up its sessions. If it was only cut off,
// its devices are still connected to it, and to nobody else. So when it finds the record of such a session taken up, and no connection has had
// it since, it takes the record back, as a connection would that came now, and the device notices nothing. What it has is the newer state: who
// took the session up has only published its will and counted down its time.

// isLive tells whether the device of a kept session is connected here.
func (s *shard) isLive(k *keeper) bool {
	c := s.loop.Conn(epoll.Handle(k.sess.Owner()))
	return c != nil && s.devices.At(c.Slot()).sess == k.sess
}

// regain looks who has the record of a session whose device is here. Until that is known nothing of it is written.
func (s *shard) regain(k *keeper) {
	k.saving = true
	s.saving++
	s.gw.durable.saves.Add(1)
	base := k.revision
	s.gw.lookWhoHas([]byte(k.sess.ClientID()), base, openTries, func(r bus.SessionRecord, err error) {
		s.gw.durable.saves.Add(-1)
		head, _ := cutRecord(r.Value)
		s.doSoon(func(s *shard) { s.regained(k, base, r.Revision, head, err) })
	})
}

// lookWhoHas reads a record that is newer than a revision; a replica of NATS may not have it yet. Any goroutine.
func (g *Gateway) lookWhoHas(client []byte, newerThan uint64, tries int, done func(r bus.SessionRecord, err error)) {
	g.bus.LoadSession(client, func(r bus.SessionRecord, err error) {
		if err == nil && r.Revision == newerThan && tries > 0 {
			tryAgain(tries, func() { g.lookWhoHas(client, newerThan, tries-1, done) })
			return
		}
		done(r, err)
	})
}

// regained claims the record, if who has it has no connection, and gives the session up if not.
func (s *shard) regained(k *keeper, base, revision uint64, head head, err error) {
	k.saving = false
	s.saving--
	defer s.beginNext(k)
	switch {
	case k.ended: // what is there is the other gateway's
		s.dropped(k.sess.ClientID())
		s.letGo(k)
	case keeperOf(k.sess) != k:
		s.letGo(k)
	case k.moving:
		s.forget(k.sess)
		s.letGo(k)
	case k.revision != base: // it was a connect of the device here that wrote the record, and has the session by now
		k.held, k.ready = append(k.ready, k.held...), nil
		s.save(k, nil)
	case err != nil || head.flags&recordAdopted == 0 || !s.isLive(k):
		s.giveUp(k)
	default:
		s.gw.passed(head.generation)
		k.revision, k.generation = revision, s.gw.generation()
		s.claimAgain(k)
		s.count.regained++
		k.held, k.ready = append(k.ready, k.held...), nil
		s.save(k, nil)
	}
}

// claimAgain tells the others that the connection of a session has it from now on.
func (s *shard) claimAgain(k *keeper) {
	if x := s.gw.claims; x != nil {
		*s.claimedAt.At(epoll.Handle(k.sess.Owner()).Slot()) = k.generation
		x.add(k.sess.ClientID(), k.generation, false)
	}
}
