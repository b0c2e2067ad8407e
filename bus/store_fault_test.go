package bus_test

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

// flood offers numbered messages of one publisher until stop is closed, and returns how many.
type flood struct {
	t      *testing.T
	st     *bus.Storer
	stop   chan struct{}
	done   chan struct{}
	count  int
	told   atomic.Int64 // stored, as told
	bad    atomic.Int64 // told otherwise
	last   *ledger
	change func(*bus.StoreMessage)
}

func startFlood(t *testing.T, st *bus.Storer, change func(*bus.StoreMessage)) *flood {
	f := &flood{t: t, st: st, stop: make(chan struct{}), done: make(chan struct{}), change: change}
	go f.run()
	return f
}

func (f *flood) run() {
	defer close(f.done)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-f.stop:
			return
		case <-tick.C:
		}
		var ms []bus.StoreMessage
		for range 5 {
			m := keep("a/b", strconv.Itoa(f.count))
			if f.change != nil {
				f.change(&m)
			}
			ms = append(ms, m)
			f.count++
		}
		l := newLedger(f.t, ms...)
		l.told = func(_ int, c bus.StoreCode) {
			if c == bus.StoreOK {
				f.told.Add(1)
			} else {
				f.bad.Add(1)
			}
		}
		if !f.st.Offer(l) {
			f.count -= len(ms)
			continue
		}
		f.last = l
	}
}

// progress waits until more messages were told stored than now.
func (f *flood) progress(by int64) {
	f.t.Helper()
	was := f.told.Load()
	eventually(f.t, "more messages are stored", func() bool { return f.told.Load() > was+by })
}

// end stops the flood, waits for the last message, and returns how many there were.
func (f *flood) end() int {
	f.t.Helper()
	close(f.stop)
	<-f.done
	f.last.wait()
	if f.bad.Load() != 0 {
		f.t.Fatalf("%d messages were not stored", f.bad.Load())
	}
	return f.count
}

// Whatever happens to NATS: what goes again is stored once, in order.
func TestStorerThroughFaults(t *testing.T) {
	faults := map[string]func(s *bustest.Server, f *flood){
		"severed": func(s *bustest.Server, f *flood) {
			for range 5 {
				f.progress(20)
				s.Sever()
			}
		},
		"shut": func(s *bustest.Server, f *flood) {
			f.progress(20)
			s.Shut()
			held := f.told.Load()
			time.Sleep(300 * time.Millisecond)
			if n := f.told.Load(); n != held {
				t.Errorf("%d messages were told stored while NATS was away", n-held)
			}
			s.Reopen()
		},
		"frozen": func(s *bustest.Server, f *flood) {
			f.progress(20)
			s.Pause()
			time.Sleep(2500 * time.Millisecond) // longer than an answer may take
			s.Resume()
		},
		"restarted": func(s *bustest.Server, f *flood) {
			f.progress(20)
			s.Stop()
			s.Restart()
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := bustest.Start(t)
			b := durable(t, s, bus.Durable{})
			ready(t, b)
			f := startFlood(t, b.NewStorer(nil), nil)

			fault(s, f)
			f.progress(20)
			n := f.end()
			exactly(t, payloadsOf(stored(t, jetStream(t, s.Conn(t)), "TG_LOG")), n)
			t.Logf("%d messages, %+v", n, storeCounts(b))
		})
	}
}

func storeCounts(b *bus.Bus) string {
	c := b.Counters()
	return fmt.Sprintf("stored %d in %d groups, again %d, duplicates %d", c.Stored, c.StoreGroups, c.StoreRetries, c.StoreDuplicates)
}

// A user's stream without fast batches: the same, and the order of each publisher.
func TestStorerInUsersStream(t *testing.T) {
	for _, batches := range []bool{false, true} {
		t.Run(fmt.Sprint("batches ", batches), func(t *testing.T) {
			t.Parallel()
			s := bustest.Start(t)
			b := durable(t, s, bus.Durable{Streams: []string{"UP"}})
			eventually(t, "the log is there", func() bool { _, err := b.Ready(); return err != nil && b.Status().Connected() })
			js := jetStream(t, s.Conn(t))
			f := startFlood(t, b.NewStorer(nil), func(m *bus.StoreMessage) { m.Stream = 1 })
			config := jetstream.StreamConfig{Name: "UP", Subjects: []string{"a.*"}, AllowBatchPublish: batches}
			if _, err := js.CreateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			ready(t, b)
			f.progress(100)
			s.Sever()
			f.progress(100)
			other := newLedger(t, bus.StoreMessage{Message: text("b/c", ""), Stream: 1}) // not a subject of the stream
			st := b.NewStorer(nil)
			st.Offer(other)
			if codes := other.wait(); codes != "2" {
				t.Fatal(codes)
			}
			n := f.end()
			// One of a publisher at a time where a message can fail alone; groups where it can't.
			if c := b.Counters(); batches == (c.StoreGroups == c.Stored) {
				t.Errorf("%d groups, %d messages", c.StoreGroups, c.Stored)
			}
			all := stored(t, js, "UP")
			exactly(t, payloadsOf(all), n)
			if all[0].Subject != "a.b" {
				t.Fatal(all[0].Subject)
			}
		})
	}
}

func TestStorerOnFullStream(t *testing.T) {
	s := bustest.Start(t)
	js := jetStream(t, s.Conn(t))
	for _, c := range []jetstream.StreamConfig{
		{Name: "A", Subjects: []string{"a.*"}, MaxMsgs: 3, Discard: jetstream.DiscardNew},
		{Name: "B", Subjects: []string{"b.*"}, MaxMsgs: 3, Discard: jetstream.DiscardNew, AllowBatchPublish: true},
	} {
		if _, err := js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	b := durable(t, s, bus.Durable{Streams: []string{"A", "B"}})
	ready(t, b)
	st := b.NewStorer(nil)
	var ms []bus.StoreMessage
	for i := range 5 {
		one := bus.StoreMessage{Message: text("a/x", strconv.Itoa(i)), Stream: 1}
		two := bus.StoreMessage{Message: text("b/x", strconv.Itoa(i)), Stream: 2}
		ms = append(ms, one, two, keep("c", strconv.Itoa(i)))
	}
	l := newLedger(t, ms...)
	st.Offer(l)
	if codes := l.wait(); codes != "000000000110110" {
		t.Fatal(codes)
	}
	for stream, n := range map[string]int{"A": 3, "B": 3, "TG_LOG": 5} {
		exactly(t, payloadsOf(stored(t, js, stream)), n)
	}
	if c := b.Counters(); c.StoreFull != 4 {
		t.Fatalf("%+v", c)
	}
}

// Close tells the truth about what it could not store.
func TestStorerClose(t *testing.T) {
	s := bustest.Start(t)
	b := durable(t, s, bus.Durable{})
	ready(t, b)
	st := b.NewStorer(nil)
	first := newLedger(t, keep("a", "0"))
	st.Offer(first)
	if codes := first.wait(); codes != "0" {
		t.Fatal(codes)
	}
	s.Shut()
	eventually(t, "the bus notices", func() bool { return !b.Status().Connected() })
	second := newLedger(t, keep("a", "1"), keep("a", "2"))
	st.Offer(second)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := b.Close(ctx); err == nil {
		t.Error("Close did not tell")
	}
	if codes := second.wait(); codes != "33" {
		t.Fatal(codes)
	}
	if st.Offer(newLedger(t, keep("a", "3"))) {
		t.Error("a closed Storer takes batches")
	}
	if c := b.Counters(); c.StoreGivenUp != 2 || c.StorePending != 0 {
		t.Fatalf("%+v", c)
	}
}

// A log that somebody removed is made again, and what was not told stored goes into it.
func TestStorerLogRemoved(t *testing.T) {
	s := bustest.Start(t)
	b := durable(t, s, bus.Durable{})
	ready(t, b)
	st := b.NewStorer(nil)
	js := jetStream(t, s.Conn(t))
	if err := js.DeleteStream(t.Context(), "TG_LOG"); err != nil {
		t.Fatal(err)
	}
	l := newLedger(t, keep("a", "0"))
	st.Offer(l)
	if codes := l.wait(); codes != "0" {
		t.Fatal(codes)
	}
	exactly(t, payloadsOf(stored(t, js, "TG_LOG")), 1)
}

func cluster(t *testing.T) (*bustest.Cluster, *bus.Bus, jetstream.JetStream) {
	t.Helper()
	c := bustest.StartCluster(t)
	b, err := bus.Open(t.Context(), bus.Options{URLs: c.URLs(), Node: "g1", Durable: &bus.Durable{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	ready(t, b)
	js := jetStream(t, c.Conn(t))
	info, err := js.Stream(t.Context(), "TG_LOG")
	if err != nil || info.CachedInfo().Config.Replicas != 3 {
		t.Fatalf("%v %+v", err, info)
	}
	return c, b, js
}

// The leader of the log gives up its office, stops, hangs: nothing is lost, nothing doubled, the order kept.
func TestStorerInCluster(t *testing.T) {
	t.Parallel() // it waits a lot
	c, b, js := cluster(t)
	f := startFlood(t, b.NewStorer(nil), nil)
	for range 3 {
		f.progress(200)
		c.StepDown("TG_LOG")
	}
	f.progress(200)
	i := c.Leader("TG_LOG")
	c.Stop(i)
	f.progress(200)
	c.Restart(i)
	f.progress(200)
	i = c.Leader("TG_LOG")
	c.Freeze(i)
	f.progress(200)
	c.Thaw(i)
	f.progress(200)
	for end := time.Now().Add(20 * time.Second); !b.Status().Connected() && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	if i = c.At(b.Status().URL); i < 0 {
		t.Fatal(b.Status().URL)
	}
	c.Freeze(i) // the one that we talk to
	f.progress(200)
	c.Thaw(i)
	f.progress(200)
	n := f.end()
	t.Logf("%d messages, %s", n, storeCounts(b))
	exactly(t, payloadsOf(stored(t, js, "TG_LOG")), n)
}
