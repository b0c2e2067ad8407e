package epoll

import (
	"testing"
	"time"
)

func TestWakeAtIsOnceAndNotBefore(t *testing.T) {
	r := newRig(t, Options{})
	wakes := 0
	r.wake = func() { wakes++ }
	r.WakeAt(r.nanos.Load() + int64(time.Millisecond))
	for _, step := range []struct {
		advance time.Duration
		want    int
	}{{0, 0}, {time.Millisecond - 1, 0}, {1, 1}, {0, 1}, {time.Second, 1}} {
		if r.advance(step.advance); wakes != step.want {
			t.Fatalf("after %v more: %d calls of OnWake, want %d", step.advance, wakes, step.want)
		}
	}
}

func TestWakeAtIsReplacedAndTakenBack(t *testing.T) {
	r := newRig(t, Options{})
	wakes := 0
	r.wake = func() { wakes++ }
	now := r.nanos.Load()
	r.WakeAt(now + 100)
	r.WakeAt(now + 300)
	if r.advance(200); wakes != 0 {
		t.Fatal("the replaced time was kept")
	}
	if r.advance(100); wakes != 1 {
		t.Fatalf("%d calls of OnWake at the second time", wakes)
	}
	r.WakeAt(now + 400)
	r.WakeAt(0)
	if r.advance(time.Second); wakes != 1 {
		t.Fatal("woken at a time that was taken back")
	}
	r.WakeAt(now) // has passed
	if r.advance(0); wakes != 2 {
		t.Fatal("a time that has passed does not wake")
	}
}

// An alarm and a Wake in one tick are one OnWake; a Wake alone leaves the alarm set.
func TestWakeAtBesideWake(t *testing.T) {
	r := newRig(t, Options{})
	wakes := 0
	r.wake = func() { wakes++ }
	r.WakeAt(r.nanos.Load() + 100)
	r.Loop.Wake()
	if r.tick(); wakes != 1 {
		t.Fatalf("%d calls of OnWake after Wake", wakes)
	}
	r.Loop.Wake()
	if r.advance(100); wakes != 2 {
		t.Fatalf("%d calls of OnWake after both", wakes)
	}
	// A Wake from inside an alarm's OnWake is not lost.
	r.wake = func() {
		if wakes++; wakes == 3 {
			r.Loop.Wake()
		}
	}
	r.WakeAt(1)
	r.tick()
	if r.tick(); wakes != 4 {
		t.Fatalf("%d calls of OnWake", wakes)
	}
}

func TestUntilNextKnowsTheAlarm(t *testing.T) {
	r := newRig(t, Options{})
	r.tick()
	second := r.untilNext()
	r.WakeAt(r.Now() + 1234)
	if d := r.untilNext(); d != 1234 {
		t.Fatalf("%v until the alarm", d)
	}
	r.WakeAt(r.Now() + int64(time.Hour))
	if d := r.untilNext(); d != second {
		t.Fatalf("%v with an alarm in an hour, %v without", d, second)
	}
	r.WakeAt(1)
	if d := r.untilNext(); d != 0 {
		t.Fatalf("%v until an alarm that has passed", d)
	}
}

// A real loop, alone with its timetable: it is never early, and most alarms come within a millisecond.
func TestWakeAtEndsASleep(t *testing.T) {
	for _, coarse := range []bool{false, true} {
		r := newRig(t, Options{})
		l, err := New(Options{}, r, r)
		if err != nil {
			t.Fatal(err)
		}
		l.poll.coarse = coarse
		const alarms, apart = 200, int64(300 * time.Microsecond)
		var lates []int64
		at := Now() + apart
		r.wake = func() {
			if lates = append(lates, Now()-at); len(lates) == alarms {
				l.Stop()
				return
			}
			at = Now() + apart
			l.WakeAt(at)
		}
		l.WakeAt(at)
		if err := l.Run(); err != nil {
			t.Fatal(err)
		}
		slow, limit := 0, int64(time.Millisecond)
		if coarse {
			limit *= 3
		}
		for _, late := range lates[:alarms] {
			if late < 0 {
				t.Fatalf("%v early", time.Duration(-late))
			}
			if late > limit {
				slow++
			}
		}
		// The machine may be busy; a loop that only knows whole seconds would be late every time.
		if slow > alarms/2 {
			t.Fatalf("coarse %v: %d of %d alarms were late by more than %v", coarse, slow, alarms, time.Duration(limit))
		}
	}
}

// A kernel or a seccomp filter without epoll_pwait2: the loop changes over and sleeps in milliseconds, rounded up.
func TestSleepInMilliseconds(t *testing.T) {
	r := newRig(t, Options{})
	r.poll.coarse = true
	begin := Now()
	if n, err := r.poll.sleep(200*time.Microsecond, true); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if took := Now() - begin; took < int64(200*time.Microsecond) {
		t.Fatalf("slept for %v", time.Duration(took))
	}
	r.poll.coarse = false
	epfd := r.poll.epfd
	r.poll.epfd = -1
	_, err := r.poll.sleep(0, false)
	if r.poll.epfd = epfd; err == nil || r.poll.coarse {
		t.Fatalf("an error that does not mean a missing call: %v, coarse %v", err, r.poll.coarse)
	}
}
