package gateway

import (
	"slices"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/session"
)

// tenantLimit is a limit of a tenant, as a metric label.
type tenantLimit uint8

const (
	tenantConnections tenantLimit = iota
	tenantRate
	tenantSubscriptions
	tenantRetained
	tenantPace
	tenantDeliver
	tenantLimits
)

var tenantLimitLabels = [tenantLimits]string{"connections", "connect_rate", "subscriptions", "retained", "rate", "deliver_rate"}

// takeTenantPlace counts a device in that is about to have a session, once. Whoever takes over a connection of its own gets a place in any case: it gives
// one back.
func (s *shard) takeTenantPlace(d *device, clientID []byte) refusal {
	w := d.who()
	if w == nil || w.of == nil || w.placed {
		return refusedNot
	}
	t := w.of
	if t.open.Add(1) > t.connectionsMax && t.connectionsMax > 0 && s.connOf(s.table.Get(clientID)) == nil {
		t.open.Add(-1)
		t.refused[tenantConnections].Add(1)
		return refusedTenantFull
	}
	if t.rate.limits() && t.came.take(s.loop.Now(), &t.rate) > 0 {
		t.open.Add(-1)
		t.refused[tenantRate].Add(1)
		return refusedTenantRate
	}
	w.placed = true
	return refusedNot
}

// giveTenantPlace counts it out.
func (d *device) giveTenantPlace() {
	if w := d.who(); w != nil && w.placed {
		w.of.open.Add(-1)
		w.placed = false
	}
}

// paced tells whether one of them has a rate for what its devices send. x may be nil.
func (x *tenants) paced() bool {
	return x != nil && slices.ContainsFunc(x.all, func(t *tenant) bool { return t.sends.limits() })
}

// entersTenant is the last question before a device without MQTT has a session; false: it was closed.
func (s *shard) entersTenant(c *epoll.Conn, d *device, clientID []byte) bool {
	r := s.takeTenantPlace(d, clientID)
	if r == refusedNot {
		return true
	}
	s.count.refusedConnects++
	s.close(c, d, reasonOfRefusal(r))
	return false
}

// countSubscription counts a subscription in, or out, for its tenant. x may be nil.
func (x *tenants) countSubscription(sub *session.Subscription, n int64) {
	if t := x.ofClient(sub.Session().ClientID()); t != nil {
		t.subscriptions.Add(n)
	}
}

// mayRetain tells whether a tenant may have retained messages and bytes of them more. x may be nil; must be called with the store's lock held.
func (x *tenants) mayRetain(topic string, messages, bytes int) bool {
	if x == nil {
		return true
	}
	t := x.ofTopic(topic)
	if t == nil || (t.retainedMax == 0 || t.retained.Load()+int64(messages) <= int64(t.retainedMax)) &&
		(t.retainedBytesMax == 0 || t.retainedBytes.Load()+int64(bytes) <= t.retainedBytesMax) {
		return true
	}
	t.refused[tenantRetained].Add(1)
	return false
}

// countRetained counts retained messages and their bytes in, or out. x may be nil; must be called with the store's lock held.
func (x *tenants) countRetained(topic string, n int64, bytes int) {
	if x == nil {
		return
	}
	if t := x.ofTopic(topic); t != nil {
		t.retained.Add(n)
		t.retainedBytes.Add(int64(bytes))
	}
}
