package main

import (
	"sync/atomic"
	"syscall"
	"time"
)

// schedule is an open-loop timetable: event k is due at start + k/rate, whatever became of the events before it. A
// generator that waits for answers would send less just when the server is slow, and not measure it (coordinated
// omission); this one falls behind its timetable instead, and the delay counts as latency.
type schedule struct {
	start int64   // nanoseconds since 1970
	rate  float64 // events per second; 0: never
	next  uint64  // the first event not yet taken
	end   uint64  // events in all
}

// at returns when event k is due.
func (s *schedule) at(k uint64) int64 {
	return s.start + int64(float64(k)*float64(time.Second)/s.rate)
}

// take reports whether the next event is due, and takes it.
func (s *schedule) take(now int64) (k uint64, ok bool) {
	if s.done() || s.at(s.next) > now {
		return 0, false
	}
	s.next++
	return s.next - 1, true
}

func (s *schedule) done() bool { return s.rate <= 0 || s.next >= s.end }

// nextAt returns when the next event is due, or never.
func (s *schedule) nextAt() int64 {
	if s.done() {
		return never
	}
	return s.at(s.next)
}

const never = int64(1<<63 - 1)

// clock tells nanoseconds since 1970, but never jumps: stamps are compared between processes of one machine.
type clock func() int64

func monotonic() clock {
	start := time.Now()
	base := start.UnixNano()
	return func() int64 { return base + int64(time.Since(start)) }
}

// alarm wakes a loop when its next event is due. The loop itself knows only whole seconds; one goroutine that sleeps in
// the kernel is precise to 0.1 ms (a Go timer of an idle process: 1 ms), whatever the number of devices.
type alarm struct {
	at      atomic.Int64
	stopped atomic.Bool
}

const (
	// alarmRest is the shortest sleep: events closer together than this are sent together. It bounds the wake-ups of a
	// fast fleet to 10,000 a second, and what the generator itself adds to a latency.
	alarmRest = 100 * time.Microsecond
	// alarmLook is the longest sleep, and so how late a newly set earlier time may be noticed.
	alarmLook = 5 * time.Millisecond
)

// run calls wake whenever the set time has come, until stopped.
func (a *alarm) run(now clock, wake func()) {
	for !a.stopped.Load() {
		d := time.Duration(a.at.Load() - now())
		if d <= 0 {
			wake()
			d = alarmRest
		}
		nap(min(max(d, alarmRest), alarmLook))
	}
}

// nap sleeps in the kernel, precise to some 50 us; an interrupted nap is only a shorter one.
func nap(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil)
}
