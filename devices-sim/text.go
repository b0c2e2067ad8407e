package main

import (
	"fmt"
	"io"
)

// text writes the result for people.
func (res *result) text(out io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	p("")
	p("connects    %s live in %.1f s%s", grouped(uint64(res.Connects.Live)), res.Connects.Seconds, res.Connects.Latency.text("  latency"))
	printReasons(out, "  failed", res.Connects.Failures)
	res.Telemetry.text(out, "telemetry")
	if res.Commands != nil {
		res.Commands.text(out, "commands ")
	}
	if c := res.Calm; c != nil {
		p("calm        %s sent in %.1f s%s%s", grouped(c.Sent), c.Seconds, farText(c.Received, c.Lost), c.Latency.text("  end to end"))
	}
	switch s := res.Storm; {
	case s != nil && s.RecoverySec > 0:
		p("storm       all back after %.2f s (%s connects/s), %d unexpected closes; %s sent%s", s.RecoverySec, decimal(s.PerSecond), s.Closes,
			grouped(s.Sent), farText(s.Received, s.Lost))
		printReasons(out, "  failed", s.Failures)
	case res.StormSec > 0:
		p("storm       all back after %.2f s", res.StormSec)
	}
	if b := res.Bad; b != nil {
		p("bad devices %s: %d closed by the server, %d still open%s", b.Role, b.Closed, b.StillOpen, b.Silence.text("  silence until close"))
	}
	for _, s := range res.Servers {
		p("server      pid %d %s: %.2f CPU s (%.0f %%), %.2f us a message, %.1f us a connect; RSS %s -> %s -> %s, %.0f B a device",
			s.PID, s.Command, s.CPUSec, s.CPUPercent, s.MicrosPerMessage, s.ConnectMicros,
			bytesText(s.RSSIdle), bytesText(s.RSSReady), bytesText(s.RSSEnd), s.RSSPerDevice)
	}
	p("generator   %.2f CPU s, %.2f us a message, busiest process %.0f %% of a core, %s%s", res.Generator.CPUSec,
		res.Generator.MicrosPerMessage, res.Generator.BusyPercent, bytesText(res.Generator.RSS), res.Generator.Lag.text("  lag"))
	printReasons(out, "  closed", res.Closes)
	for _, w := range res.Warnings {
		p("warning     %s", w)
	}
	for _, f := range res.Failures {
		p("FAILED      %s", f)
	}
	for _, t := range res.Thresholds {
		p("%s", t.text())
	}
	if res.Passed {
		p("passed      seed %d", res.Seed)
	}
}

// text writes one direction.
func (m *messageResult) text(out io.Writer, name string) {
	fmt.Fprintf(out, "%s   %s sent (%s/s)", name, grouped(m.Sent), decimal(m.PerSecond))
	for _, part := range []struct {
		n    uint64
		name string
	}{{m.Acked, "acked"}, {m.Unacked, "unacked"}, {m.Refused, "refused"}, {m.Unsent, "unsent"}, {m.Skipped, "skipped"}, {m.Resent, "resent"}} {
		if part.n > 0 {
			fmt.Fprintf(out, ", %s %s", grouped(part.n), part.name)
		}
	}
	if m.Received != nil {
		fmt.Fprintf(out, "; %s arrived (%s/s), %s lost, %s twice, %s out of order",
			grouped(*m.Received), decimal(m.PerSecondR), grouped(*m.Lost), grouped(*m.Duplicates), grouped(*m.OutOfOrder))
	}
	fmt.Fprintln(out)
	if m.AckLatency != nil {
		fmt.Fprintf(out, "         %s\n", m.AckLatency.text("  ack"))
	}
	if m.Latency != nil {
		fmt.Fprintf(out, "         %s\n", m.Latency.text("  end to end"))
	}
}

// farText is what became of messages, where somebody counted.
func farText(received, lost *uint64) string {
	if received == nil {
		return ""
	}
	return fmt.Sprintf(", %s arrived, %s lost", grouped(*received), grouped(*lost))
}

func (q *quantiles) text(name string) string {
	if q == nil {
		return ""
	}
	return fmt.Sprintf("%s p50 %s, p90 %s, p99 %s, p99.9 %s, max %s ms", name, decimal(q.P50), decimal(q.P90), decimal(q.P99), decimal(q.P999), decimal(q.Max))
}

func printReasons(out io.Writer, name string, reasons map[string]uint64) {
	for _, reason := range byCount(reasons) {
		fmt.Fprintf(out, "  %s %d: %s\n", name, reasons[reason], reason)
	}
}
