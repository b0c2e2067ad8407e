package gateway

// limits emits what limits and bans did to devices.
func (e emitter) limits(s *snapshot, g *Gateway) {
	n, uncounted := g.addresses.known()
	e.gauge("gateway_addresses", float64(n))
	e.counter("gateway_addresses_uncounted_total", float64(uncounted))
	e.counter("gateway_rate_pauses_total", float64(s.rests))
}

// addLimits is part of add.
func (s *snapshot) addLimits(o *snapshot) {
	s.rests += o.rests
	for v := range s.turnedAway {
		s.turnedAway[v] += o.turnedAway[v]
	}
}
