package bus_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

// numbers publishes numbered messages in small batches, in its own goroutine, as a shard does, and waits for room when told to.
type numbers struct {
	sent    []*batch
	stopped chan struct{}
	stop    chan struct{}
	refused int
}

func startNumbers(p *bus.Publisher, room chan struct{}) *numbers {
	n := &numbers{stop: make(chan struct{}), stopped: make(chan struct{})}
	go func() {
		defer close(n.stopped)
		for i := 0; ; i++ {
			var ms []bus.Message
			for j := range 10 {
				m := text("n/"+strconv.Itoa(j%3), strconv.Itoa(i*10+j))
				m.QoS = uint8(1 - j%2)
				ms = append(ms, m)
			}
			next := newBatch(ms...)
			for !p.Offer(next) {
				n.refused++
				select {
				case <-room:
				case <-n.stop:
					return
				}
			}
			n.sent = append(n.sent, next)
			select {
			case <-n.stop:
				return
			default:
			}
		}
	}()
	return n
}

// check demands that every QoS 1 number arrived, that the first arrivals are in order, and that no QoS 0 number came twice.
func (n *numbers) check(t *testing.T, got []*nats.Msg, unconfirmed uint64) {
	t.Helper()
	seen := make(map[int]bool)
	last, lost0 := -1, uint64(0)
	for _, m := range got {
		i, err := strconv.Atoi(string(m.Data))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case seen[i] && m.Header.Get("TG")[0] == '0':
			t.Fatalf("QoS 0 message %d came twice", i)
		case seen[i]:
			continue
		case i < last:
			t.Fatalf("message %d came first after %d", i, last)
		}
		seen[i], last = true, i
	}
	for i := range len(n.sent) * 10 {
		switch {
		case seen[i]:
		case i%2 == 0: // QoS 1
			t.Fatalf("QoS 1 message %d of %d is lost", i, len(n.sent)*10)
		default:
			lost0++
		}
	}
	if lost0 > unconfirmed {
		t.Fatalf("%d QoS 0 messages lost, only %d counted", lost0, unconfirmed)
	}
	t.Logf("%d batches, %d arrivals, %d refused, QoS 0 lost %d of %d counted", len(n.sent), len(got), n.refused, lost0, unconfirmed)
}

func (n *numbers) finish(t *testing.T) {
	t.Helper()
	close(n.stop)
	<-n.stopped
	for _, b := range n.sent {
		b.wait(t)
	}
}

func TestFaultsLoseNoQoS1AndKeepOrder(t *testing.T) {
	faults := map[string]func(s *bustest.Server, step, full func()){
		"sever": func(s *bustest.Server, step, _ func()) {
			for range 6 {
				step()
				s.Sever()
			}
		},
		"pause and sever": func(s *bustest.Server, step, full func()) {
			step()
			s.Pause()
			full()
			s.Sever()
			s.Resume()
		},
		"away": func(s *bustest.Server, step, full func()) {
			step()
			s.Shut()
			full()
			s.Reopen()
		},
		"restart": func(s *bustest.Server, step, _ func()) {
			for range 2 {
				step()
				s.Stop()
				s.Restart()
			}
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			s := bustest.Start(t)
			b := open(t, s, func(o *bus.Options) { o.PendingBytesMax = 64 << 10 })
			nc, ch := observe(t, s, "n.>")
			room := make(chan struct{}, 1)
			p := b.NewPublisher(func() { room <- struct{}{} })
			n := startNumbers(p, room)
			step := func() { // some more has passed
				from := b.Counters().Confirmed
				eventually(t, "progress", func() bool { return b.Counters().Confirmed > from+2000 })
			}
			full := func() { // the publisher is so full that the producer waits, or will
				eventually(t, "full", func() bool { _, bytes := p.Pending(); return bytes > 32<<10 })
			}
			fault(s, step, full)
			step()
			n.finish(t)
			c := b.Counters()
			n.check(t, drain(t, nc, ch), c.UnconfirmedQoS0)
			if c.Disconnects == 0 || c.DropPoison != 0 {
				t.Fatalf("counters %+v", c)
			}
		})
	}
}

func TestServerThatRefusesAMessageByClosing(t *testing.T) {
	s := bustest.Start(t, func(o *server.Options) { o.MaxControlLine = 512 })
	b := open(t, s)
	nc, ch := observe(t, s, "p.>")
	p := b.NewPublisher(nil)
	long := "p/" + strings.Repeat("t", 1000)
	var all []*batch
	for i := range 2 {
		next := newBatch(text("p/1", strconv.Itoa(3*i)), text(long, ""), text("p/1", strconv.Itoa(3*i+2)))
		all = append(all, next)
		p.Offer(next)
	}
	for _, b := range all {
		b.wait(t)
	}
	seen := map[string]bool{}
	for _, m := range drain(t, nc, ch) {
		seen[string(m.Data)] = true
	}
	if c := b.Counters(); c.DropPoison != 2 || len(seen) != 4 {
		t.Fatalf("%d of 4 arrived, counters %+v", len(seen), c)
	}
}
