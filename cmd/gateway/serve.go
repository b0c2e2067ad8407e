package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/tidegate/tidegate/gateway"
)

// serve runs the gateway until a signal ends it.
func serve(l *loaded, stdout, stderr io.Writer) error {
	started := time.Now()
	lines := newSpool(stderr)
	defer lines.flush()
	log := newLogger(l.config.Log, lines, isTerminal(stderr))
	// A log collector or a reader of the ready event that goes away must not take the devices' connections with it.
	signal.Ignore(syscall.SIGPIPE)
	hangups := make(chan os.Signal, 1) // SIGHUP never ends it, not even before there is anything to read again
	signal.Notify(hangups, syscall.SIGHUP)

	release, err := checkPorts(&l.config)
	if err != nil {
		return &runtimeError{err}
	}
	defer release()
	cfg := l.config
	cfg.Loops = reserveProcs(cfg.Loops, log)
	if limit := limitMemory(os.DirFS("/")); limit > 0 {
		log.Debug().Int64("bytes", limit).Msg("memory limit from the control group")
	}

	warnOfRoot(os.Geteuid(), cfg.Listeners, log)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stopOnSignal(func() {
		release() // a drain begins with closing the listeners: who starts now may have the port
		cancel()
	}, lines.flush, log)

	gateway.Version = versionText()
	g, err := gateway.New(cfg, log)
	if err != nil {
		return &runtimeError{err}
	}
	go func() {
		for range hangups {
			g.Reload()
		}
	}()
	r := newReady(l, g.Addrs(), time.Since(started))
	if isTerminal(stdout) {
		r.writeBanner(stdout)
	} else {
		r.writeEvent(stdout)
	}
	if err := g.Run(ctx); err != nil {
		return &runtimeError{err}
	}
	log.Info().Stringer("uptime", time.Since(started).Round(time.Second)).Msg("stopped cleanly")
	return nil
}

// stopOnSignal calls stop at the first SIGTERM or SIGINT, which drains; the second is for those who cannot wait. flush
// is for the last line.
func stopOnSignal(stop, flush func(), log zerolog.Logger) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		log.Info().Stringer("signal", <-signals).Msg("stopping; a second signal stops at once")
		stop()
		log.Warn().Stringer("signal", <-signals).Msg("stopped before the drain was done")
		flush()
		os.Exit(exitRuntime)
	}()
}

// procsMin leaves NATS and the collector a turn on the smallest machine.
const procsMin = 4

// reserveProcs fixes the number of loops and raises GOMAXPROCS above it: a loop may hold its P through a whole tick, and
// with one P per loop the goroutines of NATS and the collector would wait for it. A GOMAXPROCS of the operator stays, with a
// warning if it is too low.
func reserveProcs(loops int, log zerolog.Logger) int {
	procs := runtime.GOMAXPROCS(0)
	if loops == 0 {
		loops = gateway.DefaultLoops()
	}
	enough := max(loops+2, procsMin)
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(procs, enough))
		return loops
	}
	if procs <= loops {
		log.Warn().Int("gomaxprocs", procs).Int("loops", loops).Msgf("GOMAXPROCS is not above the number of loops: the short sleeps of a loop keep "+
			"its processor from other goroutines, so NATS and the admin server may wait up to 2 ms each time; "+
			"fix: unset the variable GOMAXPROCS, or set it to %d or more; --loops sets how many loops there are", enough)
	}
	return loops
}
