package bus_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

// withLog starts a server that has the log and the bucket of sessions, and returns JetStream as an observer sees it.
func withLog(t testing.TB, adjust ...func(*server.Options)) (*bustest.Server, jetstream.JetStream) {
	t.Helper()
	s := bustest.Start(t, adjust...)
	return s, makeStreams(t, s.Conn(t))
}

func makeStreams(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []jetstream.StreamConfig{
		{Name: "TG_LOG", Subjects: []string{"$TG.log.>", "$TG.log2.>", "$TG.rel.*"}, AllowDirect: true, AllowMsgTTL: true},
		{
			Name: "KV_TG_sessions", Subjects: []string{"$KV.TG_sessions.>"}, AllowDirect: true, AllowMsgTTL: true, MaxMsgsPerSubject: 1,
			AllowRollup: true, DenyDelete: true,
		},
		{Name: "USERS", Subjects: []string{"u.>"}},
	} {
		if _, err := js.CreateStream(context.Background(), c); err != nil {
			t.Fatal(err)
		}
	}
	return js
}

// put stores a message and returns its sequence.
func put(t testing.TB, js jetstream.JetStream, subject, payload string, header ...string) uint64 {
	t.Helper()
	m := &nats.Msg{Subject: subject, Data: []byte(payload), Header: nats.Header{}}
	for i := 0; i < len(header); i += 2 {
		m.Header.Add(header[i], header[i+1])
	}
	ack, err := js.PublishMsg(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// logged keeps what ReceiveLog got. Safe from any goroutine.
type logged struct {
	mu   sync.Mutex
	runs int
	got  []bus.Inbound // copies, without Fields
}

func (l *logged) receive(ms []bus.Inbound) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs++
	l.got = append(l.got, copies(ms)...)
}

func copies(ms []bus.Inbound) []bus.Inbound {
	out := slices.Clone(ms)
	for i := range out {
		m := &out[i]
		m.Topic, m.Payload, m.ClientID = slices.Clone(m.Topic), slices.Clone(m.Payload), slices.Clone(m.ClientID)
	}
	return out
}

func (l *logged) all() []bus.Inbound {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got)
}

func (l *logged) wait(t *testing.T, n int) []bus.Inbound {
	t.Helper()
	eventually(t, fmt.Sprintf("%d messages of a stream", n), func() bool { return len(l.all()) >= n })
	return l.all()
}

// reading opens a Bus that keeps what it follows.
func reading(t *testing.T, s *bustest.Server, adjust ...func(*bus.Options)) (*bus.Bus, *logged) {
	l := &logged{}
	return open(t, s, append([]func(*bus.Options){func(o *bus.Options) { o.ReceiveLog = l.receive }}, adjust...)...), l
}

func filters(text ...string) (all [][]byte) {
	for _, f := range text {
		all = append(all, []byte(f))
	}
	return all
}

func follow(t testing.TB, b *bus.Bus, stream uint16, text ...string) uint64 {
	t.Helper()
	after, err := b.Follow(stream, filters(text...))
	if err != nil {
		t.Fatal(err)
	}
	return after
}

// result is what a callback told.
type result[T any] struct {
	v    T
	upTo uint64
	err  error
}

// get waits for a callback.
func get[T any](t testing.TB, ask func(done func(T, uint64, error))) (T, uint64, error) {
	t.Helper()
	ch := make(chan result[T], 2)
	ask(func(v T, upTo uint64, err error) { ch <- result[T]{v, upTo, err} })
	select {
	case r := <-ch:
		return r.v, r.upTo, r.err
	case <-time.After(30 * time.Second):
		t.Fatal("no answer")
	}
	panic("not reached")
}

func replay(t testing.TB, b *bus.Bus, r bus.ReplayRead) ([]bus.Inbound, uint64, error) {
	t.Helper()
	return get(t, func(done func([]bus.Inbound, uint64, error)) {
		b.ReplayLog(r, func(run []bus.Inbound, upTo uint64, err error) { done(copies(run), upTo, err) })
	})
}

func contents(ms []bus.Inbound) (all []string) {
	for _, m := range ms {
		all = append(all, string(m.Payload))
	}
	return all
}
