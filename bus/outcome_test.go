package bus

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus/bustest"
)

// TestAnswer: a requester gets the outcome, and "no responders" as its library knows it, both where we write to the socket and where nats.go has to.
func TestAnswer(t *testing.T) {
	s := bustest.Start(t)
	nc := s.Conn(t)
	asks := make(chan Inbound, 1)
	b := openOn(t, s, func(o *Options) {
		o.Receive = func(ms []Inbound) {
			for _, m := range ms {
				asks <- m
			}
		}
	})
	if err := b.Subscribe(1, []string{"cmd"}, ""); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, direct := range []bool{true, false} {
		w := b.uplink.now.Load()
		if !direct {
			plain := &wire{nc: w.nc}
			b.uplink.now.Store(plain)
			defer b.uplink.now.Store(w)
		}
		for _, nobody := range []bool{false, true} {
			type result struct {
				m   *nats.Msg
				err error
			}
			done := make(chan result, 1)
			go func() {
				m, err := nc.RequestMsg(&nats.Msg{Subject: "cmd", Header: nats.Header{"TG-Ask": {"outcome"}}}, 20*time.Second)
				done <- result{m, err}
			}()
			in := <-asks
			if in.Ask != AskOutcome || !Answerable(in.Reply) {
				t.Fatalf("%+v", in)
			}
			if err := b.Answer(in.Reply, "queued", nobody); err != nil {
				t.Fatal(err)
			}
			got := <-done
			if nobody != errors.Is(got.err, nats.ErrNoResponders) || !nobody && (got.err != nil || got.m.Header.Get("TG-Outcome") != "queued" || len(got.m.Data) > 0) {
				t.Errorf("direct %v, nobody %v: %+v %v", direct, nobody, got.m, got.err)
			}
		}
	}
}

// TestAskNeedsReply: only a message with a reply subject asks; one that was published with JetStream has none for us.
func TestAskNeedsReply(t *testing.T) {
	d, c := decoder{}, counters{}
	for _, tc := range []struct {
		m          nats.Msg
		ask, reply string
	}{
		{nats.Msg{Subject: "a", Header: nats.Header{"TG-Ask": {"outcome"}}}, "", ""},
		{nats.Msg{Subject: "a", Reply: "_INBOX.x", Header: nats.Header{"TG-Ask": {"outcome"}}}, "outcome", "_INBOX.x"},
		{nats.Msg{Subject: "a", Reply: "_INBOX.x", Header: nats.Header{"Nats-Msg-Id": {"1"}}}, "", ""},
		{nats.Msg{Subject: "a", Reply: "_INBOX.x", Header: nats.Header{"Nats-Expected-Stream": {"S"}}}, "", ""},
	} {
		d.reset()
		if !d.add(1, &tc.m, &c) || d.run[0].Ask != tc.ask || d.run[0].Reply != tc.reply {
			t.Errorf("%+v: %+v", tc.m, d.run)
		}
	}
}

// TestSharedSecret: whoever asks first decides, also when several ask at once; without JetStream nobody does.
func TestSharedSecret(t *testing.T) {
	s := bustest.Start(t)
	type answer struct {
		key []byte
		err error
	}
	answers := make(chan answer)
	const n = 4
	for i := range n {
		b := openOn(t, s, func(*Options) {})
		go func() {
			for {
				key, err := b.SharedSecret(t.Context(), "secret", []byte{byte(i), 2, 3})
				if errors.Is(err, ErrNoSecrets) { // while others make the bucket
					time.Sleep(time.Millisecond)
					continue
				}
				answers <- answer{key, err}
				return
			}
		}()
	}
	first := <-answers
	for range n - 1 {
		if a := <-answers; a.err != nil || first.err != nil || string(a.key) != string(first.key) {
			t.Errorf("%v and %v", first, a)
		}
	}
	late := openOn(t, s, func(*Options) {})
	if key, err := late.SharedSecret(t.Context(), "secret", []byte("abc")); err != nil || string(key) != string(first.key) {
		t.Errorf("%q %v", key, err)
	}
	if key, err := late.SharedSecret(t.Context(), "secret", []byte("longer")); err == nil {
		t.Errorf("%q for a secret of another length", key)
	}
	none := openOn(t, bustest.Start(t, withoutJetStream), func(*Options) {})
	if key, err := none.SharedSecret(t.Context(), "secret", []byte("abc")); !errors.Is(err, ErrNoSecrets) {
		t.Errorf("%q %v", key, err)
	}
}

func withoutJetStream(o *server.Options) { o.JetStream = false }

// openOn opens a Bus on a test's server.
func openOn(t *testing.T, s *bustest.Server, adjust func(*Options)) *Bus {
	t.Helper()
	o := Options{URLs: []string{s.URL()}, Node: "test"}
	adjust(&o)
	b, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	return b
}
