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
