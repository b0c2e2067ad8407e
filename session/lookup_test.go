package session

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestLookup: packets of many filters, also the same ones twice, do to a session with many what packets of one filter do.
func TestLookup(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 9))
	limits := &Limits{SubscriptionsMax: 300}
	open := func(id string) (*Session, *Out) {
		out := new(Out)
		s, _ := NewTable(limits).Open(1, &Connect{ClientID: []byte(id), Version: 5}, 1, out)
		return s, out
	}
	many, manyOut := open("many")
	ones, onesOut := open("ones")
	for packet := range 300 {
		var filters []Filter
		for range 1 + rng.IntN(200) {
			form := [...]string{"a/%d", "a/%d/+", "$share/g/a/%d", "$share/h/a/%d"}[rng.IntN(4)]
			filters = append(filters, Filter{Topic: fmt.Appendf(nil, form, rng.IntN(120))})
		}
		kind := Subscribe
		if rng.IntN(3) == 0 {
			kind = Unsubscribe
		}
		manyOut.Reset()
		many.Step(1, &Event{Kind: kind, Filters: filters}, manyOut)
		got := manyOut.Sends[0].Reasons
		for i := range filters {
			onesOut.Reset()
			ones.Step(1, &Event{Kind: kind, Filters: filters[i : i+1]}, onesOut)
			if want := onesOut.Sends[0].Reasons[0]; got[i] != want {
				t.Fatalf("packet %d, filter %d %q: %#x, alone %#x", packet, i, filters[i].Topic, got[i], want)
			}
		}
		if many.subCount != ones.subCount || many.table.look.made() {
			t.Fatalf("packet %d: %d subscriptions, want %d; lookup left: %v", packet, many.subCount, ones.subCount, many.table.look.made())
		}
	}
}

// BenchmarkSubscribeFull: a packet of 256 filters that a session of 1,000 has no room for. By the list: 604 us; with a lookup: 22.
func BenchmarkSubscribeFull(b *testing.B) {
	var out Out
	s, _ := NewTable(&Limits{SubscriptionsMax: 1000}).Open(1, &Connect{ClientID: []byte("full"), Version: 5}, 1, &out)
	packet := func(n int) (filters []Filter) {
		for i := range 256 {
			filters = append(filters, Filter{Topic: fmt.Appendf(nil, "bad/%d/+", n*256+i)})
		}
		return filters
	}
	for n := range 4 {
		s.Step(1, &Event{Kind: Subscribe, Filters: packet(n)}, &out)
	}
	ev := &Event{Kind: Subscribe, Filters: packet(9)}
	b.ReportAllocs()
	for b.Loop() {
		out.Reset()
		s.Step(1, ev, &out)
	}
}
