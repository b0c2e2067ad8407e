package bus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// The keys of TLS session tickets are one value of a bucket of their own, so that permissions can keep others from reading it. The value is
// a version, then for each key when it was made, as Unix seconds, and the key.
const (
	ticketsBucket   = "TG_tickets"
	ticketsKey      = "keys"
	ticketsVersion  = 1
	ticketBytes     = 8 + 32
	ticketsCountMax = 16
)

// TicketKey is a secret from which gateways make keys of TLS session tickets.
type TicketKey struct {
	MadeSec int64 // Unix time, by the clock of the gateway that made it
	Secret  [32]byte
}

// Tickets are the keys that all gateways on this NATS share.
type Tickets struct {
	Keys     []TicketKey // the newest first; none: nobody has put any there yet
	revision uint64
}

// Tickets reads the shared keys. It waits for NATS, so it is not for event loops. ErrDisconnected and ErrNoSecrets may pass.
func (b *Bus) Tickets(ctx context.Context) (Tickets, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	kv, err := b.tickets(ctx)
	if err != nil {
		return Tickets{}, err
	}
	return readTickets(ctx, kv)
}

// ReplaceTickets puts keys, the newest first and 16 at most, in the place of those that were read as was, unless somebody was quicker. It returns
// what is there then, either way: a key or more. It waits for NATS.
func (b *Bus) ReplaceTickets(ctx context.Context, was Tickets, keys []TicketKey) (Tickets, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	kv, err := b.tickets(ctx)
	if err != nil {
		return Tickets{}, err
	}
	value := []byte{ticketsVersion}
	for i := range keys {
		value = binary.BigEndian.AppendUint64(value, uint64(keys[i].MadeSec))
		value = append(value, keys[i].Secret[:]...)
	}
	// A write that failed because of a newer value, or whose answer was lost, is told by what is there.
	if was.revision == 0 {
		_, err = kv.Create(ctx, ticketsKey, value)
	} else {
		_, err = kv.Update(ctx, ticketsKey, value, was.revision)
	}
	t, readErr := readTickets(ctx, kv)
	if readErr != nil || t.revision == was.revision || len(t.Keys) == 0 { // the last: somebody has deleted them
		return Tickets{}, fmt.Errorf("bus: write %s of %s: %w", ticketsKey, ticketsBucket, errors.Join(err, readErr))
	}
	return t, nil
}

func (b *Bus) tickets(ctx context.Context) (jetstream.KeyValue, error) {
	w := b.echo.now.Load()
	if w == nil {
		return nil, ErrDisconnected
	}
	kv, err := b.bucket(ctx, w.nc, ticketsBucket, "keys of TLS session tickets: who reads them can pose as any device")
	if err != nil {
		return nil, fmt.Errorf("%w: bucket %s: %w", ErrNoSecrets, ticketsBucket, err)
	}
	return kv, nil
}

func readTickets(ctx context.Context, kv jetstream.KeyValue) (t Tickets, err error) {
	e, err := kv.Get(ctx, ticketsKey)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return t, nil
	case err != nil:
		return t, fmt.Errorf("bus: read %s of %s: %w", ticketsKey, ticketsBucket, err)
	}
	value := e.Value()
	if n := len(value) - 1; n < ticketBytes || n%ticketBytes != 0 || n > ticketsCountMax*ticketBytes || value[0] != ticketsVersion {
		return t, fmt.Errorf("bus: %s of %s, with %d bytes, is no list of keys; delete it, and the gateways make a new one", ticketsKey, ticketsBucket, len(value))
	}
	t.revision = e.Revision()
	for p := value[1:]; len(p) > 0; p = p[ticketBytes:] {
		t.Keys = append(t.Keys, TicketKey{int64(binary.BigEndian.Uint64(p)), [32]byte(p[8:ticketBytes])})
	}
	return t, nil
}
