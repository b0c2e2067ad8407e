package session

import (
	"fmt"
	"slices"
	"testing"
)

// TestHolders: those who hold exactly a filter, whatever its kind, alone or with others.
func TestHolders(t *testing.T) {
	table := NewTable(&Limits{})
	var out Out
	filters := []string{"a/b", "a/+", "a/#", "#", "+", "$share/g/a/b", "$share/h/a/b"}
	holders := map[string][]string{}
	for i := range 3 {
		id := fmt.Sprintf("d%d", i)
		s, _ := table.Open(1, &Connect{ClientID: []byte(id), Version: 5, Upgrade: i == 1}, uint64(i+1), &out)
		if s.Upgraded() != (i == 1) {
			t.Errorf("%s upgraded: %v", id, s.Upgraded())
		}
		for k, f := range filters {
			if k%3 < i {
				continue
			}
			s.Step(1, &Event{Kind: Subscribe, PacketID: 1, Filters: []Filter{{Topic: []byte(f)}}}, &out)
			holders[f] = append(holders[f], id)
		}
		for _, f := range filters {
			if s.Holds([]byte(f)) != slices.Contains(holders[f], id) {
				t.Errorf("%s holds %s: %v", id, f, s.Holds([]byte(f)))
			}
		}
		out.Reset()
	}
	for _, f := range append(filters, "a", "b/#", "$share/x/a/b", "$share/", "", "a/b/c", "+/+") {
		var got []string
		table.EachHolder([]byte(f), func(s *Subscription) bool {
			got = append(got, s.Session().ClientID())
			return true
		})
		slices.Sort(got)
		if !slices.Equal(got, holders[f]) {
			t.Errorf("holders of %q: %v, want %v", f, got, holders[f])
		}
	}
}
