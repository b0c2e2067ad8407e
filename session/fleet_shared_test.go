package session

import (
	"fmt"
	"slices"
)

// What the fleet knows of shared groups: who may get a message, and what becomes of those whose member went.

// turns is what a group's strategy has done since its members changed.
type turns struct {
	had    map[string]bool   // round robin: who had a turn in this round
	byKey  map[uint32]string // hash: who has a key
	sticky string            // who has everything
	absent bool              // and is away, as is everybody
}

func (f *fleet) turn(group uint32) *turns {
	if f.turns[group] == nil {
		f.turns[group] = &turns{had: map[string]bool{}, byKey: map[uint32]string{}}
	}
	return f.turns[group]
}

// changed begins anew; who goes does not stay the sticky one.
func (u *turns) changed(in *Interest) {
	clear(u.had)
	clear(u.byKey)
	if in.LiveChange < 0 || in.LiveChange == 0 && !in.Gained {
		if u.sticky == in.Sub.session.id {
			u.sticky = ""
		}
	} else if u.absent {
		u.sticky = ""
	}
}

// eligible is the members of a group that may get a message.
func (m *modelTable) eligible(full string) (list []*modelSession) {
	var away []*modelSession
	for _, s := range m.sessions {
		switch _, member := s.subs[full]; {
		case member && s.owner != 0:
			list = append(list, s)
		case member:
			away = append(away, s)
		}
	}
	if len(list) == 0 {
		return away
	}
	return list
}

// give has a group choose a member, checks the choice, and delivers.
func (f *fleet) give(full string, g *Group, ev *Event) error {
	who := f.model.eligible(full)
	sub := g.Next(ev.Msg.GroupKey)
	id := sub.session.id
	if !slices.ContainsFunc(who, func(s *modelSession) bool { return s.id == id }) {
		return fmt.Errorf("group %s chooses %s, which is no member or away", full, id)
	}
	if who[0].owner == 0 {
		f.reach["away"]++
	}
	if err := f.sameChoice(g, id, ev.Msg.GroupKey, who); err != nil {
		return fmt.Errorf("group %s, %v: %w", full, g.strategy, err)
	}
	ev.QoS, ev.Group, ev.Congested = sub.QoS, sub.Interest, f.rnd.IntN(6) == 0
	return f.step(sub.session, ev, fmt.Sprintf("deliver shared %s qos=%d orphan=%v congested=%v", ev.Msg.words(), sub.QoS, ev.Orphan, ev.Congested))
}

// sameChoice says whether the strategy may choose id.
func (f *fleet) sameChoice(g *Group, id string, key uint32, who []*modelSession) error {
	u := f.turn(g.subs[0].Interest)
	load := func(s *modelSession) int { return len(s.window) + len(s.queue) }
	switch g.strategy {
	case RoundRobin:
		if len(u.had) == len(who) {
			clear(u.had)
		}
		if u.had[id] {
			return fmt.Errorf("%s has a turn before others: %v", id, u.had)
		}
		u.had[id] = true
	case LeastInflight:
		fewest := slices.MinFunc(who, func(a, b *modelSession) int { return load(a) - load(b) })
		if chosen := f.model.sessions[id]; load(chosen) != load(fewest) {
			return fmt.Errorf("%s has %d, %s has %d", id, load(chosen), fewest.id, load(fewest))
		}
	case HashTopic, HashClient:
		if before := u.byKey[key]; before != "" && before != id {
			return fmt.Errorf("key %d was %s's and is %s's", key, before, id)
		}
		u.byKey[key] = id
	case Sticky:
		stays := slices.ContainsFunc(who, func(s *modelSession) bool { return s.id == u.sticky })
		if stays && u.sticky != id {
			return fmt.Errorf("%s had it and %s gets it", u.sticky, id)
		}
		u.sticky, u.absent = id, who[0].owner == 0
	}
	return nil
}

// sameOrphans compares what an event orphaned: the messages of a session are in order, sessions are in any.
func (f *fleet) sameOrphans() error {
	fresh := slices.DeleteFunc(f.model.fresh, func(list []*modelEntry) bool { return len(list) == 0 })
	f.model.fresh = nil
	for len(fresh) > 0 {
		i := slices.IndexFunc(fresh, f.nextOrphansAre)
		if i < 0 {
			break
		}
		f.reach["orphan"] += len(fresh[i])
		f.model.orphans = append(f.model.orphans, fresh[i]...)
		fresh = slices.Delete(fresh, i, i+1)
	}
	if len(fresh) > 0 || f.table.Orphans() != len(f.model.orphans) {
		return fmt.Errorf("%d orphans, want %d and of %d more sessions", f.table.Orphans(), len(f.model.orphans), len(fresh))
	}
	return nil
}

// nextOrphansAre says whether the table's orphans go on with list.
func (f *fleet) nextOrphansAre(list []*modelEntry) bool {
	at := len(f.model.orphans)
	if at+len(list) > f.table.Orphans() {
		return false
	}
	for i, e := range list {
		o := f.table.orphans.at(at + i)
		if o.group != e.group || o.kept.msg.words() != e.msg.words() || o.kept.msg.GroupKey != e.msg.GroupKey {
			return false
		}
	}
	return true
}

// redeliver gives some orphans to their groups.
func (f *fleet) redeliver() error {
	n := 1 + f.rnd.IntN(3)
	f.table.TakeOrphans(n, 1<<20, &f.taken)
	n = min(n, len(f.model.orphans))
	if len(f.taken.Orphans) != n {
		return fmt.Errorf("%d orphans taken, want %d", len(f.taken.Orphans), n)
	}
	f.model.orphans = f.model.orphans[n:]
	for i := range f.taken.Orphans {
		o := &f.taken.Orphans[i]
		g := f.table.Group(o.Group)
		if g == nil {
			continue
		}
		f.reach["redelivered"]++
		if err := f.give(g.name, g, &Event{Kind: Deliver, Msg: o.Msg, Orphan: true}); err != nil {
			return err
		}
	}
	if err := f.apply(); err != nil { // what is borrowed from the orphans ends first
		return err
	}
	f.taken.Reset()
	return invariants(f.table)
}
