package main

import (
	"testing"
	"time"
)

func TestScheduleTake(t *testing.T) {
	s := schedule{start: 1000 * second, rate: 4, end: 6}
	taken := func(now int64) (ks []uint64) {
		for k, ok := s.take(now); ok; k, ok = s.take(now) {
			ks = append(ks, k)
		}
		return ks
	}
	for _, step := range []struct {
		at   int64 // ms after start
		want int
		next int64
	}{
		{-1, 0, 0}, {0, 1, 250}, {249, 0, 250}, {250, 1, 500}, {900, 2, 1000}, {5000, 2, never},
	} {
		got := taken(s.start + step.at*int64(time.Millisecond))
		next := s.nextAt()
		if next != never {
			next = (next - s.start) / int64(time.Millisecond)
		}
		if len(got) != step.want || next != step.next {
			t.Fatalf("at %d ms: took %v, next at %d ms", step.at, got, next)
		}
	}
	if !s.done() {
		t.Fatal("not done")
	}
}

// TestScheduleDrift: the millionth event is where it should be; intervals that do not divide a second add up to nothing.
func TestScheduleDrift(t *testing.T) {
	s := schedule{start: 0, rate: 3000, end: endless}
	if got, want := s.at(3000*86400), 86400*second; got != want {
		t.Fatalf("a day later: off by %d ns", got-want)
	}
	for k := range uint64(100000) {
		if s.at(k+1) <= s.at(k) {
			t.Fatalf("event %d is not before the next", k)
		}
	}
}

func TestScheduleNever(t *testing.T) {
	s := schedule{end: 5}
	if _, ok := s.take(never - 1); ok || !s.done() || s.nextAt() != never {
		t.Fatal("a schedule without a rate has events")
	}
}

func TestPlans(t *testing.T) {
	for _, c := range []struct{ devices, workers, want int }{
		{1, 0, 1}, {18000, 0, 1}, {18001, 0, 2}, {120000, 0, 7}, {100, 3, 3}, {2, 5, 2}, {40000, 2, 3},
	} {
		o := options{Devices: c.devices, Publishers: c.devices, Workers: c.workers, Rate: 977, Duration: 7 * time.Second, ConnectRate: 100}
		plans, next, messages := o.plans(), 0, uint64(0)
		if len(plans) != c.want {
			t.Fatalf("%+v: %d workers", c, len(plans))
		}
		rate := 0.0
		for _, p := range plans {
			if p.First != next || p.Count < 1 || p.Count > devicesPerWorker {
				t.Fatalf("%+v: worker %d has %d from %d on", c, p.Worker, p.Count, p.First)
			}
			next += p.Count
			s := p.sends(0)
			messages += s.end
			rate += s.rate
			if k := p.connects(0); k.end != uint64(p.Count) {
				t.Fatalf("%+v: worker %d connects %d", c, p.Worker, k.end)
			}
		}
		if next != c.devices || messages != o.messages() || rate < 976.9 || rate > 977.1 {
			t.Fatalf("%+v: %d devices, %d messages, %v/s", c, next, messages, rate)
		}
	}
}

func TestSendsEndless(t *testing.T) {
	p := plan{options: options{Devices: 10, Publishers: 10, Rate: 5}, Pubs: 10, Count: 10}
	if s := p.sends(0); s.end != endless || s.done() {
		t.Fatalf("%+v", s)
	}
}

func TestRetryQueue(t *testing.T) {
	var q retryQueue
	if q.nextAt() != never {
		t.Fatal("an empty queue has a next time")
	}
	for i, at := range []int64{50, 10, 30, 10} {
		q.add(uint32(i), at)
	}
	if _, ok := q.take(9); ok {
		t.Fatal("taken too early")
	}
	var last int64
	for range 4 {
		at := q.nextAt()
		if _, ok := q.take(at); !ok || at < last {
			t.Fatalf("took %v at %d after %d", ok, at, last)
		}
		last = at
	}
}

func TestBackoff(t *testing.T) {
	f := newTestFleet(t, &options{})
	d := &device{}
	for i := range 300 {
		full := second / 10 << min(i, 6)
		if got := f.backoff(d); got < full/2 || got > full*3/2 {
			t.Fatalf("attempt %d: %v", i, time.Duration(got))
		}
	}
}
