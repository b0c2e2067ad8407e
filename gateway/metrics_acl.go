package gateway

// deniedAction is what a device was not permitted, as a metric label.
type deniedAction uint8

const (
	deniedPublish deniedAction = iota
	deniedSubscribe
	deniedWill
	deniedDeliver
	deniedActions
)

var deniedLabels = [deniedActions]string{"publish", "subscribe", "will", "deliver"}

// permissions emits what permissions did to devices.
func (e emitter) permissions(s *snapshot, g *Gateway) {
	for i, n := range s.denied {
		e.counter("gateway_acl_denied_total", float64(n), deniedLabels[i])
	}
	rules := 0
	if p := g.rules.inForce(); p != nil {
		rules = p.Rules()
	}
	e.gauge("gateway_acl_rules", float64(rules))
	e.counter("gateway_acl_reloads_total", float64(g.rules.taken.Load()), "ok")
	e.counter("gateway_acl_reloads_total", float64(g.rules.refused.Load()), "failed")
	e.counter("gateway_acl_expelled_total", float64(s.expelled))
}
