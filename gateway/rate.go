package gateway

import (
	"sync/atomic"
	"time"
)

// Rates are held with the generic cell rate algorithm: all that has to be remembered of a stream of events is the time at which the bucket
// would be empty, in one word. What is allowed is the same as with a token bucket, and nothing has to be filled between events.

// rate is what a limit allows: so many events in so many nanoseconds. The zero rate is no limit. Read-only once in use: safe from any goroutine.
type rate struct {
	events, in int64
	slack      int64 // nanoseconds' worth that may come at once
}

// newRate allows perSec events a second, and burst of them at once. perSec 0: no limit.
func newRate(perSec, burst int) rate {
	if perSec == 0 {
		return rate{}
	}
	return rate{int64(perSec), secondNanos, int64(burst) * secondNanos / int64(perSec)}
}

// lastingRate allows perSec events a second, and at once those of slack.
func lastingRate(perSec int, slackNanos int64) rate {
	return rate{int64(perSec), secondNanos, slackNanos}
}

// rateIn allows n events in a time, and as many at once.
func rateIn(n int, d time.Duration) rate { return rate{int64(n), d.Nanoseconds(), d.Nanoseconds()} }

const secondNanos = 1_000_000_000

// ratePerSecMax keeps the time of an event above nothing, and that of 256 MiB within a word.
const ratePerSecMax = 1_000_000_000

func (r *rate) limits() bool { return r.events > 0 }

// cost is the time that n events take of the rate.
func (r *rate) cost(n int) int64 { return int64(n) * r.in / r.events }

// cell is the state of one stream of events: when its bucket is empty, by the clock of the loops. The zero cell has seen nothing. 8 bytes.
// Owned by one goroutine.
type cell int64

// charge counts n events that have happened, however many. wait is how long nothing more may come, 0 when all is within the rate.
func (x *cell) charge(now int64, r *rate, n int) (wait int64) {
	empty := max(int64(*x), now) + r.cost(n)
	*x = cell(empty)
	return max(0, empty-now-r.slack)
}

// take counts one event if the rate allows it; else wait is when it will.
func (x *cell) take(now int64, r *rate) (wait int64) {
	empty := max(int64(*x), now) + r.cost(1)
	if wait = empty - now - r.slack; wait > 0 {
		return wait
	}
	*x = cell(empty)
	return 0
}

// idle tells that the cell is as if it had seen nothing.
func (x cell) idle(now int64) bool { return int64(x) <= now }

// sharedCell is a cell for several loops. Safe from any goroutine.
type sharedCell struct{ at atomic.Int64 }

// charge is cell.charge.
func (x *sharedCell) charge(now int64, r *rate, n int) (wait int64) {
	for {
		before := x.at.Load()
		c := cell(before)
		if wait = c.charge(now, r, n); n == 0 || x.at.CompareAndSwap(before, int64(c)) {
			return wait
		}
	}
}

// take is cell.take.
func (x *sharedCell) take(now int64, r *rate) (wait int64) {
	for {
		before := x.at.Load()
		c := cell(before)
		if wait = c.take(now, r); wait > 0 || x.at.CompareAndSwap(before, int64(c)) {
			return wait
		}
	}
}
