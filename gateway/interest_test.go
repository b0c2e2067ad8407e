package gateway

import (
	"fmt"
	"testing"
)

// TestInterestOpsBounded: while NATS does not follow, coming and going filters do not make the list of changes grow.
func TestInterestOpsBounded(t *testing.T) {
	x := newInterests(2, func(*interest) {})
	kept, _ := x.add(0, "kept", "")
	for i := range 10_000 {
		id, active := x.add(i%2, fmt.Sprint("churn/", i%10), "g")
		if active {
			t.Fatal("active without NATS")
		}
		x.remove(i%2, id)
	}
	if len(x.ops) > compactAfter*2 || x.count() != 1 {
		t.Errorf("%d changes for %d interests", len(x.ops), x.count())
	}
	again, _ := x.add(1, "kept", "")
	if again != kept {
		t.Errorf("interest %d for a filter that has %d", again, kept)
	}
	x.remove(0, kept)
	if x.count() != 1 {
		t.Error("another shard still holds it")
	}
	x.remove(1, kept)
	if x.count() != 0 {
		t.Errorf("%d interests although nobody holds one", x.count())
	}
	for _, op := range x.takeOps() {
		t.Errorf("NATS would be told of %q, which nobody wants any more", op.e.filter)
	}
}

// TestGroupShards: a key belongs to one shard; shards get keys by their members; when one shard's members change, no key moves between others.
func TestGroupShards(t *testing.T) {
	const keys = 20000
	counts := []int32{1, 0, 2, 5}
	before := make([]int16, keys)
	had := make([]int, len(counts))
	key := func(i int) uint32 { return uint32(i) * 0x9E3779B1 }
	for i := range before {
		before[i] = heaviest(key(i), counts)
		had[before[i]]++
	}
	for i, n := range counts {
		if want := keys / 8 * int(n); had[i] < want*9/10 || had[i] > want*11/10 {
			t.Errorf("shard %d with %d of 8 members has %d of %d keys", i, n, had[i], keys)
		}
	}
	counts[3] = 4
	for i := range before {
		if now := heaviest(key(i), counts); now != before[i] && before[i] != 3 {
			t.Fatalf("key %d moved from shard %d to shard %d", i, before[i], now)
		}
	}
}
