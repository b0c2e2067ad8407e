package bus

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// alone tells whether nobody can hear what is published to the embedded server: no client is connected to it but us, it has
// no stream but ours, and no queue interest of ours wants it back. Then publishing would only wake goroutines, which is a third of
// what a message between two devices costs (decision 0005).
//
// It may say no wrongly, but yes only while nobody can tell. Every client passes the server's authentication hook
// before its first SUB, so what a look has found holds as long as the hook was not called again. Streams are made for
// clients, too, but by goroutines of the server, perhaps after their client has left without waiting for the answer.
// Nobody knows when such a stream began; it has the messages from the next look on. A leaf node is never alone: nobody tells it who is at the hub. Whatever makes a stream that takes subjects of topics over
// our own connections must call doubt. Methods are safe from any goroutine.
type alone struct {
	calls  atomic.Uint64 // of the hook, and of doubt
	sureAt atomic.Uint64 // value of calls for which we were found to be alone; 0: not found so
	queues atomic.Int64  // queue interests
	mu     sync.Mutex    // of a look
	seenAt uint64        // value of calls at which the last look found nobody; 0: it found somebody
}

// aloneLookTime is between two looks. We are sure after the second that finds nobody.
const aloneLookTime = time.Second

// Check is the embedded server's authentication hook. It lets everybody in.
func (a *alone) Check(server.ClientAuthentication) bool {
	a.doubt()
	return true
}

// doubt takes back what was found out.
func (a *alone) doubt() { a.calls.Add(1) }

// Alone tells whether a message would be heard by nobody if it were published now. It costs a few loads.
func (b *Bus) Alone() bool {
	a := &b.alone
	sure := a.sureAt.Load()
	return sure != 0 && sure == a.calls.Load() && a.queues.Load() == 0
}

// Unheard counts messages that were not published because of that.
func (b *Bus) Unheard(messages int) { b.count.unheard.Add(uint64(messages)) }

// watchAlone looks around until ctx ends.
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

// lookAround finds out whether we are alone.
func (b *Bus) lookAround() {
	a := &b.alone
	a.mu.Lock()
	defer a.mu.Unlock()
	calls := a.calls.Load() // before all else: who comes later is not in what we see
	switch {
	case !b.nobodyThere():
		a.seenAt = 0
		a.sureAt.Store(0)
	case a.seenAt != calls:
		a.seenAt = calls
	default:
		a.sureAt.Store(calls)
	}
}

// nobodyThere tells whether there are no clients but our two connections, and no streams but ours.
func (b *Bus) nobodyThere() bool {
	s := b.server.server
	uplink, echo := b.uplink.now.Load(), b.echo.now.Load()
	return uplink != nil && echo != nil && s.GetClient(uplink.id) != nil && s.GetClient(echo.id) != nil && s.NumClients() == 2 &&
		onlyOwnStreams(s)
}

// onlyOwnStreams tells whether there is no stream that could take what is published on the subject of a topic: ours take only what begins with "$".
func onlyOwnStreams(s *server.Server) bool {
	account := s.GlobalAccount()
	if account.JetStreamUsage().Streams == 0 {
		return true
	}
	all, err := s.JszAccount(&server.JSzOptions{Account: account.GetName(), Streams: true})
	if err != nil {
		return false
	}
	for i := range all.Streams {
		if !isOwnStream(all.Streams[i].Name) {
			return false
		}
	}
	return true
}
