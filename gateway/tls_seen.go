package gateway

import (
	"sync"
	"time"
)

// seenCerts knows when certificates of devices expire, of those that were shown in the last one to two weeks: nobody else can tell the operator
// before the devices fall silent. It remembers those that expire soon, and of the others only the first. Safe from any goroutine.
type seenCerts struct {
	mu    sync.Mutex
	since time.Time
	weeks [2]seenWeek // this one and the one before
}

// seenWeek is what was shown in a week.
type seenWeek struct {
	soon    map[[32]byte]int64 // when those expire that are about to, Unix time, by fingerprint
	soonest int64              // of all; 0: there was none
}

const (
	seenTime     = 7 * 24 * time.Hour
	seenSoonTime = 30 * 24 * time.Hour
	// seenSoonMax is how many are remembered; further ones are not counted.
	seenSoonMax = 65_536
)

// add notes that a device has shown a certificate.
func (x *seenCerts) add(fingerprint [32]byte, expiresSec int64, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.turn(now)
	w := &x.weeks[0]
	if w.soonest == 0 || expiresSec < w.soonest {
		w.soonest = expiresSec
	}
	if expiresSec-now.Unix() >= int64(seenSoonTime.Seconds()) {
		return
	}
	if w.soon == nil {
		w.soon = map[[32]byte]int64{}
	}
	if _, known := w.soon[fingerprint]; known || len(w.soon) < seenSoonMax {
		w.soon[fingerprint] = expiresSec
	}
}

// turn begins a new week if it is time. Called with mu held.
func (x *seenCerts) turn(now time.Time) {
	switch age := now.Sub(x.since); {
	case age < seenTime:
	case age < 2*seenTime:
		x.weeks = [2]seenWeek{{}, x.weeks[0]}
		x.since = x.since.Add(seenTime)
	default:
		x.weeks, x.since = [2]seenWeek{}, now
	}
}

// sum tells when the first one expires, as Unix time, 0 for none, and how many do within 30 days and have not yet.
func (x *seenCerts) sum(now time.Time) (soonest int64, soon int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.turn(now)
	for i := range x.weeks {
		w := &x.weeks[i]
		if w.soonest != 0 && (soonest == 0 || w.soonest < soonest) {
			soonest = w.soonest
		}
		for fingerprint, expiresSec := range w.soon {
			_, again := x.weeks[0].soon[fingerprint]
			if expiresSec > now.Unix() && (i == 0 || !again) {
				soon++
			}
		}
	}
	return soonest, soon
}
