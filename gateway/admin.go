package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// admin is the HTTP server for operators: health and metrics, on a listener of its own.
type admin struct {
	listener net.Listener
	server   *http.Server
}

func newAdmin(g *Gateway, addr string) (*admin, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("admin: cannot listen on %s: %w; choose another with --admin, or --admin '' for none", addr, err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(g), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", g.livez)
	mux.HandleFunc("GET /readyz", g.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry, EnableOpenMetrics: true}))
	return &admin{l, &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}}, nil
}

func (a *admin) serve(g *Gateway) {
	if err := a.server.Serve(a.listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		g.log.Error().Err(err).Msg("admin server ended")
	}
}

// livez answers 200 while every loop turns.
func (g *Gateway) livez(w http.ResponseWriter, _ *http.Request) {
	if _, ok := g.snapshots(); !ok {
		http.Error(w, "a loop does not answer", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// check is one line of /readyz.
type check struct {
	name string
	ok   bool
	text string
}

// readyz answers 200 while devices should be sent here. It names what speaks against it; with ?verbose, every check.
func (g *Gateway) readyz(w http.ResponseWriter, r *http.Request) {
	checks := g.checks()
	status := http.StatusOK
	for _, c := range checks {
		if !c.ok {
			status = http.StatusServiceUnavailable
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, verbose := r.URL.Query()["verbose"]
	for _, c := range checks {
		switch {
		case !c.ok:
			fmt.Fprintf(w, "[-]%s %s\n", c.name, c.text)
		case verbose:
			fmt.Fprintf(w, "[+]%s %s\n", c.name, c.text)
		}
	}
	fmt.Fprintln(w, map[int]string{http.StatusOK: "ready", http.StatusServiceUnavailable: "not ready"}[status])
}

func (g *Gateway) checks() []check {
	all, turning := g.snapshots()
	sockets := 0
	for i := range all {
		sockets += all[i].loop.Conns
	}
	nats := g.bus.Status()
	natsText := "away; devices stay connected, publishers are paused once the buffer is full"
	if nats.Connected() {
		natsText = "connected to " + nats.URL
	}
	checks := []check{
		{"loops", turning, fmt.Sprintf("%d, %d sockets", len(g.shards), sockets)},
		{"nats", nats.Connected(), natsText},
		{"accepting", !g.draining.Load(), map[bool]string{true: "no, draining", false: "yes"}[g.draining.Load()]},
	}
	if !g.durable.off() {
		ready, err := g.bus.Ready()
		text := "the log and the buckets are there"
		if !ready {
			text = fmt.Sprintf("QoS 1 and 2 wait: %v", err)
		}
		checks = append(checks, check{"store", ready, text})
	}
	open, full := g.room.state()
	fullText := ""
	if full {
		fullText = "full: "
	}
	checks = append(checks, check{"connections", !full, fmt.Sprintf("%s%d of %d connections", fullText, open, g.room.max)})
	if c, ok := g.guard.check(); ok {
		checks = append(checks, c)
	}
	if free, ok := g.dataFree(); ok {
		checks = append(checks, check{"disk", free >= dataFreeMin, fmt.Sprintf("%d MiB free in %s", free>>20, g.cfg.Data)})
	}
	if g.tls != nil {
		checks = append(checks, g.tls.check())
	}
	if c, ok := g.leafCheck(); ok {
		checks = append(checks, c)
	}
	return checks
}

// dataFreeMin is how much space the embedded NATS needs to be trusted with streams. Below it JetStream is about to refuse.
const dataFreeMin = 64 << 20

// dataFree is the space left for the embedded NATS, in bytes; false without one.
func (g *Gateway) dataFree() (free uint64, ok bool) {
	var s syscall.Statfs_t
	if g.cfg.NATS.URL != "embedded" || syscall.Statfs(g.cfg.Data, &s) != nil {
		return 0, false
	}
	return s.Bavail * uint64(s.Bsize), true
}
