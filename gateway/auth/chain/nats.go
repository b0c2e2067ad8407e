package chain

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/tidegate/tidegate/gateway/auth"
)

// RequestFunc sends a NATS request; done runs once, on any goroutine, with an answer that is borrowed.
type RequestFunc func(subject string, payload []byte, timeout time.Duration, done func(reply []byte, err error))

// NATS asks a service on a subject.
type NATS struct {
	subject string
	request RequestFunc
}

// NewNATS asks on a subject, which must be one that devices cannot reach.
func NewNATS(subject string, request RequestFunc) *NATS { return &NATS{subject, request} }

// Name is part of auth.Provider.
func (n *NATS) Name() string { return "nats" }

// Authenticate is part of auth.Provider.
func (n *NATS) Authenticate(ctx context.Context, r *auth.Request, _ int64) (auth.Answer, error) {
	text, err := encode(r)
	if err != nil {
		return auth.Answer{}, err
	}
	type answer struct {
		reply []byte
		err   error
	}
	came := make(chan answer, 1)
	timeout := time.Minute
	if until, ok := ctx.Deadline(); ok {
		timeout = time.Until(until)
	}
	n.request(n.subject, text, timeout, func(reply []byte, err error) { came <- answer{bytes.Clone(reply), err} })
	select {
	case a := <-came:
		switch {
		case a.err != nil:
			return auth.Answer{}, fmt.Errorf("chain: nobody answers on %s: %w", n.subject, a.err)
		case len(a.reply) > AnswerBytesMax:
			return auth.Answer{}, fmt.Errorf("chain: the answer on %s has more than %d bytes", n.subject, AnswerBytesMax)
		}
		return decode(a.reply, "nats")
	case <-ctx.Done():
		return auth.Answer{}, fmt.Errorf("chain: nobody answers on %s: %w", n.subject, ctx.Err())
	}
}
