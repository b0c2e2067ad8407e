package session

import (
	"fmt"
	"runtime"
	"testing"
	"unsafe"
)

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		what      string
		have, max uintptr
	}{
		{"Session", unsafe.Sizeof(Session{}), 96},
		{"Subscription", unsafe.Sizeof(Subscription{}), 80},
		{"trie node", unsafe.Sizeof(node{}), 64},
		{"window entry", unsafe.Sizeof(entry{}), 24},
		{"orphan", unsafe.Sizeof(orphan{}), 16},
		{"inbound", unsafe.Sizeof(inbound{}), 16},
		{"flow", unsafe.Sizeof(flow{}), 192},
		{"extra", unsafe.Sizeof(extra{}), 32},
		{"durable", unsafe.Sizeof(durable{}), 96},
	} {
		if c.have > c.max {
			t.Errorf("%s takes %d bytes, at most %d are meant", c.what, c.have, c.max)
		}
	}
}

// idleBytesMax is what an idle session with one filter of its own may cost, all told: struct, client id, filter, subscription and its share of the indexes.
const idleBytesMax = 300

// durableBytesMax is the same of a durable session.
const durableBytesMax = 400

// TestIdleSessionBytes measures it as the slope of the heap.
func TestIdleSessionBytes(t *testing.T) {
	for _, c := range []struct {
		durable bool
		max     float64
	}{{false, idleBytesMax}, {true, durableBytesMax}} {
		if each := idleBytes(t, c.durable); each > c.max {
			t.Errorf("an idle session takes %.1f bytes, at most %.0f are meant (durable: %v)", each, c.max, c.durable)
		}
	}
}

func idleBytes(t *testing.T, durable bool) float64 {
	table := NewTable(&Limits{})
	var out Out
	add := func(from, to int) {
		for i := from; i < to; i++ {
			id := fmt.Appendf(nil, "device-%06d", i)
			s, _ := table.Open(1, &Connect{ClientID: id, Version: 5, ExpirySec: 60, Durable: durable}, uint64(i+1), &out)
			s.Step(1, &Event{Kind: Subscribe, PacketID: 1, Filters: []Filter{{Topic: fmt.Appendf(nil, "devices/%s/cmd", id), QoS: 1}}}, &out)
			s.Step(1, &Event{Kind: Deliver, QoS: 1, Msg: &Message{Topic: []byte("t"), QoS: 1}}, &out)
			s.Step(1, &Event{Kind: Puback, PacketID: 1}, &out)
			out.Reset()
		}
	}
	add(0, 2000)
	before := heapBytes()
	add(2000, 12000)
	each := float64(heapBytes()-before) / 10000
	t.Logf("%.1f bytes per idle session with one exact subscription (durable: %v)", each, durable)
	runtime.KeepAlive(table)
	return each
}

func heapBytes() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
