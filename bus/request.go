package bus

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// RequestsMax is how many requests may wait for their answer; beyond it Request fails with ErrTooMany, RequestsRefused counts.
const RequestsMax = 4096

// requests are the questions under way: one wildcard inbox for all answers, no goroutine and no timer for each. Three goroutines: one
// publishes, so that a caller never waits for NATS; one takes the answers; one looks for timeouts, and exists only while
// requests do.
type requests struct {
	bus     *Bus
	inbox   string // prefix of reply subjects, ends with "."
	answers chan *nats.Msg
	end     chan struct{}
	wait    sync.WaitGroup

	mu      sync.Mutex
	work    sync.Cond
	last    uint64
	waiting map[uint64]*request
	unsent  []*request
	ticking bool
	closed  bool
}

type request struct {
	token    uint64
	subject  string
	payload  []byte
	deadline time.Time
	done     func(reply []byte, err error)
}

// requestTick is how late a timeout may be found.
const requestTick = 50 * time.Millisecond

func newRequests(b *Bus) *requests {
	r := &requests{
		bus: b, inbox: nats.NewInbox() + ".", answers: make(chan *nats.Msg, RequestsMax),
		end: make(chan struct{}), waiting: make(map[uint64]*request),
	}
	r.work.L = &r.mu
	return r
}

// Request sends a NATS request; done runs once with the answer (borrowed), ErrNoResponders, ErrTimeout, ErrDisconnected, ErrClosed or what
// nats.go finds wrong, on a bus goroutine. Only ErrTooMany, and ErrClosed when closed already, come on the caller's goroutine
// before Request returns. Request never waits for NATS; payload is copied. A subscription on ">" of anybody, such as a
// device's "#", counts for NATS as somebody who could answer; then ErrTimeout takes the place of ErrNoResponders.
func (b *Bus) Request(subject string, payload []byte, timeout time.Duration, done func(reply []byte, err error)) {
	r := b.asks
	q := &request{
		subject: subject, payload: append([]byte(nil), payload...),
		deadline: time.Now().Add(timeout), done: done,
	}
	if err := r.add(q); err != nil {
		done(nil, err)
	}
}

func (r *requests) add(q *request) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return ErrClosed
	case len(r.waiting) >= RequestsMax:
		r.bus.count.requestsRefused.Add(1)
		return ErrTooMany
	}
	r.last++
	q.token = r.last
	r.waiting[q.token] = q
	r.unsent = append(r.unsent, q)
	r.work.Signal()
	if !r.ticking {
		r.ticking = true
		r.wait.Add(1)
		go r.tick()
	}
	return nil
}

// listen subscribes the inbox on a new wire; called by the link with op held.
func (r *requests) listen(w *wire) error {
	_, err := w.nc.ChanSubscribe(r.inbox+"*", r.answers)
	return err
}

func (r *requests) start() {
	r.wait.Add(2)
	go r.send()
	go r.receive()
}

// stop ends the goroutines; requests still waiting get ErrClosed.
func (r *requests) stop() {
	r.mu.Lock()
	r.closed = true
	r.work.Signal()
	r.mu.Unlock()
	close(r.end)
	r.wait.Wait()
	for token := range r.waiting {
		r.finish(token, nil, ErrClosed)
	}
}

// finish takes a request out and tells its caller; the second time it does nothing and returns false.
func (r *requests) finish(token uint64, reply []byte, err error) bool {
	r.mu.Lock()
	q := r.waiting[token]
	delete(r.waiting, token)
	r.mu.Unlock()
	if q != nil {
		q.done(reply, err)
	}
	return q != nil
}

func (r *requests) send() {
	defer r.wait.Done()
	var batch []*request
	for {
		r.mu.Lock()
		for len(r.unsent) == 0 && !r.closed {
			r.work.Wait()
		}
		batch, r.unsent = r.unsent, batch[:0]
		closed := r.closed
		r.mu.Unlock()
		if closed {
			return
		}
		for _, q := range batch {
			r.publish(q)
		}
		clear(batch)
	}
}

func (r *requests) publish(q *request) {
	w := r.bus.echo.now.Load()
	if w == nil {
		r.finish(q.token, nil, ErrDisconnected)
		return
	}
	r.bus.count.requests.Add(1)
	reply := r.inbox + strconv.FormatUint(q.token, 36)
	err := ErrSubjectTooLong
	if len(q.subject)+len(reply) <= SubjectBytesMax {
		err = w.nc.PublishRequest(q.subject, reply, q.payload)
	}
	if err != nil {
		r.finish(q.token, nil, err)
	}
}

func (r *requests) receive() {
	defer r.wait.Done()
	for {
		select {
		case m := <-r.answers:
			r.answer(m)
		case <-r.end:
			return
		}
	}
}

func (r *requests) answer(m *nats.Msg) {
	token, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, r.inbox), 36, 64)
	if err != nil {
		return // not a reply subject of ours: somebody guesses
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		if r.finish(token, nil, ErrNoResponders) {
			r.bus.count.requestNoResponder.Add(1)
		}
		return
	}
	r.finish(token, m.Data, nil)
}

// tick finds timeouts until no request is left.
func (r *requests) tick() {
	defer r.wait.Done()
	t := time.NewTicker(requestTick)
	defer t.Stop()
	var late []uint64
	for {
		select {
		case <-t.C:
		case <-r.end:
			return
		}
		late = r.late(late[:0], time.Now())
		for _, token := range late {
			if r.finish(token, nil, ErrTimeout) {
				r.bus.count.requestTimeouts.Add(1)
			}
		}
		r.mu.Lock()
		r.ticking = len(r.waiting) > 0
		ticking := r.ticking
		r.mu.Unlock()
		if !ticking {
			return
		}
	}
}

func (r *requests) late(dst []uint64, now time.Time) []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	for token, q := range r.waiting {
		if now.After(q.deadline) {
			dst = append(dst, token)
		}
	}
	return dst
}
