package main

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
)

// leg is a part of a run during which the rate of messages goes from one value to another, evenly.
type leg struct {
	From  float64 `json:"from_per_sec"` // messages of the whole fleet
	To    float64 `json:"to_per_sec"`
	Nanos int64   `json:"nanos"`
}

// count is how many messages a leg has.
func (l leg) count() float64 { return (l.From + l.To) / 2 * float64(l.Nanos) / float64(second) }

// parseStages reads a list of stages; rate is the one that a hold begins with when nothing came before.
//
//	ramp 10s to 1000   from the rate so far, evenly to 1,000 a second
//	hold 30s           at the rate so far
//	hold 30s at 500    at 500 a second from now on
//	stop 5s            evenly to nothing
func parseStages(s string, rate float64) ([]leg, error) {
	var legs []leg
	for _, text := range strings.Split(s, ",") {
		words := strings.Fields(text)
		bad := fmt.Errorf("stage %q: want ramp TIME to RATE, hold TIME, hold TIME at RATE, or stop TIME", strings.TrimSpace(text))
		if len(words) != 2 && len(words) != 4 {
			return nil, bad
		}
		d, err := time.ParseDuration(words[1])
		if err != nil || d <= 0 {
			return nil, bad
		}
		to := 0.0
		if len(words) == 4 {
			if to, err = strconv.ParseFloat(words[3], 64); err != nil || !(to >= 0 && to <= 1e9) {
				return nil, bad
			}
			words[1] = words[2]
		} else {
			words[1] = ""
		}
		from := 0.0
		if len(legs) > 0 {
			from = legs[len(legs)-1].To
		}
		switch words[0] + words[1] {
		case "rampto", "stop":
		case "hold":
			if len(legs) == 0 {
				from = rate
			}
			to = from
		case "holdat":
			from = to
		default:
			return nil, bad
		}
		legs = append(legs, leg{from, to, int64(d)})
	}
	return legs, nil
}

// total is how long legs take, and how many messages they have.
func total(legs []leg) (nanos int64, count float64) {
	for _, l := range legs {
		nanos += l.Nanos
		count += l.count()
	}
	return nanos, count
}

// timetable is legs of one worker, ready to ask when message k is due.
type timetable struct {
	legs   []leg
	begins []int64   // when each leg begins, from the start
	firsts []float64 // how many messages are before it
	phase  float64   // of a message: workers take turns
}

// newTimetable takes the worker's share of the legs.
func newTimetable(legs []leg, share, phase float64) *timetable {
	t := &timetable{phase: phase}
	var at int64
	var n float64
	for _, l := range legs {
		l.From *= share
		l.To *= share
		if l.count() == 0 {
			at += l.Nanos
			continue
		}
		t.legs, t.begins, t.firsts = append(t.legs, l), append(t.begins, at), append(t.firsts, n)
		at += l.Nanos
		n += l.count()
	}
	return t
}

// at returns when message k is due, from the start. In a leg the count after t seconds is From t + (To-From) t²/2D; this
// is that, solved for t, in the form that does not mind a leg without slope.
func (t *timetable) at(k uint64) int64 {
	n := float64(k) + t.phase
	i := max(0, sort.Search(len(t.legs), func(i int) bool { return t.firsts[i] > n })-1)
	l := t.legs[i]
	n = min(n-t.firsts[i], l.count())
	slope := (l.To - l.From) / (float64(l.Nanos) / float64(second))
	seconds := 2 * n / (l.From + math.Sqrt(max(0, l.From*l.From+2*slope*n)))
	if n == 0 {
		seconds = 0
	}
	return t.begins[i] + min(int64(seconds*float64(second)), l.Nanos)
}
