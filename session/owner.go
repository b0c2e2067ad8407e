package session

// User is whom the session belongs to, "" for nobody. The table knows it rather than the session, as most fleets have no users: they pay nothing
// for it.
func (s *Session) User() string { return s.table.users[s] }

// BelongTo has the session belong to a user, until it ends.
func (s *Session) BelongTo(user string) {
	if s.state == gone {
		return
	}
	if s.table.users == nil {
		s.table.users = map[*Session]string{}
	}
	s.table.users[s] = user
}
