package session

import "testing"

// TestMark: what the caller noted of a connection is there while the session waits for the next one, and the owner is not.
func TestMark(t *testing.T) {
	table := NewTable(&Limits{})
	var out Out
	open := func(owner uint64) *Session {
		s, _ := table.Open(1, &Connect{ClientID: []byte("a"), Version: 5, ExpirySec: 60}, owner, &out)
		if s.Owner() != owner || s.Mark() != 0 {
			t.Errorf("live: owner %d, mark %d", s.Owner(), s.Mark())
		}
		return s
	}
	s := open(7)
	s.Step(1, &Event{Kind: Lost, Owner: 7, Mark: 4711}, &out)
	if s.Owner() != 0 || s.Mark() != 4711 {
		t.Errorf("detached: owner %d, mark %d", s.Owner(), s.Mark())
	}
	if again := open(8); again != s || out.Evict != 0 {
		t.Errorf("evicts %d", out.Evict)
	}
	s.Step(1, &Event{Kind: Lost, Mark: 5}, &out)
	table.Tick(61, &out)
	if table.Len() != 0 || s.Owner() != 0 || s.Mark() != 0 {
		t.Errorf("gone: owner %d, mark %d", s.Owner(), s.Mark())
	}
}
