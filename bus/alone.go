package bus

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// alone tells whether nobody can hear what is published to the embedded server: no client is connected to it but us, no
// stream stores subjects of devices, and no queue interest of ours wants it back. Then publishing would only wake
// goroutines, which is half of what a message between two devices costs (decision 0005).
//
// It may say no wrongly, never yes. Every client passes the server's authentication hook before its first SUB, so what
// was found out holds as long as the hook was not called again. Streams are made by clients, which also have to pass it;
// whatever makes a stream over our own connections must call doubt. Methods are safe from any goroutine.
type alone struct {
	calls  atomic.Uint64 // of the hook
	sureAt atomic.Uint64 // value of calls for which we were found to be alone
	queues atomic.Int64  // queue interests
	mu     sync.Mutex    // of a look
	looked uint64        // value of calls at the last one
}

// aloneLookTime is how long after the last client left we notice, at most.
const aloneLookTime = time.Second

// Check is the embedded server's authentication hook. It lets everybody in.
func (a *alone) Check(server.ClientAuthentication) bool {
	a.doubt()
	return true
}

// doubt takes back what was found out.
func (a *alone) doubt() { a.calls.Add(1) }

// Alone tells whether a message would be heard by nobody if it were published now. It costs two loads.
func (b *Bus) Alone() bool {
	a := &b.alone
	return a.sureAt.Load() == a.calls.Load() && a.queues.Load() == 0 && b.server != nil
}

// Unheard counts messages that were not published because of that.
func (b *Bus) Unheard(messages int) { b.count.unheard.Add(uint64(messages)) }

// watchAlone looks whether we are alone whenever something has changed, until ctx ends.
func (b *Bus) watchAlone(ctx context.Context) {
	t := time.NewTicker(aloneLookTime)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			b.lookAround()
		case <-ctx.Done():
			return
		}
	}
}

// lookAround finds out whether we are alone. What is not certain is looked at again the next time.
func (b *Bus) lookAround() {
	a, s := &b.alone, b.server.server
	a.mu.Lock()
	defer a.mu.Unlock()
	calls := a.calls.Load() // before all else: who comes later is not in what we see
	if calls == a.looked {
		return
	}
	uplink, echo := b.uplink.now.Load(), b.echo.now.Load()
	if uplink == nil || echo == nil || s.GetClient(uplink.id) == nil || s.GetClient(echo.id) == nil || s.NumClients() != 2 {
		return
	}
	subs, err := s.Subsz(&server.SubszOptions{Subscriptions: true, Account: server.DEFAULT_GLOBAL_ACCOUNT, Limit: 1 << 30})
	if err != nil {
		return
	}
	a.looked = calls
	for i := range subs.Subs {
		if sub := &subs.Subs[i]; sub.Cid != uplink.id && sub.Cid != echo.id && !Reserved([]byte(sub.Subject)) {
			return
		}
	}
	a.sureAt.Store(calls)
}
