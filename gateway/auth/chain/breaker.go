package chain

import "time"

// The breaker opens after failuresMax failures in succession. Then one question after another tries again, first after pauseMin and, as
// long as they fail, after twice as long each time up to pauseMax. All others are answered at once, as the policy of the link has it.
const (
	failuresMax = 5
	pauseMin    = time.Second
	pauseMax    = 30 * time.Second
)

// breaker keeps a provider that is away from being asked, and devices from waiting for it.
type breaker struct {
	failures int
	pause    time.Duration
	next     time.Time // when one may try; zero while it is closed
	trying   bool
}

func (b *breaker) open() bool { return !b.next.IsZero() }

// lets tells whether a question may be asked. While the breaker is open that is one at a time.
func (b *breaker) lets(now time.Time) bool {
	if !b.open() {
		return true
	}
	if b.trying || now.Before(b.next) {
		return false
	}
	b.trying = true
	return true
}

func (b *breaker) worked() { *b = breaker{} }

// unasked takes back a try that came to nothing.
func (b *breaker) unasked() { b.trying = false }

// failed counts; the questions that were under way when the breaker opened tell nothing new.
func (b *breaker) failed(now time.Time) {
	if b.open() && !b.trying {
		return
	}
	b.failures++
	b.trying = false
	if b.failures < failuresMax {
		return
	}
	b.pause = min(max(2*b.pause, pauseMin), pauseMax)
	b.next = now.Add(b.pause)
}
