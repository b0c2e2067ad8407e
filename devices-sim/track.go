package main

// verdict is what a sequence number means to the one who receives it.
type verdict uint8

const (
	isNew       verdict = iota
	isDuplicate         // seen before
	isLate              // new, but after a later one: an order violation
)

// trackWindow is how far back a track is exact.
const trackWindow = 64

// track follows the sequence numbers of one source: 24 bytes, exact within the last trackWindow numbers. What is older
// than that counts as late and not as received: a stream that far out of order has failed anyway, and a device has no more
// than trackWindow messages under way that it could send again.
type track struct {
	high   uint64 // the highest number received; 0: none
	window uint64 // bit i: high-i was received
	unique uint64 // numbers received, each once
}

// note takes the next number.
func (t *track) note(seq uint64) verdict {
	switch {
	case seq > t.high:
		if shift := seq - t.high; shift < trackWindow {
			t.window = t.window<<shift | 1
		} else {
			t.window = 1
		}
		t.high = seq
		t.unique++
		return isNew
	case t.high-seq >= trackWindow:
		return isLate
	}
	bit := uint64(1) << (t.high - seq)
	if t.window&bit != 0 {
		return isDuplicate
	}
	t.window |= bit
	t.unique++
	return isLate
}
