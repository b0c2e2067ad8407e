package bus_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

func TestDurableChecks(t *testing.T) {
	for want, d := range map[string]bus.Durable{
		"choose page-cache":  {Sync: "often"},
		"replicas":           {Replicas: 3},
		"limited to":         {LogAge: time.Millisecond},
		"limited to 0s and ": {LogBytes: -1},
	} {
		if _, err := openEmbedded(t, bus.Options{Durable: &d}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", d, err)
		}
	}
	b, err := openEmbedded(t, bus.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := b.Ready(); ok || !errors.Is(err, bus.ErrNotDurable) {
		t.Fatal(ok, err)
	}
}

func TestDurableWithoutJetStream(t *testing.T) {
	s := bustest.Start(t, func(o *server.Options) { o.JetStream = false })
	b := durable(t, s, bus.Durable{})
	eventually(t, "the bus knows that there is no JetStream", func() bool {
		ok, err := b.Ready()
		return !ok && errors.Is(err, bus.ErrNoJetStream)
	})
}

// The buckets are ordinary ones: NATS's tools read and write them.
func TestDurableBuckets(t *testing.T) {
	s := bustest.Start(t)
	b := durable(t, s, bus.Durable{LogAge: time.Hour, LogBytes: 1 << 30})
	ready(t, b)
	ctx := t.Context()
	js := jetStream(t, s.Conn(t))
	for _, name := range []string{"TG_sessions", "TG_retained"} {
		kv, err := js.KeyValue(ctx, name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		revision, err := kv.Create(ctx, "a=2Eb", []byte("1"), jetstream.KeyTTL(time.Hour))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := kv.Update(ctx, "a=2Eb", []byte("2"), revision); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if e, err := kv.Get(ctx, "a=2Eb"); err != nil || string(e.Value()) != "2" {
			t.Fatalf("%s: %v", name, err)
		}
		if st, err := kv.Status(ctx); err != nil || st.History() != 1 || st.TTL() != 0 {
			t.Fatalf("%s: %v %+v", name, err, st)
		}
	}
	log, err := js.Stream(ctx, "TG_LOG")
	if err != nil {
		t.Fatal(err)
	}
	if c := log.CachedInfo().Config; c.MaxAge != time.Hour || c.MaxBytes != 1<<30 || !c.AllowBatchPublish || !c.AllowDirect || c.Discard != jetstream.DiscardOld ||
		c.Storage != jetstream.FileStorage || c.Replicas != 1 {
		t.Fatalf("%+v", c)
	}
}

// What is there with other settings is set right where nothing is lost, and never removed.
func TestDurableFindsStreams(t *testing.T) {
	s := bustest.Start(t)
	ctx := t.Context()
	js := jetStream(t, s.Conn(t))
	old := jetstream.StreamConfig{Name: "TG_LOG", Subjects: []string{"$TG.log.>"}, MaxAge: time.Minute, Description: "mine"}
	if _, err := js.CreateStream(ctx, old); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "$TG.log.a", []byte("0")); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "KV_TG_sessions", Subjects: []string{"$KV.TG_sessions.>"}, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	b := durable(t, s, bus.Durable{LogAge: time.Hour, Streams: []string{"UP"}})
	problem := func(parts ...string) {
		t.Helper()
		eventually(t, strings.Join(parts, ", "), func() bool {
			ok, err := b.Ready()
			if ok {
				t.Fatal("ready")
			}
			for _, p := range parts {
				if !strings.Contains(err.Error(), p) {
					return false
				}
			}
			return true
		})
	}
	problem("KV_TG_sessions is kept in memory", "nats stream rm KV_TG_sessions", "UP, which a route names")
	if err := js.DeleteStream(ctx, "KV_TG_sessions"); err != nil {
		t.Fatal(err)
	}
	problem("stream not found: UP, which a route names")
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "UP", Subjects: []string{"up.>"}, NoAck: true}); err != nil {
		t.Fatal(err)
	}
	problem("UP", "does not acknowledge")
	if _, err := js.UpdateStream(ctx, jetstream.StreamConfig{Name: "UP", Subjects: []string{"up.>"}}); err != nil {
		t.Fatal(err)
	}
	ready(t, b)
	log, err := js.Stream(ctx, "TG_LOG")
	if err != nil {
		t.Fatal(err)
	}
	c := log.CachedInfo().Config
	if c.MaxAge != time.Hour || len(c.Subjects) != 3 || !c.AllowBatchPublish || !c.AllowDirect || c.Description != "mine" {
		t.Fatalf("%+v", c)
	}
	exactly(t, payloadsOf(stored(t, js, "TG_LOG")), 1)
}

// A stream that goes away while nothing is stored is noticed when the Storer is.
func TestDurableUsersStreamRemoved(t *testing.T) {
	s := bustest.Start(t)
	ctx := t.Context()
	js := jetStream(t, s.Conn(t))
	config := jetstream.StreamConfig{Name: "UP", Subjects: []string{"up.>"}}
	if _, err := js.CreateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
	b := durable(t, s, bus.Durable{Streams: []string{"UP"}})
	ready(t, b)
	if err := js.DeleteStream(ctx, "UP"); err != nil {
		t.Fatal(err)
	}
	m := bus.StoreMessage{Message: text("up/a", "0"), Stream: 1}
	l := newLedger(t, m)
	b.NewStorer(nil).Offer(l)
	eventually(t, "not ready", func() bool { ok, _ := b.Ready(); return !ok })
	if _, err := js.CreateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
	if codes := l.wait(); codes != "0" {
		t.Fatal(codes)
	}
	ready(t, b)
}

// A cluster that has too few servers at first gets its replicas when it has them.
func TestDurableReplicas(t *testing.T) {
	c := bustest.StartCluster(t)
	b, err := bus.Open(t.Context(), bus.Options{URLs: c.URLs(), Node: "g1", Durable: &bus.Durable{Replicas: 1}})
	if err != nil {
		t.Fatal(err)
	}
	ready(t, b)
	if err := b.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if b, err = bus.Open(t.Context(), bus.Options{URLs: c.URLs(), Node: "g1", Durable: &bus.Durable{}}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(context.Background()) }()
	ready(t, b)
	js := jetStream(t, c.Conn(t))
	for _, name := range []string{"TG_LOG", "KV_TG_sessions"} {
		s, err := js.Stream(t.Context(), name)
		if err != nil || s.CachedInfo().Config.Replicas != 3 {
			t.Fatalf("%s: %v %+v", name, err, s)
		}
	}
}

// The log and its streams are found by the next process, whatever the setting.
func TestDurableReopens(t *testing.T) {
	for _, sync := range []string{"", "page-cache", "interval", "always"} {
		t.Run(sync, func(t *testing.T) {
			dir := t.TempDir()
			for i := range 2 {
				b, err := openEmbedded(t, bus.Options{DataDir: dir, ListenAddr: "127.0.0.1:0", Durable: &bus.Durable{Sync: sync}})
				if err != nil {
					t.Fatal(err)
				}
				ready(t, b)
				l := newLedger(t, keep("a", string(rune('0'+i))))
				b.NewStorer(nil).Offer(l)
				if codes := l.wait(); codes != "0" {
					t.Fatal(codes)
				}
				nc, err := nats.Connect(b.ClientURL())
				if err != nil {
					t.Fatal(err)
				}
				exactly(t, payloadsOf(stored(t, jetStream(t, nc), "TG_LOG")), i+1)
				nc.Close()
				if err := b.Close(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
