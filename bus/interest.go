package bus

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// interest is what one Subscribe asked for. It outlives the wires that carry it.
type interest struct {
	id       uint32
	subjects []string
	queue    string // as NATS sees it
	link     *link
	subs     []*nats.Subscription // on the present wire; guarded by Bus.op
	gone     atomic.Bool          // after Unsubscribe: messages still waiting are discarded
}

// Subscribe begins to receive what arrives on the subjects as messages of interest id. With a queue name the interest is a member of that
// NATS queue group and also gets what this Bus publishes; without one it does not. While NATS is away the interest is noted
// and takes effect with the connection. It may wait for nats.go: not for event loops.
//
// A queue name may hold any bytes; other members name it with %, space, control and non-ASCII bytes written as %XX.
func (b *Bus) Subscribe(id uint32, subjects []string, queue string) error {
	it := &interest{id: id, subjects: append([]string(nil), subjects...), link: b.uplink}
	if queue != "" {
		it.link, it.queue = b.echo, string(appendEscaped(nil, []byte(queue), wordPlain))
	}
	for _, s := range subjects {
		switch {
		case s == "":
			return fmt.Errorf("bus: empty subject in interest %d", id)
		case Reserved([]byte(s)):
			return fmt.Errorf("%w: %q", ErrReserved, s)
		case len(s)+len(it.queue) > SubjectBytesMax:
			return ErrSubjectTooLong
		}
	}
	b.mu.Lock()
	closing := b.closing
	b.mu.Unlock()
	if closing {
		return ErrClosed
	}
	b.op.Lock()
	defer b.op.Unlock()
	if b.interests[id] != nil {
		return ErrInterestExists
	}
	b.interests[id] = it
	if it.queue != "" {
		b.alone.queues.Add(1)
	}
	w := it.link.now.Load()
	if w == nil {
		return nil
	}
	if err := b.attach(w, it); err != nil {
		b.detach(it)
		return err
	}
	return nil
}

// Unsubscribe ends an interest. Messages of a Receive that is running may still be of it; none after that.
func (b *Bus) Unsubscribe(id uint32) error {
	b.op.Lock()
	defer b.op.Unlock()
	it := b.interests[id]
	if it == nil {
		return ErrNoInterest
	}
	b.detach(it)
	return nil
}

// attach subscribes an interest on a wire. Channel subscriptions only: a callback subscription would start a goroutine.
// Called with op held.
func (b *Bus) attach(w *wire, it *interest) error {
	for _, subject := range it.subjects {
		var sub *nats.Subscription
		var err error
		if it.queue == "" {
			sub, err = w.nc.ChanSubscribe(subject, b.inbox.arrivals)
		} else {
			sub, err = w.nc.ChanQueueSubscribe(subject, it.queue, b.inbox.arrivals)
		}
		switch {
		case errors.Is(err, nats.ErrConnectionClosed):
			return nil // the next wire carries it
		case err != nil:
			return fmt.Errorf("bus: subscribe %q: %w", subject, err)
		}
		it.subs = append(it.subs, sub)
		w.subs[sub] = struct{}{}
		b.inbox.learn(sub, it)
	}
	return nil
}

// detach ends an interest at NATS and forgets it. Called with op held.
func (b *Bus) detach(it *interest) {
	it.gone.Store(true)
	delete(b.interests, it.id)
	if it.queue != "" {
		b.alone.queues.Add(-1)
	}
	w := it.link.now.Load()
	for _, sub := range it.subs {
		b.countSlow(sub)
		_ = sub.Unsubscribe() // fails only if the wire is gone, and then nothing is left to end
		b.inbox.forget(sub)
		if w != nil {
			delete(w.subs, sub)
		}
	}
	it.subs = nil
}

// Flush waits until the Subscribe and Unsubscribe calls that returned before have reached the server, or returns ErrDisconnected at once
// when NATS is away. Without a deadline in ctx it waits ten seconds at most.
func (b *Bus) Flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	for _, l := range []*link{b.uplink, b.echo} {
		w := l.now.Load()
		if w == nil {
			return ErrDisconnected
		}
		err := w.nc.FlushWithContext(ctx)
		switch {
		case errors.Is(err, nats.ErrConnectionClosed):
			return ErrDisconnected
		case err != nil:
			return fmt.Errorf("bus: flush: %w", err)
		}
	}
	return nil
}

// onAsyncError counts what nats.go reports on the side. Called by nats.go, in a goroutine of the wire.
func (b *Bus) onAsyncError(sub *nats.Subscription, err error) {
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		b.count.permissionDenied.Add(1)
	case errors.Is(err, nats.ErrSlowConsumer) && sub.Subject == peerSubject:
		b.peers.countSlow(sub)
	case errors.Is(err, nats.ErrSlowConsumer) && sub.Subject == requestSubject:
		b.words.countSlow(sub)
	case errors.Is(err, nats.ErrSlowConsumer):
		b.countSlow(sub)
	}
}

// countSlow adds what nats.go dropped for a subscription since the last time: its channel was full, although the inbox empties
// it without waiting, so the process had no CPU time.
func (b *Bus) countSlow(sub *nats.Subscription) {
	n, err := sub.Dropped()
	f := b.inbox.find(sub)
	if err != nil || n <= 0 || f == nil {
		return
	}
	if before := f.dropped.Swap(uint64(n)); uint64(n) > before {
		b.count.slowDrops.Add(uint64(n) - before)
	}
}
