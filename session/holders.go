package session

// EachHolder calls f for every subscription to exactly this filter, `$share/group/` included, until it says false. f must not
// change them.
func (t *Table) EachHolder(filter []byte, f func(*Subscription) bool) {
	share, plain, ok := shareOf(filter)
	if !ok {
		return
	}
	var head *Subscription
	switch {
	case share != nil:
		if g := t.groups[string(filter)]; g != nil {
			g.Each(f)
		}
		return
	case wildcard(string(plain)):
		n, below := t.wild.find(string(plain), false)
		if n == nil {
			return
		}
		head = *n.head(below)
	default:
		head = t.exactHead(string(plain))
	}
	switch {
	case head == nil:
	case head.group == nil:
		f(head)
	default:
		head.group.Each(f)
	}
}

// Holds tells whether the session is subscribed to exactly this filter, `$share/group/` included.
func (s *Session) Holds(filter []byte) bool {
	share, plain, ok := shareOf(filter)
	return ok && *s.find(share, plain) != nil
}

// Upgraded tells whether the last connection was opened with Connect.Upgrade.
func (s *Session) Upgraded() bool { return s.upgrade }
