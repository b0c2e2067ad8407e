package session

// Group is the subscriptions of one filter: of all sessions for a plain filter, of the group's members for a
// `$share` one. Members of a shared group stand in two parts, live ones first. Owned by the shard of its table.
type Group struct {
	subs     []*Subscription
	live     uint32 // shared: how many of subs, from the front, are live
	turn     uint32 // shared: counts calls of Next
	interest uint32 // shared: under which the table knows it, 0 not yet
	at       int    // shared: place in Table.unbound while that is so
	name     string // shared: $share/group/filter
	strategy Strategy
}

// Members is how many there are, live or not.
func (g *Group) Members() int { return len(g.subs) }

// Live is how many members are live.
func (g *Group) Live() int { return int(g.live) }

// Each calls f for every member, live ones first, until it says false. f must not change the group.
func (g *Group) Each(f func(*Subscription) bool) {
	for _, s := range g.subs {
		if !f(s) {
			return
		}
	}
}

func (g *Group) add(s *Subscription) {
	s.group, s.pos = g, uint32(len(g.subs))
	g.subs = append(g.subs, s)
}

// remove takes s out; the last one takes its place.
func (g *Group) remove(s *Subscription) {
	last := len(g.subs) - 1
	g.swap(s.pos, uint32(last))
	g.subs[last] = nil
	g.subs = g.subs[:last]
	s.group = nil
	if c := cap(g.subs); c > 16 && last < c/4 {
		g.subs = append(make([]*Subscription, 0, c/2), g.subs...)
	}
}

func (g *Group) swap(i, j uint32) {
	a, b := g.subs[i], g.subs[j]
	g.subs[i], g.subs[j] = b, a
	a.pos, b.pos = j, i
}

// awake moves s into the live part.
func (g *Group) awake(s *Subscription) {
	g.swap(s.pos, g.live)
	g.live++
}

// asleep moves s out of the live part.
func (g *Group) asleep(s *Subscription) {
	g.live--
	g.swap(s.pos, g.live)
}

// join adds s to the subscriptions headed by head (nil: none yet) and returns the head.
func join(head, s *Subscription) *Subscription {
	if head == nil {
		return s
	}
	s.Filter = head.Filter
	if head.group == nil {
		g := &Group{subs: make([]*Subscription, 0, 2)}
		g.add(head)
	}
	head.group.add(s)
	return head
}

// leave takes s out of the subscriptions headed by head and returns the head, nil when none is left.
func leave(head, s *Subscription) *Subscription {
	g := s.group
	if g == nil {
		return nil
	}
	g.remove(s)
	if head == s {
		head = g.subs[0]
	}
	if len(g.subs) == 1 {
		head.group = nil
	}
	return head
}

// joinShared adds s to its shared group. s belongs to a live session.
func (t *Table) joinShared(s *Subscription, name string) {
	g := t.groups[name]
	if g == nil {
		g = &Group{name: name, strategy: t.strategyOf(name[len(sharePrefix) : len(name)-len(s.Filter)-1])}
		t.groups[name] = g
		t.unbind(g)
	}
	s.Share = g.name[len(sharePrefix) : len(g.name)-len(s.Filter)-1]
	s.Filter = g.name[len(g.name)-len(s.Filter):]
	g.add(s)
	g.awake(s)
}

// leaveShared takes s out of its shared group.
func (t *Table) leaveShared(s *Subscription) {
	g := s.group
	if s.pos < g.live {
		g.asleep(s)
	}
	g.remove(s)
	if len(g.subs) > 0 {
		return
	}
	delete(t.groups, g.name)
	if g.interest != 0 {
		delete(t.byInterest, g.interest)
		return
	}
	last := len(t.unbound) - 1
	t.unbound[g.at] = t.unbound[last]
	t.unbound[g.at].at = g.at
	t.unbound[last] = nil
	t.unbound = t.unbound[:last]
}

// unbind lists g as one whose id is not known.
func (t *Table) unbind(g *Group) {
	g.at = len(t.unbound)
	t.unbound = append(t.unbound, g)
}

// Group is the shared group whose members' Subscription.Interest is interest, nil when there is none. The table looks at Interest
// when it is asked for an id it does not know, so the caller just sets the field; all members of a group have one id.
func (t *Table) Group(interest uint32) *Group {
	if interest == 0 {
		return nil
	}
	if g := t.byInterest[interest]; g != nil {
		if g.subs[0].Interest == interest || g.subs[0].Interest == 0 {
			return g
		}
		// The caller gave the group another id since.
		delete(t.byInterest, interest)
		g.interest = 0
		t.unbind(g)
	}
	all := t.unbound
	t.unbound = t.unbound[:0]
	for _, g := range all {
		if !t.bind(g) {
			t.unbind(g)
		}
	}
	clear(all[len(t.unbound):])
	return t.byInterest[interest]
}

// bind enters g under the id that a member carries; false when none carries one yet.
func (t *Table) bind(g *Group) bool {
	for _, s := range g.subs {
		if s.Interest != 0 {
			g.interest = s.Interest
			t.byInterest[g.interest] = g
			return true
		}
	}
	return false
}
