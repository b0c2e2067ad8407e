package gateway

import (
	"cmp"
	"slices"

	"github.com/tidegate/tidegate/epoll"
)

const (
	// shedShare is the part of a loop's connections that has to go each second: one in so many.
	shedShare = 50
	// shedMax is how many these are at most.
	shedMax = 1000
)

// leaver is a connection that may have to go; those with the smallest rank go first.
type leaver struct {
	rank uint64
	h    epoll.Handle
}

// round is one loop's search for those who have to go.
type round struct {
	why  reason
	n    int
	list []leaver
}

// shed has every loop send some away. It waits for none.
func (x *guard) shed(why reason) {
	for _, s := range x.gw.shards {
		x.rounds.Add(1)
		s.doSoon(func(s *shard) {
			s.shed(&round{why: why, n: min(shedMax, 1+s.loop.Stats().Conns/shedShare)}, 1)
		})
	}
}

// shed looks at the connections from a slot on, and in the next tick at the following ones.
func (s *shard) shed(r *round, from uint32) {
	next := s.loop.EachFrom(from, announceStep, func(c *epoll.Conn) {
		if rank, may := s.devices.At(c.Slot()).rank(); may {
			r.list = append(r.list, leaver{rank, c.Handle()})
		}
		if len(r.list) >= 2*shedMax {
			r.cut()
		}
	})
	if next != 0 {
		s.doSoon(func(s *shard) { s.shed(r, next) })
		return
	}
	r.cut()
	for _, l := range r.list {
		s.doomed = append(s.doomed, doomed{l.h, r.why})
	}
	s.gw.guard.rounds.Add(-1)
	s.loop.Wake()
}

// cut leaves those who have to go.
func (r *round) cut() {
	slices.SortFunc(r.list, func(x, y leaver) int { return cmp.Compare(x.rank, y.rank) })
	r.list = r.list[:min(len(r.list), r.n)]
}

// rank is when a device has to go; may is false if its going would lose messages that somebody was told are safe, or if it is leaving anyway. First are those who
// have no session yet, then sessions that end with their connection, then those that wait for their device, with messages under way last; of each the newest first.
func (d *device) rank() (rank uint64, may bool) {
	switch {
	case d.unwelcome || d.state == stateMoving || d.state == stateDraining:
		return 0, false
	case d.sess == nil:
		return 0, true
	}
	busy := d.sess.Inflight()+d.sess.Queued()+d.sess.Unaccepted() > 0
	class := uint64(1)
	switch {
	case d.sess.ExpirySec() == 0 && busy:
		return 0, false
	case busy:
		class = 3
	case d.sess.ExpirySec() > 0:
		class = 2
	}
	return class<<32 | uint64(^d.sess.Stamp()), true
}
