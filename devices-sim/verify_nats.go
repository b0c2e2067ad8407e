package main

import (
	"bytes"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsWitness stands where a backend would: on NATS. Safe from any goroutine.
type natsWitness struct {
	conn   *nats.Conn
	log    jetstream.JetStream // commands go into the gateway's log; nil: they are plain messages
	ledger *ledger
}

// The gateway's log takes commands on the subjects of their topics below logPrefix. At most storedOpen of them are without an
// answer at any time.
const (
	logPrefix  = "$TG.log."
	storedOpen = 4096
)

// newNATSWitness subscribes to topics (filters with +) and notes what arrives.
func newNATSWitness(url string, topics []string, l *ledger, now clock, stored bool) (*natsWitness, error) {
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
	w := &natsWitness{conn: conn, ledger: l}
	if stored {
		if w.log, err = jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(storedOpen), jetstream.WithPublishAsyncErrHandler(w.notStored)); err != nil {
			w.close()
			return nil, fmt.Errorf("--verify %s: %w", url, err)
		}
	}
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
	if w.log == nil {
		return w.conn.Publish(s, payload)
	}
	_, err = w.log.PublishAsync(logPrefix+s, bytes.Clone(payload), jetstream.WithStallWait(storeTimeout))
	return err
}

// notStored notes a command that the log did not take: it will be missing at its device, and this says why.
func (w *natsWitness) notStored(_ jetstream.JetStream, _ *nats.Msg, err error) {
	w.ledger.problem("a command was not stored: " + err.Error())
}

// flush has nothing to do: the client's own flusher writes as soon as something is there.
func (w *natsWitness) flush() {}

func (w *natsWitness) close() {
	if w.log != nil {
		w.log.CleanupPublisher()
	}
	w.conn.Close()
}
