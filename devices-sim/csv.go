package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
)

// writeCSV writes one row a second; the columns of servers come last, in pairs.
func (res *result) writeCSV(out io.Writer) error {
	w := csv.NewWriter(out)
	head := []string{
		"t_sec", "stage", "live", "connects_per_sec", "sent_per_sec", "acked_per_sec", "received_per_sec", "commands_per_sec",
		"unexpected_closes", "connect_failures", "latency_p50_ms", "latency_p99_ms", "latency_max_ms", "ack_p50_ms", "ack_p99_ms",
		"generator_cpu_percent",
	}
	for _, s := range res.Servers {
		head = append(head, fmt.Sprintf("cpu_percent_%d", s.PID), fmt.Sprintf("rss_%d", s.PID))
	}
	_ = w.Write(head) // an error stays with w until Flush
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', 3, 64) }
	for i := range res.Samples {
		s := &res.Samples[i]
		row := []string{
			number(s.At), s.Stage, strconv.FormatInt(s.Live, 10), number(s.Connects), number(s.Sent), number(s.Acked), number(s.Received),
			number(s.Commands), strconv.FormatUint(s.Closes, 10), strconv.FormatUint(s.Failures, 10), number(s.LatencyP50), number(s.LatencyP99),
			number(s.LatencyMax), number(s.AckP50), number(s.AckP99), number(s.Generator),
		}
		for k := range res.Servers {
			var p serverSample
			if k < len(s.Servers) {
				p = s.Servers[k]
			}
			row = append(row, number(p.CPU), strconv.FormatInt(p.RSS, 10))
		}
		_ = w.Write(row)
	}
	w.Flush()
	return w.Error()
}
