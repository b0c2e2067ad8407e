package bus_test

import (
	"context"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus"
)

func TestFollow(t *testing.T) {
	s, js := withLog(t)
	b, l := reading(t, s, func(o *bus.Options) { bus.SetUserStreams(o, "USERS") })
	put(t, js, "$TG.log.a", "before")
	if after := follow(t, b, 0, "a/#", "b/+"); after != 1 {
		t.Fatal(after)
	}
	put(t, js, "$TG.log.a", "1", "TG", "1r c=pump", "TG-Expiry", "60")
	put(t, js, "$TG.log.b", "no")
	put(t, js, "$TG.log2.k=20.b.x", "2", "TG", "2 c=k%20 p=17")
	put(t, js, "$TG.rel.k=20", "17")
	put(t, js, "$TG.log.a.b", "3")
	got := l.wait(t, 3)
	if !slices.Equal(contents(got), []string{"1", "2", "3"}) {
		t.Fatalf("%q", contents(got))
	}
	one, two, three := got[0], got[1], got[2]
	now := uint32(time.Now().Unix())
	switch {
	case one.Seq != 2 || one.QoS != 1 || !one.Retain || string(one.ClientID) != "pump" || one.StoredSec > now || one.StoredSec+60 < now:
		t.Errorf("%+v", one)
	case two.Seq != 4 || two.QoS != 2 || two.PacketID != 17 || string(two.Topic) != "b/x":
		t.Errorf("%+v", two)
	case three.Seq != 6 || three.FromDevice || three.QoS != 1:
		t.Errorf("%+v", three)
	}
	if after := follow(t, b, 0, "b/+", "a/#"); after < 6 {
		t.Fatal(after)
	}
	follow(t, b, 1, "u/+")
	put(t, js, "u.1", "user")
	if m := l.wait(t, 4)[3]; m.Stream != 1 || m.Seq != 1 || string(m.Topic) != "u/1" {
		t.Fatalf("%+v", m)
	}
}

func TestFollowNothingLeavesNoConsumer(t *testing.T) {
	s, js := withLog(t)
	b, l := reading(t, s)
	consumers := func() int {
		stream, err := js.Stream(t.Context(), "TG_LOG")
		if err != nil {
			t.Fatal(err)
		}
		return stream.CachedInfo().State.Consumers
	}
	follow(t, b, 0)
	follow(t, b, 0, "a")
	eventually(t, "a consumer", func() bool { return consumers() == 1 })
	put(t, js, "$TG.log.a", "1")
	l.wait(t, 1)
	follow(t, b, 0)
	eventually(t, "no consumer", func() bool { return consumers() == 0 })
	put(t, js, "$TG.log.a", "2")
	if after := follow(t, b, 0, "a"); after != 2 {
		t.Fatal(after)
	}
	put(t, js, "$TG.log.a", "3")
	if got := l.wait(t, 2); !slices.Equal(contents(got), []string{"1", "3"}) {
		t.Fatalf("%q", contents(got))
	}
}

func TestFollowLooksThroughWhatNobodyWants(t *testing.T) {
	s, js := withLog(t)
	b, l := reading(t, s)
	follow(t, b, 0, "a")
	put(t, js, "$TG.log.a", "1")
	for range 100 {
		put(t, js, "$TG.log.b", "")
	}
	eventually(t, "the position moves on", func() bool { return follow(t, b, 0, "a") == 101 })
	if after := follow(t, b, 0, "a", "b"); after != 101 {
		t.Fatal(after)
	}
	put(t, js, "$TG.log.b", "2")
	if got := l.wait(t, 2); !slices.Equal(contents(got), []string{"1", "2"}) {
		t.Fatalf("%q", contents(got))
	}
}

// feeder stores numbered messages on $TG.log.n.<i mod 3> as fast as it can, until it is stopped.
type feeder struct {
	stop, done chan struct{}
	stored     atomic.Int64
}

func feed(t *testing.T, nc *nats.Conn) *feeder {
	t.Helper()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(256), jetstream.WithPublishAsyncTimeout(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	f := &feeder{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(f.done)
		for i := 0; ; i++ {
			select {
			case <-f.stop:
				<-js.PublishAsyncComplete()
				return
			default:
			}
			if _, err := js.PublishAsync("$TG.log.n."+strconv.Itoa(i%3), []byte(strconv.Itoa(i))); err != nil {
				time.Sleep(time.Millisecond) // NATS is away, and this publisher need not be complete
				continue
			}
			f.stored.Add(1)
		}
	}()
	return f
}

func (f *feeder) progress(t *testing.T, n int64) {
	t.Helper()
	from := f.stored.Load()
	eventually(t, "more is stored", func() bool { return f.stored.Load() > from+n })
}

func (f *feeder) finish() {
	close(f.stop)
	<-f.done
}

// whole reads a stream's past through filters, as an observer knows it.
func whole(t *testing.T, js jetstream.JetStream, after uint64, subjects ...string) (all []uint64) {
	t.Helper()
	stream, err := js.Stream(t.Context(), "TG_LOG")
	if err != nil {
		t.Fatal(err)
	}
	last := stream.CachedInfo().State.LastSeq
	if last <= after {
		return nil
	}
	c, err := js.OrderedConsumer(t.Context(), "TG_LOG", jetstream.OrderedConsumerConfig{
		FilterSubjects: subjects, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for pending := info.NumPending; pending > 0; {
		ms, err := c.Fetch(1000, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for m := range ms.Messages() {
			meta, _ := m.Metadata()
			all = append(all, meta.Sequence.Stream)
			pending = meta.NumPending
		}
	}
	return all
}

func sequences(ms []bus.Inbound) (all []uint64) {
	for _, m := range ms {
		all = append(all, m.Seq)
	}
	return all
}

func TestFollowThroughFaultsIsTheLog(t *testing.T) {
	s, js := withLog(t)
	b, l := reading(t, s)
	after := follow(t, b, 0, "n/0", "n/2")
	f := feed(t, s.Conn(t))
	progress := func() {
		f.progress(t, 2000)
		from := len(l.all())
		eventually(t, "more is received", func() bool { return len(l.all()) > from })
	}
	for range 4 {
		progress()
		s.Sever()
	}
	progress()
	s.Shut()
	f.progress(t, 2000)
	s.Reopen()
	progress()
	for range 2 {
		s.Stop()
		s.Restart()
		progress()
	}
	f.finish()
	want := whole(t, js, after, "$TG.log.n.0", "$TG.log.n.2")
	got := sequences(l.wait(t, len(want)))
	if !slices.Equal(got, want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	c := b.Counters()
	if c.LogRestarts < 5 || c.LogReceived != uint64(len(want)) || c.LogSkipped != 0 {
		t.Fatalf("%+v", c)
	}
	t.Logf("%d messages in %d runs, %d restarts", len(got), l.runs, c.LogRestarts)
}

func TestFollowOtherFiltersLosesNothing(t *testing.T) {
	s, js := withLog(t)
	b, l := reading(t, s)
	after := follow(t, b, 0, "n/0")
	f := feed(t, s.Conn(t))
	since := map[string]uint64{"n/0": after}
	for i := range 30 {
		f.progress(t, 500)
		all := []string{"n/0", "none/" + strconv.Itoa(i)}
		if i >= 10 {
			all = append(all, "n/1")
		}
		if i >= 20 {
			all = append(all, "+/2", "n/+") // which overlap
		}
		at := follow(t, b, 0, all...)
		if i == 10 {
			since["n/1"] = at
		}
		if i == 20 {
			since["n/2"] = at
		}
	}
	f.progress(t, 500)
	f.finish()
	for topic, after := range since {
		want := whole(t, js, after, "$TG.log.n."+topic[2:])
		var got []uint64
		eventually(t, "all of "+topic, func() bool {
			got = got[:0]
			for _, m := range l.all() {
				if string(m.Topic) == topic && m.Seq > after {
					got = append(got, m.Seq)
				}
			}
			return len(got) >= len(want)
		})
		if !slices.Equal(got, want) {
			t.Fatalf("%s after %d: %d messages, want %d", topic, after, len(got), len(want))
		}
	}
	if all := sequences(l.all()); !slices.IsSorted(all) || len(slices.Compact(all)) != len(l.all()) {
		t.Fatal("not in order, or twice")
	}
}

func TestFollowWaitsForASlowReceiver(t *testing.T) {
	s, js := withLog(t)
	gate := make(chan struct{})
	l := &logged{}
	b := open(t, s, func(o *bus.Options) {
		o.ReceiveLog = func(ms []bus.Inbound) {
			<-gate
			l.receive(ms)
		}
	})
	after := follow(t, b, 0, "#")
	f := feed(t, s.Conn(t))
	f.progress(t, 20000)
	f.finish()
	close(gate)
	want := whole(t, js, after)
	if got := sequences(l.wait(t, len(want))); !slices.Equal(got, want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
}

func TestFollowALogWhoseBeginningIsCut(t *testing.T) {
	s, js := withLog(t)
	b, l := reading(t, s)
	follow(t, b, 0, "a")
	put(t, js, "$TG.log.a", "1")
	l.wait(t, 1)
	s.Shut()
	eventually(t, "away", func() bool { return !b.Status().Connected() })
	for i := range 9 {
		put(t, js, "$TG.log.a", strconv.Itoa(i+2))
	}
	stream, err := js.Stream(t.Context(), "TG_LOG")
	if err == nil {
		err = stream.Purge(context.Background(), jetstream.WithPurgeSequence(8))
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Reopen()
	if got := l.wait(t, 4); !slices.Equal(contents(got), []string{"1", "8", "9", "10"}) || b.Counters().LogSkipped != 6 {
		t.Fatalf("%q, %d skipped", contents(got), b.Counters().LogSkipped)
	}
	got, upTo, err := replay(t, b, bus.ReplayRead{Filters: filters("a")})
	if err != nil || upTo != 10 || !slices.Equal(contents(got), []string{"8", "9", "10"}) {
		t.Fatalf("%q up to %d, %v", contents(got), upTo, err)
	}
	if err := stream.Purge(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got, upTo, err := replay(t, b, bus.ReplayRead{Filters: filters("a")}); err != nil || upTo != 10 || len(got) != 0 {
		t.Fatalf("%q up to %d, %v", contents(got), upTo, err)
	}
	put(t, js, "$TG.log.a", "11")
	l.wait(t, 5)
}

func TestFollowSurvivesTheEndOfItsConsumer(t *testing.T) {
	s, js := withLog(t)
	b, l := reading(t, s)
	follow(t, b, 0, "a")
	for i := range 5 {
		put(t, js, "$TG.log.a", strconv.Itoa(i))
		l.wait(t, i+1)
		stream, err := js.Stream(t.Context(), "TG_LOG")
		if err != nil {
			t.Fatal(err)
		}
		for name := range stream.ConsumerNames(t.Context()).Name() {
			if err := stream.DeleteConsumer(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(t, js, "$TG.log.a", "5")
	if got := l.wait(t, 6); !slices.Equal(contents(got), []string{"0", "1", "2", "3", "4", "5"}) {
		t.Fatalf("%q", contents(got))
	}
}

func TestReplayWhileTheLogGrowsIsTheTail(t *testing.T) {
	s, _ := withLog(t)
	b, l := reading(t, s)
	after := follow(t, b, 0, "n/#")
	f := feed(t, s.Conn(t))
	var got []uint64
	at := after
	for reads := 0; reads < 300 || at < uint64(f.stored.Load()); reads++ {
		if reads == 300 {
			f.finish()
		}
		run, upTo, err := replay(t, b, bus.ReplayRead{After: at, Filters: filters("n/0", "n/+", "n/2"), Count: 100 + reads, Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, sequences(run)...)
		at = upTo
	}
	want := sequences(l.wait(t, int(at-after)))
	if !slices.Equal(got, want[:len(got)]) || got[len(got)-1] != at {
		t.Fatalf("%d messages up to %d, tail has %d", len(got), at, len(want))
	}
	t.Logf("%d messages", len(got))
}
