package bus_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

const patience = 20 * time.Second

// batch is a bus.Batch of ready messages.
type batch struct {
	messages []bus.Message
	bytes    int
	done     chan struct{} // closed by Done; a second Done panics
}

func newBatch(messages ...bus.Message) *batch {
	b := &batch{messages: messages, done: make(chan struct{})}
	for _, m := range messages {
		b.bytes += len(m.Topic) + len(m.Payload)
	}
	return b
}

func (b *batch) Len() int                      { return len(b.messages) }
func (b *batch) Bytes() int                    { return b.bytes }
func (b *batch) Message(i int, m *bus.Message) { *m = b.messages[i] }
func (b *batch) Done()                         { close(b.done) }

func (b *batch) wait(t *testing.T) {
	t.Helper()
	select {
	case <-b.done:
	case <-time.After(patience):
		t.Fatal("batch was never done")
	}
}

func text(topic, payload string) bus.Message {
	return bus.Message{Topic: []byte(topic), Payload: []byte(payload), ClientID: []byte("d1"), QoS: 1}
}

// open opens a Bus at the door of a test server.
func open(t *testing.T, s *bustest.Server, adjust ...func(*bus.Options)) *bus.Bus {
	t.Helper()
	o := bus.Options{URLs: []string{s.URL()}, Node: "n1"}
	for _, f := range adjust {
		f(&o)
	}
	b, err := bus.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = b.Close(ctx) // a test that closes gets ErrClosed here
	})
	return b
}

// observe collects what arrives at NATS on a subject.
func observe(t *testing.T, s *bustest.Server, subject string) (*nats.Conn, chan *nats.Msg) {
	t.Helper()
	nc := s.Conn(t)
	ch := make(chan *nats.Msg, 1<<18)
	if _, err := nc.ChanSubscribe(subject, ch); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return nc, ch
}

// drain returns what has arrived when everything published so far must have.
func drain(t *testing.T, nc *nats.Conn, ch chan *nats.Msg) []*nats.Msg {
	t.Helper()
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	var all []*nats.Msg
	for len(ch) > 0 {
		all = append(all, <-ch)
	}
	return all
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestPublisherKeepsOrder(t *testing.T) {
	s := bustest.Start(t)
	b := open(t, s)
	nc, ch := observe(t, s, "a.>")
	p := b.NewPublisher(nil)
	var last *batch
	const batches, each = 200, 50
	for i := range batches {
		var ms []bus.Message
		for j := range each {
			ms = append(ms, text("a/b", strconv.Itoa(i*each+j)))
		}
		last = newBatch(ms...)
		if !p.Offer(last) {
			t.Fatal("refused")
		}
	}
	last.wait(t)
	got := drain(t, nc, ch)
	if len(got) != batches*each {
		t.Fatalf("%d messages arrived, want %d", len(got), batches*each)
	}
	for i, m := range got {
		if string(m.Data) != strconv.Itoa(i) {
			t.Fatalf("message %d is %s", i, m.Data)
		}
	}
	if c := b.Counters(); c.Published != batches*each || c.Confirmed != c.Published || c.PublishedBytes == 0 {
		t.Fatalf("counters %+v", c)
	}
}

func TestHeaderCannotBeForged(t *testing.T) {
	s := bustest.Start(t)
	b := open(t, s, func(o *bus.Options) { o.HeaderNode, o.HeaderUser, o.Node = true, true, "node one" })
	nc, ch := observe(t, s, "x")
	p := b.NewPublisher(nil)
	ids := []string{"d1", "a b", "100%", "%41", "x\r\nTG: 2r c=root", "x\r\n\r\nPUB y 0\r\n\r\n", "ü\x00", " c=root", "c=root u=root", "d1 ", ""}
	var ms []bus.Message
	for _, id := range ids {
		ms = append(ms, bus.Message{Topic: []byte("x"), ClientID: []byte(id), User: []byte(id), QoS: 2, Retain: true})
	}
	batch := newBatch(ms...)
	p.Offer(batch)
	batch.wait(t)
	got := drain(t, nc, ch)
	if len(got) != len(ids) {
		t.Fatalf("%d messages, want %d", len(got), len(ids))
	}
	seen := make(map[string]bool)
	for i, m := range got {
		if len(m.Header) != 1 || len(m.Header["TG"]) != 1 {
			t.Fatalf("id %q: headers %v", ids[i], m.Header)
		}
		v := m.Header["TG"][0]
		parts := strings.Split(v, " ")
		if want := 2 + 2*min(len(ids[i]), 1); len(parts) != want || parts[0] != "2r" || parts[len(parts)-1] != "n=node%20one" {
			t.Fatalf("id %q: header %q", ids[i], v)
		}
		if seen[v] {
			t.Fatalf("two ids have header %q", v)
		}
		seen[v] = true
	}
	if v := got[0].Header.Get("TG"); v != "2r c=d1 u=d1 n=node%20one" {
		t.Fatalf("header %q", v)
	}
}

func TestFullPublisherRefusesAndTellsRoom(t *testing.T) {
	s := bustest.Start(t)
	b := open(t, s, func(o *bus.Options) { o.PendingBytesMax = 8 << 10 })
	s.Shut()
	rooms := make(chan struct{}, 10)
	p := b.NewPublisher(func() { rooms <- struct{}{} })
	var taken []*batch
	for {
		next := newBatch(text("a", strings.Repeat("x", 1000)))
		if !p.Offer(next) {
			break
		}
		taken = append(taken, next)
	}
	if p.Offer(newBatch(text("a", ""))) && p.Offer(newBatch(text("a", strings.Repeat("x", 1000)))) {
		t.Fatal("took more than fits")
	}
	if batches, bytes := p.Pending(); batches < len(taken) || bytes > 8<<10 || len(taken) < 5 {
		t.Fatalf("pending %d batches, %d bytes", batches, bytes)
	}
	select {
	case <-rooms:
		t.Fatal("room while full")
	default:
	}
	s.Reopen()
	select {
	case <-rooms:
	case <-time.After(patience):
		t.Fatal("no room")
	}
	for _, b := range taken {
		b.wait(t)
	}
	if batches, bytes := p.Pending(); batches > 1 || bytes > 8<<10 {
		t.Fatalf("pending %d, %d", batches, bytes)
	}
	if len(rooms) != 0 {
		t.Fatal("room came more than once")
	}
	if n := b.Counters().OfferRefused; n == 0 {
		t.Fatal("refusals not counted")
	}
}

func TestBatchLargerThanTheLimitPassesAlone(t *testing.T) {
	s := bustest.Start(t)
	b := open(t, s, func(o *bus.Options) { o.PendingBytesMax = 1 << 10 })
	p := b.NewPublisher(nil)
	big := newBatch(text("a", strings.Repeat("x", 100_000)))
	if !p.Offer(big) {
		t.Fatal("refused for ever")
	}
	big.wait(t)
}

func TestPoisonIsDroppedAndThePipelineGoesOn(t *testing.T) {
	s := bustest.Start(t)
	b := open(t, s)
	nc, ch := observe(t, s, ">")
	p := b.NewPublisher(nil)
	long := strings.Repeat("t", bus.SubjectBytesMax+1)
	users := slices.Repeat([]bus.UserProperty{{Name: []byte("n"), Value: []byte(strings.Repeat("v", 1000))}}, 70)
	poison := []bus.Message{
		text("p", strings.Repeat("x", 1<<20)),
		{Topic: []byte("p"), Fields: bus.Fields{Users: users}},
		text(long, ""),
		text("$JS/API/STREAM/DELETE/x", ""),
		text("_INBOX/x", ""),
		text("", ""),
	}
	for i := range poison {
		if b.Fits(&poison[i]) {
			t.Errorf("Fits(%d) is true", i)
		}
	}
	ok := text("p/*", "fine")
	if !b.Fits(&ok) {
		t.Error("Fits is false for an ordinary message")
	}
	batch := newBatch(append(poison, ok)...)
	p.Offer(batch)
	batch.wait(t)
	got := drain(t, nc, ch)
	if len(got) != 1 || got[0].Subject != "p./2a" {
		t.Fatalf("%d messages arrived: %v", len(got), got)
	}
	c := b.Counters()
	if c.DropPayload != 1 || c.DropHeader != 1 || c.DropSubject != 1 || c.DropReserved != 3 || c.Disconnects != 0 || c.Confirmed != 1 {
		t.Fatalf("counters %+v", c)
	}
}

func TestCloseDrains(t *testing.T) {
	s := bustest.Start(t)
	b := open(t, s)
	nc, ch := observe(t, s, "a")
	p := b.NewPublisher(nil)
	var all []*batch
	for range 100 {
		next := newBatch(text("a", "x"))
		all = append(all, next)
		p.Offer(next)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, b := range all {
		b.wait(t)
	}
	if got := drain(t, nc, ch); len(got) != len(all) {
		t.Fatalf("%d of %d arrived", len(got), len(all))
	}
	if p.Offer(newBatch(text("a", "x"))) {
		t.Fatal("took a batch after Close")
	}
	if st := b.Status(); st.State != bus.Closed {
		t.Fatalf("status %v", st)
	}
}

func TestCloseGivesUpInTime(t *testing.T) {
	for _, fault := range []string{"away", "hangs"} {
		t.Run(fault, func(t *testing.T) {
			s := bustest.Start(t)
			b := open(t, s)
			if fault == "away" {
				s.Shut()
			} else {
				s.Pause()
				defer s.Resume()
			}
			p := b.NewPublisher(nil)
			var all []*batch
			for range 20 {
				next := newBatch(text("a", strings.Repeat("x", 100_000)))
				all = append(all, next)
				p.Offer(next)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			began := time.Now()
			if err := b.Close(ctx); err == nil {
				t.Fatal("nothing was given up")
			}
			if d := time.Since(began); d > 5*time.Second {
				t.Fatalf("Close took %v", d)
			}
			for _, b := range all {
				b.wait(t)
			}
			if c := b.Counters(); c.GivenUp != 20 {
				t.Fatalf("counters %+v", c)
			}
		})
	}
}

func TestSeveralPublishersKeepTheirOwnOrder(t *testing.T) {
	s := bustest.Start(t)
	b := open(t, s)
	nc, ch := observe(t, s, "s.*")
	var wait sync.WaitGroup
	for shard := range 4 {
		p := b.NewPublisher(nil)
		wait.Add(1)
		go func() {
			defer wait.Done()
			var last *batch
			for i := range 500 {
				last = newBatch(text(fmt.Sprintf("s/%d", shard), strconv.Itoa(i)))
				for !p.Offer(last) {
					t.Error("refused")
					return
				}
			}
			<-last.done
		}()
	}
	wait.Wait()
	next := make(map[string]int)
	for _, m := range drain(t, nc, ch) {
		if string(m.Data) != strconv.Itoa(next[m.Subject]) {
			t.Fatalf("%s: %s, want %d", m.Subject, m.Data, next[m.Subject])
		}
		next[m.Subject]++
	}
	for shard := range 4 {
		if n := next[fmt.Sprintf("s.%d", shard)]; n != 500 {
			t.Fatalf("shard %d: %d arrived", shard, n)
		}
	}
}
