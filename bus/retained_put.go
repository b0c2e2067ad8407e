package bus

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// retainedPuts brings retained messages to the bucket: pipelined, but of each topic one at a time, so that one that has to be repeated never
// overtakes a later one. Of what waits for a topic only the last is sent, and the answer to it answers all. What is sent has a number that
// it keeps when it is sent again: as Nats-Msg-Id, so that the bucket stores it once, and in the reply subject, so that a late answer to
// the first try counts. No goroutine and no timer for each.
type retainedPuts struct {
	retained *retained
	inbox    string // prefix of reply subjects, ends with "."
	id       string // prefix of Nats-Msg-Id
	wakes    chan struct{}
	end      chan struct{}

	mu     sync.Mutex
	topics map[string]*retainedPut // by subject
	queue  []*retainedPut          // not sent, or to be sent again
	flight map[uint64]*retainedPut // sent, by number
	last   uint64                  // number
	bytes  int                     // of all, for the limit
	window int                     // how many may be under way
	pause  time.Duration           // after the last failure; 0: there was none
	until  time.Time               // when the pause is over
	ended  bool

	enc *encoder // guarded by mu
}

// retainedPut is what a topic has on its way.
type retainedPut struct {
	number uint64
	msg    *nats.Msg
	done   []func(revision uint64, err error)
	sentAt time.Time    // zero: not under way
	ask    bool         // a deletion: first the bucket is asked whether there is anything to delete
	next   *retainedPut // waits for this one
}

const (
	retainedPendingMax   = 65536    // topics
	retainedPendingBytes = 32 << 20 // of messages, and what it takes to hold them
	retainedFlightMax    = 1024
	retainedAnswerTime   = 5 * time.Second
	retainedPauseMin     = 50 * time.Millisecond
	retainedPauseMax     = 2 * time.Second
	retainedTick         = 50 * time.Millisecond
)

// bytes is what a put counts against retainedPendingBytes.
func (p *retainedPut) bytes() int { return p.msg.Size() + 512 }

func (x *retainedPuts) init(r *retained) {
	var id [9]byte
	_, _ = rand.Read(id[:]) // never fails
	x.retained, x.id = r, hex.EncodeToString(id[:])+"-"
	x.inbox = nats.NewInbox() + "."
	x.wakes, x.end = make(chan struct{}, 1), make(chan struct{})
	x.topics, x.flight = make(map[string]*retainedPut), make(map[uint64]*retainedPut)
	x.window = 1
	x.enc = newEncoder(r.bus)
}

// put is PutRetained.
func (x *retainedPuts) put(m *Message, ttlSec uint32, done func(uint64, error)) error {
	if len(m.Topic) == 0 || Reserved(m.Topic) {
		return ErrReserved
	}
	payloadMax := x.retained.bus.Status().MaxPayloadBytes
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return ErrClosed
	}
	msg, err := x.message(m, ttlSec, payloadMax)
	if err != nil {
		return err
	}
	first := x.topics[msg.Subject]
	if first == nil && len(x.topics) >= retainedPendingMax || x.bytes+msg.Size() > retainedPendingBytes {
		x.retained.count.busy.Add(1)
		return ErrRetainedBusy
	}
	p := &first
	for *p != nil && !(*p).sentAt.IsZero() { // that one is under way
		p = &(*p).next
	}
	if *p == nil {
		*p = &retainedPut{}
	} else {
		x.bytes -= (*p).bytes()
		x.retained.count.merged.Add(1)
	}
	x.last++
	(*p).number, (*p).msg, (*p).ask = x.last, msg, len(m.Payload) == 0
	msg.Reply = x.inbox + strconv.FormatUint(x.last, 10)
	msg.Header[nats.MsgIdHdr] = []string{x.id + strconv.FormatUint(x.last, 10)}
	if done != nil {
		(*p).done = append((*p).done, done)
	}
	x.bytes += (*p).bytes()
	if x.topics[msg.Subject] == nil {
		x.topics[msg.Subject] = first
		x.queue = append(x.queue, first)
		x.wake()
	}
	return nil
}

// message is the value, or the marker of a deletion, as NATS carries it. Called with the lock held.
func (x *retainedPuts) message(m *Message, ttlSec uint32, payloadMax int) (*nats.Msg, error) {
	put := *m
	put.Subject, put.Reply = appendRetainedKey([]byte(retainedSubject), m.Topic), nil
	header := nats.Header{}
	if len(m.Payload) == 0 {
		put.Fields = Fields{}
		header[headerOperation] = []string{kvDelete}
		ttlSec = uint32(retainedMarkerTime / time.Second)
	}
	if ttlSec > 0 {
		header[headerTTL] = []string{strconv.FormatUint(uint64(ttlSec), 10)}
	}
	if payloadMax > 0 {
		payloadMax -= retainedHeaderBytes
	}
	encoded, v := x.enc.encode(&put, payloadMax)
	switch v {
	case fits:
	case longSubject:
		return nil, ErrSubjectTooLong
	default:
		return nil, ErrRetainedRefused
	}
	for name, values := range encoded.Header {
		own := make([]string, len(values))
		for i, v := range values {
			own[i] = strings.Clone(v)
		}
		header[name] = own
	}
	return &nats.Msg{Subject: strings.Clone(encoded.Subject), Header: header, Data: slices.Clone(encoded.Data)}, nil
}

// retainedHeaderBytes is room for the headers that a put has beyond those of a message.
const retainedHeaderBytes = 160

func (x *retainedPuts) wake() {
	select {
	case x.wakes <- struct{}{}:
	default:
	}
}

func (x *retainedPuts) len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.topics)
}

// run sends what waits until the end.
func (x *retainedPuts) run() {
	defer x.retained.wait.Done()
	t := time.NewTicker(retainedTick)
	defer t.Stop()
	var on *wire
	for idle := false; ; {
		if w := x.retained.bus.echo.now.Load(); w != on {
			on = x.change(w)
		}
		for on != nil {
			p := x.next(time.Now())
			if p == nil {
				break
			}
			// A wire that broke gives way to another, on which it goes again.
			if err := on.nc.PublishMsg(p); errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrHeadersNotSupported) {
				x.finish(p.Reply, func(*retainedPut) putAnswer { return putAnswer{err: ErrRetainedRefused} })
			}
		}
		if was := idle; was != (x.len() == 0) {
			if idle = !was; idle {
				t.Stop()
			} else {
				t.Reset(retainedTick)
			}
		}
		select {
		case <-x.wakes:
		case now := <-t.C:
			x.late(now)
		case <-x.end:
			return
		}
	}
}

// change moves to another wire: what was under way goes again, in order.
func (x *retainedPuts) change(w *wire) *wire {
	x.mu.Lock()
	var again []*retainedPut
	for _, p := range x.flight {
		again = append(again, p)
	}
	clear(x.flight)
	slices.SortFunc(again, func(a, b *retainedPut) int { return int(int64(a.number - b.number)) })
	x.queue = append(again, x.queue...)
	x.window, x.until = 1, time.Time{}
	x.mu.Unlock()
	if w == nil {
		return nil
	}
	if _, err := w.nc.Subscribe(x.inbox+"*", x.answer); err != nil {
		return nil // it broke; the next one carries it
	}
	return w
}

// next takes a put that may be sent now.
func (x *retainedPuts) next(now time.Time) *nats.Msg {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.queue) == 0 || len(x.flight) >= x.window || now.Before(x.until) {
		return nil
	}
	p := x.queue[0]
	x.queue[0] = nil
	if x.queue = x.queue[1:]; len(x.queue) == 0 {
		x.queue = nil
	}
	if !p.sentAt.IsZero() {
		x.retained.count.retries.Add(1)
	}
	p.sentAt = now
	x.flight[p.number] = p
	if p.ask {
		return &nats.Msg{Subject: retainedAsk, Reply: p.msg.Reply, Data: fmt.Appendf(nil, `{"last_by_subj":%q}`, p.msg.Subject)}
	}
	return p.msg
}

// late has what was not answered in time sent again.
func (x *retainedPuts) late(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range x.flight {
		if now.Sub(p.sentAt) > retainedAnswerTime {
			x.again(p, now)
		}
	}
}

// again puts what was sent behind the others, and has all wait a moment; until an answer comes one at a time is tried. Called with
// the lock held.
func (x *retainedPuts) again(p *retainedPut, now time.Time) {
	delete(x.flight, p.number)
	x.queue = append(x.queue, p)
	if x.window == 1 || x.pause == 0 {
		x.pause = min(max(2*x.pause, retainedPauseMin), retainedPauseMax)
	}
	x.window, x.until = 1, now.Add(x.pause)
}

// answer takes what the bucket says to a put. It runs on a goroutine of nats.go.
func (x *retainedPuts) answer(m *nats.Msg) {
	x.finish(m.Subject, func(p *retainedPut) (a putAnswer) {
		if p.ask {
			a.revision, a.there, a.again = readRetainedAsk(m)
		} else {
			a.revision, a.err, a.again = readRetainedAnswer(m)
		}
		return a
	})
}

// finish carries out what became of the put with a reply subject.
func (x *retainedPuts) finish(reply string, read func(p *retainedPut) putAnswer) {
	number, err := strconv.ParseUint(reply[len(x.inbox):], 10, 64)
	if err != nil {
		return
	}
	x.mu.Lock()
	p := x.flight[number]
	if p == nil { // a second answer, or one to a try on the wire before
		x.mu.Unlock()
		return
	}
	a := read(p)
	if a.again || a.there {
		if a.there {
			p.ask, p.sentAt = false, time.Time{}
			delete(x.flight, number)
			x.queue = append(x.queue, p)
		} else {
			x.again(p, time.Now())
		}
		x.mu.Unlock()
		x.wake()
		return
	}
	x.forget(p)
	x.mu.Unlock()
	if a.err != nil {
		x.retained.count.refused.Add(1)
	} else {
		x.retained.count.puts.Add(1)
	}
	for _, done := range p.done {
		done(a.revision, a.err)
	}
	x.wake()
}

// forget takes out a put that was answered, and has the next one of its topic follow. Called with the lock held.
func (x *retainedPuts) forget(p *retainedPut) {
	delete(x.flight, p.number)
	x.window, x.pause, x.until = retainedFlightMax, 0, time.Time{}
	x.bytes -= p.bytes()
	if p.next == nil {
		delete(x.topics, p.msg.Subject)
		return
	}
	x.topics[p.msg.Subject] = p.next
	x.queue = append(x.queue, p.next)
}

// drain waits until nothing is under way any more, or stop is closed. It does not wait for a bucket that never answered, or does not now.
func (x *retainedPuts) drain(stop <-chan struct{}) {
	t := time.NewTicker(retainedTick)
	defer t.Stop()
	for {
		x.mu.Lock()
		over := len(x.topics) == 0 || x.pause > 0
		x.mu.Unlock()
		if over || !x.retained.running() {
			return
		}
		select {
		case <-t.C:
		case <-stop:
			return
		}
	}
}

// close ends run.
func (x *retainedPuts) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ended = true
	close(x.end)
}

// giveUp tells what still waits that the Bus is closed.
func (x *retainedPuts) giveUp() {
	x.mu.Lock()
	topics := x.topics
	x.topics, x.queue, x.flight = nil, nil, nil
	x.mu.Unlock()
	for _, p := range topics {
		for ; p != nil; p = p.next {
			for _, done := range p.done {
				done(0, ErrClosed)
			}
		}
	}
}
