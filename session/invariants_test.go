package session

import "fmt"

// counts is what a walk over all sessions finds.
type counts struct {
	live, subscriptions, queued, queuedBytes, inflight, due, keptBytes, lastValues int
	refs                                                                           map[*stored]int32
}

// invariants checks everything that must hold between two events, when no Out is under way but those given.
func invariants(t *Table, outs ...*Out) error {
	c := counts{refs: map[*stored]int32{}}
	var err error
	for _, o := range outs {
		for _, k := range o.held {
			c.refs[k]++
		}
	}
	for i := range t.orphans.len() {
		c.refs[t.orphans.at(i).kept]++
	}
	t.Each(func(s *Session) bool {
		if err = c.session(s); err != nil {
			err = fmt.Errorf("session %q: %w", s.id, err)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	for k, refs := range c.refs {
		if c.keptBytes += cap(k.buf); k.refs != refs {
			return fmt.Errorf("%q is kept %d times and counts %d", k.msg.Topic, refs, k.refs)
		}
	}
	for _, p := range []struct {
		what      string
		have, sum int
	}{
		{"live", t.live, c.live}, {"subscriptions", t.subscriptions, c.subscriptions}, {"queued", t.queued, c.queued},
		{"queued bytes", t.queuedBytes, c.queuedBytes}, {"in flight", t.inflight, c.inflight},
		{"last values", len(t.lastValues), c.lastValues}, {"due", len(t.due.list), c.due}, {"kept bytes", t.store.bytes, c.keptBytes},
	} {
		if p.have != p.sum {
			return fmt.Errorf("table counts %d %s, there are %d", p.have, p.what, p.sum)
		}
	}
	for i := range t.due.list {
		if t.due.list[i].dueAt != int32(i) || i > 0 && t.due.before(i, (i-1)/2) {
			return fmt.Errorf("due heap is wrong at %d", i)
		}
	}
	return routes(t)
}

func (c *counts) session(s *Session) error {
	t := s.table
	switch {
	case s.state == live:
		c.live++
		if s.owner == 0 || s.dueAt != notDue {
			return fmt.Errorf("live with owner %d, due %d", s.owner, s.dueAt)
		}
	case s.state == detached:
		if s.Owner() != 0 || s.resumed || (s.dueAt != notDue) != (s.dueSec() != Never) {
			return fmt.Errorf("detached with owner %d, due at %d", s.Owner(), s.dueAt)
		}
	default:
		return fmt.Errorf("in the table with state %d", s.state)
	}
	if s.dueAt != notDue {
		c.due++
	}
	if t.Get([]byte(s.id)) != s {
		return fmt.Errorf("not found by its client id")
	}
	n := 0
	for sub := s.subs; sub != nil; sub = sub.next {
		n++
	}
	if n != int(s.subCount) || t.limits.Classes == nil && n > t.limits.SubscriptionsMax {
		return fmt.Errorf("%d filters, counted %d", n, s.subCount)
	}
	c.subscriptions += n
	if s.hasWill() {
		c.refs[s.extra.will.kept]++
	}
	if s.extra != nil && !s.hasWill() && s.durable() == nil {
		return fmt.Errorf("holds an empty extra")
	}
	if err := durableInvariants(s); err != nil {
		return err
	}
	return c.flow(s)
}

func (c *counts) flow(s *Session) error {
	f := s.flow
	if f == nil {
		return nil
	}
	if f.window.n+f.queue.n+f.acks.n+f.recs.n == 0 {
		return fmt.Errorf("holds an empty flow")
	}
	l := &s.table.limits
	if f.window.len() > int(l.InflightMax) || f.sent > f.window.len() || f.sent > s.windowMax() || s.state != live && f.sent > 0 {
		return fmt.Errorf("window %d, sent %d, of %d", f.window.len(), f.sent, s.windowMax())
	}
	ids := map[uint16]bool{}
	held, shared := 0, uint32(0)
	for i := range f.window.len() {
		e := f.window.at(i)
		held += e.size()
		if e.id == 0 || ids[e.id] || (e.kept == nil) != (e.phase() == awaitComp) || e.kept == nil && e.group != 0 || e.qos == 0 {
			return fmt.Errorf("window entry %d is wrong: %+v", i, *e)
		}
		ids[e.id] = true
		if e.group != 0 {
			shared++
		}
		if e.kept != nil {
			c.refs[e.kept]++
		}
	}
	if held != f.heldBytes {
		return fmt.Errorf("the window holds %d bytes, %d are counted", held, f.heldBytes)
	}
	for k := 1; k <= int(f.freeIDs); k++ {
		span := 65535
		if s.Durable() {
			span = idsLogged
		}
		if id := (int(s.lastID)+k-1)%span + 1; ids[uint16(id)] {
			return fmt.Errorf("id %d is thought free", id)
		}
		if k > 1000 {
			break
		}
	}
	bytes, qos0, dead := 0, 0, 0
	topics := map[string]bool{}
	for i := range f.queue.len() {
		e := f.queue.at(i)
		if e.kept == nil {
			if dead++; i == 0 || *e != (entry{}) {
				return fmt.Errorf("queue entry %d is dead and wrong: %+v", i, *e)
			}
			continue
		}
		if e.group != 0 {
			shared++
		}
		if m := &e.kept.msg; m.LastValue {
			topic := fmt.Sprintf("%d %s", e.lane(), m.Topic)
			if c.lastValues++; topics[topic] || s.older(m, e.lane()) != i {
				return fmt.Errorf("queue entry %d is not where the last value of %q is thought", i, topic)
			}
			topics[topic] = true
		}
		c.refs[e.kept]++
		bytes += e.kept.msg.size()
		if e.qos == 0 {
			qos0++
		}
	}
	if bytes != f.queueBytes || qos0 != int(f.queueQoS0) || bytes > l.QueueBytesMax || f.queue.len()-dead > max(0, l.QueueCountMax) {
		return fmt.Errorf("queue of %d, %d bytes (counted %d), %d QoS 0 (counted %d)", f.queue.len(), bytes, f.queueBytes, qos0, f.queueQoS0)
	}
	if dead != int(f.dead) || f.queue.len() > 2*max(0, l.QueueCountMax)+deadMin+1 || shared != f.shared {
		return fmt.Errorf("%d dead of %d (counted %d), %d of groups (counted %d)", dead, f.queue.len(), f.dead, shared, f.shared)
	}
	c.queued, c.queuedBytes, c.inflight = c.queued+f.queue.len()-dead, c.queuedBytes+bytes, c.inflight+f.window.len()
	return f.inboundWrong(s)
}

func (f *flow) inboundWrong(s *Session) error {
	counted, known := 0, 0
	for i := range f.acks.len() {
		in := f.acks.at(i)
		if in.has(inCounted) != (i >= int(f.stale)) || in.has(inTaken) && i == int(f.stale) {
			return fmt.Errorf("inbound QoS 1 %d is wrong: %+v, %d stale", i, *in, f.stale)
		}
		if in.has(inCounted) {
			counted++
		} else if in.has(inTaken) {
			known++
		}
	}
	if known != int(f.known) || f.stale > 0 && !s.Durable() {
		return fmt.Errorf("%d stale, %d known (counted %d)", f.stale, known, f.known)
	}
	seen := map[uint16]bool{}
	for i := range f.recs.len() {
		in := f.recs.at(i)
		if in.has(inCounted) {
			counted++
		}
		if seen[in.id] || i < f.recd && !in.has(inTaken) || i == f.recd && in.has(inTaken) {
			return fmt.Errorf("inbound QoS 2 %d is wrong: %+v, %d received", i, *in, f.recd)
		}
		seen[in.id] = true
	}
	if counted != f.unacked || f.unacked > int(s.receiveLimit()) || s.state != live && f.unacked > 0 {
		return fmt.Errorf("%d of the device's under way, counted %d", counted, f.unacked)
	}
	return nil
}

// routes checks that every filter of every session is found where it belongs, and nothing else.
func routes(t *Table) error {
	found := 0
	var err error
	one := func(head *Subscription) {
		if head == nil {
			return
		}
		if head.group == nil {
			found++
			return
		}
		for i, s := range head.group.subs {
			if s.group != head.group || int(s.pos) != i || s.Filter != head.Filter || len(head.group.subs) < 2 {
				err = fmt.Errorf("subscription %d of %q is not in its place", i, head.Filter)
			}
			found++
		}
	}
	t.exact.each(func(s *Subscription) bool { one(s); return true })
	nodes := 0
	var walk func(n *node)
	walk = func(n *node) {
		one(n.here)
		one(n.below)
		if n.parent != nil && n.here == nil && n.below == nil && n.plus == nil && n.kids == 0 {
			err = fmt.Errorf("empty trie node %q", n.level)
		}
		if n.plus != nil {
			walk(n.plus)
		}
		kids := uint32(0)
		t.wild.edges.each(func(kid *node) bool {
			if kid.parent == n {
				kids++
				nodes++
				walk(kid)
			}
			return true
		})
		if kids != n.kids {
			err = fmt.Errorf("trie node %q has %d children and counts %d", n.level, kids, n.kids)
		}
	}
	walk(&t.wild.root)
	if nodes != t.wild.edges.n {
		err = fmt.Errorf("%d trie nodes, %d reachable", t.wild.edges.n, nodes)
	}
	for name, g := range t.groups {
		if g.interest != 0 && t.byInterest[g.interest] != g || g.interest == 0 && (g.at >= len(t.unbound) || t.unbound[g.at] != g) {
			err = fmt.Errorf("%q is not where its id is looked for", name)
		}
		for i, s := range g.subs {
			found++
			if s.group != g || int(s.pos) != i || (s.session.state == live) != (i < int(g.live)) || name != sharePrefix+s.Share+"/"+s.Filter {
				err = fmt.Errorf("member %d of %q is not in its place", i, name)
			}
		}
	}
	if n := len(t.unbound) + len(t.byInterest); n != len(t.groups) {
		err = fmt.Errorf("%d shared groups, %d by id", len(t.groups), n)
	}
	if err == nil && found != t.subscriptions {
		err = fmt.Errorf("%d filters are routed, %d are held", found, t.subscriptions)
	}
	return err
}
