// Command devices-sim is a fleet of simulated devices: thousands of MQTT and WebSocket connections on a few event loops,
// sending on a timetable, and counting what becomes of every message.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// errBroken is the end of a run whose invariants did not hold, errCrossed that of one which held them and crossed a
// threshold; the result has said which.
var (
	errBroken  = errors.New("invariants did not hold")
	errCrossed = errors.New("a threshold was crossed")
)

// exitCrossed is the exit code of errCrossed; everything else that goes wrong is 1.
const exitCrossed = 99

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first interrupt ends the run in order, a second one at once
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil && !errors.Is(err, errBroken) && !errors.Is(err, errCrossed) {
		fmt.Fprintln(os.Stderr, "devices-sim:", err)
	}
	os.Exit(exitCode(err))
}

func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errCrossed):
		return exitCrossed
	}
	return 1
}

// outcome is the error that a result is to end with.
func outcome(res *result, thresholds []threshold) error {
	met := res.checkThresholds(thresholds)
	switch {
	case !res.Passed:
		return errBroken
	case !met:
		return errCrossed
	}
	return nil
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "devices-sim",
		Short:         "Simulate fleets of MQTT and WebSocket devices",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.AddCommand(runCommand(), tlsCommand(), tlsServerCommand(), tlsStormCommand(), idleCommand(), profilesCommand(), compareCommand(), benchCommand(), headlineCommand(), growthCommand(), scaleCommand(), returnCommand(), offlineCommand(), &cobra.Command{
		Use: "attackers", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runAttackers(os.Stdin, os.Stdout) },
	}, &cobra.Command{
		Use: "worker", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			runtime.GOMAXPROCS(max(runtime.NumCPU(), 2) + 1) // one for the loop, and the others as ever
			return runWorker(os.Stdin, os.Stdout)
		},
	})
	return root
}

func scenarioHelp() string {
	var b strings.Builder
	for _, s := range scenarios {
		fmt.Fprintf(&b, "  %-16s %s\n", s.name, s.text)
	}
	return b.String()
}

func (f *flags) run(cmd *cobra.Command) error {
	if err := f.resolve(cmd); err != nil {
		return err
	}
	errOut := cmd.ErrOrStderr()
	r := &runner{
		o: f.options, commandsRate: f.commands, stored: f.stored, verifyURL: f.verify, spawn: spawn, now: monotonic(), view: newView(errOut),
		settleNanos: settleMax, profile: f.profile, command: blotted(os.Args),
	}
	for _, pid := range f.pids {
		w, err := watch(pid)
		if err != nil {
			return err
		}
		r.servers = append(r.servers, w)
	}
	r.view.note(fmt.Sprintf("seed %d", f.Seed))
	res, err := r.run(cmd.Context())
	r.view.end()
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if f.reports.toStdout() {
		out = errOut
	}
	ended := outcome(res, f.conditions)
	res.text(out)
	if err := f.reports.write(cmd.OutOrStdout(), res); err != nil {
		return err
	}
	return ended
}
