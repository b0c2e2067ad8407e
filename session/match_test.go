package session

import (
	"fmt"
	"strings"
	"testing"
)

// TestMatchIDsOfMixedSessions: however the subscriptions of several sessions are mixed, each session gets its own identifiers.
func TestMatchIDsOfMixedSessions(t *testing.T) {
	table := NewTable(&Limits{})
	var out Out
	for s := range 20 {
		sess, _ := table.Open(1, &Connect{ClientID: fmt.Append(nil, "s", s), Version: 5}, uint64(s+1), &out)
		out.Reset()
		for f := range 8 {
			levels := [3]string{"a", "b", "c"}
			for bit := range levels {
				if f&(1<<bit) != 0 {
					levels[bit] = "+"
				}
			}
			ev := Event{Kind: Subscribe, PacketID: 1, SubID: uint32(100*s + f + 1), Filters: []Filter{{Topic: []byte(strings.Join(levels[:], "/"))}}}
			if s%3 == 2 {
				ev.SubID = 0
			}
			sess.Step(1, &ev, &out)
			out.Reset()
		}
	}
	var m Matches
	for range 2 {
		table.Match([]byte("a/b/c"), nil, &m)
		if len(m.List) != 20 || m.Visited != 160 {
			t.Fatalf("%d sessions, %d visited", len(m.List), m.Visited)
		}
		for _, got := range m.List {
			var n int
			fmt.Sscanf(got.Session.ClientID(), "s%d", &n)
			sum, want := 0, 0
			for _, id := range got.SubIDs {
				sum += int(id)
			}
			if n%3 != 2 {
				want = 8*100*n + 36
			}
			if sum != want {
				t.Errorf("session %d: identifiers %v", n, got.SubIDs)
			}
		}
	}
}
