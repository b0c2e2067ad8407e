package main

import (
	"math/rand/v2"
	"testing"
)

func TestTrack(t *testing.T) {
	for _, c := range []struct {
		name               string
		in                 []uint64
		unique, twice, out int
	}{
		{"in order", []uint64{1, 2, 3}, 3, 0, 0},
		{"a gap is no violation", []uint64{1, 5, 6}, 3, 0, 0},
		{"twice", []uint64{1, 2, 2, 1}, 2, 2, 0},
		{"late", []uint64{1, 3, 2}, 3, 0, 1},
		{"late twice", []uint64{1, 3, 2, 2}, 3, 1, 1},
		{"repeated run", []uint64{1, 2, 3, 1, 2, 3, 4}, 4, 3, 0},
		{"a leap", []uint64{1, 1000, 937}, 3, 0, 1},
		{"older than the window", []uint64{1, 1000, 936}, 2, 0, 1},
		{"begins late", []uint64{70, 71}, 2, 0, 0},
	} {
		var tr track
		var twice, out int
		for _, seq := range c.in {
			switch tr.note(seq) {
			case isDuplicate:
				twice++
			case isLate:
				out++
			}
		}
		if int(tr.unique) != c.unique || twice != c.twice || out != c.out {
			t.Errorf("%s: unique %d, twice %d, out of order %d", c.name, tr.unique, twice, out)
		}
	}
}

// TestTrackAgainstSet compares with a set that forgets nothing, on streams shuffled within the window.
func TestTrackAgainstSet(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 200 {
		var tr track
		seen := map[uint64]bool{}
		high, base := uint64(0), uint64(1)
		for range 300 {
			base += uint64(rng.IntN(3))
			seq := base + uint64(rng.IntN(20))
			want := isNew
			switch {
			case seen[seq]:
				want = isDuplicate
			case seq < high:
				want = isLate
			}
			seen[seq], high = true, max(high, seq)
			if got := tr.note(seq); got != want {
				t.Fatalf("seed %d: %d after %d: %d, want %d", seed, seq, high, got, want)
			}
		}
		if tr.unique != uint64(len(seen)) {
			t.Fatalf("seed %d: %d unique, want %d", seed, tr.unique, len(seen))
		}
	}
}

func TestLedger(t *testing.T) {
	l := newLedger(7, testPlans(3))
	note := func(s stamp) { l.note(s.append(nil, 40), s.sentAt+2_000_000) }
	note(stamp{run: 7, device: 0, sequence: 1, sentAt: 100})
	note(stamp{run: 7, device: 0, sequence: 1, sentAt: 100})
	note(stamp{run: 7, device: 2, sequence: 2, sentAt: 100})
	note(stamp{run: 7, device: 2, sequence: 1, sentAt: 100})
	note(stamp{run: 6, device: 1, sequence: 1, sentAt: 100}) // another run's
	note(stamp{run: 7, device: 3, sequence: 1, sentAt: 100}) // no such device
	l.note([]byte("short"), 0)
	if l.received != 4 || l.unique != 3 || l.duplicates != 1 || l.late != 1 || l.damaged != 2 {
		t.Fatalf("%+v", l)
	}
	if q := l.latency.quantiles(); q.Count != 3 || q.P50 < 1.99 || q.P50 > 2.01 {
		t.Fatalf("latency %+v", q)
	}
	lost, broken, worst := l.loss(&partial{First: 0, Sent: []uint32{1, 1, 5}, Acked: []uint32{1, 0, 3}})
	if lost != 4 || broken != 1 || worst != 2 {
		t.Fatalf("lost %d, broken %d, worst %d", lost, broken, worst)
	}
	if n, latency := l.second(); n != 3 || latency.quantiles() == nil {
		t.Fatalf("second: %d, %v", n, latency)
	}
	if _, latency := l.second(); latency.quantiles() != nil {
		t.Fatalf("the second after: %v", latency)
	}
}

func TestStamp(t *testing.T) {
	for _, size := range []int{stampBytes, stampBytes + 1, 64, 1000} {
		want := stamp{run: 1 << 31, device: 119_999, sequence: 1<<40 + 3, sentAt: 1_795_000_000_000_000_000}
		p := want.append([]byte("x"), size)[1:]
		if got, ok := parseStamp(p); !ok || got != want || len(p) != size {
			t.Fatalf("size %d: %+v %v, %d bytes", size, got, ok, len(p))
		}
		if size > stampBytes {
			p[size-1]++
			if _, ok := parseStamp(p); ok {
				t.Fatalf("size %d: damage was not seen", size)
			}
		}
	}
	if _, ok := parseStamp(make([]byte, stampBytes-1)); ok {
		t.Fatal("a short payload was taken")
	}
}

func FuzzStamp(f *testing.F) {
	f.Add(stamp{1, 2, 3, 4}.append(nil, 40))
	f.Fuzz(func(t *testing.T, p []byte) {
		if s, ok := parseStamp(p); ok && string(s.append(nil, len(p))) != string(p) {
			t.Fatalf("% x does not come back", p)
		}
	})
}
