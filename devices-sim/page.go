package main

import (
	"fmt"
	"html/template"
	"io"
	"strings"

	_ "embed"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// pageData is what the page is made of.
type pageData struct {
	*result
	Title  string
	Tiles  []tile
	Charts []pageChart
	Text   string // the result as the terminal shows it
	Env    []row
	Asks   []row

	Latencies []latencyRow
	Colours   []int
}

// latencyRow is one distribution.
type latencyRow struct {
	Name string
	Q    *quantiles
}

// tile is one large figure.
type tile struct{ Name, Value, Note string }

type pageChart struct {
	Title   string
	Legend  []string
	Drawing template.HTML
}

type row struct{ Name, Value string }

// writeHTML writes the result as one file that needs nothing else.
func (res *result) writeHTML(out io.Writer) error {
	var text strings.Builder
	res.text(&text)
	d := pageData{result: res, Title: res.title(), Tiles: res.tiles(), Text: strings.TrimSpace(text.String()), Env: res.Environment.rows(), Asks: res.Asked.rows()}
	for _, l := range []latencyRow{
		{"received", res.Telemetry.Latency}, {"acknowledged", res.Telemetry.AckLatency}, {"connected", res.Connects.Latency},
		{"simulator's own delay", res.Generator.Lag},
	} {
		if l.Q != nil {
			d.Latencies = append(d.Latencies, l)
		}
	}
	if c := res.Commands; c != nil && c.Latency != nil {
		d.Latencies = append(d.Latencies, latencyRow{"commands", c.Latency})
	}
	for i := range plotColours {
		d.Colours = append(d.Colours, i)
	}
	for _, p := range res.plots() {
		c := pageChart{Title: p.title, Drawing: template.HTML(p.svg())} // every word in it was escaped
		for _, l := range p.lines {
			c.Legend = append(c.Legend, l.name)
		}
		d.Charts = append(d.Charts, c)
	}
	return page.Execute(out, d)
}

// title says what kind of run it was.
func (res *result) title() string {
	a := &res.Asked
	what := a.Profile
	if what == "" {
		what = a.Scenario
	}
	if a.Subscribers > 0 {
		return fmt.Sprintf("%s: %s to %s devices, QoS %d", what, grouped(uint64(a.Publishers)), grouped(uint64(a.Subscribers)), a.QoS)
	}
	return fmt.Sprintf("%s: %s devices, QoS %d", what, grouped(uint64(a.Devices)), a.QoS)
}

// tiles are the figures that people look for first.
func (res *result) tiles() []tile {
	m := &res.Telemetry
	list := []tile{
		{"connected", grouped(uint64(res.Connects.Live)), fmt.Sprintf("in %.1f s", res.Connects.Seconds)},
		{"sent", decimal(m.PerSecond) + "/s", grouped(m.Sent) + " messages"},
	}
	if m.Received != nil {
		list = append(list,
			tile{"received", decimal(m.PerSecondR) + "/s", grouped(*m.Received) + " messages"},
			tile{"lost", grouped(*m.Lost), fmt.Sprintf("%s twice, %s out of order", grouped(*m.Duplicates), grouped(*m.OutOfOrder))})
	}
	if q := m.Latency; q != nil {
		list = append(list, tile{"latency p99", decimal(q.P99) + " ms", fmt.Sprintf("median %s, max %s ms", decimal(q.P50), decimal(q.Max))})
	} else if q := m.AckLatency; q != nil {
		list = append(list, tile{"acknowledged p99", decimal(q.P99) + " ms", fmt.Sprintf("median %s, max %s ms", decimal(q.P50), decimal(q.Max))})
	}
	if len(res.Servers) > 0 {
		var cpu, connect, rss float64
		for _, s := range res.Servers {
			cpu, connect, rss = cpu+s.MicrosPerMessage, connect+s.ConnectMicros, rss+s.RSSPerDevice
		}
		list = append(list, tile{"server CPU a message", decimal(cpu) + " µs", decimal(connect) + " µs a connect"},
			tile{"server memory a device", bytesText(int64(rss)), ""})
	}
	closes := uint64(0)
	for _, n := range res.Closes {
		closes += n
	}
	list = append(list, tile{"unexpected closes", grouped(closes), ""})
	if res.StormSec > 0 {
		list = append(list, tile{"storm", fmt.Sprintf("%.2f s", res.StormSec), "until all were back"})
	}
	return list
}

// rows are where it ran.
func (e *environment) rows() []row {
	return []row{
		{"kernel", e.Kernel}, {"processor", fmt.Sprintf("%s, %d cores", e.Processor, e.Cores)}, {"memory", bytesText(e.Memory)},
		{"devices-sim", e.Version + ", " + e.Go}, {"command", strings.Join(e.Command, " ")}, {"begun", e.Begun},
	}
}

// rows are what was asked for, without what says nothing.
func (a *asked) rows() (list []row) {
	add := func(name, format string, value any, show bool) {
		if show {
			list = append(list, row{name, fmt.Sprintf(format, value)})
		}
	}
	add("targets", "%s", strings.Join(a.Targets, ", "), true)
	add("scenario", "%s", a.Scenario, true)
	add("devices", "%d", a.Devices, true)
	add("publishers", "%d", a.Publishers, a.Publishers != a.Devices)
	add("subscribers", "%d", a.Subscribers, a.Subscribers > 0)
	add("route", "%s", a.Route, a.Subscribers > 0)
	add("processes", "%d", a.Workers, true)
	add("rate", "%v a second", a.Rate, !a.FlatOut && len(a.Stages) == 0)
	add("flat out", "with a window of %d", a.Window, a.FlatOut)
	for _, l := range a.Stages {
		add("stage", "%s", fmt.Sprintf("%v to %v a second in %v s", l.From, l.To, float64(l.Nanos)/float64(second)), true)
	}
	add("commands", "%v a second", a.CommandsRate, a.CommandsRate > 0)
	add("QoS", "%d", a.QoS, true)
	add("payload", "%d B", a.PayloadBytes, true)
	add("duration", "%v s", a.DurationSec, true)
	add("connect rate", "%v a second", a.ConnectRate, true)
	add("keep-alive", "%d s", a.KeepAliveSec, true)
	add("protocol", "MQTT %s", a.Protocol, true)
	add("persistent sessions", "%v", a.Persistent, a.Persistent)
	return list
}
