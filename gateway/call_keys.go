package gateway

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/bus"
)

// callKeys are the keys under which calls are made and checked. A device may answer at another gateway than the one that gave it its call,
// so that all gateways on one NATS use one key. It is in the bucket TG_gateways, put there by whoever came first, and never changes;
// until it is known, and where NATS has no JetStream, the gateway's own is used, which dies with the process. The one who comes first puts its
// own there, so that what it gave out before stays good. Safe from any goroutine.
type callKeys struct {
	own    secret
	shared atomic.Pointer[secret]
}

// sign is the key for new calls.
func (k *callKeys) sign() *secret {
	if s := k.shared.Load(); s != nil {
		return s
	}
	return &k.own
}

// check tells whether f holds for one of the keys.
func (k *callKeys) check(f func(k *secret) bool) bool {
	if s := k.shared.Load(); s != nil && f(s) {
		return true
	}
	return f(&k.own)
}

const (
	// callKeyName is the shared key in the bucket.
	callKeyName = "secret"
	// callKeyRetry is how soon the key is looked for again when it could not be had, at first and at most.
	callKeyRetry    = time.Second
	callKeyRetryMax = time.Minute
)

// shareCallKey looks for the shared key until it is known, or ctx ends. A gateway that is alone on a NATS of its own waits until another one is
// heard: nobody can have a key there before.
func (g *Gateway) shareCallKey(ctx context.Context) {
	if g.claims == nil {
		return
	}
	for pause := callKeyRetry; ; {
		if !g.claims.host || !g.claims.alone.Load() {
			key, err := g.bus.SharedSecret(ctx, callKeyName, g.keys.own[:])
			switch {
			case err == nil:
				g.keys.shared.Store((*secret)(key))
				return
			case errors.Is(err, bus.ErrNoSecrets):
				g.log.Debug().Err(err).Msg("calls of requests are good at this gateway only")
			}
			pause = min(2*pause, callKeyRetryMax)
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}
