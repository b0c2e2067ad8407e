package bus

import (
	"errors"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus/bustest"
)

// TestTickets: of gateways that put keys at once one has its own there and the others get to know it; an older reading replaces nothing.
func TestTickets(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	a, b := openOn(t, s, func(*Options) {}), openOn(t, s, func(*Options) {})
	none, err := a.Tickets(t.Context())
	if err != nil || len(none.Keys) != 0 {
		t.Fatal(none, err)
	}
	key := func(n byte) TicketKey { return TicketKey{MadeSec: int64(n), Secret: [32]byte{n, 31: n}} }
	answers := make(chan Tickets)
	for i, bus := range []*Bus{a, b} {
		go func() {
			got, err := bus.ReplaceTickets(t.Context(), none, []TicketKey{key(byte(i + 1))})
			if err != nil {
				t.Error(err)
			}
			answers <- got
		}()
	}
	one, other := <-answers, <-answers
	if len(one.Keys) != 1 || !slices.Equal(one.Keys, other.Keys) {
		t.Fatalf("%v and %v", one, other)
	}
	newer, err := a.ReplaceTickets(t.Context(), one, []TicketKey{key(3), one.Keys[0]})
	if err != nil || len(newer.Keys) != 2 || newer.Keys[0] != key(3) {
		t.Fatal(newer, err)
	}
	late, err := b.ReplaceTickets(t.Context(), other, []TicketKey{key(4), other.Keys[0]})
	if err != nil || !slices.Equal(late.Keys, newer.Keys) {
		t.Fatal(late, err)
	}
	if read, err := b.Tickets(t.Context()); err != nil || !slices.Equal(read.Keys, newer.Keys) {
		t.Fatal(read, err)
	}
	js, err := jetstream.New(s.Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	for name := range js.StreamNames(t.Context()).Name() {
		if !isOwnStream(name) {
			t.Errorf("%s would be taken for somebody who hears devices", name)
		}
	}
}

// TestTicketsTakenAway: who replaces keys that somebody has deleted meanwhile is not told of none, and the next who looks can put some there.
func TestTicketsTakenAway(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	b := openOn(t, s, func(*Options) {})
	keys := []TicketKey{{MadeSec: 1, Secret: [32]byte{1}}}
	was, err := b.ReplaceTickets(t.Context(), Tickets{}, keys)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := b.tickets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(t.Context(), ticketsKey); err != nil {
		t.Fatal(err)
	}
	if got, err := b.ReplaceTickets(t.Context(), was, keys); err == nil {
		t.Errorf("%+v without an error", got)
	}
	none, err := b.Tickets(t.Context())
	if err != nil || len(none.Keys) != 0 {
		t.Fatal(none, err)
	}
	if got, err := b.ReplaceTickets(t.Context(), none, keys); err != nil || len(got.Keys) != 1 {
		t.Error(got, err)
	}
}

// TestTicketsUnreadable: what is no list of keys is an error that says what to do, and so is a NATS without JetStream.
func TestTicketsUnreadable(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	b := openOn(t, s, func(*Options) {})
	kv, err := b.tickets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range [][]byte{{}, {ticketsVersion}, make([]byte, 1+ticketBytes), append([]byte{ticketsVersion}, make([]byte, ticketBytes+1)...)} {
		if _, err := kv.Put(t.Context(), ticketsKey, value); err != nil {
			t.Fatal(err)
		}
		if got, err := b.Tickets(t.Context()); err == nil {
			t.Errorf("%x is read as %v", value, got)
		}
	}
	none := openOn(t, bustest.Start(t, withoutJetStream), func(*Options) {})
	if _, err := none.Tickets(t.Context()); !errors.Is(err, ErrNoSecrets) {
		t.Error(err)
	}
}
