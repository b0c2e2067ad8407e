package gateway

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/session"
)

// PresenceCfg says what backends can see of who is connected.
type PresenceCfg struct {
	Records bool `yaml:"records" doc:"keep who is connected in the NATS bucket TG_presence, and tell it as events; needs JetStream"`
	Events  bool `yaml:"events" doc:"publish each change of it on $TG.presence.connected.CLIENT and $TG.presence.disconnected.CLIENT"`
	// Keep bounds the bucket, as everybody may bring new client ids.
	Keep      time.Duration `yaml:"keep" doc:"how long the record of a device that is offline stays; 0 for ever"`
	LeaseTime time.Duration `yaml:"lease_time" doc:"how long after its last sign of life a gateway counts as dead, and its devices as offline"`
}

func (c *Config) validatePresence(v *validator) {
	v.seconds("presence.keep", c.Presence.Keep, 0)
	v.seconds("presence.lease_time", c.Presence.LeaseTime, 2*time.Second)
}

// openPresence prepares to tell backends who is connected.
func (g *Gateway) openPresence() {
	if !g.cfg.Presence.Records {
		return
	}
	var listeners []string
	for _, l := range g.addrs.Listeners {
		listeners = append(listeners, l.String())
	}
	g.presence = g.bus.NewPresence(bus.PresenceOptions{
		Number: g.claims.self, Quiet: !g.cfg.Presence.Events, Keep: g.cfg.Presence.Keep, LeaseTime: g.cfg.Presence.LeaseTime,
		Load:     func() (int, []string) { return int(g.online.Load()), listeners },
		Announce: g.announce,
		Lost:     g.clientLost,
	})
}

// startPresence begins to tell them, and to answer what they ask; the function it returns tells the rest and says goodbye.
func (g *Gateway) startPresence() (stop func()) {
	if g.presence == nil {
		return func() {}
	}
	g.presence.Start()
	if err := g.startQueries(); err != nil {
		g.log.Error().Err(err).Msg("backends cannot ask who is connected")
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTime)
		defer cancel()
		if err := g.presence.Close(ctx); err != nil {
			g.log.Warn().Uint64("devices", g.presence.Counters().Waiting).Msg("NATS did not take in time that devices have left; another gateway will turn them offline")
		}
	}
}

// announce has every shard tell again who is connected.
func (g *Gateway) announce() {
	for _, s := range g.shards {
		s.doSoon(func(s *shard) { s.announceFrom = 1 })
	}
}

// clientLost is told each client id whose gateway died, at the one gateway that puts it right, on a goroutine of the bus.
func (g *Gateway) clientLost(client string, generation uint64) {
	if g.onClientLost != nil {
		g.onClientLost(client, generation)
	}
}

// announceStep is how many connections a loop announces in one tick.
const announceStep = 1000

// announceSome goes on with announcing.
func (s *shard) announceSome() {
	s.announceFrom = s.loop.EachFrom(s.announceFrom, announceStep, func(c *epoll.Conn) {
		if d := s.devices.At(c.Slot()); d.sess != nil {
			s.tellOnline(c, d, d.sess)
		}
	})
	if s.announceFrom != 0 {
		s.loop.Wake()
	}
}

// comeOnline tells backends that a device has connected.
func (s *shard) comeOnline(c *epoll.Conn, sess *session.Session) {
	if s.gw.presence != nil {
		s.gw.online.Add(1)
		s.tellOnline(c, s.devices.At(c.Slot()), sess)
	}
}

// tellOnline tells that a device is connected.
func (s *shard) tellOnline(c *epoll.Conn, d *device, sess *session.Session) {
	s.gw.presence.Note(s.presenceOf(c, d, sess))
}

// tellOffline tells them that it is no more.
func (s *shard) tellOffline(c *epoll.Conn, d *device, sess *session.Session) {
	if s.gw.presence == nil {
		return
	}
	s.gw.online.Add(-1)
	state := s.presenceOf(c, d, sess)
	state.Online, state.Reason = false, d.reason.String()
	state.ByDevice = d.reason == reasonNormal || d.reason == reasonDisconnectWithWill
	s.gw.presence.Note(state)
}

// presenceOf is what is known of a live device.
func (s *shard) presenceOf(c *epoll.Conn, d *device, sess *session.Session) *bus.PresenceState {
	label := &liveLabels[d.kind()]
	return &bus.PresenceState{
		Client: sess.ClientID(), Generation: s.claimOf(c.Slot()), Online: true, Peer: s.peerOf(c, d).Addr(), Transport: label[0], Protocol: label[1],
		User: string(d.user()),
	}
}
