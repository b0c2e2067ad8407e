package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// Settle waits until NATS has answered, and until everything that it had sent before its answer was handed to whom it is for: to Receive, and to
// those who Hear. For a process that did not run for a while, and is to know what was said meanwhile before it goes on. ErrDisconnected, or
// ctx's error: nobody knows. Not from a callback of the Bus, for it would wait for itself. Safe from any goroutine.
func (b *Bus) Settle(ctx context.Context) error {
	w := b.uplink.now.Load()
	if w == nil {
		return ErrDisconnected
	}
	if err := w.nc.FlushWithContext(ctx); err != nil {
		return settleError(err)
	}
	handed := make(chan struct{})
	if err := w.nc.Barrier(func() { close(handed) }); err != nil {
		return settleError(err)
	}
	select {
	case <-handed:
		return nil
	case <-w.gone:
		return ErrDisconnected
	case <-ctx.Done():
		return ctx.Err()
	}
}

func settleError(err error) error {
	if errors.Is(err, nats.ErrConnectionClosed) {
		return ErrDisconnected
	}
	return fmt.Errorf("bus: settle: %w", err)
}
