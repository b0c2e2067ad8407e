package session

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// someRecords are records of sessions in many states, by the scripts' own words.
func someRecords(t testing.TB) [][]byte {
	var all [][]byte
	var out Out
	table := NewTable(&Limits{})
	c := Connect{ClientID: []byte("device-000001"), Version: 5, ExpirySec: 3600, Durable: true,
		Will: &Will{Message: Message{Topic: []byte("gone"), Payload: []byte("x"), User: []byte("u"), Props: []byte{1}, QoS: 1, Retain: true},
			DelaySec: 5, HasExpiry: true, ExpirySec: 9}}
	s, _ := table.Open(1, &c, 1, &out)
	add := func() {
		record, token := s.AppendRecord(nil, 1, worldBegan)
		all = append(all, record)
		s.Step(1, &Event{Kind: Saved, Token: token}, &out)
		out.Reset()
	}
	add()
	s.Step(1, &Event{Kind: Subscribe, SubID: 9, Filters: []Filter{{Topic: []byte("a/#"), QoS: 2, Since: []uint64{70, 0, 9}},
		{Topic: []byte("$share/g/a"), QoS: 1}}}, &out)
	add()
	for i := range uint64(6) {
		m := Message{Topic: []byte("a"), Payload: []byte("x"), QoS: uint8(1 + i%2), Seq: 80 + i*300, Stream: uint16(i % 3)}
		s.Step(1, &Event{Kind: Deliver, Msg: &m, QoS: 2}, &out)
	}
	s.LogIsAt(980)
	for id := uint16(1); id < 4; id++ {
		s.Step(1, &Event{Kind: Publish, PacketID: id, QoS: 2, Msg: &Message{Topic: []byte("u"), QoS: 2}}, &out)
		s.Step(1, &Event{Kind: Accepted, PacketID: id, Logged: true}, &out)
	}
	add()
	s.Step(1, &Event{Kind: Pubrec, PacketID: 32768}, &out)
	add()
	s.Step(1, &Event{Kind: Lost, KeepWill: true}, &out)
	add()
	return all
}

// FuzzRecord: reading never panics, and what can be read is written again as it was.
func FuzzRecord(f *testing.F) {
	for _, b := range someRecords(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r record
		if r.parse(b) != nil {
			return
		}
		if again := r.append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x is written again as %x: %+v", b, again, r)
		}
		table, out := NewTable(&Limits{}), Out{}
		s, present, err := table.Restore(7, &Connect{ClientID: []byte("a"), Version: 5}, Kept{Record: b, WallSec: r.wallSec}, 1, &out)
		if err != nil {
			t.Fatal(err)
		}
		out.Reset()
		if present {
			s.AppendRecord(nil, 7, r.wallSec)
		}
		table.Forget(s, &out)
		out.Reset()
		if table.KeptBytes() != 0 || table.Inflight() != 0 || table.Subscriptions() != 0 {
			t.Fatalf("left: %d bytes, %d in flight, %d filters", table.KeptBytes(), table.Inflight(), table.Subscriptions())
		}
	})
}

// TestRecordCuts: a record that is cut, longer, or of another version is an error that says what to do.
func TestRecordCuts(t *testing.T) {
	for _, b := range someRecords(t) {
		var r record
		if err := r.parse(b); err != nil || !bytes.Equal(r.append(nil), b) {
			t.Fatalf("%x: %v, written again as %x", b, err, r.append(nil))
		}
		for cut := range b {
			if err := r.parse(b[:cut]); err == nil {
				t.Errorf("%x cut at %d is read", b, cut)
			}
		}
		if err := r.parse(append(bytes.Clone(b), 0)); err != errRecordDamaged {
			t.Errorf("a byte too many: %v", err)
		}
		if _, err := ReadRecord(append([]byte{recordVersion + 1}, b[1:]...)); err != errRecordVersion {
			t.Errorf("another version: %v", err)
		}
		table, out := NewTable(&Limits{}), Out{}
		if _, _, err := table.Restore(1, &Connect{ClientID: []byte("a")}, Kept{Record: b[:len(b)-1]}, 1, &out); err == nil || table.Len() != 0 {
			t.Errorf("a damaged record is restored: %v, %d sessions", err, table.Len())
		}
	}
}

// TestReadRecord: what a caller needs to know before it restores.
func TestReadRecord(t *testing.T) {
	all := someRecords(t)
	in, err := ReadRecord(all[len(all)-1])
	if err != nil || !in.Clean || !in.Away || in.ExpirySec != 3600 || in.EndsAtSec != worldBegan+3600 || !in.HasWill || in.WillAtSec != worldBegan+5 {
		t.Errorf("%+v, %v", in, err)
	}
	w := in.Will
	if got := fmt.Sprintf("%s %s %s %x qos=%d %v delay=%d %v %d", w.Message.Topic, w.Message.Payload, w.Message.User, w.Message.Props, w.Message.QoS,
		w.Message.Retain, w.DelaySec, w.HasExpiry, w.ExpirySec); got != "gone x u 01 qos=1 true delay=5 true 9" {
		t.Error(got)
	}
	if in, _ = ReadRecord(all[0]); in.Clean || in.Away || in.EndsAtSec != 0 {
		t.Errorf("live: %+v", in)
	}
}

// TestRecordWillRecheck: that a will is to be looked at once more outlasts the gateway.
func TestRecordWillRecheck(t *testing.T) {
	for _, recheck := range []bool{true, false} {
		var out Out
		c := Connect{ClientID: []byte("c"), Version: 5, ExpirySec: 3600, Durable: true,
			Will: &Will{Message: Message{Topic: []byte("gone"), QoS: 1, Recheck: recheck}, DelaySec: 5}}
		s, _ := NewTable(&Limits{}).Open(1, &c, 1, &out)
		record, _ := s.AppendRecord(nil, 1, worldBegan)
		in, err := ReadRecord(record)
		if err != nil || in.Will.Message.Recheck != recheck {
			t.Fatalf("%v, %v, want %v", in.Will, err, recheck)
		}
		table := NewTable(&Limits{})
		c.Will = &in.Will
		out = Out{}
		if s, _, err = table.Restore(1, &c, Kept{Record: record, WallSec: worldBegan}, 1, &out); err != nil {
			t.Fatal(err)
		}
		out = Out{}
		s.Step(2, &Event{Kind: Lost, Owner: 1, KeepWill: true}, &out)
		table.Tick(7, &out)
		if len(out.Publishes) != 1 || out.Publishes[0].Recheck != recheck {
			t.Errorf("published %v, want Recheck %v", out.Publishes, recheck)
		}
	}
}

// recordBytesMax is what a record of one filter may take while nothing is under way.
const recordBytesMax = 100

func TestRecordBytes(t *testing.T) {
	var out Out
	table := NewTable(&Limits{})
	s, _ := table.Open(1, &Connect{ClientID: []byte("device-000001"), Version: 5, ExpirySec: Never, Durable: true}, 1, &out)
	s.Step(1, &Event{Kind: Subscribe, SubID: 1, Filters: []Filter{{Topic: []byte("devices/device-000001/cmd/#"), QoS: 2}}}, &out)
	s.SeenUpTo(0, 1<<40)
	record, _ := s.AppendRecord(nil, 1, worldBegan)
	t.Logf("%d bytes", len(record))
	if len(record) >= recordBytesMax {
		t.Errorf("a record of one filter takes %d bytes, less than %d are meant", len(record), recordBytesMax)
	}
}

// TestRecordsOfVersion1 reads records that were written when version 1 was new: a change that cannot needs another version.
func TestRecordsOfVersion1(t *testing.T) {
	for i, b := range someRecords(t) {
		file := filepath.Join("testdata", "records", fmt.Sprintf("v1-%d", i))
		if *rewrite {
			if err := os.WriteFile(file, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		old, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(old, b) {
			t.Errorf("%s: %x, is written as %x now", file, old, b)
		}
	}
}
