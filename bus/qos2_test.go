package bus_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

// TestReceivedQoS2OfMany: whoever asks together with many others, who share what is read, is told the same as one who asks alone.
func TestReceivedQoS2OfMany(t *testing.T) {
	s, js := withLog(t)
	b := open(t, s)
	const clients = 60
	type client struct {
		after uint64
		ids   []uint16
	}
	all := make([]client, clients)
	rnd := rand.New(rand.NewPCG(1, 2))
	var last uint64
	for n := range 6000 {
		c := rnd.IntN(clients)
		x := &all[c]
		key := fmt.Sprintf("c%d", c)
		switch id := uint16(1 + rnd.IntN(9)); {
		case rnd.IntN(300) == 0: // from here on
			x.after, x.ids = last, nil
		case slices.Contains(x.ids, id):
			x.ids = slices.DeleteFunc(x.ids, func(i uint16) bool { return i == id })
			last = put(t, js, "$TG.rel."+key, strconv.Itoa(int(id)))
		case n%3 == 0:
			last = put(t, js, "$TG.log.rel."+key, strconv.Itoa(int(id))) // a topic that looks like a marker
		default:
			x.ids = append(x.ids, id)
			last = put(t, js, "$TG.log2."+key+".a.b", "", "TG", fmt.Sprintf("2 c=%s p=%d", key, id))
		}
	}
	var wait sync.WaitGroup
	for c := range all {
		wait.Add(1)
		b.ReceivedQoS2(fmt.Appendf(nil, "c%d", c), all[c].after, func(ids []uint16, upTo uint64, err error) {
			defer wait.Done()
			if err != nil || !slices.Equal(ids, all[c].ids) || upTo != last {
				t.Errorf("client %d after %d: %v up to %d, %v; want %v up to %d", c, all[c].after, ids, upTo, err, all[c].ids, last)
			}
		})
	}
	wait.Wait()
}

// TestReceivedQoS2OfNothing: a client that stored nothing since costs no read of the log.
func TestReceivedQoS2OfNothing(t *testing.T) {
	s, js := withLog(t)
	b := open(t, s)
	last := put(t, js, "$TG.log2.c.a", "", "TG", "2 c=c p=7")
	after := last
	for id := range 20 {
		last = put(t, js, "$TG.rel.c", strconv.Itoa(20+id))
	}
	nc := s.Conn(t)
	gets, err := nc.SubscribeSync("$JS.API.DIRECT.GET.TG_LOG")
	if err != nil {
		t.Fatal(err)
	}
	asked, err := nc.SubscribeSync("$JS.API.STREAM.MSG.GET.TG_LOG")
	if err != nil || nc.Flush() != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"c", "other"} {
		ids, upTo, err := get(t, func(done func([]uint16, uint64, error)) { b.ReceivedQoS2([]byte(id), after, done) })
		if err != nil || len(ids) > 0 || upTo != last {
			t.Fatal(ids, upTo, err)
		}
	}
	count := func(sub *nats.Subscription) int {
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		n, _, err := sub.Pending()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n, m := count(gets), count(asked); n != 0 || m != 2 {
		t.Fatalf("%d reads, %d questions", n, m)
	}
	if ids, _, err := get(t, func(done func([]uint16, uint64, error)) { b.ReceivedQoS2([]byte("c"), 0, done) }); err != nil || fmt.Sprint(ids) != "[7]" {
		t.Fatal(ids, err)
	}
	if count(gets) == 0 {
		t.Fatal("no read is seen here")
	}
}

// TestLogSeen: the place that the log has reached is known from what is stored, before anybody asks; a user's stream has its own numbers.
func TestLogSeen(t *testing.T) {
	s := bustest.Start(t)
	js := jetStream(t, s.Conn(t))
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "USERS", Subjects: []string{"u.>"}}); err != nil {
		t.Fatal(err)
	}
	b := durable(t, s, bus.Durable{Streams: []string{"USERS"}})
	if n := b.LogSeen(); n != 0 {
		t.Fatal(n)
	}
	st := b.NewStorer(nil)
	store := func(messages ...bus.StoreMessage) {
		t.Helper()
		l := newLedger(t, messages...)
		if !st.Offer(l) {
			t.Fatal("refused")
		}
		l.wait()
	}
	for n := uint64(1); n <= 9; n += 4 {
		store(keep("a", "1"), keep("a", "2"), keep("a", "3"))
		if at := b.LogSeen(); at != n+2 {
			t.Fatalf("%d after a batch that ends at %d", at, n+2)
		}
		store(keep("a", "4"))
		if at := b.LogSeen(); at != n+3 {
			t.Fatalf("%d after the single message %d", at, n+3)
		}
	}
	for range 20 {
		m := keep("u/a", "1")
		m.Stream = 1
		store(m)
	}
	if at := b.LogSeen(); at != 12 {
		t.Fatal(at)
	}
	last := put(t, js, "$TG.log.a", "")
	_, _, err := get(t, func(done func(uint64, uint64, error)) {
		b.LogEnd(0, func(last uint64, err error) { done(last, 0, err) })
	})
	if at := b.LogSeen(); err != nil || at != last {
		t.Fatal(at, last, err)
	}
}

// TestWholeStreamIsConfirmed: a read of a whole stream ends when the leader says so, as those of subjects do. This stream allows no direct gets, so
// that all there is comes from the leader.
func TestWholeStreamIsConfirmed(t *testing.T) {
	s, js := withLog(t)
	b := open(t, s, func(o *bus.Options) { o.Durable = &bus.Durable{Streams: []string{"USERS"}} })
	var filters [][]byte
	for i := range 40 { // more than are asked for one by one
		filters = append(filters, fmt.Appendf(nil, "u/%d", i))
		put(t, js, fmt.Sprintf("u.%d", i), "x")
	}
	run, upTo, err := replay(t, b, bus.ReplayRead{Stream: 1, Filters: filters})
	if err != nil || len(run) != 40 || upTo != 40 {
		t.Fatal(len(run), upTo, err)
	}
}
