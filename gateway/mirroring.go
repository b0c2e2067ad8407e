package gateway

import (
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/session"
)

// loadTime is how long subscriptions of a gateway that just started wait for the bucket to tell what is retained. Then they get what is known,
// and all of it once it was told.
const loadTime = 5 * time.Second

// mirrorRetained has the retained messages kept in NATS too. To be called before the loops run.
func (g *Gateway) mirrorRetained() {
	g.retained.mirror = &retainedMirror{
		store: &g.retained, bucket: g.bus.PutRetained, own: map[string]*ownPut{}, owed: map[string]struct{}{},
		waitUntilSec: epoll.NowSec() + uint32(loadTime/time.Second),
	}
	g.bus.WatchRetained(g.hearRetained)
}

// retainDurably makes m the retained message of its topic, or deletes that, as retainedStore.set does, and calls done once: with true when NATS has
// it, or there is nothing but memory to keep it in; with false when NATS will not have it, or too much waits already. Then the topic has, in the end, what NATS
// has. A message that the limits of this gateway do not let it keep is as good as kept: it deletes what the topic had. For
// loops; done runs on a bus goroutine, or on the caller's before retainDurably returns.
func (g *Gateway) retainDurably(m *session.Message, done func(ok bool)) {
	kept, how := g.retained.keep(epoll.NowSec(), m, done)
	if !kept && how != retainedRefused {
		g.retained.full.Add(1)
	}
	if how != retainedWaits {
		done(how == retainedHere)
	}
}

// hearRetained takes what the bucket of retained messages tells to the store, and what a backend put there to the devices that are subscribed now. It
// runs on a bus goroutine and may wait for a shard's inbox.
func (g *Gateway) hearRetained(run []bus.RetainedUpdate) {
	now := epoll.NowSec()
	all := g.retained.mirror.hear(now, run)
	g.deliverPuts(run)
	if all {
		g.retained.repay(now)
		for _, s := range g.shards {
			g.tellShard(s, func(s *shard) { s.beginEarly(true) })
		}
	}
}

// deliverPuts delivers what backends put into the bucket: it is a publish to whoever is subscribed. What gateways put comes to devices the
// way that all they publish comes.
func (g *Gateway) deliverPuts(run []bus.RetainedUpdate) {
	b := g.downPool.take()
	for i := range run {
		if u := &run[i]; u.Kind == bus.RetainedSet && u.News && !u.FromDevice {
			g.addInbound(b, &u.Inbound, &routed{shard: -1})
			b.msgs[len(b.msgs)-1].retain = true
		}
	}
	if b.Len() == 0 {
		b.refs.Store(1)
		b.release()
		return
	}
	b.refs.Store(int32(len(g.shards)))
	for _, s := range g.shards {
		g.putNote(s, note{batch: b}, b.release)
	}
}

// unkept is how many messages the store had no room for, beside those that shards count.
func (r *retainedStore) unkept() uint64 {
	n := r.full.Load()
	if r.mirror != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		n += r.mirror.count.unkept
	}
	return n
}

// mirror emits what concerns the bucket of retained messages.
func (e emitter) mirror(g *Gateway) {
	n, count, owed := g.bus.RetainedCounters(), mirrorCounters{}, 0
	if x := g.retained.mirror; x != nil {
		g.retained.mu.Lock()
		count, owed = x.count, len(x.owed)
		g.retained.mu.Unlock()
	}
	e.gauge("gateway_retained_pending", float64(n.Pending+owed))
	for _, r := range []struct {
		event string
		n     uint64
	}{
		{"put", n.Puts}, {"merged", n.Merged}, {"repeated", n.Retries}, {"busy", n.Busy}, {"refused", count.failed},
		{"overruled", count.overruled}, {"update", n.Updates}, {"reload", n.Reloads}, {"no_topic", n.Unusable},
	} {
		e.counter("gateway_retained_bucket_total", float64(r.n), r.event)
	}
}
