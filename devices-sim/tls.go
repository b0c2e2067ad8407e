package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// tlsFigures measures what TLS costs. Owned by the goroutine of the command.
type tlsFigures struct {
	rounds, idle, storming, talking int
	only                            string
	dir                             string
	yard                            *yard
	out                             io.Writer
}

// The figures, as --only names them.
const (
	figureHandshake = "handshake"
	figureEcho      = "echo"
	figureIdle      = "idle"
	figureStorm     = "storm"
)

func tlsCommand() *cobra.Command {
	f := &tlsFigures{}
	cmd := &cobra.Command{
		Use:   "tls",
		Short: "Measure handshakes, messages, memory and storms of TLS",
		Long: "Compares two echo servers over TLS by the CPU time that their processes take: one on a loop, as the gateway has it, and one with crypto/tls\n" +
			"and a goroutine for each connection. They are measured by turns. Then builds the gateway, and measures what idle devices add to its resident\n" +
			"memory, and how long messages of connected devices take while a process does many handshakes at once: with the gateway, and then with a server of\n" +
			"crypto/tls beside it, which is what the machine does to them. That process runs only where nobody else wants to (SCHED_IDLE), and who sends the\n" +
			"messages goes before all others (SCHED_FIFO, as root), since both would be elsewhere.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.out = cmd.OutOrStdout()
			return f.run(cmd.Context())
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&f.rounds, "rounds", 5, "times that handshakes, echoes and storms are measured; handshakes and echoes once more to get warm")
	fs.IntVar(&f.idle, "idle", 5000, "idle devices")
	fs.IntVar(&f.storming, "storm", 5000, "handshakes of a storm")
	fs.IntVar(&f.talking, "devices", 200, "connected devices, half of them with TLS, that get a message every 100 ms while it storms")
	fs.StringVar(&f.only, "only", "", "one figure: handshake, echo, idle or storm")
	fs.StringVar(&f.dir, "dir", "", "as of bench")
	return cmd
}

func tlsServerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "tls-server", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runTLSServer(cmd.Context(), args[0], ".", os.Stdout)
		},
	}
}

func tlsStormCommand() *cobra.Command {
	return &cobra.Command{
		Use: "tls-storm", Hidden: true, Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			many, err := strconv.Atoi(args[1])
			if err != nil {
				return err
			}
			return runTLSStorm(args[0], many, os.Stdin, os.Stdout)
		},
	}
}

// run measures all figures, or the only one.
func (f *tlsFigures) run(ctx context.Context) (err error) {
	for _, figure := range []struct {
		name    string
		measure func(ctx context.Context) error
	}{
		{figureHandshake, f.handshake}, {figureEcho, f.echo}, {figureIdle, f.idles}, {figureStorm, f.storm},
	} {
		if f.only != "" && f.only != figure.name {
			continue
		}
		if err := figure.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", figure.name, err)
		}
	}
	if !slices.Contains([]string{"", figureHandshake, figureEcho, figureIdle, figureStorm}, f.only) {
		return fmt.Errorf("--only %s: none of handshake, echo, idle and storm", f.only)
	}
	return nil
}

// build makes the gateway, once.
func (f *tlsFigures) build(ctx context.Context) (err error) {
	if f.yard != nil {
		return nil
	}
	if f.yard, err = newYard(f.dir); err != nil {
		return err
	}
	_, err = f.yard.makeGateway(ctx)
	return err
}

// tlsJob is one kind of work to compare the servers in.
type tlsJob struct {
	name string
	work tlsWork
}

func (f *tlsFigures) handshake(ctx context.Context) error {
	return f.duels(ctx, "handshakes, ECDSA P-256", []tlsJob{
		{"TLS 1.3 full, 16 at a time", handshakes(1000, 16, tls.VersionTLS13, false)},
		{"TLS 1.3 full, one after another", handshakes(600, 1, tls.VersionTLS13, false)},
		{"TLS 1.3 resumed, 16 at a time", handshakes(1000, 16, tls.VersionTLS13, true)},
		{"TLS 1.3 resumed, one after another", handshakes(600, 1, tls.VersionTLS13, true)},
		{"TLS 1.2 full, 16 at a time", handshakes(1000, 16, tls.VersionTLS12, false)},
		{"TLS 1.2 resumed, 16 at a time", handshakes(1000, 16, tls.VersionTLS12, true)},
	})
}

func (f *tlsFigures) echo(ctx context.Context) error {
	return f.duels(ctx, "echoes, TLS 1.3", []tlsJob{
		{"64 bytes, 100 connections", echoes(100, 300, 64)},
		{"64 bytes, one connection", echoes(1, 10000, 64)},
		{"4 kB, 100 connections", echoes(100, 200, 4096)},
	})
}

// duels tells the CPU time of both servers for each job.
func (f *tlsFigures) duels(ctx context.Context, title string, jobs []tlsJob) error {
	w := tabwriter.NewWriter(f.out, 36, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\tloop\tcrypto/tls\tratio\teach core and second\n", title)
	for _, job := range jobs {
		d, err := compareTLS(ctx, f.rounds, job.work)
		if err != nil {
			return fmt.Errorf("%s: %w", job.name, err)
		}
		fmt.Fprintf(w, "%s\t%.1f us\t%.1f us\t%.2f\t%d\n", job.name, micros(d.loop), micros(d.goroutines), d.ratio, time.Second/d.loop)
	}
	return w.Flush()
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// idles tells what an idle device adds to the gateway's memory.
func (f *tlsFigures) idles(ctx context.Context) error {
	if err := f.build(ctx); err != nil {
		return err
	}
	for _, way := range []struct {
		name   string
		config *tls.Config
	}{{"mqtt", nil}, {"mqtts", &tls.Config{InsecureSkipVerify: true}}} { // who the gateway is does not matter here
		rss, heap, err := f.idleBytes(ctx, f.idle, way.config)
		if err != nil {
			return err
		}
		fmt.Fprintf(f.out, "each of %d idle devices, %-5s  %5d bytes resident, %5d of them heap in use\n", f.idle, way.name, rss, heap)
	}
	return nil
}

// storm tells the delays before storms and in them.
func (f *tlsFigures) storm(ctx context.Context) error {
	if err := f.build(ctx); err != nil {
		return err
	}
	all, err := f.storms(ctx, f.rounds, f.storming, f.talking)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(f.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "p99 of all messages, and of the middle window\tbefore\tin a storm\tin one of crypto/tls\thandshakes, failed, in\tof crypto/tls")
	for i, s := range all {
		fmt.Fprintf(w, "storm %d\t%s\t%s\t%s\t%s\t%s\n", i+1, s.before, s.inOurs, s.inTheirs, s.ours, s.theirs)
	}
	return w.Flush()
}

func tens(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
