package session

import (
	"fmt"
	"testing"
)

// TestStrategyNames: what a configuration writes is read back.
func TestStrategyNames(t *testing.T) {
	for y := range Strategies {
		if got, ok := ParseStrategy(y.String()); got != y || !ok {
			t.Errorf("%v is read as %v, %v", y, got, ok)
		}
	}
	if _, ok := ParseStrategy("random"); ok || Strategies.String() != "unknown" {
		t.Error("an unknown strategy is known")
	}
}

// TestBuckets: keys are spread evenly, and one more bucket takes keys from the others without moving any among them.
func TestBuckets(t *testing.T) {
	const keys = 10000
	for _, n := range []uint32{1, 2, 3, 7, 50} {
		counts := make([]int, n+1)
		for key := range uint64(keys) {
			key *= 0x9E3779B9
			at, with := bucket(key, n), bucket(key, n+1)
			counts[at]++
			if at >= n || with != at && with != n {
				t.Fatalf("key %d is in bucket %d of %d and %d of %d", key, at, n, with, n+1)
			}
		}
		for at, had := range counts[:n] {
			if want := keys / int(n); had < want*3/4 || had > want*5/4 {
				t.Errorf("bucket %d of %d has %d keys, not about %d", at, n, had, want)
			}
		}
	}
}

// TestLeastOfMany: in a group larger than what is compared for one message every member has its turn to be compared, so that
// all work.
func TestLeastOfMany(t *testing.T) {
	const n = 3 * leastLook
	r := newRig(Limits{Strategy: LeastInflight})
	for i := range n {
		id := fmt.Sprint("c", i)
		r.command(t, "open "+id)
		r.command(t, id+" subscribe 1 $share/g/t:1")
	}
	for range 2 * n {
		r.command(t, "message t x qos=1")
	}
	for id, s := range r.seen {
		if s.Inflight() != 2 {
			t.Errorf("%s has %d", id, s.Inflight())
		}
	}
}

// TestGroupStrategies: a group that has a strategy of its own follows it, whatever its filters, and others the usual one.
func TestGroupStrategies(t *testing.T) {
	r := newRig(Limits{GroupStrategies: map[string]Strategy{"one": Sticky}})
	for i := range 3 {
		id := fmt.Sprint("c", i)
		r.command(t, "open "+id)
		r.command(t, id+" subscribe 1 $share/one/a/+:1 $share/one/b:1 $share/many/c:1")
	}
	for _, tt := range []struct {
		topic string
		most  int // messages that one member has
	}{{"a/x", 6}, {"b", 6}, {"c", 2}} {
		had := map[string]int{}
		for id, s := range r.seen {
			had[id] = s.Inflight()
		}
		for range 6 {
			r.command(t, "message "+tt.topic+" x qos=1")
		}
		most := 0
		for id, s := range r.seen {
			most = max(most, s.Inflight()-had[id])
		}
		if most != tt.most {
			t.Errorf("%s: %d of 6 messages are with one member, want %d", tt.topic, most, tt.most)
		}
	}
}
