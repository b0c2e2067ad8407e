package gateway

import (
	"cmp"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/session"
)

// What bounds a single session is its listener's, and what waits for it is counted for its tenant. A session has two bytes for both: its class, one for
// each listener and tenant. The first row of classes is of sessions without a connection, which have the gateway's bounds.

// classesMax is how many there are at most: rows of listeners, each with all tenants and with none.
const classesMax = 1<<16 - 1

// class is that of the session of a device.
func (s *shard) class(c *epoll.Conn) uint16 {
	return s.gw.tenants.class(c.Listener()+1, s.devices.At(c.Slot()).tenant())
}

// classAway is that of the session of a client that is not connected here.
func (g *Gateway) classAway(client string) uint16 {
	return g.tenants.class(0, g.tenants.ofClient(client))
}

// class is that of a row and a tenant. x and t may be nil.
func (x *tenants) class(row int, t *tenant) uint16 {
	if x == nil {
		return uint16(row)
	}
	n := row * (len(x.all) + 1)
	if t != nil {
		n += t.number
	}
	return uint16(n)
}

// receiveMaxV3 is how many QoS 1 and 2 messages a 3.x device may have unacknowledged at least: it can't be told a limit.
const receiveMaxV3 = 2048

// sessionLimits are those of a shard's table. x may be nil.
func sessionLimits(c *Config, bounds []Bounds, x *tenants) *session.Limits {
	policy := map[string]session.QueuePolicy{
		"drop-oldest": session.DropOldest, "drop-newest": session.DropNewest, "disconnect": session.Disconnect,
	}[c.Session.QueuePolicy]
	usual := c.bounds()
	receiveMax := largest(append(bounds[:len(bounds):len(bounds)], usual), func(b *Bounds) int { return b.ReceiveMax })
	limits := session.Limits{
		QueuePolicy: policy, QueueQoS0: c.Session.QueueQoS0, TableBytesMax: c.Session.BytesMax, SessionsMax: c.Session.Max,
		ReceiveMaxV3: uint16(max(receiveMax, receiveMaxV3)), ExpiryMaxSec: largest(bounds, func(b *Bounds) uint32 { return b.expirySec(session.Never) }),
	}
	all := []*tenant{nil}
	if x != nil {
		all = append(all, x.all...)
	}
	var classes []session.Limits
	for row := range len(bounds) + 1 {
		b := &usual
		if row > 0 {
			b = &bounds[row-1]
		}
		for _, t := range all {
			classes = append(classes, classLimits(limits, b, t))
		}
	}
	limits = classes[0]
	limits.ReceiveMax = uint16(receiveMax)
	limits.Classes = classes[1:]
	return &limits
}

// classLimits are those of a table with what bounds a single session. t may be nil.
func classLimits(l session.Limits, b *Bounds, t *tenant) session.Limits {
	l.QueueCountMax, l.QueueBytesMax, l.InflightBytesMax = cmp.Or(b.QueueCountMax, -1), b.QueueBytesMax, b.QueueBytesMax
	l.InflightMax, l.ReceiveMax, l.SubscriptionsMax = uint16(b.InflightMax), uint16(b.ReceiveMax), b.SubscriptionsMax
	if t != nil && t.queued.bytesMax > 0 {
		l.Account = &t.queued
	}
	return l
}
