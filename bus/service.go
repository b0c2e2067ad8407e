package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Service is what backends may ask the gateways, by NATS's own conventions for services: `nats micro ls` finds it, and one of the gateways
// answers each question.
type Service struct {
	Name, Version, Description string
	Endpoints                  []Endpoint

	// Together are questions that every gateway hears, and answers for itself.
	Together []Endpoint
}

// Endpoint is one question. Answer runs on a bus goroutine of its own and may block; question is borrowed, the answer is sent. An
// error becomes that of the answer, and nil for both says nothing.
type Endpoint struct {
	Name, Subject string
	Answer        func(question []byte) ([]byte, *ServiceError)
}

// ServiceError is an answer that is none. Code is like HTTP's.
type ServiceError struct {
	Code, Text string
}

// serviceGroup is the queue group of the gateways.
const serviceGroup = "tidegate"

// Serve begins to answer. To be called once at most. While NATS is away the service is noted and takes effect with the connection. It may wait
// for nats.go: not for event loops.
func (b *Bus) Serve(s *Service) error {
	b.op.Lock()
	defer b.op.Unlock()
	b.service = s
	w := b.echo.now.Load()
	if w == nil {
		return nil
	}
	return b.serve(w)
}

// serve subscribes the service on a new wire; called with op held.
func (b *Bus) serve(w *wire) error {
	if b.service == nil {
		return nil
	}
	err := b.service.start(w.nc)
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("bus: service %s: %w", b.service.Name, err)
	}
	return nil
}

// start makes the service known on a connection; it ends with that.
func (s *Service) start(nc *nats.Conn) error {
	service, err := micro.AddService(nc, micro.Config{Name: s.Name, Version: s.Version, Description: s.Description, QueueGroup: serviceGroup})
	if err != nil {
		return err
	}
	for _, e := range s.Endpoints {
		err = errors.Join(err, service.AddEndpoint(e.Name, micro.HandlerFunc(e.handle), micro.WithEndpointSubject(e.Subject)))
	}
	for _, e := range s.Together {
		_, failed := nc.Subscribe(e.Subject, func(m *nats.Msg) {
			if reply, _ := e.Answer(m.Data); reply != nil && m.Reply != "" {
				_ = nc.Publish(m.Reply, reply) // whoever asked finds out by the time
			}
		})
		err = errors.Join(err, failed)
	}
	return err
}

// handle answers one question.
func (e *Endpoint) handle(r micro.Request) {
	reply, wrong := e.Answer(r.Data())
	if wrong != nil {
		_ = r.Error(wrong.Code, wrong.Text, nil)
		return
	}
	_ = r.Respond(reply)
}

// AskAll asks every gateway, this one too, and has each called with an answer until want of them came, each returns false, or d has passed. It returns
// how many came. It waits: not for event loops.
func (b *Bus) AskAll(subject string, question []byte, want int, d time.Duration, each func(answer []byte) bool) (came int, err error) {
	s, err := b.storeOf(nil)
	if err != nil {
		return 0, err
	}
	defer s.close()
	if err := s.nc.PublishRequest(subject, s.ask(), question); err != nil {
		return 0, ErrDisconnected
	}
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	for came < want {
		m, _, err := s.next(context.Background(), deadline.C)
		switch {
		case errors.Is(err, errNoAnswer):
			return came, nil
		case err != nil:
			return came, err
		case m.Header.Get("Status") != "": // nobody listens
			return came, nil
		}
		if came++; !each(m.Data) {
			break
		}
	}
	return came, nil
}
