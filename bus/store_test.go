package bus_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

// ledger is a bus.StoreBatch of ready messages that checks how it is told.
type ledger struct {
	t        testing.TB
	messages []bus.StoreMessage
	done     chan struct{}

	mu    sync.Mutex
	codes []bus.StoreCode
	told  func(i int, c bus.StoreCode) // optional
}

func newLedger(t testing.TB, messages ...bus.StoreMessage) *ledger {
	return &ledger{t: t, messages: messages, done: make(chan struct{})}
}

func (l *ledger) Len() int                         { return len(l.messages) }
func (l *ledger) Bytes() int                       { return 128 * len(l.messages) }
func (l *ledger) Store(i int, m *bus.StoreMessage) { *m = l.messages[i] }

func (l *ledger) Stored(i int, c bus.StoreCode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i != len(l.codes) {
		l.t.Errorf("told of message %d after %d others", i, len(l.codes))
	}
	l.codes = append(l.codes, c)
	if l.told != nil {
		l.told(i, c)
	}
}

func (l *ledger) Done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.codes) != len(l.messages) {
		l.t.Errorf("done after %d of %d messages", len(l.codes), len(l.messages))
	}
	close(l.done)
}

// wait returns the codes as text, one digit a message.
func (l *ledger) wait() string {
	l.t.Helper()
	select {
	case <-l.done:
	case <-time.After(patience):
		l.t.Fatal("never done")
	}
	text := ""
	for _, c := range l.codes {
		text += strconv.Itoa(int(c))
	}
	return text
}

func keep(topic, payload string) bus.StoreMessage {
	return bus.StoreMessage{Message: text(topic, payload)}
}

func ready(t testing.TB, b *bus.Bus) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		ok, err := b.Ready()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never ready: %v", err)
		}
	}
}

// durable opens a Bus that stores, at the door of a test server.
func durable(t *testing.T, s *bustest.Server, d bus.Durable) *bus.Bus {
	t.Helper()
	return open(t, s, func(o *bus.Options) { o.Durable = &d })
}

func jetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// stored returns everything in a stream: subject, TG and payload of each message. Several are asked for at a time, as a test may have stored 50,000, and
// patience is for each.
func stored(t testing.TB, js jetstream.JetStream, stream string) []*jetstream.RawStreamMsg {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		t.Fatal(err)
	}
	state := s.CachedInfo().State
	if state.Msgs == 0 {
		return nil
	}
	all := make([]*jetstream.RawStreamMsg, state.LastSeq-state.FirstSeq+1)
	const atATime = 32
	errs := make([]error, atATime)
	var readers sync.WaitGroup
	for r := range atATime {
		readers.Go(func() {
			for i := r; i < len(all) && errs[r] == nil; i += atATime {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				var err error
				if all[i], err = s.GetMsg(ctx, state.FirstSeq+uint64(i)); err != nil {
					errs[r] = fmt.Errorf("message %d of %s: %w", state.FirstSeq+uint64(i), stream, err)
				}
				cancel()
			}
		})
	}
	readers.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return all
}

func payloadsOf(all []*jetstream.RawStreamMsg) []string {
	var p []string
	for _, m := range all {
		p = append(p, string(m.Data))
	}
	return p
}

// exactly checks that payloads are the numbers from 0 to n, in order, once each.
func exactly(t testing.TB, got []string, n int) {
	t.Helper()
	for i, p := range got {
		if p != strconv.Itoa(i) {
			t.Fatalf("message %d is %q; %d in all", i, p, len(got))
		}
	}
	if len(got) != n {
		t.Fatalf("%d messages, not %d", len(got), n)
	}
}

func TestStorerStores(t *testing.T) {
	var once sync.Once
	told := make(chan struct{})
	b, err := openEmbedded(t, bus.Options{
		ListenAddr: "127.0.0.1:0", Durable: &bus.Durable{LogAge: time.Hour, Sync: "interval"}, OnReady: func() { once.Do(func() { close(told) }) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ready(t, b)
	<-told
	s := b.NewStorer(nil)
	m := keep("devices/d 1/up", "0")
	m.ClientID, m.Retain = []byte("d.1"), true
	two := m
	two.QoS, two.PacketID, two.Payload = 2, 77, []byte("1")
	release := bus.StoreMessage{Message: bus.Message{ClientID: []byte("d.1")}, PacketID: 77, Release: true}
	l := newLedger(t, m, two, release)
	if !s.Offer(l) {
		t.Fatal("refused")
	}
	if codes := l.wait(); codes != "000" {
		t.Fatal(codes)
	}
	nc, err := nats.Connect(b.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	var got []string
	for _, m := range stored(t, jetStream(t, nc), "TG_LOG") {
		got = append(got, fmt.Sprintf("%s|%s|%s", m.Subject, m.Header.Get("TG"), m.Data))
	}
	want := []string{"$TG.log.devices.d/201.up|1r c=d.1|0", "$TG.log2.d=2E1.devices.d/201.up|2r c=d.1 p=77|1", "$TG.rel.d=2E1|2|77"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%q\nwant %q", got, want)
	}
	if c := b.Counters(); c.Stored != 3 || c.StoredBytes != 2 || c.StoreGroups != 1 || c.StorePending != 0 || c.StoreRetries != 0 {
		t.Fatalf("%+v", c)
	}
	if batches, bytes := s.Pending(); batches != 0 || bytes != 0 {
		t.Fatal(batches, bytes)
	}
}

func TestStorerFloods(t *testing.T) {
	s := bustest.Start(t)
	b := durable(t, s, bus.Durable{})
	ready(t, b)
	st := b.NewStorer(nil)
	const batches, each = 200, 50
	var last *ledger
	for i := range batches {
		var ms []bus.StoreMessage
		for j := range each {
			ms = append(ms, keep("a/b", strconv.Itoa(i*each+j)))
		}
		last = newLedger(t, ms...)
		if !st.Offer(last) {
			t.Fatal("refused")
		}
	}
	last.wait()
	js := jetStream(t, s.Conn(t))
	exactly(t, payloadsOf(stored(t, js, "TG_LOG")), batches*each)
	if c := b.Counters(); c.Stored != batches*each || c.StoreGroups > batches || c.StoreRetries != 0 {
		t.Fatalf("%+v", c)
	}
}

func TestStorerRefusesPoisonOnly(t *testing.T) {
	s := bustest.Start(t)
	b := durable(t, s, bus.Durable{})
	ready(t, b)
	st := b.NewStorer(nil)
	long := keep("a", "")
	long.Topic = []byte(strings.Repeat("x", 4000))
	fat := keep("a", strings.Repeat("x", 2<<20))
	reserved := keep("$SYS/a", "")
	unknown := keep("a", "")
	unknown.Stream = 3
	l := newLedger(t, long, keep("a", "0"), fat, keep("a", "1"), reserved, unknown, keep("a", "2"))
	st.Offer(l)
	if codes := l.wait(); codes != "2020220" {
		t.Fatal(codes)
	}
	exactly(t, payloadsOf(stored(t, jetStream(t, s.Conn(t)), "TG_LOG")), 3)
	all := newLedger(t, long, reserved)
	st.Offer(all)
	if codes := all.wait(); codes != "22" {
		t.Fatal(codes)
	}
	one := newLedger(t)
	st.Offer(one)
	one.wait()
	if c := b.Counters(); c.StoreRefused != 6 {
		t.Fatalf("%+v", c)
	}
}

// A message that makes the server end the connection costs itself, and no other.
func TestStorerAtServerThatRefusesByClosing(t *testing.T) {
	s := bustest.Start(t, func(o *server.Options) { o.MaxControlLine = 512 })
	b := durable(t, s, bus.Durable{})
	ready(t, b)
	st := b.NewStorer(nil)
	var all []*ledger
	const each = 50 // before and behind the bad one
	for i := range 2 {
		var ms []bus.StoreMessage
		for j := range 2 * each {
			if j == each {
				ms = append(ms, keep("p/"+strings.Repeat("t", 1000), ""))
			}
			ms = append(ms, keep("p/1", strconv.Itoa(2*each*i+j)))
		}
		l := newLedger(t, ms...)
		all = append(all, l)
		st.Offer(l)
	}
	for _, l := range all {
		if codes := l.wait(); codes != strings.Repeat("0", each)+"2"+strings.Repeat("0", each) {
			t.Fatal(codes)
		}
	}
	exactly(t, payloadsOf(stored(t, jetStream(t, s.Conn(t)), "TG_LOG")), 4*each)
	if c := b.Counters(); c.Disconnects > 20 {
		t.Errorf("%d connections were lost for 2 messages", c.Disconnects)
	}
}

// Full is full: Offer refuses, room is told when half is free.
func TestStorerHasALimit(t *testing.T) {
	s := bustest.Start(t)
	room := make(chan struct{}, 10)
	b := open(t, s, func(o *bus.Options) { o.Durable, o.PendingBytesMax = &bus.Durable{}, 10_000 })
	ready(t, b)
	st := b.NewStorer(func() { room <- struct{}{} })
	s.Shut()
	eventually(t, "the bus notices", func() bool { return !b.Status().Connected() })
	n := 0
	for st.Offer(newLedger(t, keep("a", strconv.Itoa(n)))) {
		n++
	}
	if _, bytes := st.Pending(); bytes > 10_000 || n < 10 {
		t.Fatalf("%d batches, %d bytes", n, bytes)
	}
	if c := b.Counters(); c.StoreOfferRefused != 1 || c.StorePending != uint64(n) {
		t.Fatalf("%+v", c)
	}
	s.Reopen()
	<-room
	eventually(t, "all are stored", func() bool { n, _ := st.Pending(); return n == 0 })
	exactly(t, payloadsOf(stored(t, jetStream(t, s.Conn(t)), "TG_LOG")), n)
	if len(room) != 0 {
		t.Error("room was told twice")
	}
}

// Under TLS the socket is not ours to write to: everything goes through nats.go.
func TestStorerUnderTLS(t *testing.T) {
	pair, certPEM, _ := certificate(t, "server", nil)
	s := bustest.Start(t, func(o *server.Options) {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
		o.TLS, o.TLSTimeout = true, 5
	})
	s.Login(nats.RootCAs(file(t, "s.pem", certPEM)))
	js := jetStream(t, s.Conn(t))
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "UP", Subjects: []string{"up.>"}}); err != nil {
		t.Fatal(err)
	}
	b := open(t, s, func(o *bus.Options) {
		o.TLSCAFile, o.Durable = file(t, "ca.pem", certPEM), &bus.Durable{Streams: []string{"UP"}}
	})
	ready(t, b)
	st := b.NewStorer(nil)
	var ms []bus.StoreMessage
	for i := range 100 {
		up := bus.StoreMessage{Message: text("up/1", strconv.Itoa(i)), Stream: 1}
		up.Fields.HasExpiry = true
		ms = append(ms, keep("a/1", strconv.Itoa(i)), up)
	}
	l := newLedger(t, ms...)
	st.Offer(l)
	if codes := l.wait(); codes != strings.Repeat("0", 200) {
		t.Fatal(codes)
	}
	exactly(t, payloadsOf(stored(t, js, "TG_LOG")), 100)
	up := stored(t, js, "UP")
	exactly(t, payloadsOf(up), 100)
	if h := up[0].Header; h.Get("Nats-Msg-Id") == "" || h.Get("Nats-Expected-Stream") != "UP" || h.Get("TG-Expiry") != "0" || h.Get("TG") != "1 c=d1" {
		t.Fatalf("%v", h)
	}
}
