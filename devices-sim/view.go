package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// view tells a person how the run is going: one line that is rewritten on a terminal, a line a second elsewhere. Owned
// by the runner's goroutine.
type view struct {
	out      io.Writer
	terminal bool
	shown    bool // the terminal's line is not finished

	at   int64
	last snapshot
}

// snapshot is what one line is made of.
type snapshot struct {
	stage    stage
	count    counters
	arrived  uint64
	verified bool
	p99      float64
	servers  time.Duration // CPU of the watched processes
	rss      int64
}

func (s stage) String() string {
	return [...]string{"connecting", "ready", "running", "draining", "drained", "leaving", "done"}[s]
}

// show makes a line of the runner's state.
func (r *runner) show() {
	s := snapshot{stage: over, count: r.sum()}
	for _, rep := range r.latest {
		s.stage, s.p99 = min(s.stage, rep.Stage), max(s.p99, rep.AckP99)
	}
	if r.ledger != nil {
		s.verified = true
		s.arrived, s.p99 = r.ledger.second()
	}
	for _, w := range r.servers {
		if u, err := processUsage(w.pid); err == nil {
			s.servers += u.CPU
			s.rss += u.RSS
		}
	}
	r.view.show(r.now(), r.startedAt, r.o.Devices, s)
}

// show writes one line; rates are since the line before.
func (v *view) show(now, startedAt int64, devices int, s snapshot) {
	elapsed := time.Duration(now - v.at).Seconds()
	if v.at == 0 {
		elapsed = time.Duration(now - startedAt).Seconds()
	}
	rate := func(new, old uint64) string { return decimal(float64(new-min(old, new))/elapsed) + "/s" }
	var b strings.Builder
	fmt.Fprintf(&b, "%4ds %-10s live %d/%d", (now-startedAt)/second, s.stage, s.count.Live, devices)
	if s.stage <= holding {
		fmt.Fprintf(&b, "  connects %s", rate(s.count.Connects, v.last.count.Connects))
	} else {
		fmt.Fprintf(&b, "  sent %s", rate(s.count.Sent, v.last.count.Sent))
		if s.count.Acked > 0 {
			fmt.Fprintf(&b, "  acked %s", rate(s.count.Acked, v.last.count.Acked))
		}
		if s.verified {
			fmt.Fprintf(&b, "  arrived %s", rate(s.arrived, v.last.arrived))
		}
		if s.count.Commands > 0 {
			fmt.Fprintf(&b, "  commands %s", rate(s.count.Commands, v.last.count.Commands))
		}
		if s.p99 > 0 {
			fmt.Fprintf(&b, "  p99 %s ms", decimal(s.p99))
		}
	}
	fmt.Fprintf(&b, "  closes %d", s.count.Unexpected)
	if s.count.ConnectFailures > 0 {
		fmt.Fprintf(&b, "  failures %d", s.count.ConnectFailures)
	}
	if s.rss > 0 {
		fmt.Fprintf(&b, "  server %.0f%% %s", 100*(s.servers-v.last.servers).Seconds()/elapsed, bytesText(s.rss))
	}
	v.at, v.last = now, s
	v.line(b.String())
}

// line writes or rewrites the line. A terminal is told not to wrap it: what is wider than the window is cut off, and the
// next line still covers it.
func (v *view) line(text string) {
	if v.terminal {
		fmt.Fprintf(v.out, "\r\x1b[K\x1b[?7l%s\x1b[?7h", text)
		v.shown = true
		return
	}
	fmt.Fprintln(v.out, text)
}

// note writes a line that stays.
func (v *view) note(text string) {
	v.end()
	fmt.Fprintln(v.out, text)
}

// end finishes the terminal's line.
func (v *view) end() {
	if v.shown {
		fmt.Fprintln(v.out)
		v.shown = false
	}
}

// decimal writes a figure with three digits that matter, or whole with separators.
func decimal(f float64) string {
	switch {
	case f < 10:
		return fmt.Sprintf("%.2f", f)
	case f < 100:
		return fmt.Sprintf("%.1f", f)
	}
	return grouped(uint64(f + 0.5))
}

// grouped writes 12345678 as 12,345,678.
func grouped(n uint64) string {
	s := fmt.Sprint(n)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

// bytesText writes a number of bytes as people say it.
func bytesText(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d B", n)
	case n < 10_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
