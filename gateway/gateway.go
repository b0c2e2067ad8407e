package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/gateway/auth"
)

// Gateway is the whole: shards, the bus between them and NATS, and the admin server. New and Run are for one goroutine;
// Addrs is safe from any.
type Gateway struct {
	cfg                 Config
	log                 zerolog.Logger
	shards              []*shard
	bounds              []Bounds // by listener
	proxies, forwarders prefixes // who may speak for devices, with a PROXY header and with a header of HTTP
	retains             bool     // there is a listener with retained messages
	bus                 *bus.Bus
	interests           *interests
	retained            retainedStore
	sys                 *sysTopics
	room                room
	gates               []*gate    // by listener; nil: it has no limits of connections
	addresses           *addresses // nil: none is bounded
	bans                *bans
	guard               *guard  // nil: there is no bound
	claims              *claims // nil where there can be no other gateway
	durable             *durability
	methods             map[string]offer
	doors               doors
	tenants             *tenants // nil: there are none
	tls                 *tlsGate // nil: no listener has TLS
	rules               ruleFile // of acl.file
	admin               *admin
	addrs               Addrs
	downPool            batchPool
	leafUp              atomic.Bool // the link to the hub stood when it was last told
	draining            atomic.Bool
	stopped             chan struct{} // closed when the loops have ended
	secret              secret        // of session tokens
	keys                callKeys
	tokens              *auth.JWT // nil: devices with commands need none
	watched             watched
	presence            *bus.Presence // nil: none is kept
	online              atomic.Int64  // live devices, while presence is kept

	onClientLost func(client string, generation uint64) // see clientLost; set before Run
	// refusalsMax is how many connections a loop may be refusing at a time.
	refusalsMax int
	noMember    atomic.Uint64 // messages from NATS for filters that nobody held any more
	unwanted    atomic.Uint64 // messages from NATS for a shape of filters, and for none of them
	requests    *requests
	callTopics  callTopics
	hints       [reasonCount]atomic.Int64

	lastMu sync.Mutex
	last   []snapshot // what each shard told the last scrape
}

// Addrs is what the gateway really bound.
type Addrs struct {
	Node      string
	Loops     int
	Listeners []Listener
	Admin     netip.AddrPort // invalid without an admin listener
	NATS      string         // URL for NATS clients; empty when the embedded server listens nowhere

	ConnectionsMax int // of the process
}

// DefaultLoops is how many loops there are when Config.Loops is 0: one for every two processors that Go may use, rounded up.
// The others are left to NATS, the collector and the kernel's network; see decision 0006. It depends on GOMAXPROCS: who
// raises that for the loops asks before.
func DefaultLoops() int { return (runtime.GOMAXPROCS(0) + 1) / 2 }

// halfOfCores is for what computes beside the loops for long: handshakes and hashes of passwords. It is what Go counts at the start: who raises GOMAXPROCS
// for the sake of loops that hold a processor while they sleep has no more cores by that.
var halfOfCores = max(1, runtime.GOMAXPROCS(0)/2)

// New opens NATS, every listener and the admin server. Devices are served once Run is called.
func New(cfg Config, log zerolog.Logger) (g *Gateway, err error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		all := make([]error, len(errs))
		for i, e := range errs {
			all[i] = e
		}
		return nil, errors.Join(all...)
	}
	g = &Gateway{cfg: cfg, log: log, stopped: make(chan struct{}), secret: newSecret()}
	g.proxies, _ = parsePrefixes(cfg.Proxy.Trusted) // Validate has judged them
	g.forwarders, _ = parsePrefixes(cfg.WebSocket.TrustedProxies)
	g.keys.own, g.callTopics = newSecret(), newCallTopics(&cfg.MQTT)
	if g.cfg.Node == "" {
		g.cfg.Node, _ = os.Hostname()
	}
	if g.cfg.Loops == 0 {
		g.cfg.Loops = DefaultLoops()
	}
	g.retained.expirySec = uint32(cfg.MQTT.RetainedExpiryMax.Seconds())
	g.retained.max, g.retained.bytesMax = cfg.MQTT.RetainedMax, cfg.MQTT.RetainedBytesMax
	g.tenants = newTenants(&cfg)
	g.retained.tenants = g.tenants
	g.last = make([]snapshot, g.cfg.Loops)
	g.sys = newSysTopics(g)
	g.addresses = newAddresses(&cfg.Limits.PerAddress, cfg.Limits.RateBurst)
	if err := g.fit(); err != nil {
		return nil, err
	}
	if err := g.openMethods(); err != nil {
		return nil, err
	}
	if err := g.openTokens(); err != nil {
		return nil, err
	}
	g.interests = newInterests(g.cfg.Loops, g.interestActive)
	g.interests.shared = newSharedStrategies(&cfg.MQTT)
	g.interests.max = cfg.NATS.InterestsMax
	g.claims = newClaims(g)
	g.durable = newDurability(&cfg.Durable)
	g.interests.tails.gw = g
	g.requests = newRequests(g)
	if err := g.openBus(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			g.discard()
			g = nil
		}
	}()
	g.bans = newBans(g)
	g.onClientLost = g.adoptLost
	g.openDurability()
	if err = g.openShards(); err != nil {
		return g, err
	}
	g.guard = newGuard(g)
	if g.durable.wanted() {
		g.mirrorRetained()
	}
	g.addrs.Node, g.addrs.Loops, g.addrs.NATS = g.cfg.Node, g.cfg.Loops, g.bus.ClientURL()
	g.addrs.ConnectionsMax = int(g.room.max)
	g.openPresence()
	if cfg.Admin == "" {
		return g, nil
	}
	if g.admin, err = newAdmin(g, cfg.Admin); err != nil {
		return g, err
	}
	g.addrs.Admin, err = netip.ParseAddrPort(g.admin.listener.Addr().String())
	return g, err
}

// discard gives back what a New that failed has opened.
func (g *Gateway) discard() {
	for _, s := range g.shards {
		s.loop.Stop()
		_ = s.loop.Run()
	}
	g.tls.close()
	_ = g.bus.Close(context.Background())
}

func (g *Gateway) openBus() (err error) {
	n, o := &g.cfg.NATS, bus.Options{}
	if n.URL == "embedded" {
		o.Embedded, o.ListenAddr, o.DataDir = true, n.Listen, g.cfg.Data
		o.Leaf, o.OnLeaf = g.leaf(), g.leafStatus
	} else {
		o = g.cfg.clientOptions()
	}
	o.Node, o.HeaderUser, o.HeaderNode, o.PendingBytesMax = g.cfg.Node, n.HeaderUser, n.HeaderNode, n.UplinkBytesMax
	o.Receive, o.OnStatus, o.Logf = g.receive, g.natsStatus, g.natsLog
	o.Durable, o.ReceiveLog = g.busDurable(), g.receiveLog
	if g.bus, err = bus.Open(context.Background(), o); err != nil {
		return err
	}
	g.durable.logSeen = g.bus.LogSeen
	if s := g.bus.Status(); !s.Connected() {
		g.log.Warn().Err(s.Err).Msg("NATS cannot be reached yet; trying again until it can")
	}
	return nil
}

// natsStatus runs on a bus goroutine.
func (g *Gateway) natsStatus(s bus.Status) {
	if s.Connected() {
		g.log.Info().Str("url", s.URL).Bool("embedded", g.cfg.NATS.URL == "embedded").Msg("NATS connected")
		if g.claims != nil {
			g.claims.back()
		}
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
	if err := g.openBounds(); err != nil {
		return err
	}
	if err := g.openDoors(); err != nil {
		return err
	}
	if err := g.openTLS(); err != nil {
		return err
	}
	if err := g.openRules(); err != nil {
		return err
	}
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
		kind := listenerSchemes[l.Scheme]
		for _, s := range g.shards {
			_, bound, err := s.loop.Listen(l.Addr)
			if err != nil {
				return fmt.Errorf("listeners[%d]: cannot listen on %s: %w; stop what uses the port, or choose another with --listen %s://ADDR:PORT", i, l.Addr, err, l.Scheme)
			}
			if g.cfg.Auth.Anonymous == "loopback" && !bound.Addr().IsLoopback() && g.bounds[i].Auth == noChain && !g.bounds[i].provesDevices(l) { // a name that now resolves differently
				return fmt.Errorf("listeners[%d]: %s is not a loopback address, and auth.anonymous is loopback", i, bound)
			}
			l.Addr = bound
			s.listeners = append(s.listeners, kind)
		}
		g.addrs.Listeners = append(g.addrs.Listeners, l)
		g.tls.bound(i, l)
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
	interestFailed := func(op string, err error) { g.log.Debug().Err(err).Msg("NATS " + op) }
	g.interests.begin(busCtx, g.bus, interestFailed)
	background.Go(func() { g.interests.run(busCtx, interestFailed) })
	if g.admin != nil {
		background.Go(func() { g.admin.serve(g) })
	}
	stopClaims, err := g.startClaims()
	if err != nil {
		g.log.Error().Err(err).Msg("other gateways cannot be heard: their devices may have client ids of ours")
	}
	background.Go(func() { g.sys.run(busCtx) })
	background.Go(func() { g.tls.run(busCtx) })
	background.Go(func() { g.followDoors(busCtx) })
	background.Go(func() { g.watchRules(busCtx) })
	stopPresence := g.startPresence()
	background.Go(func() { g.requests.run(busCtx) })
	background.Go(func() { g.shareCallKey(busCtx) })
	background.Go(func() { g.bans.run(busCtx) })
	background.Go(func() { g.guard.run(busCtx) })
	ended := make(chan error, len(g.shards))
	for _, s := range g.shards {
		go func() {
			err := s.loop.Run()
			s.flushStoring()
			s.uplink.flush(s.loop.Now()) // wills of devices that the end of the loop closed
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
	g.tls.close()
	stopClaims()
	stopPresence()
	failed = errors.Join(failed, g.flush())
	stopBus()
	if g.admin != nil {
		_ = g.admin.server.Close()
	}
	background.Wait()
	return failed
}
