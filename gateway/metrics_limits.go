package gateway

// limits emits what limits and bans did to devices.
func (e emitter) limits(s *snapshot, g *Gateway) {
	clients, users, networks, unheeded := g.bans.state()
	e.gauge("gateway_bans", float64(clients), "client")
	e.gauge("gateway_bans", float64(users), "user")
	e.gauge("gateway_bans", float64(networks), "address")
	e.counter("gateway_bans_unheeded_total", float64(unheeded))
	n, uncounted := g.addresses.known()
	e.gauge("gateway_addresses", float64(n))
	e.counter("gateway_addresses_uncounted_total", float64(uncounted))
	e.counter("gateway_rate_pauses_total", float64(s.rests))
	e.counter("gateway_deliver_pauses_total", float64(s.slowed))
	e.counter("gateway_flapping_bans_total", float64(s.flapped))
	e.counter("gateway_duplicate_ids_total", float64(s.duels))
}

// addLimits is part of add.
func (s *snapshot) addLimits(o *snapshot) {
	s.rests += o.rests
	s.slowed += o.slowed
	s.flapped += o.flapped
	s.duels += o.duels
	s.expelled += o.expelled
	s.bannedUnheard += o.bannedUnheard
	for v := range s.turnedAway {
		s.turnedAway[v] += o.turnedAway[v]
	}
}
