package epoll

import "time"

// WakeAt makes the loop call OnWake once, when Now has reached at (nanoseconds of the Now clock): in the first tick that
// begins then or later, and a loop that has nothing to do sleeps just so long. A later call replaces an earlier one, 0
// takes it back; a call with a time that has passed leads to a tick at once. Wake comes as before and leaves the time
// set. On the loop, or before Run.
//
// It is as precise as the kernel: some 50 us, or the next millisecond where epoll_pwait2 (Linux 5.11) is missing. While
// the time is less than sleepHidden away the loop's P sleeps with it, so GOMAXPROCS should be larger than the number of
// loops that use this.
func (l *Loop) WakeAt(at int64) {
	l.checkOwner()
	l.wakeAt = at
}

// sleepHidden is the longest sleep of which the scheduler is not told. It bounds how long a collection may have to wait
// for the loop when it wants to stop the world.
const sleepHidden = 2 * time.Millisecond

// alarmDue tells whether the time set with WakeAt has come, and forgets it.
func (l *Loop) alarmDue() bool {
	if l.wakeAt == 0 || l.now < l.wakeAt {
		return false
	}
	l.wakeAt = 0
	return true
}

// untilNext is the time to the next thing the clock brings: a new second, the end of an accept pause, or an alarm.
func (l *Loop) untilNext() time.Duration {
	next := int64(l.nowSec) * int64(time.Second)
	if at := l.listeners.resumeAt; at != 0 {
		next = min(next, at)
	}
	if at := l.wakeAt; at != 0 {
		next = min(next, at)
	}
	return time.Duration(max(0, next-l.clock()))
}
