package gateway

// tenants emits what the tenants have, by their names: there are as many as are configured.
func (e emitter) tenants(x *tenants) {
	if x == nil {
		return
	}
	for _, t := range x.all {
		e.gauge("gateway_tenant_connections", float64(t.open.Load()), t.name)
		e.gauge("gateway_tenant_subscriptions", float64(t.subscriptions.Load()), t.name)
		e.gauge("gateway_tenant_retained", float64(t.retained.Load()), t.name)
		e.gauge("gateway_tenant_retained_bytes", float64(t.retainedBytes.Load()), t.name)
		e.gauge("gateway_tenant_queued_bytes", float64(t.queued.bytes.Load()), t.name)
		for i := range t.refused {
			e.counter("gateway_tenant_refused_total", float64(t.refused[i].Load()), t.name, tenantLimitLabels[i])
		}
	}
}
