// Command devices-sim is a fleet of simulated devices: thousands of MQTT and WebSocket connections on a few event loops,
// sending on a timetable, and counting what becomes of every message.
package main

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
)

// errBroken is the end of a run whose invariants did not hold; the result has said which.
var errBroken = errors.New("invariants did not hold")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first interrupt ends the run in order, a second one at once
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		if !errors.Is(err, errBroken) {
			fmt.Fprintln(os.Stderr, "devices-sim:", err)
		}
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "devices-sim",
		Short:         "Simulate fleets of MQTT and WebSocket devices",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.AddCommand(runCommand(), idleCommand(), &cobra.Command{
		Use: "worker", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			runtime.GOMAXPROCS(max(runtime.NumCPU(), 2) + 2) // one for the alarm, one for the loop, and the others as ever
			return runWorker(os.Stdin, os.Stdout)
		},
	})
	return root
}

// flags are the command line as it was written.
type flags struct {
	options
	targets   []string
	plain     bool
	protocol  string
	subscribe string
	keepAlive time.Duration
	commands  float64
	verify    string
	pids      []int
	json      string
}

func runCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Connect devices, send telemetry, count what happens",
		Long: "Connects a fleet, sends telemetry from every device on a fixed timetable, and counts. Latency is measured from the time\n" +
			"the timetable wanted a message sent. Exit code 0: no message of QoS 1 or 2 was lost and no connection closed\n" +
			"unexpectedly. Exit code 1: otherwise.\n\nScenarios:\n" + scenarioHelp(),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.common(cmd)
	fs := cmd.Flags()
	fs.Float64Var(&f.Rate, "rate", 0, "telemetry messages a second, of the whole fleet (default one a device every 10 s)")
	fs.Uint8Var(&f.QoS, "qos", 0, "QoS of telemetry and of the command subscription: 0, 1 or 2")
	fs.IntVar(&f.PayloadBytes, "payload", 64, "bytes of a message, at least 24")
	fs.DurationVar(&f.Duration, "duration", 30*time.Second, "how long to send; 0: until interrupted")
	fs.StringVar(&f.Scenario, "scenario", "steady", strings.Join(scenarioNames(), ", "))
	fs.Float64Var(&f.BadShare, "bad-share", 0, "share of the devices that misbehave, where the scenario has such (default its own)")
	fs.StringVar(&f.Telemetry, "telemetry", "devices/{id}/telemetry", "topic to publish on")
	fs.Uint16Var(&f.Window, "window", 16, "unacknowledged messages a device may have")
	fs.BoolVar(&f.Persistent, "persistent", false, "sessions outlive connections (clean start off)")
	fs.StringVar(&f.verify, "verify", "", "check the far end: nats://host:port, or mqtt://host:port for a broker without NATS")
	fs.Float64Var(&f.commands, "commands-rate", 0, "commands a second to the whole fleet, sent by the verifier")
	return cmd
}

func idleCommand() *cobra.Command {
	f := flags{options: options{Scenario: "steady", PayloadBytes: stampBytes, Window: 1, Telemetry: "devices/{id}/telemetry"}}
	cmd := &cobra.Command{
		Use:   "idle",
		Short: "Connect devices, subscribe, and hold",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.common(cmd)
	cmd.Flags().DurationVar(&f.Duration, "duration", 0, "how long to hold; 0: until interrupted")
	return cmd
}

// common adds the flags that every use of a fleet has.
func (f *flags) common(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringArrayVar(&f.targets, "target", []string{"mqtt://127.0.0.1:1883"}, "mqtt://host:port, ws://host:port[/mqtt|/ws/] or any://host:port; repeat to mix")
	fs.BoolVar(&f.plain, "plain", false, "ws:// means plain WebSocket devices on /ws/{client-id}; any:// includes them")
	fs.IntVar(&f.Devices, "devices", 100, "number of devices")
	fs.IntVar(&f.Workers, "workers", 0, fmt.Sprintf("processes (default one for each %d devices)", devicesPerWorker))
	fs.Float64Var(&f.ConnectRate, "connect-rate", 1000, "connections a second, of the whole fleet")
	fs.DurationVar(&f.keepAlive, "keepalive", 60*time.Second, "MQTT keep-alive; 0: none")
	fs.StringVar(&f.protocol, "protocol", "3.1.1", "MQTT version: 3.1, 3.1.1 or 5")
	fs.StringVar(&f.subscribe, "subscribe", "devices/{id}/cmd", "topic filter of each device, or none")
	fs.StringVar(&f.Prefix, "prefix", "sim-", "of client ids")
	fs.StringVar(&f.Username, "username", "", "MQTT user name")
	fs.StringVar(&f.Password, "password", "", "MQTT password")
	fs.Uint64Var(&f.Seed, "seed", 0, "of all chance (default a new one, printed)")
	fs.IntSliceVar(&f.pids, "pid", nil, "server process to measure; repeatable")
	fs.StringVar(&f.json, "json", "", "write the result as JSON to this file, - for standard output")
}

func scenarioHelp() string {
	var b strings.Builder
	for _, s := range scenarios {
		fmt.Fprintf(&b, "  %-16s %s\n", s.name, s.text)
	}
	return b.String()
}

// resolve turns flags into options.
func (f *flags) resolve(cmd *cobra.Command) (err error) {
	if f.options.Targets, err = parseTargets(f.targets, f.plain); err != nil {
		return err
	}
	if f.Version, err = parseVersion(f.protocol); err != nil {
		return err
	}
	if f.Subscribe = f.subscribe; f.subscribe == "none" {
		f.Subscribe = ""
	}
	if f.keepAlive < 0 || f.keepAlive > 0xFFFF*time.Second || f.keepAlive%time.Second != 0 || f.keepAlive == time.Second {
		return fmt.Errorf("--keepalive %v: want 0 or whole seconds from 2s to 65535s", f.keepAlive)
	}
	f.KeepAliveSec = uint16(f.keepAlive / time.Second)
	if cmd.Name() == "run" && !cmd.Flags().Changed("rate") {
		f.Rate = float64(f.Devices) / 10
	}
	if f.commands > 0 && f.verify == "" {
		return errors.New("--commands-rate needs --verify, which sends them")
	}
	var chance [12]byte
	_, _ = crand.Read(chance[:]) // never fails
	if !cmd.Flags().Changed("seed") {
		f.Seed = uint64(binary.LittleEndian.Uint32(chance[:]))
	}
	f.Run = binary.LittleEndian.Uint32(chance[8:])
	return f.validate()
}

func (f *flags) run(cmd *cobra.Command) error {
	if err := f.resolve(cmd); err != nil {
		return err
	}
	errOut := cmd.ErrOrStderr()
	r := &runner{
		o: f.options, commandsRate: f.commands, verifyURL: f.verify, spawn: spawn, now: monotonic(), view: newView(errOut),
		settleNanos: settleMax,
	}
	for _, pid := range f.pids {
		w, err := watch(pid)
		if err != nil {
			return err
		}
		r.servers = append(r.servers, w)
		r.view.last.servers += w.idle.CPU
	}
	r.view.note(fmt.Sprintf("seed %d", f.Seed))
	res, err := r.run(cmd.Context())
	r.view.end()
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if f.json == "-" {
		out = errOut // standard output is for the JSON
	}
	res.text(out)
	if err := f.writeJSON(cmd.OutOrStdout(), res); err != nil {
		return err
	}
	if !res.Passed {
		return errBroken
	}
	return nil
}

func newView(out io.Writer) *view {
	v := &view{out: out}
	if file, ok := out.(*os.File); ok {
		v.terminal = isatty.IsTerminal(file.Fd())
	}
	return v
}

func (f *flags) writeJSON(stdout io.Writer, res *result) error {
	if f.json == "" {
		return nil
	}
	text, err := json.MarshalIndent(res, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if f.json == "-" {
		_, err = stdout.Write(text)
		return err
	}
	return os.WriteFile(f.json, text, 0o644)
}
