package main

import (
	"cmp"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// flags are the command line as it was written.
type flags struct {
	options
	targets   []string
	plain     bool
	protocol  string
	subscribe string
	keepAlive time.Duration
	commands  float64
	stored    bool
	expiry    time.Duration
	profile   string
	route     string
	stages    string

	thresholds []string
	conditions []threshold
	verify     string
	pids       []int
	reports    reports
}

func runCommand() *cobra.Command { return runCommandOf(new(flags)) }

func runCommandOf(f *flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run [PROFILE]",
		Short: "Connect devices, send telemetry, count what happens",
		Long: "Connects a fleet, sends telemetry from every device on a fixed timetable, and counts. Latency is measured from the time\n" +
			"the timetable wanted a message sent. Exit code 0: no message of QoS 1 or 2 was lost and no connection closed\n" +
			"unexpectedly, and every --threshold was met. Exit code 99: one was not. Exit code 1: anything else.\n\nPROFILE is a built-in one (devices-sim profiles lists them) or a file; flags win over it.\n\nScenarios:\n" +
			scenarioHelp(),
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: profileNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				f.profile = args[0]
				if err := applyProfile(cmd.Flags(), f.profile); err != nil {
					return err
				}
			}
			return f.run(cmd)
		},
	}
	f.common(cmd)
	fs := cmd.Flags()
	fs.Float64Var(&f.Rate, "rate", 0, "telemetry messages a second, of the whole fleet (default one a device every 10 s)")
	fs.Uint8Var(&f.QoS, "qos", 0, "QoS of telemetry and of the command subscription: 0, 1 or 2")
	fs.IntVar(&f.PayloadBytes, "payload", 64, "bytes of a message, at least 24")
	fs.DurationVar(&f.Duration, "duration", 30*time.Second, "how long to send; 0: until interrupted")
	fs.StringVar(&f.stages, "stages", "", "instead of --rate and --duration, as in 'ramp 10s to 1000, hold 30s, hold 10s at 500, stop 5s'")
	fs.IntVar(&f.Publishers, "publishers", 0, "devices that send, where others receive; with --subscribers, instead of --devices")
	fs.IntVar(&f.Subscribers, "subscribers", 0, "devices that receive what the publishers send, and check it")
	fs.StringVar(&f.route, "route", "pairs", "who receives: pairs (subscriber j from publisher j mod publishers), all (everything), share (each message one, by $share)")
	fs.BoolVar(&f.FlatOut, "flat-out", false, "no --rate: each publisher sends as fast as --window lets it")
	fs.StringVar(&f.Scenario, "scenario", "steady", strings.Join(scenarioNames(), ", "))
	fs.Float64Var(&f.BadShare, "bad-share", 0, "share of the devices that misbehave, where the scenario has such (default its own)")
	fs.StringVar(&f.Telemetry, "telemetry", "devices/{id}/telemetry", "topic to publish on")
	fs.Uint16Var(&f.Window, "window", 16, "unacknowledged messages a device may have; flat out at QoS 0: messages not yet received")
	fs.BoolVar(&f.Persistent, "persistent", false, "sessions outlive connections (clean start off): no session and nothing queued may be lost")
	fs.DurationVar(&f.expiry, "session-expiry", 5*time.Minute, "MQTT 5: how long they outlive them, in whole seconds")
	fs.DurationVar(&f.Away, "away", 0, "how long a device stays away that has lost its connection")
	fs.BoolVar(&f.Roam, "roam", false, "such a device goes to another --target")
	fs.StringArrayVar(&f.thresholds, "threshold", nil, "what the result has to meet, or exit code 99: as in 'latency.p99<20ms', loss==0, 'cpu<10us'; repeatable")
	fs.StringVar(&f.verify, "verify", "", "check the far end: nats://host:port, or mqtt://host:port for a broker without NATS")
	fs.Float64Var(&f.commands, "commands-rate", 0, "commands a second to the whole fleet, sent by the verifier")
	fs.BoolVar(&f.stored, "commands-stored", false, "they go into the gateway's log ($TG.log.…): devices that are away get them later")
	cmd.AddCommand(badActorCommand(), badInputCommand())
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
	f.reports.flags(fs)
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
	if f.expiry < 0 || f.expiry > 0xFFFFFFFF*time.Second || f.expiry%time.Second != 0 {
		return fmt.Errorf("--session-expiry %v: want whole seconds up to 2^32-1", f.expiry)
	}
	f.ExpirySec = uint32(f.expiry / time.Second)
	if f.stored && !strings.HasPrefix(f.verify, "nats://") {
		return errors.New("--commands-stored needs --verify nats://host:port, a NATS that holds the gateway's log")
	}
	for _, text := range f.thresholds {
		t, err := parseThreshold(text)
		if err != nil {
			return err
		}
		f.conditions = append(f.conditions, t)
	}
	if err = f.resolveTopology(cmd); err != nil {
		return err
	}
	if err = f.resolveRate(cmd); err != nil {
		return err
	}
	if f.commands > 0 && f.verify == "" {
		return errors.New("--commands-rate needs --verify, which sends them")
	}
	if f.FlatOut && f.QoS == 0 && f.Subscribers == 0 && f.verify == "" {
		return errors.New("--flat-out at QoS 0 needs somebody who counts what arrives: --subscribers, --verify, or --qos 1")
	}
	var chance [12]byte
	_, _ = crand.Read(chance[:]) // never fails
	if !cmd.Flags().Changed("seed") {
		f.Seed = uint64(binary.LittleEndian.Uint32(chance[:]))
	}
	f.Run = binary.LittleEndian.Uint32(chance[8:])
	return f.validate()
}

// resolveTopology settles how many devices there are of which kind.
func (f *flags) resolveTopology(cmd *cobra.Command) (err error) {
	if f.Route, err = parseRoute(cmp.Or(f.route, "pairs")); err != nil {
		return err
	}
	if f.Subscribers == 0 {
		if f.Publishers > 0 {
			return errors.New("--publishers is for a fleet with --subscribers; without, all --devices send")
		}
		f.Publishers = f.Devices
		return nil
	}
	if f.verify != "" {
		return errors.New("--verify and --subscribers: one far end at a time")
	}
	if f.Publishers == 0 {
		f.Publishers = f.Devices - f.Subscribers
	} else if !cmd.Flags().Changed("devices") {
		f.Devices = f.Publishers + f.Subscribers
	}
	if !cmd.Flags().Changed("subscribe") {
		f.Subscribe = ""
	}
	return nil
}

// resolveRate settles the timetable.
func (f *flags) resolveRate(cmd *cobra.Command) (err error) {
	changed := cmd.Flags().Changed
	if f.stages == "" {
		if cmd.Name() == "run" && !changed("rate") {
			f.Rate = float64(f.Publishers) / 10
		}
		if f.FlatOut {
			f.Rate = 0
		}
		return nil
	}
	if changed("duration") {
		return errors.New("--stages and --duration: the stages say how long")
	}
	if f.Stages, err = parseStages(f.stages, f.Rate); err != nil {
		return fmt.Errorf("--stages: %w", err)
	}
	nanos, _ := total(f.Stages)
	f.Duration, f.Rate = time.Duration(nanos), 0
	for _, l := range f.Stages {
		f.Rate = max(f.Rate, l.From, l.To)
	}
	return nil
}
