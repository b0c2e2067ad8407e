//go:build !race && !gwcheck

package session

import (
	"fmt"
	"testing"
)

// lastQueue is a session behind its window, in whose queue n topics wait that are marked LastValue.
func lastQueue(n int) (s *Session, again func(i int), out *Out) {
	out = &Out{}
	table := NewTable(&Limits{InflightMax: 1, QueueCountMax: n})
	s, _ = table.Open(1, &Connect{ClientID: []byte("a"), Version: 5}, 1, out)
	topics := make([][]byte, n)
	for i := range topics {
		topics[i] = fmt.Appendf(nil, "devices/%d/state", i)
	}
	payload, msg := make([]byte, 64), Message{}
	again = func(i int) {
		msg = Message{Topic: topics[i%n], Payload: payload, QoS: 1, LastValue: true}
		s.Step(1, &Event{Kind: Deliver, QoS: 1, Msg: &msg}, out)
		out.Reset()
	}
	for i := range n + 1 {
		again(i)
	}
	return s, again, out
}

// TestSupersedingAllocatesNothing, keeps the queue's ring bounded, and gives back what a large index took.
func TestSupersedingAllocatesNothing(t *testing.T) {
	const n = 2000
	s, again, out := lastQueue(n)
	i := 0
	round := func() {
		for range 3 * n {
			i++
			again(i)
		}
	}
	round()
	if got := testing.AllocsPerRun(5, round); got != 0 {
		t.Errorf("%v allocations a round", got)
	}
	if s.Queued() != n || len(s.flow.queue.buf) > 4*n {
		t.Errorf("%d wait in a ring of %d", s.Queued(), len(s.flow.queue.buf))
	}
	table := s.table
	s.Step(1, &Event{Kind: Lost}, out)
	out.Reset()
	if table.lastValues != nil || table.KeptBytes() != 0 {
		t.Errorf("index of %d, %d bytes kept", len(table.lastValues), table.KeptBytes())
	}
}

// BenchmarkSupersede: the time does not grow with the queue.
func BenchmarkSupersede(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, again, _ := lastQueue(n)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i += 7
				again(i)
			}
		})
	}
}

// BenchmarkEnqueue is the same queue without marks, dropping the oldest.
func BenchmarkEnqueue(b *testing.B) {
	table := NewTable(&Limits{InflightMax: 1, QueueCountMax: 1000})
	var out Out
	s, _ := table.Open(1, &Connect{ClientID: []byte("a"), Version: 5}, 1, &out)
	topic, payload, msg := []byte("devices/1/state"), make([]byte, 64), Message{}
	b.ReportAllocs()
	for b.Loop() {
		msg = Message{Topic: topic, Payload: payload, QoS: 1}
		s.Step(1, &Event{Kind: Deliver, QoS: 1, Msg: &msg}, &out)
		out.Reset()
	}
}
