//go:build fault

package fault

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// line is what one publisher sends with one QoS, on one topic: what MQTT promises an order for.
type line struct {
	pub int
	qos byte
}

// ledger is what one party saw of numbered messages. Safe from any goroutine.
type ledger struct {
	name  string
	apart bool // each message has a topic of its own: there is no order
	mu    sync.Mutex
	seen  map[line]*track

	got      [3]int // by QoS, first times only
	again    [3]int // messages seen before
	disorder int    // first times that came after a later number of the line
	strange  int    // payloads that no publisher sent
	examples []string
}

// track is what was seen of one line.
type track struct {
	times []uint8 // by number
	top   int     // highest number so far, plus one
}

const examplesMax = 10

func newLedger(name string) *ledger { return &ledger{name: name, seen: make(map[line]*track)} }

// saw notes a message as it came.
func (l *ledger) saw(payload []byte) {
	pub, qos, n, ok := numberOf(payload)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !ok || qos > 2 {
		l.strange++
		return
	}
	k := line{pub, qos}
	tr := l.seen[k]
	if tr == nil {
		tr = &track{}
		l.seen[k] = tr
	}
	for len(tr.times) <= n {
		tr.times = append(tr.times, 0)
	}
	switch {
	case tr.times[n] > 0:
		l.again[qos]++
		if qos == 2 {
			l.example("publisher %d, QoS 2, number %d: again", pub, n)
		}
	case n < tr.top && !l.apart:
		l.disorder++
		l.example("publisher %d, QoS %d: number %d after %d", pub, qos, n, tr.top-1)
	}
	if tr.times[n] == 0 {
		l.got[qos]++
	}
	tr.times[n] = min(tr.times[n], 254) + 1
	tr.top = max(tr.top, n+1)
}

func (l *ledger) example(format string, args ...any) {
	if len(l.examples) < examplesMax {
		l.examples = append(l.examples, fmt.Sprintf(format, args...))
	}
}

func (l *ledger) has(k line, n int) bool {
	tr := l.seen[k]
	return tr != nil && n < len(tr.times) && tr.times[n] > 0
}

// What a device was told of a message.
const (
	toldNothing = iota
	toldStored
	toldRefused
)

// promises is what all publishers were told. Safe from any goroutine.
type promises struct {
	mu   sync.Mutex
	told map[line][]uint8 // by number

	acknowledged, refused [3]int
	reasons               map[byte]int
}

func newPromises() *promises {
	return &promises{told: make(map[line][]uint8), reasons: make(map[byte]int)}
}

// next is the number of the line's next message.
func (p *promises) next(k line) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.told[k])
}

func (p *promises) sent(k line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told[k] = append(p.told[k], toldNothing)
}

// unsent takes the last message of a line back.
func (p *promises) unsent(k line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told[k] = p.told[k][:len(p.told[k])-1]
}

func (p *promises) answered(m *sending, reason byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if reason >= refused {
		p.told[line{m.pub, m.qos}][m.number] = toldRefused
		p.refused[m.qos]++
		p.reasons[reason]++
		return
	}
	p.told[line{m.pub, m.qos}][m.number] = toldStored
	p.acknowledged[m.qos]++
}

// missing is how many acknowledged messages a party has not seen, and refused ones that it has, nonetheless.
func (p *promises) missing(l *ledger) (lost, unwanted int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, told := range p.told {
		for n, what := range told {
			switch {
			case what == toldStored && !l.has(k, n):
				if lost++; lost <= examplesMax {
					l.example("publisher %d, QoS %d, number %d of %d: lost", k.pub, k.qos, n, len(told))
				}
			case what == toldRefused && l.has(k, n):
				unwanted++
			}
		}
	}
	return lost, unwanted
}

// verdict compares what devices were told with what the parties saw. What breaks a promise fails the test; all is printed.
func verdict(t *testing.T, p *promises, c *counts, parties ...*ledger) {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "acknowledged: %d with QoS 1, %d with QoS 2; refused: %d %v\n",
		p.acknowledged[1], p.acknowledged[2], p.refused[1]+p.refused[2], reasonsText(p.reasons))
	bad := c.sessionsLost.Load() > 0 || p.acknowledged[1]+p.acknowledged[2] == 0
	for _, l := range parties {
		lost, unwanted := p.missing(l)
		l.mu.Lock()
		fmt.Fprintf(&text, "%-12s %8d messages: lost %d, QoS 1 duplicates %d, QoS 2 duplicates %d, order violations %d, refused yet there %d, strange %d\n",
			l.name, l.got[1]+l.got[2], lost, l.again[1], l.again[2], l.disorder, unwanted, l.strange)
		for _, e := range l.examples {
			fmt.Fprintf(&text, "    %s\n", e)
		}
		bad = bad || lost+l.again[2]+l.disorder+l.strange > 0
		l.mu.Unlock()
	}
	text.WriteString(c.text())
	if bad {
		t.Errorf("broken promises\n%s", text.String())
		return
	}
	t.Logf("verdict\n%s", text.String())
}

func reasonsText(reasons map[byte]int) string {
	var text []string
	for r, n := range reasons {
		text = append(text, fmt.Sprintf("%#x: %d", r, n))
	}
	return strings.Join(text, ", ")
}

// TestLedger proves that the checker can fail.
func TestLedger(t *testing.T) {
	p, l := newPromises(), newLedger("party")
	a, b := line{1, 1}, line{1, 2}
	for n := range 5 {
		p.sent(a)
		p.sent(b)
		p.answered(&sending{pub: 1, qos: 1, number: n}, 0)
	}
	p.answered(&sending{pub: 1, qos: 2, number: 0}, 0)
	p.answered(&sending{pub: 1, qos: 2, number: 1}, quotaIsOut)
	for _, n := range []int{0, 2, 1, 2, 3} { // 1 after 2, 2 twice, 4 lost
		l.saw(payloadOf(1, 1, n))
	}
	for _, n := range []int{0, 1, 0, 3} { // 0 twice, 1 was refused, 3 was answered with nothing
		l.saw(payloadOf(1, 2, n))
	}
	l.saw([]byte("something else"))
	lost, unwanted := p.missing(l)
	if lost != 1 || unwanted != 1 || l.again != [3]int{0, 1, 1} || l.disorder != 1 || l.strange != 1 || l.got != [3]int{0, 4, 3} {
		t.Errorf("lost %d, unwanted %d, again %v, disorder %d, strange %d, got %v", lost, unwanted, l.again, l.disorder, l.strange, l.got)
	}
	if p.acknowledged != [3]int{0, 5, 1} || p.refused != [3]int{0, 0, 1} {
		t.Errorf("acknowledged %v, refused %v", p.acknowledged, p.refused)
	}
}
