package gateway

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bus"
)

// A device that comes back with a session ticket spares itself and us the signature of a full handshake, and in a storm most of them come to
// another gateway than before. So the keys of tickets are shared through NATS. Where NATS keeps nothing for us, or is away, the gateway's own are used.
//
// A key is made when the newest is as old as tls.ticket_rotation, by whoever sees it first. All gateways look every ticketsLookTime; a new key is used to
// read tickets at once, and to write them when all have had the time to see it.
const (
	ticketsLookTime = 30 * time.Second
	ticketsRipeTime = 2 * ticketsLookTime
	ticketsKept     = 3
)

// tickets are the keys as this gateway knows them. Owned by the gate, under its lock.
type tickets struct {
	known     bus.Tickets
	shared    bool // known is what NATS has
	seenAt    map[bus.TicketKey]time.Time
	rotatedAt time.Time // when we last made a key
}

// begin makes a key of our own, which is shared if NATS has none.
func (t *tickets) begin(now time.Time) {
	t.rotatedAt = now
	t.take(bus.Tickets{Keys: []bus.TicketKey{newTicketKey(now)}}, now)
}

// newTicketKey makes a key that nobody knows.
func newTicketKey(now time.Time) bus.TicketKey {
	k := bus.TicketKey{MadeSec: now.Unix()}
	_, _ = rand.Read(k.Secret[:]) // it never fails: see its documentation
	return k
}

// take has the keys of known used. Those that are there at first have been seen by the others.
func (t *tickets) take(known bus.Tickets, now time.Time) {
	seen := make(map[bus.TicketKey]time.Time, len(known.Keys))
	for _, k := range known.Keys {
		at, before := t.seenAt[k]
		switch {
		case before:
		case t.shared:
			at = now
		default:
			at = time.Unix(k.MadeSec, 0)
		}
		seen[k] = at
	}
	t.known, t.seenAt = known, seen
}

// inUse are the keys as a tls.Config wants them: the first one writes tickets, all read them.
func (t *tickets) inUse(now time.Time) []bus.TicketKey {
	keys := slices.Clone(t.known.Keys)
	if len(keys) > 1 && now.Sub(t.seenAt[keys[0]]) < ticketsRipeTime {
		keys[0], keys[1] = keys[1], keys[0]
	}
	return keys
}

// due tells whether the newest key is so old that there should be another. Whose clock is wrong makes one once in a while, not always.
func (t *tickets) due(now time.Time, rotation time.Duration) bool {
	age := now.Sub(time.Unix(t.known.Keys[0].MadeSec, 0))
	return (age >= rotation || age < -rotation) && (t.rotatedAt.IsZero() || now.Sub(t.rotatedAt) >= rotation)
}

// next are the keys with a new one. What is older than a ticket may get is left out, however few are left.
func (t *tickets) next(now time.Time, rotation time.Duration) []bus.TicketKey {
	keys := append([]bus.TicketKey{newTicketKey(now)}, t.known.Keys...)
	keys = slices.DeleteFunc(keys, func(k bus.TicketKey) bool { return now.Sub(time.Unix(k.MadeSec, 0)) >= ticketsKept*rotation })
	return keys[:min(len(keys), ticketsKept)]
}

// refreshTickets learns the shared keys, makes a new one if it is time, and has them used.
func (x *tlsGate) refreshTickets(ctx context.Context) {
	rotation := x.gw.cfg.TLS.TicketRotation
	if rotation == 0 {
		return
	}
	there, err := x.gw.bus.Tickets(ctx)
	now := time.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	t := &x.tickets
	if err == nil && len(there.Keys) == 0 {
		there, err = x.replaceTickets(ctx, there, t.known.Keys)
	}
	if err != nil {
		x.gw.log.Debug().Err(err).Msg("keys of session tickets are not shared")
		t.shared = false
		if t.due(now, rotation) {
			t.rotatedAt = now
			t.take(bus.Tickets{Keys: t.next(now, rotation)}, now)
		}
		x.useTickets(now)
		return
	}
	if !t.shared {
		t.rotatedAt = time.Time{}
	}
	t.take(there, now)
	t.shared = true
	if t.due(now, rotation) {
		if there, err = x.replaceTickets(ctx, there, t.next(now, rotation)); err == nil {
			t.rotatedAt = now
			t.take(there, now)
		}
	}
	x.useTickets(now)
}

// replaceTickets is bus.ReplaceTickets without the lock.
func (x *tlsGate) replaceTickets(ctx context.Context, was bus.Tickets, keys []bus.TicketKey) (bus.Tickets, error) {
	x.mu.Unlock()
	defer x.mu.Lock()
	return x.gw.bus.ReplaceTickets(ctx, was, keys)
}

// useTickets has all doors use the keys.
func (x *tlsGate) useTickets(now time.Time) {
	keys := x.tickets.inUse(now)
	for _, d := range x.doors {
		if d == nil {
			continue
		}
		if s := d.now.Load(); s != nil {
			s.setTicketKeys(keys)
		}
	}
}
