package gateway

// limits emits what limits and bans did to devices.
func (e emitter) limits(s *snapshot) {
	e.counter("gateway_rate_pauses_total", float64(s.rests))
}

// addLimits is part of add.
func (s *snapshot) addLimits(o *snapshot) {
	s.rests += o.rests
}
