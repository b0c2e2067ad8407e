package gateway

import "strconv"

// loop emits what is one loop's own.
func (e emitter) loop(i int, s *snapshot) {
	label := strconv.Itoa(i)
	e.gauge("gateway_sockets", float64(s.loop.Conns), label)
	e.counter("gateway_loop_ticks_total", float64(s.loop.Ticks), label)
	e.counter("gateway_loop_busy_seconds_total", float64(s.loop.BusyNanos)/1e9, label)
	e.gauge("gateway_loop_longest_tick_seconds", float64(s.loop.LongestTickNanos)/1e9, label)
	e.gauge("gateway_loop_lag_seconds", s.lag.Seconds(), label)
	e.counter("gateway_loop_late_total", float64(s.lateTicks), label)
}

// nats emits what concerns NATS.
func (e emitter) nats(g *Gateway) {
	status, n := g.bus.Status(), g.bus.Counters()
	connected := 0.0
	if status.Connected() {
		connected = 1
	}
	e.gauge("gateway_nats_connected", connected)
	if free, ok := g.dataFree(); ok {
		e.gauge("gateway_data_free_bytes", float64(free))
	}
	e.counter("gateway_nats_reconnects_total", float64(status.Reconnects))
	e.counter("gateway_nats_published_total", float64(n.Published))
	e.counter("gateway_nats_unheard_total", float64(n.Unheard))
	e.counter("gateway_nats_repeated_total", float64(n.Republished))
	e.counter("gateway_nats_received_total", float64(n.Received))
	byForm, groups := g.interests.counts()
	for f, n := range byForm {
		e.gauge("gateway_nats_subscriptions", float64(n), form(f).String())
	}
	e.gauge("gateway_nats_subscriptions", float64(groups), "group")
	for o := range outcomes {
		e.counter("gateway_requests_total", float64(g.requests.counts[o].Load()), o.String())
	}
	e.gauge("gateway_requests_followed", float64(g.requests.known()))
	if x := g.claims; x != nil {
		e.gauge("gateway_peers", float64(x.peers()))
		e.counter("gateway_claims_total", float64(x.sent.Load()), "sent")
		e.counter("gateway_claims_total", float64(x.heard.Load()), "heard")
		e.counter("gateway_claims_total", float64(x.lost.Load()), "lost")
		e.counter("gateway_claims_total", float64(x.refused.Load()+n.PeerDrops), "refused")
	}
	e.leaf(g)
	e.presence(g)
	for _, r := range []struct {
		what string
		n    uint64
	}{
		{"permission", n.PermissionDenied}, {"request", n.RequestsRefused}, {"subscribe", g.interests.failed.Load()},
		{"field_in", n.InBadFields}, {"field_out", n.OutBadFields},
	} {
		e.counter("gateway_nats_refused_total", float64(r.n), r.what)
	}
	for _, d := range []struct {
		reason string
		n      uint64
	}{
		{"payload_too_large", n.DropPayload}, {"header_too_large", n.DropHeader}, {"subject_too_long", n.DropSubject},
		{"reserved", n.DropReserved}, {"poison", n.DropPoison}, {"invalid", n.DropInvalid}, {"given_up", n.GivenUp},
		{"unconfirmed_qos0", n.UnconfirmedQoS0}, {"slow_receiver", n.SlowDrops}, {"inbound_reserved", n.InReserved},
		{"inbound_unmappable", n.InUnmappable}, {"no_member", g.noMember.Load()}, {"unwanted", g.unwanted.Load()},
	} {
		e.counter("gateway_nats_dropped_total", float64(d.n), d.reason)
	}
}

// presence emits what becomes of presence.
func (e emitter) presence(g *Gateway) {
	if g.presence == nil {
		return
	}
	n, active := g.presence.Counters(), 0.0
	if n.Active {
		active = 1
	}
	e.gauge("gateway_presence_active", active)
	e.gauge("gateway_presence_waiting", float64(n.Waiting))
	e.counter("gateway_presence_leases_total", float64(n.Leases))
	e.counter("gateway_presence_overflows_total", float64(n.Overflows))
	for _, c := range []struct {
		what string
		n    uint64
	}{
		{"stored", n.Written}, {"superseded", n.Superseded}, {"coalesced", n.Coalesced}, {"conflict", n.Conflicts}, {"failed", n.Failed},
		{"unnamable", n.Unnamable}, {"lost", n.Lost},
	} {
		e.counter("gateway_presence_changes_total", float64(c.n), c.what)
	}
}

// add sums what is told for the gateway as a whole.
func (s *snapshot) add(o *snapshot) {
	for _, sum := range []struct{ to, from []uint64 }{
		{s.closed[:], o.closed[:]}, {s.packetsIn[:], o.packetsIn[:]}, {s.packetsOut[:], o.packetsOut[:]},
		{s.messagesIn[:], o.messagesIn[:]}, {s.messagesOut[:], o.messagesOut[:]}, {s.drops[:], o.drops[:]},
		{s.authentications[:], o.authentications[:]}, {s.chainAnswers[:], o.chainAnswers[:]}, {s.denied[:], o.denied[:]},
	} {
		for i := range sum.to {
			sum.to[i] += sum.from[i]
		}
	}
	s.addDurable(o)
	s.addLimits(o)
	s.addTLS(o)
	for i := range s.live {
		s.live[i] += o.live[i]
	}
	s.opened += o.opened
	s.connects += o.connects
	s.refusedConnects += o.refusedConnects
	s.upgrades += o.upgrades
	s.takeovers += o.takeovers
	s.refused += o.refused
	s.retainedFull += o.retainedFull
	s.badCommands += o.badCommands
	s.willsLost += o.willsLost
	s.turnsEnded += o.turnsEnded
	s.workMost = max(s.workMost, o.workMost)
	s.keptBytes += o.keptBytes
	s.takenElsewhere += o.takenElsewhere
	s.aliasBytesIn += o.aliasBytesIn
	s.aliasBytesOut += o.aliasBytesOut
	s.aliasBytesSaved += o.aliasBytesSaved
	s.callsRefused += o.callsRefused
	s.loop.Refused += o.loop.Refused
	s.loop.Starved += o.loop.Starved
	s.loop.TailBytes += o.loop.TailBytes
	s.loop.BatchBytes += o.loop.BatchBytes
	s.pauses += o.pauses
	s.movedOut += o.movedOut
	s.panics += o.panics
	s.sessions += o.sessions
	s.sessionsLive += o.sessionsLive
	s.filters += o.filters
	s.queued += o.queued
	s.queuedBytes += o.queuedBytes
	s.heldBatches += o.heldBatches
	s.pausedPublishers += o.pausedPublishers
	s.replays += o.replays
	s.expired += o.expired
	s.rewrites += o.rewrites
	s.autoSubscribed += o.autoSubscribed
	s.autoRefused += o.autoRefused
	s.payloadIn += o.payloadIn
	s.payloadOut += o.payloadOut
	s.orphans += o.orphans
	s.redelivered += o.redelivered
	s.loop.AcceptErrors += o.loop.AcceptErrors
	s.loop.AcceptPauses += o.loop.AcceptPauses
	s.loop.ReadBytes += o.loop.ReadBytes
	s.loop.WriteBytes += o.loop.WriteBytes
}
