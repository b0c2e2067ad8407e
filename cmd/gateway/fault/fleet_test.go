//go:build fault

package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// fleet is devices that publish numbered messages and devices that get them, and what both were told.
type fleet struct {
	t     *testing.T
	gates []*gate
	qos1  int // messages a second, of all publishers
	qos2  int

	publishers  []*publisher
	subscribers []*device
	promises    *promises
	devices     *ledger // what subscribers got
	counts      counts

	stopPacing context.CancelFunc
	paced      chan struct{}
	stopTend   context.CancelFunc
	next       atomic.Int64 // source address and gateway of the next connection
	late       atomic.Int64 // messages that were not sent in time, since windows were full
}

// publisher is one device that publishes.
type publisher struct {
	*device
	index  int
	topics [3]string
	owed   [3]float64 // by QoS: messages due
}

// The group of a publisher is what one subscriber listens to.
const publishersPerGroup = 20

// debtMax is how many seconds of messages a publisher makes up for after a stall. More would only measure the machine.
const debtMax = 1.0

// newFleet makes the devices and starts the subscribers; each message goes to one of them.
func newFleet(t *testing.T, gates []*gate, publishers, qos1, qos2 int, change ...func(*device)) *fleet {
	t.Helper()
	f := &fleet{t: t, gates: gates, qos1: qos1, qos2: qos2, promises: newPromises(), devices: newLedger("devices")}
	for i := range publishers {
		group := i / publishersPerGroup
		p := &publisher{device: newDevice(fmt.Sprintf("pub-%d", i), &f.counts, f.choose), index: i}
		for qos := range p.topics {
			p.topics[qos] = fmt.Sprintf("fault/%d/%d/q%d", group, i, qos)
		}
		p.told = f.promises.answered
		f.publishers = append(f.publishers, p)
		if i%publishersPerGroup == 0 {
			d := newDevice(fmt.Sprintf("sub-%d", group), &f.counts, f.choose)
			d.filters = []filter{{fmt.Sprintf("fault/%d/+/q1", group), 1}, {fmt.Sprintf("fault/%d/+/q2", group), 2}}
			d.took = func(_ string, _ byte, payload []byte) { f.devices.saw(payload) }
			f.subscribers = append(f.subscribers, d)
		}
	}
	t.Cleanup(f.stop)
	ctx, stop := context.WithCancel(context.Background())
	f.stopTend = stop
	go f.tend(ctx)
	for _, d := range f.all() {
		for _, set := range change {
			set(d)
		}
		d.start()
	}
	if !within(time.Minute, func() bool { return f.living() == len(f.all()) }) {
		t.Fatalf("%d of %d devices are connected and subscribed\n%s", f.living(), len(f.all()), f.counts.text())
	}
	return f
}

// choose is any gateway.
func (f *fleet) choose() *gate { return f.gates[rand.IntN(len(f.gates))] }

func (f *fleet) all() []*device {
	all := append([]*device(nil), f.subscribers...)
	for _, p := range f.publishers {
		all = append(all, p.device)
	}
	return all
}

func (f *fleet) living() (n int) {
	for _, d := range f.all() {
		if d.live.Load() {
			n++
		}
	}
	return n
}

// tend keeps all connections alive.
func (f *fleet) tend(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, d := range f.all() {
				d.tend(now)
			}
		}
	}
}

// pace lets the publishers send until settle.
func (f *fleet) pace() {
	ctx, stop := context.WithCancel(context.Background())
	f.stopPacing, f.paced = stop, make(chan struct{})
	go func() {
		defer close(f.paced)
		last := time.Now()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				seconds := now.Sub(last).Seconds()
				last = now
				for _, p := range f.publishers {
					f.send(p, 1, float64(f.qos1)/float64(len(f.publishers)), seconds)
					f.send(p, 2, float64(f.qos2)/float64(len(f.publishers)), seconds)
					p.push()
				}
			}
		}
	}()
}

// send lets a publisher send what is due.
func (f *fleet) send(p *publisher, qos byte, rate, seconds float64) {
	p.owed[qos] += rate * seconds
	for p.owed[qos] >= 1 && f.publish(p, qos) {
		p.owed[qos]--
	}
	if over := p.owed[qos] - max(1, rate*debtMax); over > 0 {
		p.owed[qos] -= over
		f.late.Add(int64(over + 0.5))
	}
}

// publish sends the next message of a line; false when the window is full. One goroutine publishes.
func (f *fleet) publish(p *publisher, qos byte) bool {
	k := line{p.index, qos}
	n := f.promises.next(k)
	m := &sending{qos: qos, topic: p.topics[qos], payload: payloadOf(p.index, qos, n), pub: p.index, number: n}
	m.payload = append(m.payload, make([]byte, p.padding)...)
	f.promises.sent(k)
	if !p.device.publish(m) {
		f.promises.unsent(k)
		return false
	}
	return true
}

// settle ends the publishing, waits until everything is acknowledged, and then until it has reached the subscribers.
func (f *fleet) settle(atMost time.Duration) {
	f.t.Helper()
	f.quiet()
	if !within(atMost, func() bool { return f.unacked() == 0 }) {
		f.t.Errorf("after %v, %d messages are not acknowledged; %d of %d devices are connected", atMost, f.unacked(), f.living(), len(f.all()))
	}
	f.arrive()
}

// arriveTime is how long nothing at all comes before what is missing is taken for lost.
const arriveTime = 15 * time.Second

// arrive waits until subscribers got everything that was acknowledged, or get nothing any more.
func (f *fleet) arrive() {
	f.promises.mu.Lock()
	want := f.promises.acknowledged[1] + f.promises.acknowledged[2]
	f.promises.mu.Unlock()
	before, last := -1, time.Now()
	for time.Since(last) < arriveTime {
		f.devices.mu.Lock()
		got := f.devices.got[1] + f.devices.got[2]
		f.devices.mu.Unlock()
		if got >= want {
			return
		}
		if got != before {
			before, last = got, time.Now()
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (f *fleet) quiet() {
	if f.stopPacing != nil {
		f.stopPacing()
		<-f.paced
		f.stopPacing = nil
	}
}

func (f *fleet) unacked() (n int) {
	for _, p := range f.publishers {
		n += p.waiting()
	}
	return n
}

func (f *fleet) stop() {
	f.quiet()
	f.stopTend()
	for _, d := range f.all() {
		d.leave()
	}
}

// progress waits until devices are told of n more messages.
func (f *fleet) progress(n int, atMost time.Duration) {
	f.t.Helper()
	from := f.counts.acks.Load()
	if !within(atMost, func() bool { return f.counts.acks.Load() >= from+int64(n) }) {
		f.t.Fatalf("only %d acknowledgements in %v; %d of %d devices are connected\n%s", f.counts.acks.Load()-from, atMost, f.living(), len(f.all()), f.counts.text())
	}
}

// check reads the log and compares.
func (f *fleet) check(js jetstream.JetStream) {
	f.t.Helper()
	verdict(f.t, f.promises, &f.counts, readStream(f.t, js, logStream), f.devices)
}

func (c *counts) text() string {
	reason, _ := c.lastReason.Load().(string)
	return fmt.Sprintf("connections %d, refused %d, closed by a living gateway %d, given up %d, sessions lost %d, last reason %q\n"+
		"longest wait for PINGRESP %v, longest time without any acknowledgement %v\n",
		c.connects.Load(), c.refusals.Load(), c.closedByLiving.Load(), c.givenUp.Load(), c.sessionsLost.Load(), reason,
		time.Duration(c.pingWaitMax.Load()).Round(time.Millisecond), time.Duration(c.stallMax.Load()).Round(time.Millisecond))
}

// readStream is what a backend gets that consumes a stream from its begin: the numbered messages in it.
func readStream(t *testing.T, js jetstream.JetStream, name string) *ledger {
	t.Helper()
	l := newLedger("log")
	stream := waitStream(t, js, name)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	info, err := stream.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs == 0 {
		return l
	}
	consumer, err := js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := consumer.Messages(jetstream.PullMaxMessages(2000))
	if err != nil {
		t.Fatal(err)
	}
	defer msgs.Stop()
	for {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Fatalf("reading %s: %v", name, err)
		}
		if !strings.HasPrefix(m.Subject(), "$TG.rel.") { // not a marker of QoS 2
			l.saw(m.Data())
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		if meta.Sequence.Stream >= info.State.LastSeq || meta.NumPending == 0 {
			return l
		}
	}
}

// spread gives connections the source addresses 127.0.1.1 and on, since one address has ports for some 28,000 only.
func (f *fleet) spread() func(addr string) (net.Conn, error) {
	host := byte(f.next.Add(1)%20 + 1)
	from := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, host)}}
	return func(addr string) (net.Conn, error) { return from.Dial("tcp", addr) }
}
