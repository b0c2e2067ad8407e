package session

// A message of a shared group belongs to the group: when the member that got it goes before it acknowledged it, another one is to
// have it [MQTT 5, 4.8.2]. A member goes when its session ends, and already when its connection does while another member
// is live. Messages of a member that was the last live one wait for it, like those of any session.
//
// The member's entries move into the table's list of orphans, from which the caller takes some at a time: a full queue neither
// holds up the loop nor comes down on another member at once. They keep their bytes and their place in TableBytesMax meanwhile,
// so the list is bounded by what was kept before.

// orphan is a message whose member of a shared group went. 16 bytes.
type orphan struct {
	kept  *stored
	group uint32
}

// Orphan is a message to be given to its group again.
type Orphan struct {
	Msg   *Message
	Group uint32 // Subscription.Interest of its members
}

// Orphans is how many messages lost their member of a shared group and are not yet taken.
func (t *Table) Orphans() int { return t.orphans.len() }

// TakeOrphans moves up to n of them to out.Orphans, and no more once they have so many bytes, in the order in which their members
// had them. Effects of delivering them are applied before out is reset.
func (t *Table) TakeOrphans(n, bytes int, out *Out) {
	for ; n > 0 && bytes > 0 && t.orphans.n > 0; n-- {
		o := t.orphans.pop()
		bytes -= o.kept.msg.size()
		o.kept.msg.kept, o.kept.msg.keptGen = o.kept, o.kept.gen // a member of this table needs no other copy
		out.Orphans = append(out.Orphans, Orphan{Msg: &o.kept.msg, Group: o.group})
		out.held = append(out.held, o.kept)
	}
	t.orphans.trim()
}

// Adopt makes an orphan of a message that another table gave up, when its group had members here until a moment ago.
func (t *Table) Adopt(m *Message, group uint32, out *Out) {
	if t.store.bytes+m.size() > t.limits.TableBytesMax {
		out.Drops[DropTableBytes]++
		return
	}
	t.orphans.push(orphan{t.store.keep(m), group})
}

// giveUp makes orphans of the messages that the session has as a member of shared groups: those of QoS 1, and those that were
// never sent. A message of QoS 2 that was sent is completed with this device [MQTT-4.8.2-4] or with nobody [MQTT-4.8.2-5].
// While the session goes on, only what a live member can have is given up.
func (s *Session) giveUp(ended bool, out *Out) {
	f := s.flow
	if f == nil || f.shared == 0 {
		return
	}
	asked, free := uint32(0), false // the answer for the last group
	stays := func(e *entry) bool {
		if e.group != asked && e.group != 0 {
			asked, free = e.group, ended || s.table.groupLive(e.group)
		}
		return e.group == 0 || !free
	}
	f.window.filter(func(e *entry) bool {
		if e.qos != 1 || stays(e) {
			return true
		}
		s.table.inflight--
		f.heldBytes -= e.size()
		s.orphan(e, out)
		return false
	})
	s.sift(func(e *entry) bool {
		if stays(e) {
			return true
		}
		s.uncount(e)
		s.orphan(e, out)
		return false
	})
}

// orphan moves e, which leaves the flow, to the orphans.
func (s *Session) orphan(e *entry, out *Out) {
	s.table.orphans.push(orphan{e.kept, e.group})
	if e.ids != nil {
		out.heldIDs = append(out.heldIDs, e.ids)
	}
	s.flow.unshare(e)
}

// groupLive says whether a shared group has a live member, here or in another table.
func (t *Table) groupLive(interest uint32) bool {
	if g := t.Group(interest); g != nil && g.live > 0 {
		return true
	}
	return t.limits.GroupLive != nil && t.limits.GroupLive(interest)
}
