package main

import (
	"context"
	"slices"
	"time"
)

// A run with a storm is two: the calm, until all connections drop, and what comes after. What is told of the calm is told
// apart, because the messages that waited for their devices to return would hide its latencies. A message belongs to the
// calm when it was due in it, whenever it was sent or received; a close, a repetition, or what a process has used, when it
// happened in it: what the storm left unacknowledged is sent again.

// calmPart is one worker's calm.
type calmPart struct {
	Count counters
	Ack   *histogram
	Lag   *histogram
	Cost  cost
}

// calmSoFar closes the books of the calm.
func (f *fleet) calmSoFar() *calmPart {
	c := &calmPart{Count: f.count.clone(), Ack: newHistogram(), Lag: newHistogram(), Cost: f.costSoFar()}
	c.Ack.merge(f.hist.Ack)
	c.Lag.merge(f.hist.Lag)
	return c
}

// calmTally is what arrived at the far end of the messages that were due in the calm.
type calmTally struct {
	until                    int64
	unique, duplicates, late uint64
	latency                  *histogram
}

// note takes a message as the ledger does.
func (c *calmTally) note(v verdict, counted bool, sentAt, now int64) {
	switch {
	case v == isDuplicate && now < c.until:
		c.duplicates++
	case v == isLate && sentAt < c.until:
		c.late++
	}
	if counted && sentAt < c.until {
		c.unique++
		c.latency.record(now - sentAt)
	}
}

// calmResult is the run until all connections dropped. What the far end saw is nil where nobody watches it.
type calmResult struct {
	Seconds    float64    `json:"seconds"`
	Sent       uint64     `json:"sent"`
	PerSecond  float64    `json:"per_second"`
	Received   *uint64    `json:"received,omitempty"`
	Lost       *uint64    `json:"lost,omitempty"`
	Duplicates *uint64    `json:"duplicates,omitempty"`
	OutOfOrder *uint64    `json:"out_of_order,omitempty"`
	Latency    *quantiles `json:"latency,omitempty"`
	AckLatency *quantiles `json:"ack_latency,omitempty"`
	Lag        *quantiles `json:"lag,omitempty"`
	Closes     uint64     `json:"unexpected_closes"`
	Pings      uint64     `json:"pings"`

	GeneratorCPUSec float64 `json:"generator_cpu_sec"`
}

// stormResult is what became of the run after that.
type stormResult struct {
	RecoverySec float64           `json:"recovery_sec"` // until all were back; 0: they were not
	Connects    uint64            `json:"connects"`
	PerSecond   float64           `json:"connects_per_second"`
	Failures    map[string]uint64 `json:"connect_failures"`
	Closes      uint64            `json:"unexpected_closes"`
	Skipped     uint64            `json:"skipped"` // QoS 0, due while the device was away
	Resent      uint64            `json:"resent"`
	Sent        uint64            `json:"sent"`
	Received    *uint64           `json:"received,omitempty"`
	Lost        *uint64           `json:"lost,omitempty"`
	Duplicates  *uint64           `json:"duplicates,omitempty"`
	Latency     *quantiles        `json:"latency,omitempty"` // of the whole run, the waiting for devices included
}

// calm works until the storm, and when the run is to end with it until its time.
func (r *runner) calm(ctx context.Context) error {
	after, ok := r.o.stormAfter()
	if !ok {
		return nil
	}
	stormAt := r.begunAt + int64(after)
	over := func() bool { return r.reached(drained) }
	if err := r.until(ctx, stormAt, over); err != nil || over() {
		return err // interrupted: there was no storm
	}
	r.sample(func(w *watched) *usage { return &w.calm })
	r.selfCalm = selfUsage()
	if r.afterStorm == 0 {
		return nil
	}
	if err := r.until(ctx, never, func() bool { return over() || r.back() }); err != nil || over() {
		return err
	}
	if err := r.until(ctx, r.now()+int64(r.afterStorm), over); err != nil {
		return err
	}
	return r.tell(order{Drain: true})
}

// back tells whether all devices have returned from the storm.
func (r *runner) back() bool {
	return !slices.ContainsFunc(r.latest, func(rep report) bool { return rep.StormNanos <= 0 })
}

// stormNanos is how long it took until all devices of all workers were back; negative: they were not. 0: there was none.
func (r *runner) stormNanos() (nanos int64) {
	for i := range r.latest {
		n := r.latest[i].StormNanos
		if n < 0 {
			return -1
		}
		nanos = max(nanos, n)
	}
	return nanos
}

// addStorm tells calm and storm apart, in a run that had one.
func (r *runner) addStorm(res *result, c *counters) {
	before := newCounters()
	calm := &calmResult{GeneratorCPUSec: (r.selfCalm.CPU - r.self[0].CPU).Seconds()}
	ack, lag := newHistogram(), newHistogram()
	for i := range r.latest {
		part := r.latest[i].Result.Calm
		if part == nil {
			return // the run ended before
		}
		before.add(&part.Count)
		ack.merge(part.Ack)
		lag.merge(part.Lag)
		calm.GeneratorCPUSec += part.Cost.CPU.Seconds()
	}
	after, _ := r.o.stormAfter()
	calm.Seconds, calm.Sent, calm.PerSecond = after.Seconds(), c.SentCalm, float64(c.SentCalm)/after.Seconds()
	calm.AckLatency, calm.Lag = ack.quantiles(), lag.quantiles()
	calm.Closes, calm.Pings = before.Unexpected, before.Pings
	storm := &stormResult{
		Connects: c.Connects - before.Connects, Failures: map[string]uint64{}, Closes: c.Unexpected - before.Unexpected,
		Skipped: c.Skipped - before.Skipped, Resent: c.Resent - before.Resent, Sent: c.Sent - c.SentCalm, Latency: res.Telemetry.Latency,
	}
	for reason, n := range c.Failures {
		if n -= before.Failures[reason]; n > 0 {
			storm.Failures[reason] = n
		}
	}
	if nanos := r.stormNanos(); nanos > 0 {
		storm.RecoverySec = time.Duration(nanos).Seconds()
		storm.PerSecond = float64(storm.Connects) / storm.RecoverySec
	}
	if r.ledger != nil {
		r.ledger.addStorm(calm, storm)
	}
	res.Calm, res.Storm = calm, storm
}

// addStorm adds what the far end saw of both.
func (l *ledger) addStorm(calm *calmResult, storm *stormResult) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.calm
	calm.Received, calm.Lost = new(t.unique), new(calm.Sent-min(t.unique, calm.Sent))
	calm.Duplicates, calm.OutOfOrder, calm.Latency = new(t.duplicates), new(t.late), t.latency.quantiles()
	after := l.unique - t.unique
	storm.Received, storm.Lost = new(after), new(storm.Sent-min(after, storm.Sent))
	storm.Duplicates = new(l.duplicates - t.duplicates)
}
