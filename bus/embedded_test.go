package bus_test

import (
	"context"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

func openEmbedded(t *testing.T, o bus.Options) (*bus.Bus, error) {
	t.Helper()
	o.Embedded, o.Node = true, "n1"
	if o.DataDir == "" {
		o.DataDir = t.TempDir()
	}
	b, err := bus.Open(t.Context(), o)
	if err == nil {
		t.Cleanup(func() { _ = b.Close(context.Background()) })
	}
	return b, err
}

func TestEmbedded(t *testing.T) {
	var lines atomic.Int64
	dir := t.TempDir()
	o := bus.Options{ListenAddr: "127.0.0.1:0", DataDir: dir, Logf: func(string, string, ...any) { lines.Add(1) }}
	b, err := openEmbedded(t, o)
	if err != nil {
		t.Fatal(err)
	}
	works(t, b)
	nc, err := nats.Connect(b.ClientURL()) // an ordinary NATS client reaches it, with JetStream
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if m, err := nc.Request("$JS.API.STREAM.CREATE.S", []byte(`{"name":"S","subjects":["s.>"],"storage":"file"}`), patience); err != nil || !strings.Contains(string(m.Data), `"did_create":true`) {
		t.Fatalf("%v %s", err, m.Data)
	}
	if st := b.Status(); st.MaxPayloadBytes != 8<<20 || st.URL != b.ClientURL() {
		t.Fatalf("%+v", st)
	}
	if lines.Load() == 0 {
		t.Fatal("the server's log went nowhere")
	}

	if _, err := openEmbedded(t, bus.Options{DataDir: dir}); err == nil || !strings.Contains(err.Error(), "in use by process") {
		t.Fatalf("second use of the data directory: %v", err)
	}
	if err := b.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	nc.Close()

	again, err := openEmbedded(t, bus.Options{DataDir: dir}) // the directory is free again, and the data is there
	if err != nil {
		t.Fatal(err)
	}
	if again.ClientURL() != "" {
		t.Fatal("a URL without a listener")
	}
	works(t, again)
	to := make(chan answer, 1)
	ask(again, "$JS.API.STREAM.INFO.S", "", patience, to)
	if a := await(t, to); a.err != nil || !strings.Contains(a.reply, `"name":"S"`) {
		t.Fatalf("%+v", a)
	}
}

func TestEmbeddedErrorsSayHowToMend(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for _, c := range []struct {
		o    bus.Options
		want []string
	}{
		{bus.Options{ListenAddr: l.Addr().String()}, []string{"in use", "--nats-listen", "--nats nats://" + l.Addr().String()}},
		{bus.Options{ListenAddr: "192.0.2.1:4222"}, []string{"192.0.2.1", "--nats-listen"}},
		{bus.Options{ListenAddr: "4222"}, []string{"127.0.0.1:4222"}},
		{bus.Options{ListenAddr: "127.0.0.1:99999"}, []string{"number up to 65535"}},
		{bus.Options{DataDir: "/dev/null/x"}, []string{"data directory", "--data"}},
	} {
		_, err := openEmbedded(t, c.o)
		if err == nil {
			t.Errorf("%+v: no error", c.o)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
		}
	}
}

// noLeak runs f several times and demands that the goroutines do not grow.
func noLeak(t *testing.T, f func()) {
	t.Helper()
	f() // what NATS starts once in a process
	var before int
	eventually(t, "quiet", func() bool { // goroutines of NATS end in their own time
		n := runtime.NumGoroutine()
		quiet := n == before
		before = n
		return quiet
	})
	for range 3 {
		f()
	}
	eventually(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= before })
}

func use(t *testing.T, b *bus.Bus) {
	t.Helper()
	subscribe(t, b, 1, "a/#", "")
	subscribe(t, b, 2, "a/#", "q")
	works(t, b)
	b.Request("nobody", nil, time.Minute, func([]byte, error) {})
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		noLeak(t, func() {
			b, err := openEmbedded(t, bus.Options{ListenAddr: "127.0.0.1:0"})
			if err != nil {
				t.Fatal(err)
			}
			use(t, b)
			if err := b.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("external, with faults", func(t *testing.T) {
		s := bustest.Start(t)
		noLeak(t, func() {
			b := open(t, s)
			use(t, b)
			s.Shut()
			eventually(t, "disconnected", func() bool { return !b.Status().Connected() })
			s.Reopen()
			eventually(t, "connected", func() bool { return b.Status().Connected() })
			works(t, b)
			if err := b.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
		})
	})
}
