package session

import (
	"fmt"
	"testing"
)

// TestInflightBytes: a device that acknowledges nothing makes the table keep InflightBytesMax and one message, not as many
// large messages as the window has places; what waits goes on in its order as room comes.
func TestInflightBytes(t *testing.T) {
	table := NewTable(&Limits{InflightMax: 100, InflightBytesMax: 1000})
	var out Out
	s, _ := table.Open(1, &Connect{ClientID: []byte("d"), Version: 4}, 1, &out)
	out.Reset()
	sent := func() (ids []uint16) {
		for _, a := range out.Sends {
			ids = append(ids, a.PacketID)
		}
		out.Reset()
		return ids
	}
	total := 0
	for i := range 10 {
		m := Message{Topic: []byte("t"), Payload: fmt.Append(nil, i, string(make([]byte, 399))), QoS: 1}
		s.Step(1, &Event{Kind: Deliver, Msg: &m, QoS: 1}, &out)
		total += len(sent())
	}
	if total != 3 || s.Inflight() != 3 || s.Queued() != 7 {
		t.Fatalf("%d sent, %d in flight, %d queued; want 3, 3, 7", total, s.Inflight(), s.Queued())
	}
	for id := uint16(1); id <= 10; id++ {
		s.Step(1, &Event{Kind: Puback, PacketID: id}, &out)
		for _, next := range sent() {
			if next != id+3 {
				t.Fatalf("PUBACK %d sent packet %d", id, next)
			}
		}
	}
	if s.Inflight() != 0 || s.Queued() != 0 || s.flow != nil {
		t.Fatalf("%d in flight, %d queued at the end", s.Inflight(), s.Queued())
	}
}

// TestPumpIsPaced: one event sends pumpBytes of a long queue and leaves Pending to tell that there is more.
func TestPumpIsPaced(t *testing.T) {
	table := NewTable(&Limits{QueueBytesMax: 8 << 20, InflightBytesMax: 8 << 20})
	var out Out
	s, _ := table.Open(1, &Connect{ClientID: []byte("d"), Version: 4}, 1, &out)
	out.Reset()
	for range 50 {
		m := Message{Topic: []byte("t"), Payload: make([]byte, 10_000), QoS: 1}
		s.Step(1, &Event{Kind: Deliver, Msg: &m, QoS: 1, Congested: true}, &out)
	}
	out.Reset()
	events, got := 0, 0
	for ; s.Pending(); events++ {
		s.Step(1, &Event{Kind: Drained}, &out)
		if n := len(out.Sends); n == 0 || n > pumpBytes/10_000+1 {
			t.Fatalf("one event sent %d messages", n)
		}
		got += len(out.Sends)
		out.Reset()
	}
	if got != 50 || events < 7 {
		t.Fatalf("%d messages in %d events", got, events)
	}
}

// TestTableBytes: what all sessions together keep is bounded; what is beyond is dropped and counted, whatever the queue of the
// one session would still take.
func TestTableBytes(t *testing.T) {
	table := NewTable(&Limits{TableBytesMax: 10_000})
	var out Out
	drops := uint32(0)
	for i := range 20 {
		s, _ := table.Open(1, &Connect{ClientID: fmt.Append(nil, "d", i), Version: 4, ExpirySec: Never}, uint64(i+1), &out)
		out.Reset()
		s.Step(1, &Event{Kind: Lost}, &out)
		out.Reset()
		m := Message{Topic: []byte("t"), Payload: make([]byte, 1000), QoS: 1}
		s.Step(1, &Event{Kind: Deliver, Msg: &m, QoS: 1}, &out)
		drops += out.Drops[DropTableBytes]
		out.Reset()
	}
	if table.KeptBytes() > 10_000+1024 || table.Queued()+int(drops) != 20 || drops == 0 {
		t.Errorf("%d bytes kept, %d queued, %d dropped", table.KeptBytes(), table.Queued(), drops)
	}
}
