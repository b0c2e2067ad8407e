package session

// AtRest says that the session is away, and that its record, which is stored, is all there is of it: Forget loses nothing that it has.
// It is not at rest while it has a will, a member's place in a shared group, messages of no stream, or messages under way to a store.
func (s *Session) AtRest() bool {
	d := s.durable()
	if d == nil || s.state != detached || d.dirty || d.saving || s.hasWill() {
		return false
	}
	for sub := s.subs; sub != nil; sub = sub.next {
		if sub.Share != "" {
			return false
		}
	}
	f := s.flow
	return f == nil || s.Unaccepted() == 0 && f.onlyLogged()
}

// onlyLogged says whether all messages to the device are of streams.
func (f *flow) onlyLogged() bool {
	for _, r := range []*ring[entry]{&f.window, &f.queue} {
		for i := range r.len() {
			if e := r.at(i); e.kept != nil && !e.has(markLogged) {
				return false
			}
		}
	}
	return true
}
