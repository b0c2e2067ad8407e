package gateway

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Durable says what an acknowledgement of QoS 1 and 2 means, and what is kept in NATS.
type Durable struct {
	Default  string   `yaml:"default" doc:"what QoS 1 and 2 mean for topics without a route: auto (log where NATS has JetStream, else memory), log or memory"`
	Routes   []string `yaml:"routes" doc:"topics with another meaning, as FILTER=memory, FILTER=log or FILTER=stream NAME; the first that matches decides"`
	Sessions bool     `yaml:"sessions" doc:"keep persistent sessions in NATS, so that they outlive gateways and move between them"`
	Replicas int      `yaml:"replicas" doc:"replicas of the log and the buckets; 0 is one with the embedded NATS, three in a cluster of three or more"`

	LogAge   time.Duration `yaml:"log_age" doc:"how long the log keeps messages for devices that are away; 0 for no bound"`
	LogBytes int           `yaml:"log_bytes" doc:"bytes of the log; beyond it the oldest messages go; 0 for no bound"`

	Sync         string        `yaml:"sync" doc:"when the embedded NATS forces what it stored to the disk: page-cache (when the kernel does), interval or always"`
	SyncInterval time.Duration `yaml:"sync_interval" doc:"how often it does so with sync: interval"`
}

// store says where a topic's QoS 1 and 2 messages are kept.
type store int

const (
	inMemory store = -1 // taken over by this process
	inLog    store = 0  // the gateways' log; more than that are users' streams, numbered from 1
)

// durability is the routes, and whether there is a JetStream to serve them. Safe from any goroutine.
type durability struct {
	byDefault store
	auto      bool // memory is good enough where there is no JetStream
	routes    []storeRoute
	streams   []string        // users' own, by number - 1
	sessions  bool            // persistent sessions are records
	without   atomic.Bool     // nothing is stored: NATS has no JetStream, and that is fine
	logAt     []atomic.Uint64 // by stream: the last sequence number heard of
	logSeen   func() uint64   // of the log, what the bus has heard of; nil before there is one
	tailFrom  []atomic.Uint64 // by stream: the tail brings what is wanted here and later than that
	clock     atomic.Uint64   // the last generation, where there are no claims
	saves     atomic.Int64    // records on their way to NATS
}

// storeRoute is one entry of Durable.Routes.
type storeRoute struct {
	filter string
	to     store
}

// newDurability reads a configuration that was validated.
func newDurability(c *Durable) *durability {
	x := &durability{byDefault: inLog, auto: c.Default == "auto"}
	if c.Default == "memory" {
		x.byDefault = inMemory
	}
	for _, entry := range c.Routes {
		filter, to, stream, err := parseStoreRoute(entry)
		if err != nil {
			continue
		}
		if stream != "" {
			to = x.number(stream)
		}
		x.routes = append(x.routes, storeRoute{filter, to})
	}
	x.sessions = c.Sessions && x.wanted()
	x.without.Store(!x.wanted())
	x.logAt = make([]atomic.Uint64, 1+len(x.streams))
	x.tailFrom = make([]atomic.Uint64, 1+len(x.streams))
	return x
}

// number is the number of a user's stream.
func (x *durability) number(stream string) store {
	for i, s := range x.streams {
		if s == stream {
			return store(i + 1)
		}
	}
	x.streams = append(x.streams, stream)
	return store(len(x.streams))
}

// wanted tells whether anything is to be stored at all.
func (x *durability) wanted() bool {
	if x.byDefault != inMemory {
		return true
	}
	for _, r := range x.routes {
		if r.to != inMemory {
			return true
		}
	}
	return false
}

// logs tells whether anything goes into the log, of us or of other gateways.
func (x *durability) logs() bool {
	return x.byDefault == inLog || slices.ContainsFunc(x.routes, func(r storeRoute) bool { return r.to == inLog })
}

// off tells that nothing is stored: it is not wanted, or NATS has no JetStream.
func (x *durability) off() bool { return x.without.Load() }

// of is where messages of a topic are kept.
func (x *durability) of(topic []byte) store {
	if x.off() {
		return inMemory
	}
	for i := range x.routes {
		if matches(x.routes[i].filter, unsafe.String(unsafe.SliceData(topic), len(topic))) { // which does not keep it
			return x.routes[i].to
		}
	}
	return x.byDefault
}

// keepsSessions tells whether persistent sessions are records.
func (x *durability) keepsSessions() bool { return !x.off() && x.sessions }

// reached notes that a stream has been at a sequence number.
func (x *durability) reached(stream uint16, seq uint64) { raise(&x.logAt[stream], seq) }

// follows notes after what sequence number the tail of a stream brings all that is wanted here.
func (x *durability) follows(stream uint16, after uint64) { raise(&x.tailFrom[stream], after) }

// tailsFrom is that number of each stream.
func (x *durability) tailsFrom() []uint64 {
	from := make([]uint64, len(x.tailFrom))
	for stream := range from {
		from[stream] = x.tailFrom[stream].Load()
	}
	return from
}

// raise makes a number seq, if it was less.
func raise(at *atomic.Uint64, seq uint64) {
	for old := at.Load(); seq > old && !at.CompareAndSwap(old, seq); old = at.Load() {
	}
}

// at is the last sequence number of a stream that was heard of.
func (x *durability) at(stream uint16) uint64 {
	if stream == uint16(inLog) && x.logSeen != nil {
		return max(x.logSeen(), x.logAt[stream].Load())
	}
	return x.logAt[stream].Load()
}

// parseStoreRoute reads an entry of Durable.Routes. The filter may have = in it.
func parseStoreRoute(entry string) (filter string, to store, stream string, err error) {
	at := strings.LastIndexByte(entry, '=')
	if at < 0 {
		return "", 0, "", fmt.Errorf("%q is not FILTER=memory, FILTER=log or FILTER=stream NAME", entry)
	}
	filter, what := entry[:at], strings.TrimSpace(entry[at+1:])
	name, isStream := strings.CutPrefix(what, "stream ")
	name = strings.TrimSpace(name)
	switch {
	case !mqtt.ValidFilter([]byte(filter)) || strings.HasPrefix(filter, "$"):
		return "", 0, "", fmt.Errorf("%q is not a topic filter for devices", filter)
	case what == "memory":
		return filter, inMemory, "", nil
	case what == "log":
		return filter, inLog, "", nil
	case !isStream:
		return "", 0, "", fmt.Errorf("%q is none of memory, log and stream NAME", what)
	case name == "" || strings.ContainsAny(name, " .*>/\\\t"):
		return "", 0, "", fmt.Errorf("%q is not the name of a stream", name)
	}
	return filter, 0, name, nil
}

// validateDurable is part of Validate.
func (c *Config) validateDurable(v *validator) {
	d := &c.Durable
	v.oneOf("durable.default", d.Default, "auto", "log", "memory")
	v.oneOf("durable.sync", d.Sync, "page-cache", "interval", "always")
	for i, entry := range d.Routes {
		if _, _, _, err := parseStoreRoute(entry); err != nil {
			v.add(fmt.Sprintf("durable.routes[%d]", i), err.Error(), "an entry such as devices/+/telemetry=stream TELEMETRY")
		}
	}
	v.between("durable.replicas", d.Replicas, 0, 5)
	v.between("durable.log_bytes", d.LogBytes, 0, 1<<50)
	v.lasts("durable.log_age", d.LogAge, 0)
	v.lasts("durable.sync_interval", d.SyncInterval, 10*time.Millisecond)
}

// openDurability waits a moment for the embedded NATS to be ready to store, so that the first device finds it so.
func (g *Gateway) openDurability() {
	if g.durable.off() {
		return
	}
	for end := time.Now().Add(durableWait); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		ready, err := g.bus.Ready()
		switch {
		case ready:
			return
		case errors.Is(err, bus.ErrNoJetStream):
			g.noJetStream()
			return
		case g.cfg.NATS.URL != "embedded" && !g.bus.Status().Connected():
			return // devices wait, if they must
		}
	}
	_, err := g.bus.Ready()
	g.log.Warn().Err(err).Msg("messages cannot be stored yet; QoS 1 and 2 wait until they can")
}

// durableWait is how long a start waits for it.
const durableWait = 10 * time.Second

// noJetStream settles what happens where NATS has none.
func (g *Gateway) noJetStream() {
	if !g.durable.auto {
		g.log.Error().Msg("NATS has no JetStream, and durable.default or a route needs it: QoS 1 and 2 of such topics are not acknowledged; enable JetStream, or set durable.default: memory")
		return
	}
	g.durable.without.Store(true)
	g.log.Warn().Msg("NATS has no JetStream: QoS 1 and 2, and sessions, are kept in memory of this process only; enable JetStream to keep them")
}

// busDurable is what the bus has to make; nil when nothing is stored.
func (g *Gateway) busDurable() *bus.Durable {
	c := &g.cfg.Durable
	if !g.durable.wanted() {
		return nil
	}
	return &bus.Durable{
		Replicas: c.Replicas, LogAge: c.LogAge, LogBytes: int64(c.LogBytes), Streams: g.durable.streams,
		Sync: c.Sync, SyncInterval: c.SyncInterval,
	}
}

// generation is a time later than all that this process gave or heard: the number that tells an older connection of a client id
// from a newer one.
func (g *Gateway) generation() uint64 {
	if g.claims != nil {
		return g.claims.next()
	}
	now := uint64(time.Now().UnixNano())
	for {
		last := g.durable.clock.Load()
		if t := max(now, last+1); g.durable.clock.CompareAndSwap(last, t) {
			return t
		}
	}
}
