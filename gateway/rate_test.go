package gateway

import (
	"sync"
	"sync/atomic"
	"testing"
)

// TestRateAgainstBucket: the cell allows exactly what a bucket of tokens does, at a steady pace, in bursts and after pauses.
func TestRateAgainstBucket(t *testing.T) {
	const perSec, burst = 100, 7
	r := newRate(perSec, burst)
	const tokenNanos = secondNanos / perSec
	var x cell
	now := int64(5)
	tokens, filledAt := int64(burst*tokenNanos), now // in nanoseconds, so that nothing is rounded
	seed := uint32(1)
	for i := range 20_000 {
		seed = seed*1664525 + 1013904223
		now += int64(seed>>8) % (3 * tokenNanos)
		if seed>>28 == 0 {
			now += secondNanos
		}
		tokens = min(burst*tokenNanos, tokens+now-filledAt)
		filledAt = now
		want := tokens >= tokenNanos
		if want {
			tokens -= tokenNanos
		}
		wait := x.take(now, &r)
		if (wait == 0) != want {
			t.Fatalf("event %d at %d: wait %d, and the bucket has %d", i, now, wait, tokens)
		}
		if again := x; wait > 0 && (again.take(now+wait-1, &r) == 0 || again.take(now+wait, &r) != 0) {
			t.Fatalf("event %d: %d is not how long it has to wait", i, wait)
		}
	}
}

// TestRateCharge: what has come anyway is paid for by waiting, and no more than that.
func TestRateCharge(t *testing.T) {
	r := lastingRate(1000, secondNanos)
	var x cell
	for i := range 1000 {
		if wait := x.charge(1, &r, 1); wait != 0 {
			t.Fatalf("event %d waits %d", i, wait)
		}
	}
	if wait := x.charge(1, &r, 500); wait != secondNanos/2 {
		t.Errorf("500 too many wait %d", wait)
	}
	if wait := x.charge(1+secondNanos/2, &r, 1); wait != secondNanos/1000 {
		t.Errorf("one more after that waits %d", wait)
	}
	if x.idle(secondNanos) || !x.idle(3*secondNanos) {
		t.Error("idle at the wrong time")
	}
	largest := lastingRate(1, secondNanos)
	if wait := new(cell).charge(1<<50, &largest, 256<<20); wait != (256<<20-1)*secondNanos {
		t.Errorf("the largest packet at the least rate waits %d", wait)
	}
}

// TestRateShared: loops together get no more than the rate.
func TestRateShared(t *testing.T) {
	r := newRate(10, 100)
	var x sharedCell
	var taken atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if x.take(1, &r) == 0 {
					taken.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := taken.Load(); n != 100 {
		t.Errorf("%d taken", n)
	}
}

// BenchmarkRate is what a limit costs for each packet.
func BenchmarkRate(b *testing.B) {
	r := lastingRate(1_000_000, secondNanos)
	var x cell
	b.ReportAllocs()
	now := int64(0)
	for b.Loop() {
		now += 1000
		x.charge(now, &r, 1)
	}
}
