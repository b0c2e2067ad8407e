package gateway

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestWantedNeverSaysNoWrongly compares with the exact matcher on random filters and topics of few words.
func TestWantedNeverSaysNoWrongly(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	words := func(more ...string) string {
		from := append([]string{"a", "b", ""}, more...)
		var out []string
		for range 1 + rng.IntN(4) {
			out = append(out, from[rng.IntN(len(from))])
		}
		return strings.Join(out, "/")
	}
	var w wanted
	held := map[string]int{}
	no := 0
	for range 20_000 {
		switch f := words("+", "+"); rng.IntN(4) {
		case 0:
			if rng.IntN(3) == 0 {
				f += "/#"
			}
			if len(held) < 4 {
				w.add(f)
				held[f]++
			}
		case 1:
			for f := range held {
				w.remove(f)
				if held[f]--; held[f] == 0 {
					delete(held, f)
				}
				break
			}
		default:
			topic := words()
			if topic == "" {
				continue
			}
			may := w.may([]byte(topic))
			for f := range held {
				if matches(f, topic) && !may {
					t.Fatalf("%q matches %q, but is not wanted", f, topic)
				}
			}
			if !may {
				no++
			}
		}
	}
	if no == 0 {
		t.Error("it never said no")
	}
	for f := range held {
		for range held[f] {
			w.remove(f)
		}
	}
	if w.depths.Load() != 0 || w.may([]byte("a/b")) || w.may([]byte("a")) {
		t.Error("something is wanted although every filter was removed")
	}
}

func TestWantedDeepFilters(t *testing.T) {
	deep := strings.Repeat("x/", 40)
	var w wanted
	w.add(deep + "+")
	if !w.may([]byte(deep + "y")) {
		t.Error("a filter with 40 literal levels is not wanted")
	}
	w.remove(deep + "+")
	if w.may([]byte(deep + "y")) {
		t.Error("still wanted after remove")
	}
}

func BenchmarkWanted(b *testing.B) {
	var w wanted
	w.add("devices/d1/cmd")
	w.add("rooms/+/status")
	topic := []byte("devices/d2/telemetry")
	for b.Loop() {
		if w.may(topic) {
			b.Fatal("wanted")
		}
	}
}
