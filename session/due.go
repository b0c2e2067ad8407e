package session

// notDue is the place in the heap of a session that is not in it.
const notDue = -1

// dueHeap is the detached sessions whose time comes, soonest first: a binary heap in which every session knows its
// place, so that a returning device leaves at once. 8 bytes a session.
type dueHeap struct {
	list []*Session
}

// dueSec is when something is to be done for a detached session, Never when nothing is.
func (s *Session) dueSec() uint32 {
	if s.hasWill() && s.extra.will.dueSec < s.endAtSec {
		return s.extra.will.dueSec
	}
	return s.endAtSec
}

// schedule puts a detached session where its next time belongs.
func (s *Session) schedule() {
	h := &s.table.due
	if s.dueSec() == Never {
		s.unschedule()
		return
	}
	if s.dueAt == notDue {
		s.dueAt = int32(len(h.list))
		h.list = append(h.list, s)
	}
	h.fix(int(s.dueAt))
}

// unschedule takes the session out, if it is in.
func (s *Session) unschedule() {
	h, i := &s.table.due, int(s.dueAt)
	if i == notDue {
		return
	}
	last := len(h.list) - 1
	h.swap(i, last)
	h.list[last] = nil
	h.list = h.list[:last]
	s.dueAt = notDue
	if i < last {
		h.fix(i)
	}
}

func (h *dueHeap) first() *Session {
	if len(h.list) == 0 {
		return nil
	}
	return h.list[0]
}

// fix moves the session at i up or down to its place.
func (h *dueHeap) fix(i int) {
	for i > 0 && h.before(i, (i-1)/2) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	for {
		child := 2*i + 1
		if child >= len(h.list) {
			return
		}
		if child+1 < len(h.list) && h.before(child+1, child) {
			child++
		}
		if !h.before(child, i) {
			return
		}
		h.swap(i, child)
		i = child
	}
}

func (h *dueHeap) before(i, j int) bool { return h.list[i].dueSec() < h.list[j].dueSec() }

func (h *dueHeap) swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	h.list[i].dueAt, h.list[j].dueAt = int32(i), int32(j)
}
