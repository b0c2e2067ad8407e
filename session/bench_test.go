//go:build !race && !gwcheck

package session

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// filterTable holds n sessions; the filter of each is pattern with its number for %d.
func filterTable(n int, pattern string) *Table {
	table := NewTable(&Limits{})
	var out Out
	for i := range n {
		s, _ := table.Open(1, &Connect{ClientID: fmt.Appendf(nil, "c%d", i), Version: 5}, uint64(i+1), &out)
		s.Step(1, &Event{Kind: Subscribe, Filters: []Filter{{Topic: []byte(strings.Replace(pattern, "%d", strconv.Itoa(i), 1)), QoS: 1}}}, &out)
		out.Reset()
	}
	return table
}

func BenchmarkMatch(b *testing.B) {
	for _, c := range []struct {
		name, pattern, topic string
		n, want              int
	}{
		{"exact/1", "devices/%d/cmd", "devices/0/cmd", 1, 1},
		{"exact/100k", "devices/%d/cmd", "devices/4711/cmd", 100_000, 1},
		{"none/100k", "devices/%d/cmd", "devices/up", 100_000, 0},
		{"plus/100k", "devices/%d/+", "devices/4711/cmd", 100_000, 1},
		{"hash/100k", "devices/%d/#", "devices/4711/cmd/now", 100_000, 1},
		{"fanout/500", "devices/all", "devices/all", 500, 500},
		{"fanout-wild/500", "devices/#", "devices/all", 500, 500},
	} {
		b.Run(c.name, func(b *testing.B) {
			table := filterTable(c.n, c.pattern)
			var m Matches
			topic := []byte(c.topic)
			b.ReportAllocs()
			for b.Loop() {
				table.Match(topic, nil, &m)
			}
			if len(m.List) != c.want {
				b.Fatalf("%d matches, want %d", len(m.List), c.want)
			}
		})
	}
}

func BenchmarkDeliver(b *testing.B) {
	for qos := range uint8(3) {
		b.Run(fmt.Sprintf("qos%d", qos), func(b *testing.B) {
			st := newSteady(1, "t", "t")
			b.ReportAllocs()
			for b.Loop() {
				st.msg = Message{Topic: st.topic, Payload: st.payload, QoS: qos}
				st.deliver()
			}
		})
		b.Run(fmt.Sprintf("qos%d/500", qos), func(b *testing.B) {
			st := newSteady(500, "t", "t")
			b.ReportAllocs()
			for b.Loop() {
				st.msg = Message{Topic: st.topic, Payload: st.payload, QoS: qos}
				st.deliver()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/delivery")
		})
	}
}

func BenchmarkPublish(b *testing.B) {
	for qos := range uint8(3) {
		b.Run(fmt.Sprintf("qos%d", qos), func(b *testing.B) {
			st := newSteady(0, "t", "t")
			b.ReportAllocs()
			for b.Loop() {
				st.message(qos)
			}
		})
	}
}

func BenchmarkConnectSubscribeLost(b *testing.B) {
	table := filterTable(100_000, "devices/%d/cmd")
	var out Out
	id, filter := []byte("device-1"), []byte("devices/device-1/cmd")
	b.ReportAllocs()
	for b.Loop() {
		s, _ := table.Open(1, &Connect{ClientID: id, Version: 5}, 1, &out)
		s.Step(1, &Event{Kind: Subscribe, Filters: []Filter{{Topic: filter, QoS: 1}}}, &out)
		s.Step(1, &Event{Kind: Lost}, &out)
		out.Reset()
	}
}

// BenchmarkDurable is the life of a message of a stream, PUBACK or PUBCOMP included, QoS 2 with its two snapshots.
func BenchmarkDurable(b *testing.B) {
	for qos := uint8(1); qos <= 2; qos++ {
		b.Run(fmt.Sprintf("qos%d", qos), func(b *testing.B) {
			_, s, out := durableSteady()
			var record []byte
			seq, id := uint64(0), uint16(0)
			topic, payload := []byte("devices/a/cmd"), make([]byte, 64)
			step := func(ev *Event) {
				s.Step(1, ev, out)
				for again := true; again; {
					if len(out.Sends) > 0 {
						id = out.Sends[0].PacketID
					}
					again = out.Save
					out.Reset()
					if again {
						var token uint32
						record, token = s.AppendRecord(record[:0], 1, worldBegan)
						s.Step(1, &Event{Kind: Saved, Token: token}, out)
					}
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				seq++
				step(&Event{Kind: Deliver, QoS: qos, Msg: &Message{Topic: topic, Payload: payload, QoS: qos, Seq: seq}})
				if qos == 1 {
					step(&Event{Kind: Puback, PacketID: id})
					continue
				}
				step(&Event{Kind: Pubrec, PacketID: id})
				step(&Event{Kind: Pubcomp, PacketID: id})
			}
		})
	}
}
