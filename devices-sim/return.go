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

// comeback lets a fleet of persistent devices lose its gateway. While they are away each is sent messages, which go into the log; then
// they return to the other gateways, and all of it has to be there. Owned by the goroutine of the command.
type comeback struct {
	gateways, devices int
	messages          int // to each device
	rate              float64
	away              time.Duration
	cut               bool // all connections drop, instead of a gateway's death
	json, dir         string

	yard     *yard
	spawn    func() (*worker, error)
	now      clock
	command  []string
	progress io.Writer
}

// comebackMax is what is promised, comebackWait how long the end is waited for.
const (
	comebackMax  = 20 * time.Second
	comebackWait = 60 * time.Second
)

func returnCommand() *cobra.Command {
	k := &comeback{spawn: spawn, now: monotonic()}
	cmd := &cobra.Command{
		Use:   "return",
		Short: "Kill a gateway and show that its devices return to what they are owed",
		Long: "Builds the gateway, starts a NATS server with JetStream and several gateways on it, and connects a fleet of devices with persistent\n" +
			"sessions to the first of them. That is killed, every device is sent messages by way of the log while it is away, and goes to another\n" +
			"gateway. What has to hold is told with what was measured. Exit code 99: something of it did not hold. Exit code 1: anything else.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k.command, k.progress = blotted(os.Args), cmd.ErrOrStderr()
			k.command[0] = filepath.Base(k.command[0]) // a report is read elsewhere
			return k.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&k.gateways, "gateways", 3, "processes, each on a port of its own")
	fs.IntVar(&k.devices, "devices", 15_000, "number of devices, all at the first gateway")
	fs.IntVar(&k.messages, "messages", 1, "messages to each device while it is away")
	fs.Float64Var(&k.rate, "rate", 10_000, "of them a second")
	fs.DurationVar(&k.away, "away", 2*time.Second, "how long a device stays away at least")
	fs.BoolVar(&k.cut, "cut", false, "no gateway dies, but all connections drop; the devices are dealt over all gateways")
	fs.StringVar(&k.json, "json", "", "write what has to hold, with what was measured, as JSON to this file")
	fs.StringVar(&k.dir, "dir", "", "directory of the contenders (default devices-sim/contenders, here or above)")
	return cmd
}

// run is the whole command.
func (k *comeback) run(ctx context.Context, stdout io.Writer) error {
	if k.gateways < 1 || (k.gateways < 2 && !k.cut) || k.devices < 1 || k.messages < 1 || k.messages > trackWindow || k.rate <= 0 || k.away < 0 {
		return fmt.Errorf("--gateways %d, --devices %d, --messages %d, --rate %v, --away %v: want at least 2 (1 with --cut), at least 1, 1 to %d, more than 0, at least 0",
			k.gateways, k.devices, k.messages, k.rate, k.away, trackWindow)
	}
	var err error
	if k.yard, err = newYard(k.dir); err != nil {
		return err
	}
	for _, c := range []*contender{&contenders[0], &natsHelper} {
		fmt.Fprintf(k.progress, "building %s\n", c.name)
		if _, err := k.yard.make(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	s, res, err := k.measure(ctx)
	if res == nil {
		return err
	}
	list, failures := s.musts(res), s.failures(res)
	writeMusts(stdout, list)
	for _, f := range failures {
		fmt.Fprintln(stdout, "FAILED "+f)
	}
	if k.json != "" {
		text, jsonErr := json.MarshalIndent(list, "", "  ")
		err = errors.Join(err, jsonErr, os.WriteFile(k.json, append(text, '\n'), 0o644))
	}
	n, unknown := missed(list)
	switch {
	case err != nil:
		return err
	case n+unknown > 0:
		return errCrossed
	case len(failures) > 0:
		return errBroken
	}
	return nil
}

// measure starts the servers, lets the fleet come and come back, and ends them.
func (k *comeback) measure(ctx context.Context) (s *scene, res *result, err error) {
	l, err := newLab(ctx, k.yard, 1)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	gateways, err := newRack()
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, gateways.stop()) }()
	url := l.nc.Servers()[0]
	var targets []target
	for i := range k.gateways {
		port, err := freePort()
		if err != nil {
			return nil, nil, err
		}
		name := fmt.Sprintf("gateway-%d", i+1)
		if err := gateways.start(ctx, name, k.yard.clusterGateway(name, port, url)); err != nil {
			return nil, nil, err
		}
		at, err := address{port: port}.targets()
		if err != nil {
			return nil, nil, err
		}
		targets = append(targets, at...)
	}
	r := &runner{
		o: k.options(targets), stored: true, verifyURL: url, spawn: k.spawn, now: k.now, view: newView(k.progress), settleNanos: settleMax, command: k.command,
	}
	s = &scene{comeback: k, lab: l, gateways: gateways, runner: r}
	res, err = s.play(ctx)
	r.view.end()
	return s, res, err
}

// options is the fleet, which sends nothing.
func (k *comeback) options(to []target) options {
	var mark [4]byte
	_, _ = crand.Read(mark[:]) // never fails
	return options{
		Targets: to, Scenario: "steady", Devices: k.devices, Publishers: k.devices, QoS: 1, PayloadBytes: benchPayload, ConnectRate: benchConnectRate,
		KeepAliveSec: benchKeepAlive, Version: mqtt.V311, Telemetry: "devices/{id}/telemetry", Subscribe: "devices/{id}/cmd", Window: 1, Prefix: "sim-", Seed: 1,
		Run: binary.LittleEndian.Uint32(mark[:]), Persistent: true, Away: k.away, Roam: !k.cut, Gather: !k.cut,
	}
}
