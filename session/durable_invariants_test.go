package session

import "fmt"

// durableInvariants checks what must hold of durable state between two events.
func durableInvariants(s *Session) error {
	d := s.durable()
	if d == nil {
		if s.flow == nil {
			return nil
		}
		for _, r := range []*ring[entry]{&s.flow.window, &s.flow.queue} {
			for i := range r.len() {
				if e := r.at(i); e.has(^(markRetain | markFresh)) {
					return fmt.Errorf("not durable, but has %+v", *e)
				}
			}
		}
		return nil
	}
	if w := d.work; w != nil {
		if len(w.again)+len(w.since)+w.rels.len() == 0 {
			return fmt.Errorf("holds empty work")
		}
		for i := range w.again {
			if i > 0 && w.again[i-1].compare(w.again[i]) >= 0 || w.again[i].seq > d.at(w.again[i].stream).cursor {
				return fmt.Errorf("again is out of order or above the cursor: %v", w.again)
			}
		}
		if len(w.again) > 0 && !d.behind {
			return fmt.Errorf("current, but owed %v", w.again)
		}
		for _, n := range w.since {
			if !n.sub.Held() || n.sub.session != s {
				return fmt.Errorf("since of a filter that is no more")
			}
		}
		if w.snaps > w.rels.len() {
			return fmt.Errorf("%d of %d PUBRELs in the snapshot", w.snaps, w.rels.len())
		}
	}
	if s.flow == nil {
		return nil
	}
	return loggedInvariants(s)
}

func loggedInvariants(s *Session) error {
	d, f := s.durable(), s.flow
	last := map[uint16]uint64{}
	unsaved, fresh := false, false
	for i := range f.window.len() {
		e := f.window.at(i)
		logged := e.has(markLogged)
		switch {
		case e.has(markSnapped) && (!e.has(markUnsaved) || !d.saving), e.has(markUnsaved) && (!logged || e.qos != 2 || !e.has(markFresh)):
			return fmt.Errorf("window entry %d is marked wrong: %+v", i, *e)
		case e.has(markHollow) && i < f.sent:
			return fmt.Errorf("window entry %d was sent without bytes: %+v", i, *e)
		}
		unsaved = unsaved || e.has(markUnsaved) && !e.has(markSnapped)
		fresh = fresh || e.has(markFresh) && !e.has(markUnsaved) && i < f.sent
	}
	if unsaved && !d.dirty {
		return fmt.Errorf("something waits for a save that is not asked for")
	}
	if fresh && !d.ripe {
		return fmt.Errorf("something was saved and will not be sent")
	}
	for i := range f.queue.len() {
		e := f.queue.at(i)
		if e.kept == nil || !e.has(markLogged) {
			continue
		}
		m := &e.kept.msg
		if m.Seq <= last[m.Stream] || m.Seq > d.at(m.Stream).cursor || e.has(^(markRetain | markLogged)) {
			return fmt.Errorf("queue entry %d of stream %d at %d follows %d, marks %x", i, m.Stream, m.Seq, last[m.Stream], e.mark)
		}
		last[m.Stream] = m.Seq
	}
	return nil
}
