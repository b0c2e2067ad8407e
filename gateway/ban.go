package gateway

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
)

// BansCfg says who is kept out.
type BansCfg struct {
	Shared           bool          `yaml:"shared" doc:"heed the bans of the NATS bucket TG_bans, which gateway ban writes; needs JetStream"`
	FlappingConnects int           `yaml:"flapping_connects" doc:"connects of one client id within flapping_window after which it is banned; 0 for never"`
	FlappingWindow   time.Duration `yaml:"flapping_window" doc:"the time in which they are counted"`
	FlappingBan      time.Duration `yaml:"flapping_ban" doc:"how long such a client id is banned, by all gateways"`
	DuplicateWait    time.Duration `yaml:"duplicate_wait" doc:"how long a CONNECT waits whose client id two devices take from each other; 0 for not at all"`
}

func (c *Config) validateBans(v *validator) {
	v.between("bans.flapping_connects", c.Bans.FlappingConnects, 0, 1_000_000)
	v.seconds("bans.flapping_window", c.Bans.FlappingWindow, time.Second)
	v.seconds("bans.flapping_ban", c.Bans.FlappingBan, time.Second)
	if w := c.Bans.DuplicateWait; w < 0 || w > time.Minute {
		v.add("bans.duplicate_wait", fmt.Sprintf("%v is not between 0 and a minute", w), "")
	}
}

// banList is everybody who may not connect, and until when in nanoseconds since 1970; 0: for ever. Read-only.
type banList struct {
	clients, users map[string]int64
	networks       map[netip.Prefix]int64
	lengths        map[int]bool // of the networks: few, so that an address is looked up once for each
}

// bans are those of this gateway: its own, and those that all share. Loops look at a list that is never changed, by one load; while there are no
// bans, that is all. Safe from any goroutine.
type bans struct {
	gw    *Gateway
	list  atomic.Pointer[banList] // nil: nobody is banned
	watch *bus.BanWatch           // nil: none are shared
	tell  chan *bus.Ban           // to the bucket
	wake  chan struct{}           // the list is to be made anew

	mu     sync.Mutex
	shared map[string]*bus.Ban // of the bucket
	own    map[string]*bus.Ban // ours, until they end: they hold also while NATS is away
}

const (
	// ownBansMax is how many bans a gateway imposes at a time, telling or not.
	ownBansMax = 1 << 12
	// bansSweepMin is how many client ids banned at once are looked for by going through all connections.
	bansSweepMin = 1000
	// banEndsTime is how often own bans that have ended are forgotten.
	banEndsTime = time.Minute
)

func newBans(g *Gateway) *bans {
	x := &bans{gw: g, tell: make(chan *bus.Ban, ownBansMax), wake: make(chan struct{}, 1), own: map[string]*bus.Ban{}}
	if g.cfg.Bans.Shared {
		x.watch = g.bus.NewBanWatch(x.take)
	}
	return x
}

// run follows the shared bans, and shares ours, until ctx ends.
func (x *bans) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	if x.watch != nil {
		running.Go(func() { x.watch.Run(ctx) })
		running.Go(func() { x.share(ctx) })
	}
	ends := time.NewTicker(banEndsTime)
	defer ends.Stop()
	for {
		select {
		case <-x.wake:
			x.renew()
		case now := <-ends.C:
			x.forget(now)
		case <-ctx.Done():
			return
		}
	}
}

// share writes our bans into the bucket. One that NATS does not take is ours alone.
func (x *bans) share(ctx context.Context) {
	for {
		select {
		case ban := <-x.tell:
			if err := x.gw.bus.PutBan(ctx, ban); err != nil {
				x.gw.log.Debug().Err(err).Str(ban.Kind, ban.Name).Msg("a ban is not shared")
			}
		case <-ctx.Done():
			return
		}
	}
}

// take takes all shared bans over. One of ours that was among them, and no longer is, somebody has ended.
func (x *bans) take(all map[string]*bus.Ban) {
	x.mu.Lock()
	for key, b := range x.shared {
		if all[key] == nil {
			delete(x.own, b.Kind+"."+b.Name)
		}
	}
	x.shared = maps.Clone(all)
	x.mu.Unlock()
	x.renew()
}

// impose bans somebody, here at once and at the others when NATS takes it. It takes a lock for memory work only.
func (x *bans) impose(ban *bus.Ban) {
	x.mu.Lock()
	full := len(x.own) >= ownBansMax
	if !full {
		x.own[ban.Kind+"."+ban.Name] = ban
	}
	x.mu.Unlock()
	if full {
		return
	}
	if x.watch != nil {
		select {
		case x.tell <- ban:
		default: // ours alone
		}
	}
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// forget removes own bans that have ended; the bucket does so with its own.
func (x *bans) forget(now time.Time) {
	x.mu.Lock()
	before := len(x.own)
	maps.DeleteFunc(x.own, func(_ string, b *bus.Ban) bool { return b.Over(now) })
	changed := len(x.own) != before
	x.mu.Unlock()
	if changed {
		x.renew()
	}
}

// renew makes the list anew, and ends the connections of those who were not banned before.
func (x *bans) renew() {
	x.mu.Lock()
	defer x.mu.Unlock()
	before := x.list.Load()
	next := &banList{clients: map[string]int64{}, users: map[string]int64{}, networks: map[netip.Prefix]int64{}, lengths: map[int]bool{}}
	for _, list := range []map[string]*bus.Ban{x.own, x.shared} {
		for _, b := range list {
			next.add(b)
		}
	}
	if len(next.clients)+len(next.users)+len(next.networks) == 0 {
		x.list.Store(nil)
		return
	}
	x.list.Store(next)
	x.expel(next.newer(before, time.Now()))
}

// banEndsMax is the last year in which a ban may end; one that would end later does not. Nanoseconds count to 2262.
const banEndsMax = 2200

func (l *banList) add(b *bus.Ban) {
	until := int64(0)
	switch {
	case b.Until.IsZero(), b.Until.Year() > banEndsMax:
	case b.Until.Unix() <= 0:
		return // it is over
	default:
		until = b.Until.UnixNano()
	}
	switch b.Kind {
	case bus.BanClient:
		l.clients[b.Name] = until
	case bus.BanUser:
		l.users[b.Name] = until
	case bus.BanAddress:
		if network, err := parseNetwork(b.Name); err == nil {
			l.networks[network], l.lengths[network.Bits()] = until, true
		}
	}
}

// newer is who was not banned before: client ids that can be looked for one by one, or whether everybody has to be looked at.
func (l *banList) newer(before *banList, now time.Time) (clients []string, everybody bool) {
	if before == nil {
		before = &banList{}
	}
	held := func(until int64, was bool) bool { return was && (until == 0 || now.UnixNano() < until) }
	for name := range l.clients {
		if until, was := before.clients[name]; !held(until, was) {
			clients = append(clients, name)
		}
	}
	for name := range l.users {
		if until, was := before.users[name]; !held(until, was) {
			return nil, true
		}
	}
	for network := range l.networks {
		if until, was := before.networks[network]; !held(until, was) {
			return nil, true
		}
	}
	if len(clients) >= bansSweepMin {
		return nil, true
	}
	return clients, false
}

// expel ends connections of those who are banned now. It waits for no loop.
func (x *bans) expel(clients []string, everybody bool) {
	if everybody {
		for _, s := range x.gw.shards {
			s.doSoon(func(s *shard) { s.sweepBanned(1) })
		}
	}
	for _, client := range clients {
		x.gw.home([]byte(client)).doSoon(func(s *shard) {
			if c := s.connOf(s.table.Get([]byte(client))); c != nil {
				s.close(c, s.devices.At(c.Slot()), reasonBanned)
			}
		})
	}
}

// sweepBanned looks at the connections from a slot on, and in the next tick at the following ones.
func (s *shard) sweepBanned(from uint32) {
	list := s.gw.bans.list.Load()
	if list == nil {
		return
	}
	now := time.Now().UnixNano()
	next := s.loop.EachFrom(from, announceStep, func(c *epoll.Conn) {
		d := s.devices.At(c.Slot())
		if c.Closing() || d.state == stateDraining {
			return
		}
		client := ""
		if d.sess != nil {
			client = d.sess.ClientID()
		}
		if list.has(client, string(d.user()), now) || list.hasAddress(s.gw.answerable(c.Listener(), c.Peer(), d.who()), now) {
			s.doomed = append(s.doomed, doomed{c.Handle(), reasonBanned})
		}
	})
	if next != 0 {
		s.doSoon(func(s *shard) { s.sweepBanned(next) })
	}
}

// has tells whether a client id or a user name is banned.
func (l *banList) has(client, user string, now int64) bool {
	if until, banned := l.clients[client]; banned && (until == 0 || now < until) {
		return true
	}
	until, banned := l.users[user]
	return user != "" && banned && (until == 0 || now < until)
}

// hasAddress tells whether an address is in a banned network.
func (l *banList) hasAddress(a netip.Addr, now int64) bool {
	if a = a.Unmap().WithZone(""); !a.IsValid() {
		return false
	}
	for bits := range l.lengths {
		network, err := a.Prefix(bits)
		if err != nil { // longer than an IPv4 address
			continue
		}
		if until, banned := l.networks[network]; banned && (until == 0 || now < until) {
			return true
		}
	}
	return false
}

// bannedAddress tells whether nobody from an address may connect.
func (g *Gateway) bannedAddress(a netip.Addr) bool {
	list := g.bans.list.Load()
	return list != nil && len(list.networks) > 0 && list.hasAddress(a, time.Now().UnixNano())
}

// banned tells whether a client id, or the user that the device says or has proved to be, may not connect.
func (s *shard) banned(client []byte, said []byte, d *device) bool {
	list := s.gw.bans.list.Load()
	if list == nil {
		return false
	}
	now := time.Now().UnixNano()
	return list.has(string(client), string(said), now) || list.has("", string(d.user()), now)
}

// keepOut refuses the CONNECT of a device that is banned; false: it is not.
func (s *shard) keepOut(c *epoll.Conn, d *device, client, said []byte) bool {
	if !s.banned(client, said, d) {
		return false
	}
	s.refuse(c, d, refusedBanned.code(), refusedBanned.text())
	return true
}

// state is how many bans there are, by kind.
func (x *bans) state() (clients, users, networks int, unheeded uint64) {
	if l := x.list.Load(); l != nil {
		clients, users, networks = len(l.clients), len(l.users), len(l.networks)
	}
	if x.watch != nil {
		unheeded = x.watch.Unheeded()
	}
	return clients, users, networks, unheeded
}
