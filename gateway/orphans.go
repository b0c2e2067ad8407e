package gateway

import "github.com/tidegate/tidegate/session"

// Messages that lost their member of a shared subscription (session.Out.Orphans) are given to their group again, some in each
// tick: here, or by another shard when the strategy, or where members are live, says so. While some are on their way to other shards no
// more are taken, so that a shard that is behind has at most one budget of them.

// orphanBudget is how many such messages a shard gives away in one tick, orphanBytes how many bytes of them.
const (
	orphanBudget = 256
	orphanBytes  = 256 << 10
)

// stepOrphans gives some orphans to their groups.
func (s *shard) stepOrphans() {
	if s.handing.Load() > 0 {
		return // it goes on when they have arrived
	}
	s.table.TakeOrphans(orphanBudget, orphanBytes, &s.orphaned)
	var leaving []*batch // by shard
	for i := range s.orphaned.Orphans {
		o := &s.orphaned.Orphans[i]
		to, ok := s.gw.interests.routeAgain(o.Group, o.Msg.GroupKey)
		switch {
		case !ok:
			s.count.drops[session.DropSessionGone]++
		case int(to) == s.index:
			if !s.adopt(o.Msg, o.Group) {
				s.count.drops[session.DropSessionGone]++
			}
		default:
			if leaving == nil {
				leaving = make([]*batch, len(s.gw.shards))
			}
			if leaving[to] == nil {
				leaving[to] = s.uplink.pool.take()
			}
			leaving[to].add(o.Msg).interest = o.Group
		}
	}
	s.orphaned.Reset()
	for to, b := range leaving {
		if b != nil {
			s.handOver(s.gw.shards[to], b)
		}
	}
	if s.table.Orphans() > 0 {
		s.loop.Wake()
	}
}

// handOver gives a batch of orphans to another shard. What has no member there any more by then is routed again from there.
func (s *shard) handOver(to *shard, b *batch) {
	b.refs.Store(1)
	s.handing.Add(1)
	to.doSoon(func(to *shard) {
		for i := range b.msgs {
			b.message(i, &to.routed)
			if !to.adopt(&to.routed, b.msgs[i].interest) {
				to.makeOrphan(&to.routed, b.msgs[i].interest)
			}
		}
		b.release()
		s.handing.Add(-1)
		s.loop.Wake()
	})
}

// makeOrphan keeps a message whose group had members here until a moment ago, to be routed again at the end of the tick.
func (s *shard) makeOrphan(m *session.Message, group uint32) {
	s.table.Adopt(m, group, &s.dout)
	s.countDrops(&s.dout)
	s.dout.Reset()
}

// adopt gives an orphan to a member here; false: the last one has just left.
func (s *shard) adopt(m *session.Message, group uint32) (given bool) {
	defer s.containMessagePanic()
	if given = s.giveToGroup(m, group, true); given {
		s.count.redelivered++
	}
	return given
}
