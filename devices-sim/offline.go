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

// absence makes many persistent sessions, and measures what they cost when all of their devices are away. Owned by the goroutine of the
// command.
type absence struct {
	sessions, wave int
	json, dir      string

	yard     *yard
	spawn    func() (*worker, error)
	now      clock
	command  []string
	progress io.Writer
}

// absenceMax is how much memory of NATS a session may cost, in bytes.
const absenceMax = 1000

func offlineCommand() *cobra.Command {
	a := &absence{spawn: spawn, now: monotonic()}
	cmd := &cobra.Command{
		Use:   "offline",
		Short: "Show what persistent sessions cost while their devices are away",
		Long: "Builds the gateway, starts a NATS server with JetStream and a gateway on it, and lets devices with persistent sessions connect, subscribe\n" +
			"and leave, wave by wave. What has to hold of NATS' memory and consumers is told with what was measured. Exit code 99: something of\n" +
			"it did not hold. Exit code 1: anything else.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.command, a.progress = blotted(os.Args), cmd.ErrOrStderr()
			a.command[0] = filepath.Base(a.command[0]) // a report is read elsewhere
			return a.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&a.sessions, "sessions", 200_000, "persistent sessions")
	fs.IntVar(&a.wave, "wave", 15_000, "of them that are connected at a time; memory is measured from the end of the first wave on")
	fs.StringVar(&a.json, "json", "", "write what has to hold, with what was measured, as JSON to this file")
	fs.StringVar(&a.dir, "dir", "", "directory of the contenders (default devices-sim/contenders, here or above)")
	return cmd
}

// run is the whole command.
func (a *absence) run(ctx context.Context, stdout io.Writer) error {
	if a.wave < 1 || a.wave > devicesPerWorker || a.sessions <= a.wave {
		return fmt.Errorf("--sessions %d, --wave %d: want more than a wave, 1 to %d", a.sessions, a.wave, devicesPerWorker)
	}
	var err error
	if a.yard, err = newYard(a.dir); err != nil {
		return err
	}
	for _, c := range []*contender{&contenders[0], &natsHelper} {
		fmt.Fprintf(a.progress, "building %s\n", c.name)
		if _, err := a.yard.make(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	few, many, err := a.measure(ctx)
	if err != nil {
		return err
	}
	list := a.musts(&few, &many)
	writeMusts(stdout, list)
	if a.json != "" {
		text, err := json.MarshalIndent(list, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(a.json, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if n, unknown := missed(list); n+unknown > 0 {
		return errCrossed
	}
	return nil
}

// stock is what is there at one time.
type stock struct {
	nats, gateway, disk int64
	records             uint64
	consumers           int
}

// measure makes the sessions and takes stock after the first wave and after the last.
func (a *absence) measure(ctx context.Context) (few, many stock, err error) {
	l, err := newLab(ctx, a.yard, 1)
	if err != nil {
		return few, many, err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	servers, err := newRack()
	if err != nil {
		return few, many, err
	}
	defer func() { err = errors.Join(err, servers.stop()) }()
	port, err := freePort()
	if err != nil {
		return few, many, err
	}
	if err := servers.start(ctx, "gateway", a.yard.clusterGateway("gateway", port, l.nc.Servers()[0])); err != nil {
		return few, many, err
	}
	targets, err := address{port: port}.targets()
	if err != nil {
		return few, many, err
	}
	pid := servers.servers[0].cmd.Process.Pid
	for made, wave := 0, 0; made < a.sessions; wave++ {
		n := min(a.wave, a.sessions-made)
		if err := a.visit(ctx, targets, wave, n); err != nil {
			return few, many, err
		}
		made += n
		fmt.Fprintf(a.progress, "%s sessions\n", grouped(uint64(made)))
		if wave == 0 {
			few, err = takeStock(ctx, l, pid)
		} else if made == a.sessions {
			many, err = takeStock(ctx, l, pid)
		}
		if err != nil {
			return few, many, err
		}
	}
	return few, many, nil
}

// visit lets n devices connect, subscribe and leave.
func (a *absence) visit(ctx context.Context, targets []target, wave, n int) error {
	var mark [4]byte
	_, _ = crand.Read(mark[:]) // never fails
	o := options{
		Targets: targets, Scenario: "steady", Devices: n, Publishers: n, QoS: 1, PayloadBytes: stampBytes, Duration: time.Second / 10, ConnectRate: 2 * benchConnectRate,
		KeepAliveSec: benchKeepAlive, Version: mqtt.V311, Telemetry: "devices/{id}/telemetry", Subscribe: "devices/{id}/cmd", Window: 1,
		Prefix: fmt.Sprintf("w%02d-", wave), Seed: 1, Run: binary.LittleEndian.Uint32(mark[:]), Persistent: true,
	}
	r := &runner{o: o, spawn: a.spawn, now: a.now, view: newView(io.Discard), settleNanos: settleMax, command: a.command}
	res, err := r.run(ctx)
	if err == nil && !res.Passed {
		err = fmt.Errorf("wave %d: %v", wave+1, res.Failures)
	}
	return errors.Join(err, ctx.Err())
}

// takeStock waits until the servers have settled.
func takeStock(ctx context.Context, l *lab, gateway int) (s stock, err error) {
	if s.nats, err = l.memory(ctx); err != nil {
		return s, err
	}
	u, err := processUsage(gateway)
	if err != nil {
		return s, err
	}
	s.gateway = u.RSS
	if s.disk, err = l.disk(); err != nil {
		return s, err
	}
	one, stop := context.WithTimeout(ctx, storeTimeout)
	defer stop()
	account, err := l.js.AccountInfo(one)
	if err != nil {
		return s, err
	}
	s.consumers = account.Consumers
	sessions, err := l.js.Stream(one, "KV_TG_sessions")
	if err != nil {
		return s, fmt.Errorf("bucket TG_sessions: %w", err)
	}
	s.records = sessions.CachedInfo().State.Msgs
	return s, nil
}

// each is what something grew by for a session that came after the first wave.
func (a *absence) each(before, after int64) float64 {
	return float64(after-before) / float64(a.sessions-a.wave)
}

// musts is what has to hold.
func (a *absence) musts(few, many *stock) []must {
	memory := a.each(few.nats, many.nats)
	consumers := max(0, many.consumers-few.consumers)
	return []must{
		held("records of sessions", grouped(uint64(a.sessions)), float64(many.records), many.records == uint64(a.sessions), grouped(many.records)),
		held("memory of NATS, by session", fmt.Sprintf("≤ %d B", absenceMax), memory, memory <= absenceMax, fmt.Sprintf("%.0f B (%s in all)", memory, bytesText(many.nats))),
		none("consumers for them", uint64(consumers), fmt.Sprintf("%d (%d there are anyway)", consumers, few.consumers)),
		told("memory of the gateway, by session", a.each(few.gateway, many.gateway), fmt.Sprintf("%.0f B", a.each(few.gateway, many.gateway))),
		told("files of NATS, by session", a.each(few.disk, many.disk), fmt.Sprintf("%.0f B", a.each(few.disk, many.disk))),
	}
}
