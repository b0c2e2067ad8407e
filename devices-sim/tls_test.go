package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"testing"
	"time"
)

// TestTLSWork: both servers do all kinds of work of the comparison.
func TestTLSWork(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := writeCertificate(dir); err != nil {
		t.Fatal(err)
	}
	for _, way := range []string{wayLoop, wayGoroutines} {
		ctx, stop := context.WithCancel(context.Background())
		in, out := io.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- runTLSServer(ctx, way, dir, out) }()
		var ready struct{ Addr string }
		if err := json.NewDecoder(in).Decode(&ready); err != nil {
			t.Fatal(err)
		}
		for name, work := range map[string]tlsWork{
			"full":    handshakes(8, 4, tls.VersionTLS13, false),
			"resumed": handshakes(8, 4, tls.VersionTLS12, true),
			"echo":    echoes(3, 2, 4096),
		} {
			do, done, err := work(ready.Addr)
			if err != nil {
				t.Fatalf("%s %s: %v", way, name, err)
			}
			if n, err := do(); err != nil || n < 6 {
				t.Errorf("%s %s: %d, %v", way, name, n, err)
			}
			done()
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", way, err)
		}
	}
}

// TestTLSTail: one bad moment moves the tail of all, and not that of the middle window.
func TestTLSTail(t *testing.T) {
	t.Parallel()
	var all []delay
	for i := range 1000 {
		d := delay{at: time.Duration(i) * 10 * time.Millisecond, late: time.Millisecond}
		if i/50 == 3 {
			d.late = time.Second
		}
		all = append(all, d)
	}
	if got, want := tailOf(all), (tail{all: time.Second, window: time.Millisecond, messages: 1000}); got != want {
		t.Errorf("%+v, wanted %+v", got, want)
	}
}
