package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"golang.org/x/sys/unix"
)

// view tells a person how the run is going: charts that are redrawn on a terminal, a line a second elsewhere. Owned by
// the runner's goroutine.
type view struct {
	out      io.Writer
	terminal bool
	colour   bool
	width    int // of the terminal, in columns

	rows    int // of charts that stand above the cursor
	history []sample
}

// newView looks at where it writes to, and at what the environment asks for.
func newView(out io.Writer) *view {
	v := &view{out: out, width: 80}
	file, ok := out.(*os.File)
	if !ok {
		return v
	}
	v.terminal = isatty.IsTerminal(file.Fd()) && os.Getenv("TERM") != "dumb"
	v.colour = v.terminal && os.Getenv("NO_COLOR") == ""
	if size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		v.width = int(size.Col)
	}
	return v
}

func (s stage) String() string {
	return [...]string{"connecting", "ready", "running", "draining", "drained", "leaving", "done"}[s]
}

// show shows one second.
func (v *view) show(s *sample, devices int) {
	if !v.terminal {
		fmt.Fprintln(v.out, s.line(devices))
		return
	}
	v.history = append(v.history, *s)
	v.draw(v.charts(s, devices))
}

// line is a second in one line.
func (s *sample) line(devices int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%4.0fs %-10s live %d/%d", s.At, s.Stage, s.Live, devices)
	rates := []struct {
		name string
		rate float64
		show bool
	}{
		{"connects", s.Connects, s.Stage == connecting.String() || s.Connects > 0}, {"sent", s.Sent, s.Stage == sending.String() || s.Sent > 0},
		{"acked", s.Acked, s.Acked > 0}, {"arrived", s.Received, s.Received > 0}, {"commands", s.Commands, s.Commands > 0},
	}
	for _, r := range rates {
		if r.show {
			fmt.Fprintf(&b, "  %s %s/s", r.name, decimal(r.rate))
		}
	}
	if p99 := s.p99(); p99 > 0 {
		fmt.Fprintf(&b, "  p99 %s ms", decimal(p99))
	}
	fmt.Fprintf(&b, "  closes %d", s.Closes)
	if s.Failures > 0 {
		fmt.Fprintf(&b, "  failures %d", s.Failures)
	}
	if cpu, rss := s.servers(); rss > 0 {
		fmt.Fprintf(&b, "  server %.0f%% %s", cpu, bytesText(rss))
	}
	return b.String()
}

// p99 is that of the latency to the far end, or to the acknowledgement where nobody watches the far end.
func (s *sample) p99() float64 {
	if s.LatencyP99 > 0 {
		return s.LatencyP99
	}
	return s.AckP99
}

// servers is what all watched processes use together.
func (s *sample) servers() (cpu float64, rss int64) {
	for _, w := range s.Servers {
		cpu, rss = cpu+w.CPU, rss+w.RSS
	}
	return cpu, rss
}

// chart is one row of the terminal's view.
type chart struct {
	name string
	of   func(s *sample) float64
	unit string
	text func(s *sample) string // nil: the value with its unit
}

var charts = []chart{
	{"connects", func(s *sample) float64 { return s.Connects }, "/s", nil},
	{"sent", func(s *sample) float64 { return s.Sent }, "/s", nil},
	{"acked", func(s *sample) float64 { return s.Acked }, "/s", nil},
	{"received", func(s *sample) float64 { return s.Received }, "/s", nil},
	{"commands", func(s *sample) float64 { return s.Commands }, "/s", nil},
	{"p99", (*sample).p99, " ms", nil},
	{"server", func(s *sample) float64 { cpu, _ := s.servers(); return cpu }, "", func(s *sample) string {
		cpu, rss := s.servers()
		return fmt.Sprintf("%.0f %%  %s", cpu, bytesText(rss))
	}},
	{"simulator", func(s *sample) float64 { return s.Generator }, "", func(s *sample) string { return fmt.Sprintf("%.0f %%", s.Generator) }},
}

// charts are the rows of the view: one of state, and one for each figure that was ever more than nothing.
func (v *view) charts(s *sample, devices int) []string {
	trouble := fmt.Sprintf("closes %d   failures %d", s.Closes, s.Failures)
	if s.Closes+s.Failures > 0 {
		trouble = v.paint("31", trouble)
	}
	rows := []string{fmt.Sprintf("%4.0fs  %s   live %s of %s   %s", s.At, v.paint("1", fmt.Sprintf("%-10s", s.Stage)),
		grouped(uint64(s.Live)), grouped(uint64(devices)), trouble)}
	room := max(10, min(v.width-40, 120))
	for _, c := range charts {
		values, highest := make([]float64, 0, room), 0.0
		for i := range v.history {
			value := c.of(&v.history[i])
			highest = max(highest, value)
			if i >= len(v.history)-room {
				values = append(values, value)
			}
		}
		if highest == 0 {
			continue
		}
		text := decimal(c.of(s)) + c.unit
		if c.text != nil {
			text = c.text(s)
		}
		rows = append(rows, fmt.Sprintf("  %s %s%s  %s", v.paint("2", fmt.Sprintf("%-10s", c.name)),
			v.paint("36", sparkline(values)), strings.Repeat(" ", room-len(values)), text))
	}
	return rows
}

// sparkline draws values as blocks, the highest one full.
func sparkline(values []float64) string {
	blocks := []rune("▁▂▃▄▅▆▇█")
	highest := 0.0
	for _, value := range values {
		highest = max(highest, value)
	}
	line := make([]rune, len(values))
	for i, value := range values {
		at := 0
		if highest > 0 {
			at = min(int(value/highest*float64(len(blocks))), len(blocks)-1)
		}
		line[i] = blocks[at]
	}
	return string(line)
}

func (v *view) paint(code, text string) string {
	if !v.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// draw replaces the rows of the second before. The terminal is told not to wrap: what is wider than it is cut off.
func (v *view) draw(rows []string) {
	v.clear()
	fmt.Fprint(v.out, "\x1b[?7l"+strings.Join(rows, "\n")+"\n\x1b[?7h")
	v.rows = len(rows)
}

// clear takes the rows away.
func (v *view) clear() {
	if v.rows > 0 {
		fmt.Fprintf(v.out, "\x1b[%dA\r\x1b[J", v.rows)
		v.rows = 0
	}
}

// note writes a line that stays.
func (v *view) note(text string) {
	v.clear()
	fmt.Fprintln(v.out, text)
}

// end leaves the rows where they are.
func (v *view) end() { v.rows = 0 }
