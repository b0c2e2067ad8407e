package main

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// spool keeps those who write to the log from waiting for those who read it, as loops may not wait: lines go through a queue to a goroutine
// that writes them. What a full queue cannot take is dropped, and its number told as soon as there is room. Safe from any goroutine.
type spool struct {
	lines   chan []byte // nil: all before it is to be flushed
	flushed chan struct{}
	dropped atomic.Uint64
}

// spoolLines is how many lines may wait; spoolEnd how long the last of them are waited for as the process ends.
const (
	spoolLines = 1024
	spoolEnd   = time.Second
)

// newSpool starts the goroutine, which lives as long as the process.
func newSpool(out io.Writer) *spool {
	s := &spool{lines: make(chan []byte, spoolLines), flushed: make(chan struct{}, 2)} // twice at most: by a signal, and at the end
	go func() {
		for line := range s.lines {
			if line == nil {
				s.flushed <- struct{}{}
				continue
			}
			_, _ = out.Write(line) // there is no other place to complain
			if n := s.dropped.Swap(0); n > 0 {
				fmt.Fprintf(out, `{"level":"warn","lines":%d,"message":"log lines were dropped, as nobody read them in time"}`+"\n", n)
			}
		}
	}()
	return s
}

// Write queues a line; it never fails and never waits.
func (s *spool) Write(line []byte) (int, error) {
	select {
	case s.lines <- append([]byte{}, line...):
	default:
		s.dropped.Add(1)
	}
	return len(line), nil
}

// flush waits until what is queued is written, or nobody can be expected to read it.
func (s *spool) flush() {
	end := time.After(spoolEnd)
	select {
	case s.lines <- nil:
	case <-end:
		return
	}
	select {
	case <-s.flushed:
	case <-end:
	}
}
