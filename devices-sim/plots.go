package main

import (
	"fmt"
	"math"
	"strings"
)

// plots are the charts of a result's page, those without anything to show left out.
func (res *result) plots() []plot {
	all := []plot{
		res.latencyCurve(),
		res.overTime("Latency over time", milliseconds,
			column{"received, median", func(s *sample) float64 { return s.LatencyP50 }},
			column{"received, p99", func(s *sample) float64 { return s.LatencyP99 }},
			column{"acknowledged, median", func(s *sample) float64 { return s.AckP50 }},
			column{"acknowledged, p99", func(s *sample) float64 { return s.AckP99 }}),
		res.overTime("Messages a second", short,
			column{"sent", func(s *sample) float64 { return s.Sent }},
			column{"received", func(s *sample) float64 { return s.Received }},
			column{"acknowledged", func(s *sample) float64 { return s.Acked }},
			column{"commands", func(s *sample) float64 { return s.Commands }}),
		res.overTime("Devices", short,
			column{"connected", func(s *sample) float64 { return float64(s.Live) }},
			column{"connects a second", func(s *sample) float64 { return s.Connects }},
			column{"unexpected closes so far", func(s *sample) float64 { return float64(s.Closes) }}),
		res.overTime("CPU, percent of a core", short, append(res.serverColumns(func(p serverSample) float64 { return p.CPU }),
			column{"simulator", func(s *sample) float64 { return s.Generator }})...),
		res.overTime("Resident memory of the servers", memory, res.serverColumns(func(p serverSample) float64 { return float64(p.RSS) })...),
	}
	var shown []plot
	for _, p := range all {
		if len(p.lines) > 0 {
			shown = append(shown, p)
		}
	}
	return shown
}

// column is one figure of every second.
type column struct {
	name string
	of   func(s *sample) float64
}

// serverColumns are a column for each watched process.
func (res *result) serverColumns(of func(p serverSample) float64) (list []column) {
	for i, w := range res.Servers {
		list = append(list, column{fmt.Sprintf("%s %d", w.Command, w.PID), func(s *sample) float64 {
			if i < len(s.Servers) {
				return of(s.Servers[i])
			}
			return 0
		}})
	}
	return list
}

// overTime draws columns that were ever more than nothing. A latency of 0 is a second without a message: it is left out.
func (res *result) overTime(title string, y func(float64) string, columns ...column) plot {
	p := plot{title: title, y: y, x: func(v float64) string { return fmt.Sprintf("%g s", v) }, marks: res.marks()}
	gaps := strings.HasPrefix(title, "Latency")
	for _, c := range columns {
		l, any := line{name: c.name}, false
		for i := range res.Samples {
			s := &res.Samples[i]
			value := c.of(s)
			any = any || value > 0
			if value > 0 || !gaps {
				l.xs, l.ys = append(l.xs, s.At), append(l.ys, value)
			}
		}
		if any {
			p.lines = append(p.lines, l)
		}
	}
	return p
}

// marks are when the traffic began and ended.
func (res *result) marks() (list []mark) {
	for i := 1; i < len(res.Samples); i++ {
		before, s := res.Samples[i-1], res.Samples[i]
		if before.Stage != s.Stage && (s.Stage == sending.String() || before.Stage == sending.String()) {
			text := "traffic"
			if before.Stage == sending.String() {
				text = "end"
			}
			list = append(list, mark{before.At, text})
		}
	}
	return list
}

// latencyCurve draws latency by percentile; each step to the right is ten times rarer.
func (res *result) latencyCurve() plot {
	rarity := func(percentile float64) float64 { return -math.Log10(1 - percentile/100) }
	p := plot{title: "Latency by percentile", y: milliseconds, log: true, x: func(v float64) string {
		return fmt.Sprintf("%.7g %%", 100-100*math.Pow(10, -v))
	}}
	curves := []struct {
		name   string
		points []point
	}{{"received", res.Curves.Latency}, {"acknowledged", res.Curves.Ack}, {"connected", res.Curves.Connect}}
	for _, c := range curves {
		l := line{name: c.name}
		for _, at := range c.points {
			if at.Percentile < 100 {
				l.xs, l.ys = append(l.xs, rarity(at.Percentile)), append(l.ys, max(at.MS, logFloor))
			}
		}
		if len(l.xs) > 0 {
			p.lines = append(p.lines, l)
		}
	}
	p.ticksX = []float64{0, rarity(50), 1, 2, 3, 4, 5, 6}
	return p
}

func milliseconds(v float64) string { return fmt.Sprintf("%.4g ms", v) }

// memory writes the round numbers of an axis.
func memory(v float64) string {
	switch {
	case v >= 1e9:
		return fmt.Sprintf("%.3g GB", v/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%.3g MB", v/1e6)
	}
	return fmt.Sprintf("%.3g kB", v/1e3)
}

// short writes 12000 as 12k.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.3gM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.3gk", v/1e3)
	}
	return fmt.Sprintf("%.4g", v)
}
