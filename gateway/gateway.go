package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/session"
)

// Gateway is the whole: shards, the bus between them and NATS, and the admin server. New and Run are for one goroutine;
// Addrs is safe from any.
type Gateway struct {
	cfg       Config
	log       zerolog.Logger
	shards    []*shard
	bus       *bus.Bus
	interests *interests
	retained  retainedStore
	admin     *admin
	addrs     Addrs
	downPool  batchPool
	draining  atomic.Bool
	stopped   chan struct{} // closed when the loops have ended
	hints     [reasonCount]atomic.Int64
}

// Addrs is what the gateway really bound.
type Addrs struct {
	Node      string
	Loops     int
	Listeners []Listener
	Admin     netip.AddrPort // invalid without an admin listener
	NATS      string         // URL for NATS clients; empty when the embedded server listens nowhere
}

// New opens NATS, every listener and the admin server. Devices are served once Run is called.
func New(cfg Config, log zerolog.Logger) (g *Gateway, err error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		all := make([]error, len(errs))
		for i, e := range errs {
			all[i] = e
		}
		return nil, errors.Join(all...)
	}
	g = &Gateway{cfg: cfg, log: log, stopped: make(chan struct{})}
	if g.cfg.Node == "" {
		g.cfg.Node, _ = os.Hostname()
	}
	if g.cfg.Loops == 0 {
		g.cfg.Loops = runtime.NumCPU()
	}
	g.retained.max = cfg.MQTT.RetainedMax
	g.interests = newInterests(g.cfg.Loops, g.interestActive)
	if err := g.openBus(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.bus.Close(context.Background()))
		}
	}()
	if err := g.openShards(); err != nil {
		return nil, err
	}
	g.addrs.Node, g.addrs.Loops, g.addrs.NATS = g.cfg.Node, g.cfg.Loops, g.bus.ClientURL()
	if cfg.Admin == "" {
		return g, nil
	}
	if g.admin, err = newAdmin(g, cfg.Admin); err != nil {
		return nil, err
	}
	g.addrs.Admin, err = netip.ParseAddrPort(g.admin.listener.Addr().String())
	return g, err
}

func (g *Gateway) openBus() (err error) {
	n := &g.cfg.NATS
	o := bus.Options{
		Node: g.cfg.Node, HeaderUser: n.HeaderUser, HeaderNode: n.HeaderNode, PendingBytesMax: n.UplinkBytesMax,
		Receive: g.receive, OnStatus: g.natsStatus, Logf: g.natsLog,
	}
	if n.URL == "embedded" {
		o.Embedded, o.ListenAddr, o.DataDir = true, n.Listen, g.cfg.Data
	} else {
		for s := range strings.SplitSeq(n.URL, ",") {
			o.URLs = append(o.URLs, strings.TrimSpace(s))
		}
		o.CredsFile, o.NKeyFile, o.Token, o.User, o.Password = n.Creds, n.NKey, n.Token, n.User, n.Password
		o.TLS, o.TLSCAFile, o.TLSCertFile, o.TLSKeyFile = n.TLS.Enabled, n.TLS.CA, n.TLS.Cert, n.TLS.Key
	}
	if g.bus, err = bus.Open(context.Background(), o); err != nil {
		return err
	}
	if s := g.bus.Status(); !s.Connected() {
		g.log.Warn().Err(s.Err).Msg("NATS cannot be reached yet; trying again until it can")
	}
	return nil
}

// natsStatus runs on a bus goroutine.
func (g *Gateway) natsStatus(s bus.Status) {
	if s.Connected() {
		g.log.Info().Str("url", s.URL).Bool("embedded", g.cfg.NATS.URL == "embedded").Msg("NATS connected")
		return
	}
	if g.draining.Load() {
		return // we are the ones who leave
	}
	g.log.Warn().Err(s.Err).Msg("NATS is away: devices stay connected, publishers are paused once the buffer is full")
}

func (g *Gateway) natsLog(level, format string, args ...any) {
	l := map[string]zerolog.Level{"error": zerolog.ErrorLevel, "warn": zerolog.WarnLevel}[level]
	if l == 0 {
		l = zerolog.DebugLevel // the embedded server's own life is of no interest to most
	}
	g.log.WithLevel(l).Str("from", "nats-server").Msgf(format, args...)
}

func (g *Gateway) openShards() error {
	for i := range g.cfg.Loops {
		s, err := newShard(g, i)
		if err != nil {
			return fmt.Errorf("loop %d: %w", i, err)
		}
		g.shards = append(g.shards, s)
	}
	for i, text := range g.cfg.Listeners {
		l, err := ParseListener(text)
		if err != nil {
			return err
		}
		kind := map[string]listenerKind{"mqtt": listenMQTT, "ws": listenWS, "any": listenAny}[l.Scheme]
		for _, s := range g.shards {
			_, bound, err := s.loop.Listen(l.Addr)
			if err != nil {
				return fmt.Errorf("listeners[%d]: cannot listen on %s: %w; stop what uses the port, or choose another with --listen %s://ADDR:PORT", i, l.Addr, err, l.Scheme)
			}
			l.Addr = bound
			s.listeners = append(s.listeners, kind)
		}
		g.addrs.Listeners = append(g.addrs.Listeners, l)
	}
	for _, s := range g.shards {
		s.openOutlets()
		s.expectPlain()
	}
	return nil
}

// Addrs tells what was bound.
func (g *Gateway) Addrs() Addrs { return g.addrs }

// Run serves devices until ctx ends; then it drains: readiness off, no more connections, devices told at Config.Drain's
// pace, what they published handed to NATS. nil after a clean drain.
func (g *Gateway) Run(ctx context.Context) error {
	busCtx, stopBus := context.WithCancel(context.Background())
	defer stopBus()
	var background sync.WaitGroup
	background.Go(func() {
		g.interests.run(busCtx, g.bus, func(op string, err error) { g.log.Debug().Err(err).Msg("NATS " + op) })
	})
	if g.admin != nil {
		background.Go(func() { g.admin.serve(g) })
	}
	ended := make(chan error, len(g.shards))
	for _, s := range g.shards {
		go func() {
			err := s.loop.Run()
			s.uplink.flush() // wills of devices that the end of the loop closed
			ended <- err
		}()
	}
	var failed error
	running := len(g.shards)
	select {
	case <-ctx.Done():
		g.drain()
	case failed = <-ended:
		running--
		g.log.Error().Err(failed).Msg("a loop ended; stopping")
	}
	for _, s := range g.shards {
		s.loop.Stop()
	}
	for range running {
		failed = errors.Join(failed, <-ended)
	}
	close(g.stopped)
	flush, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	stopBus()
	failed = errors.Join(failed, g.bus.Close(flush))
	if g.admin != nil {
		failed = errors.Join(failed, g.admin.server.Shutdown(flush))
	}
	background.Wait()
	return failed
}

// drainStep is how often the shards are told to send devices away.
const drainStep = 50 * time.Millisecond

// drain sends every device away and returns when they are gone, or Drain.Time has passed.
func (g *Gateway) drain() {
	g.draining.Store(true)
	g.log.Info().Int("rate", g.cfg.Drain.Rate).Stringer("at_most", g.cfg.Drain.Time).Msg("draining")
	quota := 1 << 30
	if r := g.cfg.Drain.Rate; r > 0 {
		quota = max(1, r*int(drainStep/time.Millisecond)/1000/len(g.shards))
	}
	deadline := time.After(g.cfg.Drain.Time)
	step := time.NewTicker(drainStep)
	defer step.Stop()
	for {
		var left atomic.Int64
		var told sync.WaitGroup
		for _, s := range g.shards {
			told.Add(1)
			s.doSoon(func(s *shard) {
				left.Add(int64(s.drain(quota)))
				told.Done()
			})
		}
		told.Wait()
		if left.Load() == 0 {
			return
		}
		select {
		case <-deadline:
			g.log.Warn().Int64("left", left.Load()).Msg("drain time is over: closing the rest")
			return
		case <-step.C:
		}
	}
}

// drain says goodbye to up to quota devices and returns what is still open or held back.
func (s *shard) drain(quota int) (left int) {
	if !s.draining {
		s.draining = true
		s.loop.CloseListeners()
	}
	s.loop.Each(func(c *epoll.Conn) {
		if quota > 0 {
			quota--
			s.close(c, s.devices.At(c.Slot()), reasonShutdown)
		}
	})
	return s.loop.Stats().Conns + len(s.moving) + s.uplink.held()
}

// hint logs, at most once a minute for each kind, what speaks on the wrong port.
func (g *Gateway) hint(r reason, peer netip.AddrPort) {
	now, last := int64(epoll.NowSec()), g.hints[r].Load()
	if last != 0 && now-last < 60 || !g.hints[r].CompareAndSwap(last, now) {
		return
	}
	advice := map[reason]string{
		reasonTLSHello:    "a client speaks TLS to a plain port; use mqtt:// or ws:// there, or terminate TLS in front",
		reasonHTTP:        "a client speaks HTTP to an MQTT port; WebSocket needs a ws:// or any:// listener",
		reasonProxyHeader: "a load balancer sends a PROXY header that is not expected; switch it off there",
		reasonNotHTTP:     "a client speaks MQTT to a WebSocket port; it needs an mqtt:// or any:// listener",
	}[r]
	g.log.Warn().Stringer("peer", peer).Stringer("reason", r).Msg(advice)
}

// containPanic keeps one crafted packet from ending everybody's connections: the one that met it is closed, and its
// session dropped with it. In check builds the process ends instead, so that tests see it.
func (s *shard) containPanic(c *epoll.Conn, d *device) {
	if crashOnPanic {
		return
	}
	cause := recover()
	if cause == nil {
		return
	}
	s.count.panics++
	s.gw.log.Error().Interface("panic", cause).Bytes("stack", debug.Stack()).Msg("panic while serving a connection; it is closed")
	d.reason = reasonServer
	s.out, s.dout = session.Out{}, session.Out{}
	c.Close()
}

// interestActive tells the shards that NATS knows an interest. Registry goroutine.
func (g *Gateway) interestActive(e *interest) {
	id := e.id
	for i, s := range g.shards {
		if !g.interests.wants(i, id) {
			continue
		}
		s.doSoon(func(s *shard) {
			if e := s.interestByID[id]; e != nil {
				s.confirm(e)
			}
		})
	}
}
