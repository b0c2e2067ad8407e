package bus

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// storeAnswersMax is how many answers may wait for the Storer's goroutine; one that does not fit is lost like any other.
const storeAnswersMax = 2 * storeSlotsMax

// listen subscribes to the answers on a new wire, and waits until the server knows: what we write to the socket overtakes what nats.go gathers. One
// subscription serves all rounds: nothing is made for each message.
func (s *Storer) listen(w *wire) bool {
	if s.heard == w {
		return true
	}
	if _, err := w.nc.ChanSubscribe(s.inbox+">", s.answers); err != nil {
		return false
	}
	if err := w.flush(writeTimeout); err != nil {
		w.kill()
		return false
	}
	s.heard = w
	return true
}

// arrive takes an answer into the round, if it is for that.
func (s *Storer) arrive(m *nats.Msg) {
	r := &s.round
	rest, _ := strings.CutPrefix(m.Subject, s.inbox)
	if rest, _ = strings.CutPrefix(rest, s.id); !r.active || r.over {
		return
	}
	text, rest, _ := strings.Cut(rest, ".")
	round, err := strconv.ParseUint(text, 36, 64)
	if err != nil || round != r.number {
		return
	}
	rest = strings.TrimPrefix(rest, fastBatchReply[1:])
	text, _, _ = strings.Cut(rest, ".")
	if k, err := strconv.Atoi(text); err == nil && k >= 1 && k <= len(r.codes) {
		s.answered(k, m)
	}
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

// read reads an answer. Those without an error are read by hand: encoding/json was a twelfth of what storing a single message cost. What is looked
// for can't stand inside a string, where quotes are escaped.
func (a *storeAnswer) read(p []byte) bool {
	if bytes.Contains(p, []byte(`"error":`)) {
		return json.Unmarshal(p, a) == nil
	}
	a.Type = jsonText(p, `"type":"`)
	a.Batch = jsonText(p, `"batch":"`)
	a.Seq = jsonNumber(p, `"seq":`)
	a.Count = jsonNumber(p, `"count":`)
	a.Duplicate = bytes.Contains(p, []byte(`"duplicate":true`)) || bytes.Contains(p, []byte(`"duplicate": true`))
	return len(p) > 0 && p[len(p)-1] == '}'
}

// jsonText is the text that follows key, to its quote.
func jsonText(p []byte, key string) string {
	_, p, _ = bytes.Cut(p, []byte(key))
	p, _, _ = bytes.Cut(p, []byte{'"'})
	return string(p)
}

// jsonNumber is the number that follows key.
func jsonNumber(p []byte, key string) (n uint64) {
	_, p, _ = bytes.Cut(p, []byte(key))
	for _, c := range p {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + uint64(c-'0')
	}
	return n
}

// answered takes an answer about message k.
func (s *Storer) answered(k int, m *nats.Msg) {
	var a storeAnswer
	r := &s.round
	unheard := len(m.Data) == 0 && m.Header.Get("Status") == "503"
	switch {
	case unheard:
		r.over = true
	case !a.read(m.Data):
	case a.Error != nil:
		if a.Type == "err" {
			k = int(min(a.Seq, uint64(len(r.codes))))
		}
		r.fail(max(k, 1), a.Error.code())
	case a.Type != "":
		r.end = time.Now().Add(s.limitMin()) // somebody is there
	case a.Seq == 0 && a.Batch == "":
	case a.Batch != "" && r.fast:
		s.confirm(&a)
	default:
		r.settle(k, roundStored)
		s.stored(&a)
	}
	r.over = r.over || r.open == 0
}

// confirm takes the answer that ends a fast batch.
func (s *Storer) confirm(a *storeAnswer) {
	r := &s.round
	r.over = true
	s.stored(a)
	if a.Seq == 0 && a.Count > 0 {
		r.doubled = true
		return
	}
	for k := 1; k <= int(min(a.Count, uint64(len(r.codes)))); k++ {
		r.settle(k, roundStored)
	}
}

// stored notes what else JetStream says of messages that it stored. The sequence of a repetition is no news.
func (s *Storer) stored(a *storeAnswer) {
	if a.Duplicate {
		s.bus.count.storeDuplicates.Add(1)
		return
	}
	s.bus.seen.raise(s.round.stream, a.Seq)
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
