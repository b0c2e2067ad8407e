package main

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// natsWitness stands where a backend would: on NATS. Safe from any goroutine.
type natsWitness struct{ conn *nats.Conn }

// newNATSWitness subscribes to topics (filters with +) and notes what arrives.
func newNATSWitness(url string, topics []string, l *ledger, now clock) (*natsWitness, error) {
	conn, err := nats.Connect(url,
		nats.Name("devices-sim"),
		nats.MaxReconnects(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.problem("nats: " + err.Error()) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				l.problem("nats: disconnected: " + err.Error())
			}
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("--verify %s: %w", url, err)
	}
	w := &natsWitness{conn}
	for _, topic := range topics {
		s, err := subject(topic)
		if err != nil {
			w.close()
			return nil, err
		}
		sub, err := conn.Subscribe(s, func(m *nats.Msg) { l.note(m.Data, now()) })
		if err == nil {
			// A verifier that drops would report the server's loss. Its memory is the limit.
			err = sub.SetPendingLimits(-1, -1)
		}
		if err != nil {
			w.close()
			return nil, fmt.Errorf("--verify %s: subscribe %s: %w", url, s, err)
		}
	}
	return w, conn.FlushTimeout(10 * time.Second)
}

func (w *natsWitness) send(topic string, payload []byte) error {
	s, err := subject(topic)
	if err != nil {
		return err
	}
	return w.conn.Publish(s, payload)
}

// flush has nothing to do: the client's own flusher writes as soon as something is there.
func (w *natsWitness) flush() {}

func (w *natsWitness) close() { w.conn.Close() }
