package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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

// TestTLSStorm: a storm is told of once all its handshakes are done, and its connections stay until its input ends.
func TestTLSStorm(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := writeCertificate(dir); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	fromServer, serverOut := io.Pipe()
	go func() { _ = runTLSServer(ctx, wayLoop, dir, serverOut) }()
	var ready struct{ Addr string }
	if err := json.NewDecoder(fromServer).Decode(&ready); err != nil {
		t.Fatal(err)
	}
	in, toStorm := io.Pipe()
	fromStorm, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- runTLSStorm(ready.Addr, 20, in, out) }()
	lines := bufio.NewReader(fromStorm)
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		t.Fatal(line, err)
	}
	if _, err := toStorm.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	var got stormed
	if err := json.NewDecoder(lines).Decode(&got); err != nil || got.Done != 20 || got.Failed != 0 || got.Nanos <= 0 {
		t.Fatal(got, err)
	}
	select {
	case err := <-ended:
		t.Fatal("it has ended by itself:", err)
	default:
	}
	_ = toStorm.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// TestStartLast: the process is of SCHED_IDLE, and who starts it is not. The thread that did may be the first one of this process, which does not end
// with its goroutine and does nothing any more.
func TestStartLast(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := startLast(cmd); err != nil {
		t.Fatal(err)
	}
	child, err := unix.SchedGetAttr(cmd.Process.Pid, 0)
	if err != nil || child.Policy != unix.SCHED_IDLE {
		t.Error(child, err)
	}
	if after, err := unix.SchedGetAttr(0, 0); err != nil || after.Policy != before.Policy {
		t.Error(after, err)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
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
