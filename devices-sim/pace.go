package main

import (
	"syscall"
	"time"

	"github.com/tidegate/tidegate/epoll"
)

// schedule is an open-loop timetable: event k is due at start + k/rate, whatever became of the events before it. A
// generator that waits for answers would send less just when the server is slow, and not measure it (coordinated
// omission); this one falls behind its timetable instead, and the delay counts as latency.
type schedule struct {
	start int64      // nanoseconds since 1970
	rate  float64    // events per second; 0: never
	next  uint64     // the first event not yet taken
	end   uint64     // events in all
	table *timetable // instead of one rate
}

// at returns when event k is due.
func (s *schedule) at(k uint64) int64 {
	if s.table != nil {
		return s.start + s.table.at(k)
	}
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

// monotonic is the loops' clock with 1970 as its zero.
func monotonic() clock {
	base := time.Now().UnixNano() - epoll.Now()
	return func() int64 { return base + epoll.Now() }
}

// eventRest is the shortest time between two looks at a timetable: events closer together than this are sent together.
// It bounds the wake-ups of a fast fleet to 10,000 a second, and what the generator itself adds to a latency.
const eventRest = 100 * time.Microsecond

// nap sleeps in the kernel, precise to some 50 us where a Go timer of an idle process is a millisecond late; an
// interrupted nap is only a shorter one.
func nap(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil)
}
