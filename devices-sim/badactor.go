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
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// badActor lets a fleet of good devices send to each other in peace, and sets attackers on its gateway meanwhile: one attack after
// the other, with peace between, and in the end all at once. Owned by the goroutine of the command.
type badActor struct {
	devices int
	rate    float64
	qos     uint8
	share   float64
	attacks []string
	rounds  int
	each    time.Duration
	rest    time.Duration
	worse   float64
	memory  int64
	json    string
	dir     string

	yard     *yard
	spawn    func() (*worker, error)
	attack   func(s *siege) (*besiegers, error)
	now      clock
	command  []string
	progress io.Writer
}

func badActorCommand() *cobra.Command {
	b := &badActor{spawn: spawn, attack: spawnAttackers, now: monotonic()}
	cmd := &cobra.Command{
		Use:   "bad-actor",
		Short: "Attack a gateway and show that other devices do not notice",
		Long: "Builds the gateway and starts it with bounds as for a public address. Half of the devices send to the other half on a timetable, and\n" +
			"attackers do what they can: one attack after the other with peace between, then all at once, and that some times over. Told is, for\n" +
			"each attack, how the p99 of the devices in it compares with that in the peace before and after it, as the median of the rounds, and\n" +
			"what the gateway needed. Attackers stand for other machines: they get the processor when nobody else wants it. Exit code 99:\n" +
			"something was lost, a p99 rose by more than --worse, memory was not bounded, or the machine was too restless to tell. Exit code 1:\n" +
			"anything else.\n\nAttacks:\n" + attackHelp(),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b.command, b.progress = blotted(os.Args), cmd.ErrOrStderr()
			b.command[0] = filepath.Base(b.command[0]) // a report is read elsewhere
			return b.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&b.devices, "devices", 2000, "number of good devices")
	fs.Float64Var(&b.rate, "rate", 4000, "messages a second, of all of them")
	fs.Uint8Var(&b.qos, "qos", 1, "QoS of their messages")
	fs.Float64Var(&b.share, "bad-share", 0.01, "attackers, as a share of all connections")
	fs.StringSliceVar(&b.attacks, "only", nil, "which of those above (default all)")
	fs.IntVar(&b.rounds, "rounds", 3, "how often each attack takes place")
	fs.DurationVar(&b.each, "each", 2*time.Second, "how long it takes each time")
	fs.DurationVar(&b.rest, "rest", 1500*time.Millisecond, "peace after it")
	fs.Float64Var(&b.worse, "worse", 0.1, "by what part the p99 may rise")
	fs.Int64Var(&b.memory, "memory", 256<<20, "bytes by which the gateway may grow at most")
	fs.StringVar(&b.json, "json", "", "write what has to hold, with what was measured, as JSON to this file")
	fs.StringVar(&b.dir, "dir", "", "directory of the contenders (default devices-sim/contenders, here or above)")
	return cmd
}

func (b *badActor) validate() error {
	if b.devices < 2 || b.rate <= 0 || b.qos > 2 || b.share <= 0 || b.share >= 1 || b.rounds < 1 || b.each < sampleEvery || b.rest < sampleEvery || b.worse < 0 || b.memory <= 0 {
		return fmt.Errorf("--devices %d, --rate %v, --qos %d, --bad-share %v, --rounds %d, --each %v, --rest %v, --worse %v, --memory %d: want at least 2, more than 0, 0 to 2, between 0 and 1, at least 1, at least %[10]v twice, at least 0, more than 0",
			b.devices, b.rate, b.qos, b.share, b.rounds, b.each, b.rest, b.worse, b.memory, sampleEvery)
	}
	for _, name := range b.attacks {
		if _, err := findAttack(name); err != nil {
			return err
		}
	}
	if len(b.attacks) == 0 {
		b.attacks = attackNames()
	}
	return nil
}

// run is the whole command.
func (b *badActor) run(ctx context.Context, stdout io.Writer) (err error) {
	if err := b.validate(); err != nil {
		return err
	}
	if b.yard, err = newYard(b.dir); err != nil {
		return err
	}
	fmt.Fprintf(b.progress, "building %s\n", contenders[0].name)
	if _, err := b.yard.makeGateway(ctx); err != nil {
		return err
	}
	g, err := besiege(ctx, b.yard, boundedConfig)
	if err != nil {
		return err
	}
	list, failures, err := b.measure(ctx, g)
	err = errors.Join(err, g.stop())
	if list == nil {
		return err
	}
	writeMusts(stdout, list)
	for _, f := range failures {
		fmt.Fprintln(stdout, "FAILED "+f)
	}
	if b.json != "" {
		text, jsonErr := json.MarshalIndent(list, "", "  ")
		err = errors.Join(err, jsonErr, os.WriteFile(b.json, append(text, '\n'), 0o644))
	}
	n, unknown := missed(list)
	switch {
	case err != nil:
		return err
	case n+unknown+len(failures) > 0:
		return errCrossed
	}
	return nil
}

// measure lets the fleet run and attacks its gateway.
func (b *badActor) measure(ctx context.Context, g *besieged) (list []must, failures []string, err error) {
	r := &runner{o: b.fleet(g), spawn: b.spawn, now: b.now, view: newView(b.progress), settleNanos: settleMax, every: sampleEvery, command: b.command}
	w, err := watch(g.process)
	if err != nil {
		return nil, nil, err
	}
	r.servers = []*watched{w}
	s := &battle{badActor: b, ctx: ctx, gateway: g, runner: r}
	if s.idle, err = g.health(ctx); err != nil {
		return nil, nil, err
	}
	s.plan()
	r.sampled = s.sampled
	res, err := r.run(ctx)
	r.view.end()
	if err = errors.Join(err, s.err, s.halt()); err != nil {
		return nil, nil, err
	}
	if s.after, err = g.settled(ctx, &s.idle); err != nil {
		return nil, nil, err
	}
	return s.musts(res), res.Failures, nil
}

// fleet is the good devices: half of them send to the other half until they are told to end.
func (b *badActor) fleet(g *besieged) options {
	targets, err := parseTargets([]string{fmt.Sprintf("mqtt://127.0.0.1:%d", g.doors.MQTT), fmt.Sprintf("ws://127.0.0.1:%d", g.doors.WS)}, false)
	if err != nil {
		panic(err) // they are numbers
	}
	var mark [4]byte
	_, _ = crand.Read(mark[:]) // never fails
	return options{
		Targets: targets, Scenario: "steady", Devices: b.devices / 2 * 2, Publishers: b.devices / 2, Subscribers: b.devices / 2, Rate: b.rate, QoS: b.qos,
		PayloadBytes: benchPayload, ConnectRate: 2000, KeepAliveSec: benchKeepAlive, Version: mqtt.V5, Telemetry: "good/{id}/telemetry", Window: 64,
		Prefix: "good-", Seed: 1, Run: binary.LittleEndian.Uint32(mark[:]), Interval: time.Duration(reportEvery),
	}
}
