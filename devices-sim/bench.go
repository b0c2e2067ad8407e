package main

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/binary"
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

// bench measures contenders side by side. Each run has fresh processes and the same client; repetitions take turns, so
// that what the machine does meanwhile hits all of them. Owned by the goroutine of the command.
type bench struct {
	contenderNames, scenarioNames []string
	repeat                        int
	duration                      time.Duration
	smoke                         bool
	out, json, dir                string

	yard     *yard
	spawn    func() (*worker, error)
	now      clock
	command  []string
	progress io.Writer
	runs     uint32 // so far
	mark     uint32 // of the first run; what is left over by another bench has another one
}

// benchDuration is enough for hundreds of milliseconds of the cheapest server's CPU time, and short enough for all
// contenders in all scenarios three times in half an hour.
const benchDuration = 6 * time.Second

// smokeDuration is enough for some messages of every device.
const smokeDuration = 300 * time.Millisecond

var errBench = errors.New("not every run was made as it should be")

func benchCommand() *cobra.Command {
	b := &bench{spawn: spawn, now: monotonic()}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the gateway beside other servers",
		Long: "Builds and starts the gateway and its contenders in turn, gives each the same load, and tells what a connection and a message\n" +
			"cost each of them. A contender that is not installed is named with the command that installs it, and skipped. Exit code 0: every\n" +
			"run was made, and with --smoke every result was right. Exit code 1: anything else.\n\nScenarios:\n" + benchHelp(),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b.command, b.progress = blotted(os.Args), cmd.ErrOrStderr()
			b.command[0] = filepath.Base(b.command[0]) // a report is read elsewhere
			return b.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&b.contenderNames, "contenders", nil, "which of "+strings.Join(contenderNames(), ",")+" (default all)")
	fs.StringSliceVar(&b.scenarioNames, "scenarios", nil, "which of those above (default all)")
	fs.IntVar(&b.repeat, "repeat", 3, "runs of each contender in each scenario")
	fs.DurationVar(&b.duration, "duration", benchDuration, "of the traffic of a run")
	fs.BoolVar(&b.smoke, "smoke", false, "one short run of each with few devices: are the results right, whatever the figures")
	fs.StringVar(&b.out, "out", "", "write the tables as Markdown to this file, but for what is between its marks <!-- by hand --> and <!-- end --> (default standard output)")
	fs.StringVar(&b.json, "json", "", "write every run as JSON to this file")
	fs.StringVar(&b.dir, "dir", "", "directory of the contenders (default devices-sim/contenders, here or above)")
	return cmd
}

func benchHelp() string {
	var b strings.Builder
	for _, s := range benchScenarios {
		fmt.Fprintf(&b, "  %-16s %s\n", s.name, s.text)
	}
	return b.String()
}

func contenderNames() (names []string) {
	for _, c := range contenders {
		names = append(names, c.name)
	}
	return names
}

// run is the whole command.
func (b *bench) run(ctx context.Context, stdout io.Writer) (err error) {
	field, err := pick("contenders", contenders, func(c *contender) string { return c.name }, b.contenderNames)
	if err != nil {
		return err
	}
	tables, err := pick("scenarios", benchScenarios, func(s *benchScenario) string { return s.name }, b.scenarioNames)
	if err != nil {
		return err
	}
	if b.repeat < 1 || b.duration <= 0 {
		return fmt.Errorf("--repeat %d, --duration %v: want at least 1, more than 0", b.repeat, b.duration)
	}
	if b.yard, err = newYard(b.dir); err != nil {
		return err
	}
	if b.smoke {
		b.repeat, b.duration = 1, smokeDuration
		for i := range tables {
			tables[i] = tables[i].small()
		}
	}
	var chance [4]byte
	_, _ = crand.Read(chance[:]) // never fails
	b.mark = binary.LittleEndian.Uint32(chance[:])
	rep := &benchReport{
		Version: benchVersion, Environment: thisEnvironment(b.command, b.now()), Repeat: b.repeat, DurationSec: b.duration.Seconds(), Smoke: b.smoke,
	}
	if field, tables, err = b.build(ctx, rep, field, tables); err != nil {
		return err
	}
	if !b.smoke {
		fmt.Fprintf(b.progress, "about %v in all\n", b.estimate(field, tables).Round(time.Minute))
	}
	b.measure(ctx, rep, field, tables)
	rep.Musts = benchMusts(rep)
	if err := b.write(stdout, rep); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errors.New("interrupted: the tables hold what was measured until then")
	}
	return rep.err()
}

// build builds what the scenarios need, and returns what there is.
func (b *bench) build(ctx context.Context, rep *benchReport, field []*contender, tables []*benchScenario) ([]*contender, []*benchScenario, error) {
	var built []*contender
	for _, c := range field {
		if !slices.ContainsFunc(tables, func(s *benchScenario) bool { return s.takes(c) }) {
			continue
		}
		ok, err := b.buildOne(ctx, rep, c, "")
		if err != nil {
			return nil, nil, err
		}
		if ok {
			built = append(built, c)
		}
	}
	echo := func(s *benchScenario) bool { return s.far == farEcho }
	if slices.ContainsFunc(tables, echo) {
		ok, err := b.buildOne(ctx, rep, &natsHelper, ", and with it all scenarios with WebSocket devices")
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			tables = slices.DeleteFunc(tables, echo)
		}
	}
	return built, tables, nil
}

// buildOne builds one; what cannot be built is noted and skipped, unless ctx has ended.
func (b *bench) buildOne(ctx context.Context, rep *benchReport, c *contender, consequence string) (ok bool, err error) {
	fmt.Fprintf(b.progress, "building %s\n", c.name)
	version, err := b.yard.make(ctx, c)
	var missing *missingError
	switch {
	case err == nil:
		rep.Contenders = append(rep.Contenders, builtContender{Contender: c.name, Version: version, Tuned: c.tuned})
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case errors.As(err, &missing):
		rep.Skipped = append(rep.Skipped, skippedContender{Contender: c.name, Install: missing.command})
		fmt.Fprintf(b.progress, "skipping %s%s: not installed; this installs it: %s\n", c.name, consequence, missing.command)
	default:
		rep.Skipped = append(rep.Skipped, skippedContender{Contender: c.name, Broken: err.Error()})
		fmt.Fprintf(b.progress, "skipping %s%s: %v\n", c.name, consequence, err)
	}
	return false, nil
}

// estimate is how long all runs will take, if every server keeps up.
func (b *bench) estimate(field []*contender, tables []*benchScenario) (all time.Duration) {
	const around = 2 * time.Second // to start and to end processes, and to settle
	connecting := func(devices int) time.Duration { return time.Duration(devices) * time.Second / benchConnectRate }
	for _, s := range tables {
		run := connecting(s.publishers+s.subscribers) + b.duration + around
		if s.idle[0] > 0 {
			run = connecting(s.idle[0]+s.idle[1]) + 2*(min(b.duration, benchIdleHold)+around)
		}
		for _, c := range field {
			if s.takes(c) {
				all += run * time.Duration(b.repeat)
			}
		}
	}
	return all
}

// measure makes all runs.
func (b *bench) measure(ctx context.Context, rep *benchReport, field []*contender, tables []*benchScenario) {
	for _, s := range tables {
		table := benchTable{Scenario: s.name, Text: s.text, Parameters: s.parameters(b.duration)}
		var takes []*contender
		for _, c := range field {
			if s.takes(c) {
				takes = append(takes, c)
				table.Rows = append(table.Rows, benchRow{Contender: c.name})
			}
		}
		for turn := range b.repeat {
			for k := range takes {
				i := (k + turn) % len(takes) // nobody is always the first
				fmt.Fprintf(b.progress, "%s %d/%d %s: ", s.name, turn+1, b.repeat, takes[i].name)
				t := b.trial(ctx, s, takes[i], turn)
				if ctx.Err() != nil {
					fmt.Fprintln(b.progress, "interrupted")
					rep.add(table)
					return
				}
				fmt.Fprintln(b.progress, t.line())
				table.Rows[i].Runs = append(table.Rows[i].Runs, t)
			}
		}
		rep.add(table)
	}
}

// trial makes one run: of an idle scenario the two whose difference counts.
func (b *bench) trial(ctx context.Context, s *benchScenario, c *contender, turn int) (t trial) {
	var results [2]*result
	for i, connections := range s.idle {
		r, res, err := b.once(ctx, s, c, turn, connections)
		if err != nil {
			t.Error = err.Error()
			return t
		}
		results[i] = res
		t.Wrong = append(t.Wrong, res.Failures...)
		if b.smoke {
			t.Wrong = append(t.Wrong, s.wrong(r, res)...)
		}
		t.Warnings = append(t.Warnings, res.Warnings...)
		if s.idle[0] == 0 {
			t.Figures = s.figuresOf(r, res)
			return t
		}
	}
	t.Figures = idleFigures(results[0], results[1])
	return t
}

// once starts the servers, lets a fleet loose on them, and ends them.
func (b *bench) once(ctx context.Context, s *benchScenario, c *contender, turn, connections int) (r *runner, res *result, err error) {
	servers, err := newRack()
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, servers.stop()) }()
	start := func(c *contender, at address) error { return servers.start(ctx, c.name, b.yard.server(c, at)) }
	at, verify, err := b.far(s, start)
	if err != nil {
		return nil, nil, err
	}
	if err := start(c, at); err != nil {
		return nil, nil, err
	}
	targets, err := at.targets()
	if err != nil {
		return nil, nil, err
	}
	var kept *store
	if s.far == farStore {
		if kept, err = openStore(ctx, at, c.stream); err != nil {
			return nil, nil, err
		}
		defer kept.close()
	}
	duration := b.duration
	if connections > 0 {
		duration, verify = min(duration, benchIdleHold), ""
	}
	o := s.options(targets, connections, duration)
	o.Seed, o.Run = uint64(turn)+1, b.mark+b.runs
	b.runs++
	if err := o.validate(); err != nil {
		return nil, nil, err
	}
	r = &runner{o: o, spawn: b.spawn, now: b.now, view: newView(io.Discard), settleNanos: settleMax, verifyURL: verify, command: b.command}
	if r.servers, err = servers.watch(); err != nil { // the contender first
		return nil, nil, err
	}
	if res, err = r.run(ctx); err == nil && kept != nil {
		err = kept.check(ctx, res)
	}
	return r, res, err
}

// far chooses ports, starts the NATS server of a scenario that has one beside its contender, and says where the far end
// is.
func (b *bench) far(s *benchScenario, start func(*contender, address) error) (at address, verify string, err error) {
	var ports [2]int
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return at, "", err
		}
	}
	at.port = ports[0]
	nats := fmt.Sprintf("nats://127.0.0.1:%d", ports[1])
	switch s.far {
	case farNATS:
		at.natsPort = ports[1]
		return at, nats, nil
	case farEcho:
		at.plain, at.nats = true, nats
		return at, nats, start(&natsHelper, address{port: ports[1]})
	case farStore:
		at.natsPort, at.durable = ports[1], true
		return at, "", nil
	}
	return at, "", nil
}

// write writes the reports.
func (b *bench) write(stdout io.Writer, rep *benchReport) error {
	if page, err := os.ReadFile(b.out); err == nil {
		rep.byHand = writtenByHand(string(page))
	}
	var text bytes.Buffer
	rep.markdown(&text)
	if b.out == "" {
		if _, err := stdout.Write(text.Bytes()); err != nil {
			return err
		}
	} else if err := os.WriteFile(b.out, text.Bytes(), 0o644); err != nil {
		return err
	}
	if b.json == "" {
		return nil
	}
	text.Reset()
	if err := rep.writeJSON(&text); err != nil {
		return err
	}
	return os.WriteFile(b.json, text.Bytes(), 0o644)
}
