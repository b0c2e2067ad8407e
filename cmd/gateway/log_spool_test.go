package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFaultF24LogBlocked: a gateway whose log nobody reads, so that the pipe is full before its first line, starts, serves and stops.
func TestFaultF24LogBlocked(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	fd := int(write.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := unix.Write(fd, make([]byte, 512)); err != nil {
			break // full
		}
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(atMost(t, time.Minute), binary(t))
	cmd.Stderr = write
	s := startCommand(t, cmd, "GATEWAY_LOG_LEVEL=debug", "GATEWAY_LOG_FORMAT=json")
	for i := range 20 {
		d, err := plug(s.listenerOf(), "blocked-"+strings.Repeat("x", i))
		if err != nil {
			t.Fatal(err)
		}
		d.ping(t)
		d.conn.Close()
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestSpool: lines come in order and whole; what there was no room for is counted in the next that comes.
func TestSpool(t *testing.T) {
	out := &gate{open: make(chan struct{})}
	s := newSpool(out)
	for range 2 * spoolLines {
		if n, err := s.Write([]byte("line\n")); n != 5 || err != nil {
			t.Fatal(n, err)
		}
	}
	close(out.open)
	s.flush()
	text := out.text()
	if n := strings.Count(text, "line\n"); n < spoolLines || n > spoolLines+1 || !strings.Contains(text, "dropped") {
		t.Errorf("%d lines: %s", n, text[max(0, len(text)-200):])
	}
}

// gate is a writer that blocks until it is opened.
type gate struct {
	open chan struct{}
	mu   sync.Mutex
	b    bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.Write(p)
}

func (g *gate) text() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.String()
}
