package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// curve is a load of which one thing grows from point to point.
type curve struct {
	name, text string
	unit       string // of the points
	points     []int
	at         func(n int) benchScenario
}

// growthCurves is what growth measures.
var growthCurves = []curve{
	{
		name: "connections", text: "10,000 messages a second of QoS 0 from half of the devices to the other half, one subscription each",
		unit: "devices", points: []int{200, 1000, 4000, 10000, 17000},
		at: func(n int) benchScenario {
			return benchScenario{publishers: n / 2, subscribers: n / 2, rate: 10_000, window: 16}
		},
	},
	{
		name: "rate", text: "QoS 0, 100 → 100 devices", unit: "messages a second", points: []int{1000, 5000, 20_000, 50_000, 100_000},
		at: func(n int) benchScenario {
			return benchScenario{publishers: 100, subscribers: 100, rate: float64(n), window: benchDeepWindow}
		},
	},
	{
		name: "fan-out", text: "100,000 deliveries a second of QoS 0, from one device to n", unit: "subscribers of a message",
		points: []int{1, 10, 100, 1000},
		at: func(n int) benchScenario {
			return benchScenario{publishers: 1, subscribers: n, route: routeAll, rate: 100_000 / float64(n), window: benchDeepWindow}
		},
	},
	{
		name: "payload", text: "10,000 messages a second of QoS 0, 100 → 100 devices", unit: "bytes of payload", points: []int{32, 64, 256, 1024, 4096, 16_384},
		at: func(n int) benchScenario {
			return benchScenario{publishers: 100, subscribers: 100, rate: 10_000, payload: n, window: benchDeepWindow}
		},
	},
	{
		name: "uplink", text: "QoS 0, 100 devices → a NATS subscriber", unit: "messages a second", points: []int{1000, 5000, 20_000, 50_000, 100_000},
		at: func(n int) benchScenario {
			return benchScenario{far: farNATS, publishers: 100, rate: float64(n), window: benchDeepWindow}
		},
	},
}

// growth measures how the gateway's costs grow. It is a bench of one contender with scenarios of its own. Owned by the
// goroutine of the command.
type growth struct {
	bench
	names  []string
	charts string
}

func growthCommand() *cobra.Command {
	g := &growth{bench: bench{spawn: spawn, now: monotonic()}}
	var help strings.Builder
	for _, c := range growthCurves {
		fmt.Fprintf(&help, "  %-12s %s, by %s\n", c.name, c.text, c.unit)
	}
	cmd := &cobra.Command{
		Use:   "growth",
		Short: "Measure how the gateway's costs grow",
		Long: "Starts the gateway afresh for each point of each curve, and tells what a message costs there. Exit code 0: every run was made.\n\n" +
			"Curves:\n" + help.String(),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			g.command, g.progress = blotted(os.Args), cmd.ErrOrStderr()
			g.command[0] = filepath.Base(g.command[0]) // a report is read elsewhere
			return g.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&g.names, "curves", nil, "which of those above (default all)")
	fs.IntVar(&g.repeat, "repeat", 3, "runs of each point")
	fs.DurationVar(&g.duration, "duration", 4*time.Second, "of the traffic of a run")
	fs.StringVar(&g.out, "out", "", "write the tables as Markdown to this file (default standard output)")
	fs.StringVar(&g.charts, "charts", "", "write a chart of each curve, as SVG, to this directory beside --out, and show it there")
	fs.StringVar(&g.dir, "dir", "", "directory of the contenders (default devices-sim/contenders, here or above)")
	return cmd
}

// run is the whole command.
func (g *growth) run(ctx context.Context, stdout io.Writer) (err error) {
	picked, err := pick("curves", growthCurves, func(c *curve) string { return c.name }, g.names)
	if err != nil {
		return err
	}
	if g.repeat < 1 || g.duration <= 0 {
		return fmt.Errorf("--repeat %d, --duration %v: want at least 1, more than 0", g.repeat, g.duration)
	}
	if g.yard, err = newYard(g.dir); err != nil {
		return err
	}
	gateway := &contenders[slices.IndexFunc(contenders, func(c contender) bool { return c.kind == kindGateway })]
	if _, err := g.yard.make(ctx, gateway); err != nil {
		return err
	}
	var text bytes.Buffer
	env := thisEnvironment(g.command, g.now())
	fmt.Fprintf(&text, "# How costs grow\n\nWritten by\n\n```\n%s\n```\n\non %s: Linux %s, %d cores (%s), %s, devices-sim %s. ", strings.Join(env.Command, " "),
		env.Begun, env.Kernel, env.Cores, env.Processor, env.Go, env.Version)
	fmt.Fprintf(&text, "Gateway and load generator share the\nmachine. Figures are medians (lowest … highest) of runs with fresh processes, %d for each point, %v of traffic; CPU is that of the gateway\n"+
		"with its embedded NATS, by message received.\n", g.repeat, g.duration)
	var wrong []error
	for _, c := range picked {
		rows := g.measureCurve(ctx, c, gateway)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for i := range rows {
			for _, run := range rows[i].Runs {
				if run.Error != "" {
					wrong = append(wrong, fmt.Errorf("%s %d: %s", c.name, c.points[i], run.Error))
				}
			}
		}
		if err := g.writeCurve(&text, c, rows); err != nil {
			return err
		}
	}
	if g.out == "" {
		_, err = stdout.Write(text.Bytes())
	} else {
		err = os.WriteFile(g.out, text.Bytes(), 0o644)
	}
	return errors.Join(append(wrong, err)...)
}

// measureCurve makes all runs of a curve; the points take turns.
func (g *growth) measureCurve(ctx context.Context, c *curve, gateway *contender) []benchRow {
	rows := make([]benchRow, len(c.points))
	for turn := range g.repeat {
		for i, n := range c.points {
			s := c.at(n)
			s.name, s.text = c.name, c.text
			fmt.Fprintf(g.progress, "%s %d, %d/%d: ", c.name, n, turn+1, g.repeat)
			t := g.trial(ctx, &s, gateway, turn)
			if ctx.Err() != nil {
				return nil
			}
			fmt.Fprintln(g.progress, t.line())
			rows[i].Runs = append(rows[i].Runs, t)
		}
	}
	for i := range rows {
		rows[i].summarize()
	}
	return rows
}

// writeCurve writes the table of a curve, and its chart.
func (g *growth) writeCurve(out io.Writer, c *curve, rows []benchRow) error {
	fmt.Fprintf(out, "\n## %s\n\n%s.\n", c.name, c.text)
	if g.charts != "" {
		path := filepath.Join(g.charts, "growth-"+c.name+".svg")
		if err := os.MkdirAll(g.charts, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(c.plot(rows).file()), 0o644); err != nil {
			return err
		}
		shown, err := filepath.Rel(filepath.Dir(g.out), path)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "\n![CPU of the gateway for one message, µs, by %s](%s)\n", c.unit, filepath.ToSlash(shown))
	}
	fmt.Fprintf(out, "\n| %s | CPU, µs | p50, ms | p99, ms | RSS, MB |\n|--:|--:|--:|--:|--:|\n", c.unit)
	for i, n := range c.points {
		fmt.Fprintf(out, "| %s |", grouped(uint64(n)))
		for _, key := range []string{"cpu_us_per_message", "latency_p50_ms", "latency_p99_ms", "rss_mb"} {
			s := rows[i].Summary[key]
			fmt.Fprintf(out, " %s |", s.text())
		}
		fmt.Fprintln(out)
	}
	return nil
}

// plot draws a curve: its points side by side, whatever lies between them.
func (c *curve) plot(rows []benchRow) *plot {
	p := &plot{
		title: "CPU of the gateway for one message by " + c.unit,
		y:     func(v float64) string { return fmt.Sprintf("%.3g µs", v) },
		x:     func(v float64) string { return grouped(uint64(c.points[int(v)])) },
	}
	l := line{name: c.name}
	for i := range c.points {
		p.ticksX = append(p.ticksX, float64(i))
		l.xs, l.ys = append(l.xs, float64(i)), append(l.ys, rows[i].Summary["cpu_us_per_message"].Median)
	}
	p.lines = []line{l}
	return p
}

// file is the plot as a file of its own, which brings its colours along.
func (p *plot) file() string {
	attributes, drawing, _ := strings.Cut(strings.TrimPrefix(p.svg(), "<svg"), ">")
	return `<svg xmlns="http://www.w3.org/2000/svg" width="640" height="260" font-family="sans-serif"` + attributes + `><style>` +
		`.grid{stroke:#8884} .tick{fill:#888;font-size:11px} polyline{fill:none;stroke:#2a7ab8;stroke-width:2}</style>` + drawing
}
