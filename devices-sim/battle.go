package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Peace and attack take turns, and an attack is compared with the peace right before and right after it: a machine has moods that last for
// longer than that. Each attack takes place several times, far apart, so that what else the machine does at one of them does not decide.

// sampleEvery is the time between two samples of a battle. The first of a window counts for nothing: it tells of the window before, too.
const sampleEvery = 500 * time.Millisecond

// window is some time of a battle, in which the same was done all the while.
type window struct {
	name    string
	attacks []string // none: peace
	samples int
	p99s    []float64  // of the samples that count, in milliseconds
	latency *histogram // of all of them
	most    int64      // resident bytes
	got     spoils
}

// p99 is that of the window's middle sample, in milliseconds, so that a moment of somebody else's work on this machine does not decide. 0: no
// message arrived.
func (w *window) p99() float64 { return medianOf(w.p99s) }

// whole is the p99 of all messages that arrived in the window.
func (w *window) whole() float64 {
	if q := w.latency.quantiles(); q != nil {
		return q.P99
	}
	return 0
}

// battle is one run as it happens. Owned by the runner's goroutine.
type battle struct {
	*badActor
	ctx     context.Context
	gateway *besieged
	runner  *runner

	windows []window
	at      int // window under way
	elapsed int // samples of it
	sieging *besiegers
	err     error

	idle, before, during, after health // without a connection, with the good ones, the most of any attack, when all have left
}

// warmUp is how much peace there is before the first attack.
const warmUp = 3 * time.Second

// plan is peace, and then the rounds: each attack with peace after it, and all of them.
func (s *battle) plan() {
	add := func(name string, d time.Duration, attacks []string) {
		s.windows = append(s.windows, window{name: name, attacks: attacks, samples: int(d / sampleEvery), latency: newCoarse()})
	}
	add("warm-up", warmUp, nil)
	add("peace", s.rest, nil)
	for range s.rounds {
		for _, name := range s.attacks {
			add(name, s.each, []string{name})
			add("peace", s.rest, nil)
		}
		if len(s.attacks) > 1 {
			add(allAttacks, s.each, s.attacks)
			add("peace", s.rest, nil)
		}
	}
}

// allAttacks is the name of a window of all of them.
const allAttacks = "all of them"

// attackers is how many there are in an attack.
func (s *battle) attackers(w *window) int {
	return max(1, len(w.attacks), int(float64(s.devices)*s.share/(1-s.share)+0.5))
}

// sampled is called with each sample of the fleet's run.
func (s *battle) sampled(now *sample, latency *histogram) {
	if now.Stage != sending.String() || s.at >= len(s.windows) || s.err != nil {
		return
	}
	w := &s.windows[s.at]
	if s.elapsed == 0 {
		s.begin(w)
		return
	}
	if s.elapsed > 1 && now.LatencyP99 > 0 {
		w.p99s = append(w.p99s, now.LatencyP99)
		w.latency.merge(latency)
	}
	w.most = max(w.most, now.Servers[0].RSS)
	if s.elapsed++; s.elapsed <= w.samples+1 {
		return
	}
	s.watch(w)
	if s.err = errors.Join(s.err, s.halt()); s.err != nil {
		s.drain()
		return
	}
	s.elapsed = 0
	if s.at++; s.at == len(s.windows) {
		s.drain()
		return
	}
	s.begin(&s.windows[s.at])
}

// begin opens a window, and sets the attackers on the gateway if it is not one of peace.
func (s *battle) begin(w *window) {
	var err error
	s.elapsed = 1
	if s.at == 0 {
		s.before, err = s.gateway.health(s.ctx)
	}
	if len(w.attacks) > 0 && err == nil {
		fmt.Fprintf(s.progress, "%d attackers: %s\n", s.attackers(w), w.name)
		s.sieging, err = s.attack(&siege{Doors: s.gateway.doors, Attacks: w.attacks, Attackers: s.attackers(w), Seed: uint64(s.at)})
	}
	if s.err = err; err != nil {
		s.drain()
	}
}

// watch notes what the gateway needs at the end of a window of attack.
func (s *battle) watch(w *window) {
	if len(w.attacks) == 0 {
		return
	}
	h, err := s.gateway.health(s.ctx)
	s.err = errors.Join(s.err, err)
	d := &s.during
	d.RSS, d.Heap, d.Descriptors = max(d.RSS, h.RSS, w.most), max(d.Heap, h.Heap), max(d.Descriptors, h.Descriptors)
	d.Goroutines, d.Panics, d.Sockets = max(d.Goroutines, h.Goroutines), max(d.Panics, h.Panics), max(d.Sockets, h.Sockets)
}

// halt ends the attackers that there are.
func (s *battle) halt() error {
	if s.sieging == nil {
		return nil
	}
	s.sieging.end()
	err := <-s.sieging.told
	s.windows[s.at].got = s.sieging.got
	s.sieging = nil
	return err
}

// drain ends the traffic of the fleet.
func (s *battle) drain() { s.err = errors.Join(s.err, s.runner.tell(order{Drain: true})) }

// figure is an attack over all rounds.
type figure struct {
	ratios []float64 // of the p99 in it to that in the peaces around it
	moods  []float64 // of the higher of these two peaces to the lower
	calm   []float64 // the mean of the two, ms
	whole  []float64 // the ratios, of all messages
	got    spoils
}

// figures are those of each attack; one whose ratios are too few had a window in which no message arrived.
func (s *battle) figures() map[string]*figure {
	all := map[string]*figure{}
	for i := range s.windows {
		w := &s.windows[i]
		if len(w.attacks) == 0 {
			continue
		}
		f := all[w.name]
		if f == nil {
			f = &figure{}
			all[w.name] = f
		}
		f.got.add(w.got)
		before, after := s.windows[i-1].p99(), s.windows[i+1].p99()
		if calm := (before + after) / 2; w.p99() > 0 && before > 0 && after > 0 {
			f.ratios, f.calm = append(f.ratios, w.p99()/calm), append(f.calm, calm)
			f.moods = append(f.moods, max(before, after)/min(before, after))
			f.whole = append(f.whole, 2*w.whole()/(s.windows[i-1].whole()+s.windows[i+1].whole()))
		}
	}
	return all
}

func (g *spoils) add(o spoils) {
	g.Lives += o.Lives
	g.Failed += o.Failed
	g.Bytes += o.Bytes
}

// restless is the mood from which a machine cannot tell of an attack, whatever the ratio: its peaces differ by that factor.
const restless = 2

// judged is what an attack's figures mean. A ratio that is above the bound tells nothing if it is no larger than what two peaces differ by, or
// if it was not above it in every round.
func (f *figure) judged(name string, rounds int, worse float64) must {
	name, bound := "p99, "+name, fmt.Sprintf("≤ %.2f × peace", 1+worse)
	if len(f.ratios) < rounds {
		return notMeasured(name, bound, "no message arrived")
	}
	ratio, mood := medianOf(f.ratios), medianOf(f.moods)
	measured := fmt.Sprintf("%.2f × %.2f ms (rounds %.2f to %.2f; peaces differ by %.2f; all messages %.2f; %s connections, %s failed, %s)", ratio, medianOf(f.calm),
		slices.Min(f.ratios), slices.Max(f.ratios), mood, medianOf(f.whole), grouped(f.got.Lives), grouped(f.got.Failed), bytesText(int64(f.got.Bytes)))
	why := ""
	switch {
	case mood >= restless || ratio > 1+worse && ratio <= mood:
		why = fmt.Sprintf("noise too large: the peaces before and after it differ by a factor of %.2f", mood)
	case ratio > 1+worse && slices.Min(f.ratios) <= 1+worse:
		why = "noise too large: it was within the bound in some of the rounds"
	}
	if why != "" {
		m := notMeasured(name, bound, why)
		m.Measured = measured
		return m
	}
	return held(name, bound, ratio, ratio <= 1+worse, measured)
}

func medianOf(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	if len(list) == 0 {
		return 0
	}
	return (list[len(list)/2] + list[(len(list)-1)/2]) / 2
}

// musts is what has to hold.
func (s *battle) musts(res *result) (list []must) {
	figures, names := s.figures(), s.attacks
	if len(names) > 1 {
		names = append(slices.Clone(names), allAttacks)
	}
	for _, name := range names {
		if f := figures[name]; f != nil {
			list = append(list, f.judged(name, s.rounds, s.worse))
		}
	}
	t := &res.Telemetry
	var lost uint64
	if t.Lost != nil {
		lost = *t.Lost
	}
	grown, left := s.during.RSS-s.before.RSS, s.after.RSS-s.before.RSS
	bound := "≤ " + bytesText(s.memory)
	list = append(list,
		none("messages lost", lost, fmt.Sprintf("%s of %s", grouped(lost), grouped(t.Sent))),
		none("good connections closed", res.closed(), grouped(res.closed())),
		held("memory of the gateway, grown by", bound, float64(grown), grown <= s.memory, fmt.Sprintf("%s, from %s", bytesText(grown), bytesText(s.before.RSS))),
		held("and after it", bound, float64(left), left <= s.memory, bytesText(left)),
		told("heap before, most, after", float64(s.during.Heap), fmt.Sprintf("%s, %s, %s", bytesText(s.before.Heap), bytesText(s.during.Heap), bytesText(s.after.Heap))),
		told("descriptors before, most", float64(s.during.Descriptors), fmt.Sprintf("%d, %d", s.before.Descriptors, s.during.Descriptors)),
		told("goroutines before, most", float64(s.during.Goroutines), fmt.Sprintf("%d, %d", s.before.Goroutines, s.during.Goroutines)),
	)
	return append(list, leftovers(&s.idle, &s.after)...)
}

// closed is how many connections of good devices ended.
func (res *result) closed() (n uint64) {
	for _, k := range res.Closes {
		n += k
	}
	return n
}
