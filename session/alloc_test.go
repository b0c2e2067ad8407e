//go:build !race && !gwcheck

package session

import "testing"

// steady is a table with a publisher and n subscribers of one filter, and what a caller reuses from message to message.
type steady struct {
	table   *Table
	pub     *Session
	matches Matches
	out     Out
	topic   []byte
	payload []byte
	msg     Message
}

func newSteady(n int, filter, topic string) *steady {
	st := &steady{table: NewTable(&Limits{SubscriptionsMax: 1 << 20}), topic: []byte(topic), payload: make([]byte, 64)}
	st.pub, _ = st.table.Open(1, &Connect{ClientID: []byte("pub"), Version: 5}, 1, &st.out)
	for i := range n {
		id := append([]byte("sub-"), byte(i>>8), byte(i))
		s, _ := st.table.Open(1, &Connect{ClientID: id, Version: 5}, uint64(i+2), &st.out)
		s.Step(1, &Event{Kind: Subscribe, Filters: []Filter{{Topic: []byte(filter), QoS: 2}}, SubID: uint32(i & 1)}, &st.out)
	}
	st.out.Reset()
	return st
}

// message is the whole life of one: published, accepted, matched, delivered, acknowledged.
func (st *steady) message(qos uint8) {
	st.msg = Message{Topic: st.topic, Payload: st.payload, QoS: qos}
	st.pub.Step(1, &Event{Kind: Publish, PacketID: 1, QoS: qos, Msg: &st.msg, Token: 1}, &st.out)
	st.pub.Step(1, &Event{Kind: Accepted, PacketID: 1, Token: 1}, &st.out)
	if qos == 2 {
		st.pub.Step(1, &Event{Kind: Pubrel, PacketID: 1}, &st.out)
	}
	st.out.Reset()
	st.deliver()
}

// deliver routes st.msg and has every subscriber acknowledge it.
func (st *steady) deliver() {
	msg := &st.msg
	st.table.Match(msg.Topic, st.pub, &st.matches)
	for i := range st.matches.List {
		m := &st.matches.List[i]
		m.Session.Step(1, &Event{Kind: Deliver, Msg: msg, QoS: m.QoS, SubIDs: m.SubIDs}, &st.out)
		id := st.out.Sends[0].PacketID
		st.out.Reset()
		switch msg.QoS {
		case 1:
			m.Session.Step(1, &Event{Kind: Puback, PacketID: id}, &st.out)
		case 2:
			m.Session.Step(1, &Event{Kind: Pubrec, PacketID: id}, &st.out)
			m.Session.Step(1, &Event{Kind: Pubcomp, PacketID: id}, &st.out)
		}
		st.out.Reset()
	}
}

func TestSteadyTrafficAllocatesNothing(t *testing.T) {
	for _, filter := range []string{"devices/up/7", "devices/+/7", "devices/#"} {
		st := newSteady(20, filter, "devices/up/7")
		for qos := range uint8(3) {
			st.message(qos)
			if n := testing.AllocsPerRun(200, func() { st.message(qos) }); n != 0 {
				t.Errorf("QoS %d to %q: %v allocations a message", qos, filter, n)
			}
		}
	}
}

func TestQueueAllocatesNothingOnceGrown(t *testing.T) {
	table := NewTable(&Limits{InflightMax: 1, QueueCountMax: 16})
	var out Out
	s, _ := table.Open(1, &Connect{ClientID: []byte("a"), Version: 5}, 1, &out)
	topic, payload := []byte("t"), make([]byte, 100)
	id := uint16(0)
	var msgs [20]Message
	round := func() {
		for i := range msgs {
			msgs[i] = Message{Topic: topic, Payload: payload, QoS: 1}
			s.Step(1, &Event{Kind: Deliver, QoS: 1, Msg: &msgs[i]}, &out)
		}
		for range 17 {
			id = after(id, 0, 65535)
			s.Step(1, &Event{Kind: Puback, PacketID: id}, &out)
		}
		out.Reset()
	}
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
	if table.KeptBytes() != 0 || table.Inflight() != 0 || table.Queued() != 0 || s.flow != nil {
		t.Errorf("left: %d bytes kept, %d in flight, %d queued, flow %v", table.KeptBytes(), table.Inflight(), table.Queued(), s.flow)
	}
}

// durableSteady is a durable session whose record is stored at once.
func durableSteady() (*Table, *Session, *Out) {
	table, out := NewTable(&Limits{}), &Out{}
	s, _ := table.Open(1, &Connect{ClientID: []byte("a"), Version: 5, ExpirySec: Never, Durable: true}, 1, out)
	s.Step(1, &Event{Kind: Subscribe, Filters: []Filter{{Topic: []byte("devices/a/#"), QoS: 2}}}, out)
	_, token := s.AppendRecord(nil, 1, worldBegan)
	s.Step(1, &Event{Kind: Saved, Token: token}, out)
	out.Reset()
	return table, s, out
}

// TestDurableTrafficAllocatesNothing: both directions, with the snapshots that QoS 2 needs, and replays.
func TestDurableTrafficAllocatesNothing(t *testing.T) {
	table, s, out := durableSteady()
	record, seq := make([]byte, 0, 1<<10), uint64(0)
	topic, payload := []byte("devices/a/cmd"), make([]byte, 64)
	var ev Event
	var msg Message
	var matches Matches
	step := func(e Event) uint16 {
		ev = e
		s.Step(1, &ev, out)
		id := uint16(0)
		if len(out.Sends) > 0 {
			id = out.Sends[0].PacketID
		}
		save := out.Save
		out.Reset()
		if !save {
			return id
		}
		var token uint32
		record, token = s.AppendRecord(record[:0], 1, worldBegan)
		ev = Event{Kind: Saved, Token: token}
		s.Step(1, &ev, out)
		if len(out.Sends) > 0 {
			id = out.Sends[0].PacketID
		}
		out.Reset()
		return id
	}
	down := func(qos uint8) {
		seq++
		msg = Message{Topic: topic, Payload: payload, QoS: qos, Seq: seq}
		if s.Match(&msg, &matches); len(matches.List) != 1 {
			t.Fatal("no match")
		}
		id := step(Event{Kind: Deliver, QoS: matches.List[0].QoS, Msg: &msg})
		if qos == 1 {
			step(Event{Kind: Puback, PacketID: id})
			return
		}
		step(Event{Kind: Pubrec, PacketID: id})
		step(Event{Kind: Pubcomp, PacketID: id})
	}
	up := func(qos uint8) {
		msg = Message{Topic: topic, Payload: payload, QoS: qos}
		step(Event{Kind: Publish, PacketID: 7, QoS: qos, Msg: &msg, Token: 3})
		step(Event{Kind: Accepted, PacketID: 7, Token: 3, Logged: true})
		if qos == 2 {
			step(Event{Kind: Pubrel, PacketID: 7})
			step(Event{Kind: Released, PacketID: 7})
		}
	}
	for _, way := range []func(uint8){down, up} {
		for qos := uint8(1); qos <= 2; qos++ {
			way(qos)
			if n := testing.AllocsPerRun(200, func() { way(qos) }); n != 0 {
				t.Errorf("QoS %d: %v allocations a message", qos, n)
			}
		}
	}
	if s.flow != nil || s.durable().work != nil || table.KeptBytes() != 0 {
		t.Errorf("left: flow %v, work %v, %d bytes", s.flow, s.durable().work, table.KeptBytes())
	}
}
