package epoll

import "time"

// processStart is the zero of the clock that all loops of the process share, so that their seconds compare.
var processStart = time.Now()

// processNanos reads the monotonic clock.
func processNanos() int64 { return int64(time.Since(processStart)) }

// secOf starts at 1, so that 0 can mean never.
func secOf(nanos int64) uint32 { return uint32(nanos/int64(time.Second)) + 1 }

// NowSec is the second of the clock that Loop.NowSec shows, for goroutines that are no loop. Safe from any goroutine.
func NowSec() uint32 { return secOf(processNanos()) }

// Now is the clock that Loop.Now shows, for goroutines that are no loop. Safe from any goroutine.
func Now() int64 { return processNanos() }

// Now is the monotonic time in nanoseconds since the process started, read once per tick.
func (l *Loop) Now() int64 { return l.now }

// NowSec is the second of the tick, from 1 up. It compares between loops and with the package's NowSec.
func (l *Loop) NowSec() uint32 { return l.nowSec }

func (l *Loop) readClock() {
	l.now = l.clock()
	l.nowSec = secOf(l.now)
}
