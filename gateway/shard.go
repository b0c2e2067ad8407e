package gateway

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth/acl"
	"github.com/tidegate/tidegate/gateway/command"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
	"github.com/tidegate/tidegate/session"
)

// shard is one loop and everything reachable from its connections: devices, sessions, counters. No mutex, no atomic:
// other goroutines come in through the inbox. Owned by one loop.
type shard struct {
	gw    *Gateway
	cfg   *Config
	index int
	loop  *epoll.Loop
	inbox inbox

	devices epoll.Chunks[device] // by connection slot
	table   *session.Table
	uplink  uplink
	storing storing
	holding map[epoll.Handle]int // SUBACKs that wait for NATS, by connection
	wanted  wanted               // what the other shards may know of the sessions' filters
	count   counters

	interests      map[string]*shardInterest
	interestByID   map[uint32]*shardInterest
	replays        map[*session.Subscription]*replay
	replaysWaiting map[*session.Session][]*replay // for a device that is away, does not read or does not acknowledge
	claimedAt      epoll.Chunks[uint64]           // by connection slot, see claims
	claimFrom      uint32                         // connections from this slot on are to be claimed again; 0: none
	announceFrom   uint32                         // connections from this slot on are to be announced; 0: none
	moving         []move                         // connections whose home is another shard, moved at tick end
	doomed         []doomed                       // connections to close at tick end
	eager          []epoll.Handle                 // devices whose queues go on in the next tick
	eagerSpare     []epoll.Handle
	lastValues     lastValues
	orphaned       session.Out  // what stepOrphans gives away
	handing        atomic.Int32 // batches of orphans on their way to other shards
	fate           fate         // of the request that is being delivered

	answering *device        // whose array of commands is being carried out
	answers   command.Run    // to it
	runs      []epoll.Handle // devices with a run of messages
	spareRuns []*command.Run

	audiences  map[string]*audience // by filter
	changes    []change             // of this tick, of filters that somebody watches
	changesCut bool                 // there were more
	untold     []bool               // shards that had no room for the last list
	owing      bool                 // there are such
	behind     map[string]*audience // those of audiences with watchers that have missed something
	told       int                  // changes told in this tick

	feeding    feeding
	openings   map[epoll.Handle]*opening // CONNECTs that wait for the record of their session
	drops      map[string]*opening       // records that are being dropped by client id, with the CONNECT that waits for it
	turns      map[string][]*opening     // the same by client id, in the order they came: the first has its turn
	openLater  []*opening                // of these, those whose record is asked for when others have theirs
	openingNow int                       // and how many are asked for
	tailAt     []uint64                  // by stream: the last that its tail has brought here
	saving     int                       // records under way to NATS
	checkFrom  uint32                    // connections from this slot on are next to have their records written
	later      []func()                  // reads that have failed, for the next second

	listeners  []listenerKind // by the loop's listener index
	upgrade    ws.Policy
	noUpgrade  ws.Policy              // for those that may not stay
	turnStatus int                    // HTTP status for the one at hand
	refusing   int                    // connections that are only told to go
	wsLimits   [][wireCount]ws.Limits // by the loop's listener index
	deflate    deflate
	pacer      *pacer // nil: no listener bounds what it is for
	pauses     rests
	outflow    *outflow // nil: no listener bounds what devices are sent
	flaps      *flaps   // nil: nobody is banned for it
	duels      *duels

	resting      []epoll.Handle // connections that have had their turn, in order
	head         epoll.Handle   // who was the first of them, and goes on in this tick
	work         int            // for the connection whose turn it is
	worked       int            // in this tick, for those before it
	filtersAsked int            // of the packet at hand

	lastTickSec uint32
	graceSec    uint32 // until then nobody is closed for silence: the loop itself was late
	doubt       doubt
	draining    bool
	rewrites    []rewriteRule
	restricts   bool        // there may be permissions
	fileRules   *acl.Policy // of acl.file; nil: none
	rewritten   []byte      // what they made of topics of the packet at hand

	early earlyReplays

	// Scratch, reused from event to event.
	packet      mqtt.Packet
	out         session.Out // effects of what a device did
	dout        session.Out // effects of delivering to another
	event       session.Event
	devent      session.Event
	filters     []session.Filter
	matches     session.Matches
	message     session.Message
	routed      session.Message
	replayMsg   session.Message
	replayTopic []byte
	subIDs      []uint32
	reasons     []mqtt.Reason
	refused     []refusal // of the filters of the packet at hand
	oversize    []unsendable
	skipping    bool // skipOversize runs
	scratch     []byte
	scratch2    []byte
	scratch3    []byte
	props       []byte
	words       []byte // reason string
	publishOut  mqtt.PublishOut
	connack     mqtt.ConnackOut
	callBytes   []byte // topics of calls
	inTopic     []byte // internal topics and filters of what a device says
	inProps     []byte // and properties
	outProps    []byte // properties as a device of a tenant has them
	callRaw     []byte
	commands    []command.Command
	pushOut     command.Message
	fanned      fanned
	pushProps   mqtt.Properties
}

// fragmentsMax is how many frames one WebSocket message may have; beyond it the connection is closed with 1009.
const fragmentsMax = 1024

// listenerKind is what a listener speaks.
type listenerKind uint8

const (
	listenAny listenerKind = iota
	listenMQTT
	listenWS
)

func newShard(g *Gateway, index int) (*shard, error) {
	s := &shard{
		gw: g, cfg: &g.cfg, index: index,
		holding: map[epoll.Handle]int{}, interests: map[string]*shardInterest{}, interestByID: map[uint32]*shardInterest{},
		replays: map[*session.Subscription]*replay{}, replaysWaiting: map[*session.Session][]*replay{},
		rewrites: newRewriteRules(g.cfg.TopicRewrite),
		openings: map[epoll.Handle]*opening{}, turns: map[string][]*opening{}, drops: map[string]*opening{}, tailAt: make([]uint64, len(g.durable.logAt)),
	}
	limits := sessionLimits(&g.cfg, g.bounds, g.tenants)
	limits.Strategy, limits.GroupStrategies = g.interests.shared.usual, g.interests.shared.named
	limits.GroupLive = func(interest uint32) bool { return g.interests.liveElsewhere(index, interest) }
	s.table, s.lastValues = session.NewTable(limits), g.cfg.Session.LastValue
	s.upgrade = ws.Policy{Origins: g.cfg.WebSocket.Origins, Accept: s.acceptUpgrade, Deflate: s.mayDeflate}
	s.noUpgrade = noUpgrade(g.cfg.WebSocket.Origins, func() int { return s.turnStatus })
	s.pacer, s.flaps, s.duels = newPacer(g), newFlaps(&g.cfg.Bans), newDuels()
	s.outflow = newOutflow(g.bounds, g.tenants)
	s.restricts, s.fileRules = g.restricts(), g.rules.inForce()
	for i := range g.bounds {
		s.wsLimits = append(s.wsLimits, wsLimits(&g.bounds[i], g.cfg.Limits.ConnectBytesMax))
	}
	var err error
	s.loop, err = epoll.New(epoll.Options{
		TailBytesMax: max(largest(g.bounds, func(b *Bounds) int { return b.PacketBytesMax }), g.cfg.Limits.ConnectBytesMax) + 128<<10,
		Admit:        s.admit,
		StallSec:     uint32(g.cfg.Limits.StallTime.Seconds()),
	}, s, s)
	return s, err
}

// homeSeed makes the home of a client id unpredictable, so that nobody can aim a fleet at one loop.
var homeSeed = maphash.MakeSeed()

// home is the shard that owns a client id.
func (g *Gateway) home(clientID []byte) *shard {
	return g.shards[maphash.Bytes(homeSeed, clientID)%uint64(len(g.shards))]
}

// OnWake is part of epoll.Ticker: what other goroutines left.
func (s *shard) OnWake() {
	s.inbox.drain(func(n *note) {
		switch {
		case n.stored != nil:
			s.takeStored(n.stored)
		case n.tail.seq != 0:
			s.takeTail(n.batch, n.tail)
		case n.batch != nil:
			s.takeBatch(n.batch)
		default:
			n.do(s)
		}
	})
	uplink, storing := s.uplink.room.Swap(false), s.storing.room.Swap(false)
	if storing {
		s.retryStoring()
	}
	if uplink {
		s.uplink.retry()
	}
	if (uplink || storing) && !s.full() {
		s.resumePublishers()
	}
}

// OnTickEnd is part of epoll.Ticker.
func (s *shard) OnTickEnd() {
	if now := s.loop.NowSec(); now != s.lastTickSec {
		s.everySecond(now)
	}
	s.endWork()
	if s.pauses.n > 0 {
		s.endRests()
	}
	if s.outflow != nil {
		s.endSlowed()
	}
	if len(s.eager) > 0 {
		s.proceedEager()
	}
	if len(s.replays) > 0 {
		s.stepReplays()
	}
	if s.claimFrom != 0 {
		s.claimSome()
	}
	if s.announceFrom != 0 {
		s.announceSome()
	}
	if s.table.Orphans() > 0 {
		s.stepOrphans()
	}
	s.closeDoomed()
	if len(s.moving) > 0 {
		s.moveHome()
	}
	s.told = 0
	if len(s.changes) > 0 || s.changesCut || s.owing {
		s.tellChanges()
	}
	if len(s.runs) > 0 {
		s.endRuns()
	}
	wasFull := s.full()
	now := s.loop.Now()
	store, waits := s.storing.gathers(now)
	if !waits {
		s.flushStoring()
	}
	until, gathers := s.uplink.gathers(now)
	if !gathers {
		s.uplink.flush(now)
	}
	alarm := int64(0)
	switch {
	case gathers && waits:
		alarm = min(until, store)
	case gathers:
		alarm = until
	case waits:
		alarm = store
	}
	s.loop.WakeAt(s.outflow.alarm(s.pauses.alarm(alarm)))
	if wasFull && !s.full() && len(s.uplink.paused) > 0 {
		s.resumePublishers()
		s.loop.Wake() // what they left unread is offered in the next tick
	}
}

// Topics are looked at for expired retained messages sweepTopics a second, or so many that all have had their turn after about
// sweepSec: of a million that is 17,000 a second, under a millisecond.
const (
	sweepTopics = 1000
	sweepSec    = 60
)

// lateSec is how late a tick may be before silence is blamed on us rather than on devices.
const lateSec = 3

func (s *shard) everySecond(now uint32) {
	s.ran()
	if s.lastTickSec != 0 && now-s.lastTickSec >= lateSec {
		s.graceSec = now + 10
		s.count.lateTicks++
	}
	s.lastTickSec = now
	if len(s.behind) > 0 {
		s.tellMissed()
	}
	if s.index == 0 {
		topics, _ := s.gw.retained.size()
		s.gw.addresses.forget(int(now), s.loop.Now())
		s.gw.retained.repay(now)
		s.gw.retained.sweep(now, max(sweepTopics, topics/sweepSec+1))
	}
	s.lookAtEarly(now)
	s.out.Reset()
	s.table.Tick(now, &s.out)
	s.applyTable(&s.out)
	if s.gw.durable.keepsSessions() {
		s.checkpoint(now)
	}
	later := s.later
	s.later = nil
	for _, f := range later {
		f()
	}
}

// full tells that publishers must not be read now.
func (s *shard) full() bool { return s.uplink.full() || s.storing.full() }

// applyTable carries out effects that belong to no connection: wills that are due, filters of sessions that ended.
func (s *shard) applyTable(out *session.Out) {
	s.keepRecords(out.Records)
	s.applyInterests(out.Interests)
	for _, m := range out.Publishes {
		s.route(m)
	}
	s.countDrops(out)
	out.Reset()
	if s.table.Orphans() > 0 {
		s.loop.Wake() // the end of this tick may be over
	}
}

func (s *shard) countDrops(out *session.Out) {
	if len(out.Settled) > 0 {
		s.settled(out.Settled)
	}
	if out.Drops == ([session.DropReasons]uint32{}) { // as almost always
		return
	}
	for i, n := range out.Drops {
		s.count.drops[i] += uint64(n)
	}
}
