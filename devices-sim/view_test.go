package main

import (
	"bytes"
	"strings"
	"testing"
)

var seconds3 = []sample{
	{At: 1, Stage: "connecting", Live: 500, Connects: 500},
	{
		At: 2, Stage: "running", Live: 1000, Sent: 12345, Acked: 12000, Received: 12344, LatencyP99: 1.234, AckP99: 9, Closes: 3,
		Servers: []serverSample{{50, 12_000_000}, {0, 345_678}},
	},
	{At: 3, Stage: "running", Live: 1000, Sent: 6000, AckP99: 9},
}

func TestViewLines(t *testing.T) {
	var out bytes.Buffer
	v := &view{out: &out}
	for i := range seconds3 {
		v.show(&seconds3[i], 1000)
	}
	want := "   1s connecting live 500/1000  connects 500/s  closes 0\n" +
		"   2s running    live 1000/1000  sent 12,345/s  acked 12,000/s  arrived 12,344/s  p99 1.23 ms  closes 3  server 50% 12.3 MB\n" +
		"   3s running    live 1000/1000  sent 6,000/s  p99 9.00 ms  closes 0\n"
	if out.String() != want {
		t.Fatalf("got\n%swant\n%s", out.String(), want)
	}
}

// On a terminal the charts are redrawn in place, notes stay above them, and NO_COLOR means no colours, not no charts.
func TestViewCharts(t *testing.T) {
	for _, colour := range []bool{false, true} {
		var out bytes.Buffer
		v := &view{out: &out, terminal: true, colour: colour, width: 60}
		for i := range seconds3 {
			v.show(&seconds3[i], 1000)
		}
		v.note("done")
		got := out.String()
		if colour != strings.Contains(got, "\x1b[36m") {
			t.Errorf("colour %v: %q", colour, got)
		}
		if !strings.HasSuffix(got, "\x1b[7A\r\x1b[Jdone\n") {
			t.Errorf("the charts were not taken away: %q", got[len(got)-40:])
		}
		for _, want := range []string{"▁█▄", "12,345/s", "50 %  12.3 MB", "closes 3"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in %q", want, got)
			}
		}
		if strings.Contains(got, "commands") {
			t.Error("a chart of nothing")
		}
		out.Reset()
		v.end()
		if v.note("more"); out.String() != "more\n" {
			t.Errorf("after the end: %q", out.String())
		}
	}
}

func TestSparkline(t *testing.T) {
	for want, values := range map[string][]float64{"": {}, "▁▁": {0, 0}, "▁▅█": {0, 5, 10}, "█": {0.001}} {
		if got := sparkline(values); got != want {
			t.Errorf("%v: %s, want %s", values, got, want)
		}
	}
}

func TestNewView(t *testing.T) {
	if v := newView(&bytes.Buffer{}); v.terminal || v.colour || v.width != 80 {
		t.Fatalf("%+v", v)
	}
}
