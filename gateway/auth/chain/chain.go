package chain

import (
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/gateway/auth"
)

// Chain is an order of providers. Safe from any goroutine.
type Chain struct {
	links    []*Link
	throttle *Throttle
}

// New is a chain that asks links in their order; throttle may be that of other chains, too.
func New(throttle *Throttle, links ...*Link) *Chain { return &Chain{links: links, throttle: throttle} }

// question is a device that waits.
type question struct {
	chain   *Chain
	request *auth.Request
	at      int // which link has it
	done    func(auth.Answer)
	gone    atomic.Bool
}

// Ask has the chain say who asks to come in. done runs once, on any goroutine, perhaps before Ask returns; it must not wait. Pass is the answer
// when no provider knows the device. The request is the chain's until then. cancel says that nobody waits for the answer any more; done runs all the same.
func (c *Chain) Ask(r *auth.Request, done func(auth.Answer)) (cancel func()) {
	q := &question{chain: c, request: r, done: done}
	if !c.throttle.Lets(r, time.Now()) {
		done(auth.Answer{Verdict: auth.Deny, Refusal: auth.Banned})
		return func() {}
	}
	q.ask()
	return func() { q.gone.Store(true) }
}

// ask goes to the link whose turn it is, if there is one.
func (q *question) ask() {
	if q.at < len(q.chain.links) {
		q.chain.links[q.at].ask(q)
		return
	}
	q.end(auth.Answer{Verdict: auth.Pass})
}

// answered is what a link said.
func (q *question) answered(a auth.Answer) {
	if a.Verdict == auth.Pass {
		q.at++
		q.ask()
		return
	}
	q.end(a)
}

func (q *question) end(a auth.Answer) {
	guessed := a.Verdict == auth.Deny && a.Refusal == auth.BadCredentials || a.Verdict == auth.Pass && q.request.HasPassword
	switch {
	case guessed:
		q.chain.throttle.Guessed(q.request, time.Now())
	case a.Verdict == auth.Allow && q.request.HasPassword:
		q.chain.throttle.Knew(q.request, time.Now())
	}
	q.done(a)
}
