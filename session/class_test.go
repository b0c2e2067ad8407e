package session

import (
	"fmt"
	"testing"
)

// TestClass: a session keeps to the bounds of the class that its last connection gave it, in all that bounds a single session.
func TestClass(t *testing.T) {
	table := NewTable(&Limits{
		QueueCountMax: 100, InflightMax: 100, SubscriptionsMax: 100, ReceiveMax: 100,
		Classes: []Limits{{QueueCountMax: 3, InflightMax: 2, SubscriptionsMax: 1, ReceiveMax: 1}},
	})
	var out Out
	open := func(class uint16, owner uint64) *Session {
		s, _ := table.Open(1, &Connect{ClientID: []byte("d"), Version: 5, ExpirySec: Never, Class: class}, owner, &out)
		s.Step(1, &Event{Kind: Resume}, &out)
		out.Reset()
		return s
	}
	deliver := func(s *Session, n int) {
		for i := range n {
			s.Step(1, &Event{Kind: Deliver, Msg: &Message{Topic: []byte("t"), Payload: fmt.Append(nil, i), QoS: 1}, QoS: 1}, &out)
		}
	}
	subscribe := func(s *Session, filters ...string) (codes []uint8) {
		ev := Event{Kind: Subscribe, PacketID: 1}
		for _, f := range filters {
			ev.Filters = append(ev.Filters, Filter{Topic: []byte(f), QoS: 1})
		}
		s.Step(1, &ev, &out)
		return out.Sends[len(out.Sends)-1].Reasons
	}
	s := open(1, 1)
	if codes := subscribe(s, "a", "b", "a"); codes[0] != 1 || codes[1] != reasonQuota || codes[2] != 1 {
		t.Errorf("SUBACK says %#x, want one subscription and no more", codes)
	}
	out.Reset()
	deliver(s, 10)
	if s.Inflight() != 2 || s.Queued() != 3 || out.Drops[DropQueueFull] != 5 {
		t.Errorf("%d in flight, %d queued, %d dropped; want 2, 3, 5", s.Inflight(), s.Queued(), out.Drops[DropQueueFull])
	}
	out.Reset()
	for id := range uint16(2) {
		s.Step(1, &Event{Kind: Publish, Msg: &Message{Topic: []byte("t"), QoS: 1}, QoS: 1, PacketID: id + 1}, &out)
	}
	if !out.Close {
		t.Error("two messages of the device are under way, where one may be")
	}
	out.Reset()
	s = open(0, 2)
	if codes := subscribe(s, "b", "c"); codes[0] != 1 || codes[1] != 1 {
		t.Errorf("SUBACK says %#x: the session is held to the class before", codes)
	}
	out.Reset()
	deliver(s, 10)
	if s.Inflight() != 15 || s.Queued() != 0 {
		t.Errorf("%d in flight, %d queued; want 15, 0", s.Inflight(), s.Queued())
	}
}

type account struct{ bytes, most int }

func (a *account) HasRoom(bytes int) bool { return a.bytes+bytes <= a.most }
func (a *account) Add(bytes int)          { a.bytes += bytes }

// TestAccount: what waits for the sessions of an account together is bounded, over tables; another account has its own.
func TestAccount(t *testing.T) {
	small, other := &account{most: 2500}, &account{most: 1 << 20}
	var out Out
	var tables []*Table
	away := func(table *Table, id string, class uint16) *Session {
		s, _ := table.Open(1, &Connect{ClientID: []byte(id), Version: 5, ExpirySec: 100, Class: class}, 1, &out)
		s.Step(1, &Event{Kind: Lost}, &out)
		out.Reset()
		return s
	}
	deliver := func(s *Session) (dropped bool) {
		s.Step(1, &Event{Kind: Deliver, Msg: &Message{Topic: []byte("t"), Payload: make([]byte, 999), QoS: 1}, QoS: 1}, &out)
		dropped = out.Drops[DropAccountBytes] == 1
		out.Reset()
		return dropped
	}
	for range 2 {
		tables = append(tables, NewTable(&Limits{Classes: []Limits{{Account: small}, {Account: other}}}))
	}
	one, two, three := away(tables[0], "one", 1), away(tables[1], "two", 1), away(tables[1], "three", 1)
	if deliver(one) || deliver(two) || !deliver(three) {
		t.Error("the account has room for two messages, in whatever tables")
	}
	if deliver(away(tables[0], "four", 2)) {
		t.Error("another account is full")
	}
	tables[0].Open(1, &Connect{ClientID: []byte("one"), CleanStart: true, Version: 5, Class: 1}, 2, &out)
	out.Reset()
	if got := small.bytes; got != 1000 {
		t.Errorf("%d bytes wait once one of the sessions has ended, want 1,000", got)
	}
	if deliver(three) {
		t.Error("what has gone is not given back")
	}
}
