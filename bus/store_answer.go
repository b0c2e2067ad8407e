package bus

import (
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// storeAnswers takes what JetStream answers to all Storers of a Bus: one subscription and one goroutine, nothing for each message.
type storeAnswers struct {
	inbox string // all reply subjects begin with it; ends with "."
	ch    chan *nats.Msg
	end   chan struct{}
	wait  sync.WaitGroup

	mu      sync.RWMutex
	storers map[string]*Storer // by id
}

// answersMax is how many answers may wait; one that does not fit is lost like any other.
const answersMax = 16384

func newStoreAnswers() *storeAnswers {
	return &storeAnswers{
		inbox: "_INBOX." + randomID() + ".", ch: make(chan *nats.Msg, answersMax), end: make(chan struct{}), storers: make(map[string]*Storer),
	}
}

func (a *storeAnswers) add(s *Storer) {
	a.mu.Lock()
	a.storers[s.id] = s
	a.mu.Unlock()
}

func (a *storeAnswers) remove(s *Storer) {
	a.mu.Lock()
	delete(a.storers, s.id)
	a.mu.Unlock()
}

// listen subscribes on a new wire; called by the link with op held.
func (a *storeAnswers) listen(w *wire) error {
	_, err := w.nc.ChanSubscribe(a.inbox+">", a.ch)
	return err
}

func (a *storeAnswers) start() {
	a.wait.Add(1)
	go func() {
		defer a.wait.Done()
		for {
			select {
			case m := <-a.ch:
				a.arrive(m)
			case <-a.end:
				return
			}
		}
	}()
}

func (a *storeAnswers) stop() {
	close(a.end)
	a.wait.Wait()
}

// arrive gives an answer to its Storer.
func (a *storeAnswers) arrive(m *nats.Msg) {
	rest, ok := strings.CutPrefix(m.Subject, a.inbox)
	if !ok || len(rest) < storerIDBytes {
		return
	}
	a.mu.RLock()
	s := a.storers[rest[:storerIDBytes]]
	a.mu.RUnlock()
	if s == nil {
		return
	}
	text, rest, _ := strings.Cut(rest[storerIDBytes:], ".")
	round, err := strconv.ParseUint(text, 36, 64)
	if err != nil {
		return
	}
	rest = strings.TrimPrefix(rest, fastBatchReply[1:])
	text, _, _ = strings.Cut(rest, ".")
	number, err := strconv.Atoi(text)
	if err != nil {
		return
	}
	s.answered(round, number, m)
}

// storeAnswer is what JetStream says to a message of a fast batch, or to a message of its own.
type storeAnswer struct {
	Type      string    `json:"type"` // "ack", "gap" and "err" are said while a batch goes on
	Seq       uint64    `json:"seq"`  // with an error of a batch: the number of the message; else of the stream
	Batch     string    `json:"batch"`
	Count     uint64    `json:"count"`
	Duplicate bool      `json:"duplicate"`
	Error     *storeErr `json:"error"`
}

type storeErr struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

// answered takes one answer into the round that it is for. Called on the goroutine of storeAnswers.
func (s *Storer) answered(number uint64, k int, m *nats.Msg) {
	var a storeAnswer
	unheard := len(m.Data) == 0 && m.Header.Get("Status") == "503"
	if !unheard && json.Unmarshal(m.Data, &a) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.round
	if !r.active || r.number != number || r.over || k < 1 || k > len(r.codes) {
		return
	}
	switch {
	case unheard:
		r.unheard, r.over = true, true
	case a.Type == "ack", a.Type == "gap":
		r.end = time.Now().Add(s.limitMin()) // somebody is there
		return
	case a.Error != nil:
		if a.Type == "err" {
			k = int(min(a.Seq, uint64(len(r.codes))))
		}
		r.fail(max(k, 1), a.Error.code())
	case r.fast && a.Batch != "":
		s.confirm(r, &a)
	default:
		r.settle(k, roundStored)
		if a.Duplicate {
			s.bus.count.storeDuplicates.Add(1)
		}
	}
	if r.open == 0 {
		r.over = true
	}
	if r.over {
		s.stir()
	}
}

// confirm takes the answer that ends a fast batch.
func (s *Storer) confirm(r *round, a *storeAnswer) {
	r.over = true
	if a.Duplicate {
		s.bus.count.storeDuplicates.Add(1)
	}
	if a.Seq == 0 && a.Count > 0 {
		r.doubled = true
		return
	}
	for k := 1; k <= int(min(a.Count, uint64(len(r.codes)))); k++ {
		r.settle(k, roundStored)
	}
}

// settle says what became of message k, if that is not known.
func (r *round) settle(k int, c roundCode) {
	if r.codes[k-1] == roundOpen {
		r.codes[k-1] = c
		r.open--
	}
}

// fail takes an error about message k. The others may have answers coming, but no longer by all means.
func (r *round) fail(k int, c roundCode) {
	r.settle(k, c)
	if end := time.Now().Add(roundGrace); end.Before(r.end) {
		r.end = end
	}
}

// Error codes of JetStream about messages to be stored.
const (
	storeErrAccountLimits = 10002
	storeErrInsufficient  = 10023 // of the server
	storeErrMemory        = 10028
	storeErrStorage       = 10047
	storeErrTooLarge      = 10054
	storeErrOtherStream   = 10060
	storeErrFailed        = 10077 // the text says why
	storeErrHeader        = 10097
	storeErrStreamBytes   = 10122
	storeErrBatchFirst    = 10205 // and up to the next one: about the batch as such
	storeErrBatchLast     = 10211
)

// code tells what an error means for the message.
func (e *storeErr) code() roundCode {
	switch e.ErrCode {
	case storeErrAccountLimits, storeErrInsufficient, storeErrMemory, storeErrStorage, storeErrStreamBytes:
		return roundFull
	case storeErrTooLarge, storeErrHeader, storeErrOtherStream:
		return roundRefused
	case storeErrFailed:
		switch {
		case strings.Contains(e.Description, "too large"):
			return roundRefused
		case strings.Contains(e.Description, "maximum"):
			return roundFull
		}
		return roundAgain
	}
	if e.Code == 400 && (e.ErrCode < storeErrBatchFirst || e.ErrCode > storeErrBatchLast) {
		return roundRefused
	}
	return roundAgain
}
