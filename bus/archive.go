package bus

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// archive asks JetStream: reads of streams, reads and writes of records. It is one goroutine, which owns every question under way, and one
// wildcard inbox for all answers, so that a question costs neither goroutine nor timer. Callers leave an order and never
// wait.
//
//	any goroutine ──order──▶ run ──question──▶ JetStream
//	               done ◀── run ◀──answers── nats.go
//
// Questions to JetStream's API, which are those to the leader of a stream, wait for their turn; direct gets and writes do not.
//
// A question whose connection broke, that nobody answers, or that JetStream cannot answer now (no leader, starting) is asked again, with a new token, so
// that a late answer to the first try finds nothing.
type archive struct {
	bus      *Bus
	inbox    string        // prefix of reply subjects, ends with "."
	patience time.Duration // of reads
	wake     chan struct{}
	done     chan struct{}

	mu      sync.Mutex
	orders  []func()    // guarded by mu
	answers []*nats.Msg // guarded by mu
	closed  bool        // guarded by mu: orders are taken no more

	// The rest is run's.
	wire    *wire // the one questions go to; nil while away
	token   uint64
	asked   map[uint64]*question
	resting []*question // to be asked again at their time
	busy    int         // questions to JetStream's API under way
	queue   []*question // those that wait for their turn
	ended   bool

	reads   reads
	records records
}

// question is one request and what is to be done with its answers. Owned by the archive's goroutine.
type question struct {
	subject  string
	payload  []byte
	header   nats.Header
	patience time.Duration // since began, without an answer: then it fails. 0: until Close

	reset  func()                 // before every further try; nil: nothing to do
	answer func(*nats.Msg) sequel // gets every answer
	fail   func(error)            // ErrDisconnected, ErrTimeout, ErrClosed, or what nats.go finds wrong

	token    uint64
	tries    int
	began    time.Time
	deadline time.Time // of this try, or when the next one is due
}

// sequel is what an answer means for its question.
type sequel uint8

const (
	finished sequel = iota // no more answers are expected
	further                // there will be more
	again                  // JetStream cannot answer now: ask again after a pause
)

const (
	// askPatience is how long a read is tried again before it fails. A stream without a leader finds one in 6 to 7 seconds.
	askPatience = 10 * time.Second
	// answerTime is how long one try waits for its next answer.
	answerTime = 3 * time.Second
	// The pause before asking again doubles from restMin to restMax.
	restMin = 50 * time.Millisecond
	restMax = 2 * time.Second
	// apiMax is how many questions to JetStream's API are under way. A server drops all that wait when they are 10,000, those of others, too.
	apiMax = 256
	// archiveTick is how late a deadline may be found.
	archiveTick = 50 * time.Millisecond
)

func newArchive(b *Bus) *archive {
	a := &archive{
		bus: b, inbox: nats.NewInbox() + ".", patience: cmp.Or(b.options.askPatience, askPatience),
		wake: make(chan struct{}, 1), done: make(chan struct{}), asked: make(map[uint64]*question),
	}
	a.reads.archive, a.reads.windows.archive, a.records.archive = a, a, a
	return a
}

// listen subscribes the inbox on a new wire; called by the link with op held. What may arrive is bounded by what is asked.
func (a *archive) listen(w *wire) error {
	sub, err := w.nc.Subscribe(a.inbox+"*", a.arrive)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	return err
}

// arrive leaves an answer. Called by nats.go.
func (a *archive) arrive(m *nats.Msg) {
	a.mu.Lock()
	a.answers = append(a.answers, m)
	a.mu.Unlock()
	a.stir()
}

// stir makes run look again. Safe from any goroutine, never blocks.
func (a *archive) stir() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// order has f run on the archive's goroutine. false: the Bus is closed. Safe from any goroutine, never blocks.
func (a *archive) order(f func()) bool {
	a.mu.Lock()
	ok := !a.closed
	if ok {
		a.orders = append(a.orders, f)
	}
	a.mu.Unlock()
	a.stir()
	return ok
}

// run works until ctx ends; then everything under way fails with ErrClosed.
func (a *archive) run(ctx context.Context) {
	defer close(a.done)
	t := time.NewTicker(archiveTick)
	t.Stop()
	ticking := false
	var orders []func()
	var answers []*nats.Msg
	for ctx.Err() == nil {
		select {
		case <-a.wake:
		case <-ctx.Done():
			continue
		case now := <-t.C:
			a.tick(now)
		}
		a.mu.Lock()
		orders, a.orders = a.orders, orders[:0]
		answers, a.answers = a.answers, answers[:0]
		a.mu.Unlock()
		a.lookAtWire()
		for _, m := range answers {
			a.take(m)
		}
		for _, f := range orders {
			f()
		}
		clear(orders)
		clear(answers)
		if busy := len(a.asked)+len(a.resting) > 0; busy != ticking {
			if ticking = busy; busy {
				t.Reset(archiveTick)
			} else {
				t.Stop()
			}
		}
	}
	t.Stop()
	a.end()
}

// end fails what is under way. What fails may ask again, and fails again.
func (a *archive) end() {
	a.ended = true
	for {
		a.mu.Lock()
		orders := a.orders
		a.orders = nil
		a.mu.Unlock()
		for _, f := range orders {
			f()
		}
		a.records.flush()
		for _, q := range a.asked {
			a.resting = append(a.resting, q)
		}
		clear(a.asked)
		resting := a.resting
		a.resting = nil
		for _, q := range resting {
			q.fail(ErrClosed)
		}
		a.mu.Lock()
		a.closed = len(a.orders)+len(a.resting) == 0
		closed := a.closed
		a.mu.Unlock()
		if closed {
			return
		}
	}
}

// ask sends a question for the first time. Those to JetStream's API wait for their turn, in order.
func (a *archive) ask(q *question) {
	q.began = time.Now()
	if !strings.HasPrefix(q.subject, apiPrefix) || strings.HasPrefix(q.subject, directPrefix) {
		a.send(q)
		return
	}
	answer, fail := q.answer, q.fail
	q.answer = func(m *nats.Msg) sequel {
		v := answer(m)
		if v == finished {
			a.nextInQueue()
		}
		return v
	}
	q.fail = func(err error) {
		fail(err)
		a.nextInQueue()
	}
	if a.busy == apiMax {
		a.queue = append(a.queue, q)
		return
	}
	a.busy++
	a.send(q)
}

// nextInQueue lets a waiting question take the place of one that is done.
func (a *archive) nextInQueue() {
	if len(a.queue) == 0 {
		a.busy--
		return
	}
	q := a.queue[0]
	a.queue[0] = nil
	a.queue = a.queue[1:]
	a.send(q)
}

// send asks a question on the present wire. While there is none it rests.
func (a *archive) send(q *question) {
	if a.ended || a.wire == nil {
		q.deadline = q.began.Add(time.Hour) // the next wire comes first, or patience ends
		a.resting = append(a.resting, q)
		return
	}
	a.token++
	q.token = a.token
	q.tries++
	q.deadline = time.Now().Add(answerTime)
	m := nats.Msg{Subject: q.subject, Reply: a.inbox + strconv.FormatUint(q.token, 36), Header: q.header, Data: q.payload}
	switch err := a.wire.nc.PublishMsg(&m); {
	case err == nil, errors.Is(err, nats.ErrConnectionClosed):
		a.asked[q.token] = q // on a closed connection it waits for the next
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrHeadersNotSupported):
		q.fail(err)
	default:
		a.asked[q.token] = q
		a.wire.kill()
	}
}

// resend asks a question once more.
func (a *archive) resend(q *question) {
	if q.reset != nil {
		q.reset()
	}
	a.send(q)
}

// rest keeps a question for a while before it is asked again.
func (a *archive) rest(q *question) {
	pause := min(restMin<<min(q.tries, 8), restMax)
	q.deadline = time.Now().Add(pause*3/4 + rand.N(pause/2))
	a.resting = append(a.resting, q)
}

// lookAtWire finds out whether the wire changed, and asks everything anew on another one, in the same order.
func (a *archive) lookAtWire() {
	w := a.bus.echo.now.Load()
	if w == a.wire {
		return
	}
	a.wire = w
	all := a.resting
	a.resting = nil
	for _, q := range a.asked {
		all = append(all, q)
	}
	clear(a.asked)
	slices.SortFunc(all, func(p, q *question) int { return int(int64(p.token) - int64(q.token)) })
	for _, q := range all {
		a.resend(q)
	}
}

// take hands an answer to its question.
func (a *archive) take(m *nats.Msg) {
	token, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, a.inbox), 36, 64)
	q := a.asked[token]
	if err != nil || q == nil {
		return // late, or a guess
	}
	v := again // 503: nobody there has JetStream, or the stream has no leader
	if status(m) != "503" {
		v = q.answer(m)
	}
	switch v {
	case further:
		q.deadline = time.Now().Add(answerTime)
		q.began = time.Now()
	case finished:
		delete(a.asked, token)
	case again:
		delete(a.asked, token)
		a.rest(q)
	}
}

// tick finds deadlines that have passed.
func (a *archive) tick(now time.Time) {
	for _, q := range a.asked {
		if now.Before(q.deadline) {
			continue
		}
		delete(a.asked, q.token)
		a.retry(q, now)
	}
	resting := a.resting
	a.resting = nil
	for _, q := range resting {
		if a.wire == nil || now.Before(q.deadline) {
			if !a.weary(q, now) {
				a.resting = append(a.resting, q)
			}
			continue
		}
		a.retry(q, now)
	}
}

// retry asks again unless the question's patience is at its end.
func (a *archive) retry(q *question, now time.Time) {
	if !a.weary(q, now) {
		a.resend(q)
	}
}

// weary fails a question that has been tried for too long.
func (a *archive) weary(q *question, now time.Time) bool {
	switch {
	case q.patience == 0 || now.Sub(q.began) < q.patience:
		return false
	case a.wire == nil:
		q.fail(ErrDisconnected)
	default:
		q.fail(ErrTimeout)
	}
	return true
}

// status is the code in the first line of an answer without payload: "503", "404", ...; "" when there is none. A stored message may have a header
// of that name, but is told by its sequence.
func status(m *nats.Msg) string {
	if len(m.Header) == 0 || len(m.Data) > 0 || added(m.Header, "Nats-Sequence") != "" {
		return ""
	}
	v, _ := first(m.Header, "Status")
	return v
}
