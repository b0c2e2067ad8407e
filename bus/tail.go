package bus

import (
	"context"
	"slices"
	"sync"
	"time"
)

// tails are the streams that are followed, by number. Safe from any goroutine.
type tails struct {
	bus  *Bus
	ctx  context.Context // ends with Close
	wait sync.WaitGroup

	mu  sync.Mutex
	all map[uint16]*tail
}

// tail follows one stream: an ordered consumer at a time, made anew behind what was handed out last whenever something is wrong with it
// (tailconsumer.go). One goroutine runs it; the consumer's own numbers tell it what is missing.
type tail struct {
	bus    *Bus
	stream uint16
	wake   chan struct{}

	mu       sync.Mutex
	subjects []string // nil: nothing is wanted. Guarded by mu
	version  uint64   // of subjects. Guarded by mu
	last     uint64   // everything wanted up to here was handed out, or is just being. Guarded by mu
	epochs   []epoch  // what was wanted before, as long as the stream has messages of that time that are not handed out. Guarded by mu
}

// epoch is a time in which less was wanted: what the stream stored until then is handed out only if it was wanted already.
type epoch struct {
	until    uint64
	subjects []string
}

// Follow has Options.ReceiveLog called from now on with every message of a stream (0: the log, n: Durable.Streams[n-1]) that is later than
// sequence after and matches one of the topic filters, in the order of the stream, each once; nothing else. nil filters: with
// nothing, and the consumer ends. Calling it again changes the filters and loses nothing of those that were there before and
// still are. It waits for NATS only when nothing was followed before, about 10 seconds at most, and then fails with the errors of LogEnd; not for event
// loops. A stream is followed by one caller at a time.
func (b *Bus) Follow(stream uint16, filters [][]byte) (after uint64, err error) {
	subjects := tailSubjects(stream, filters)
	t := b.tails.get(stream)
	if t == nil {
		return 0, ErrClosed
	}
	begun, same := t.wants(subjects)
	if same {
		return t.at(), nil
	}
	end, err := uint64(0), error(nil)
	if subjects != nil {
		end, err = b.waitLogEnd(stream)
	}
	if err != nil && !begun {
		return 0, err
	}
	t.change(subjects, begun, end) // without the end new filters may bring what is older than they are
	return max(end, t.at()), nil
}

// waitLogEnd is LogEnd for one who may wait.
func (b *Bus) waitLogEnd(stream uint16) (last uint64, err error) {
	known := make(chan struct{})
	b.LogEnd(stream, func(at uint64, e error) {
		last, err = at, e
		close(known)
	})
	<-known
	return last, err
}

// wholeStream is a filter for everything.
var wholeStream = []string{">"}

// tailSubjects are the subjects that match the filters.
func tailSubjects(stream uint16, filters [][]byte) []string {
	if len(filters) == 0 {
		return nil
	}
	s := streamSubjects(stream, filters)
	slices.Sort(s)
	return s
}

// consumerSubjects are those that the consumer is asked for: one, or the whole stream, of which what is not wanted is passed over here. To look for several
// subjects costs nats-server 12 to 17 µs for each message that it passes over, and to send one costs two or three. Of the log a filter is
// always two.
func consumerSubjects(subjects []string) []string {
	if len(subjects) == 1 {
		return subjects
	}
	return wholeStream
}

// get returns the tail of a stream; nil when the Bus is closed.
func (ts *tails) get(stream uint16) *tail {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.ctx.Err() != nil {
		return nil
	}
	t := ts.all[stream]
	if t == nil {
		t = &tail{bus: ts.bus, stream: stream, wake: make(chan struct{}, 1)}
		if ts.all == nil {
			ts.all = make(map[uint16]*tail)
		}
		ts.all[stream] = t
		ts.wait.Add(1)
		go func() {
			defer ts.wait.Done()
			t.run(ts.ctx)
		}()
	}
	return t
}

// stir has every tail look at the wire again.
func (ts *tails) stir() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.all {
		t.stir()
	}
}

// stop waits for the goroutines, whose context has ended.
func (ts *tails) stop() {
	ts.mu.Lock() // nobody is in get any longer
	all := len(ts.all)
	ts.mu.Unlock()
	if all > 0 {
		ts.wait.Wait()
	}
}

func (t *tail) stir() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// wants tells whether the stream is followed, and whether just what is wanted now.
func (t *tail) wants(subjects []string) (begun, same bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.subjects != nil, (t.subjects == nil) == (subjects == nil) && slices.Equal(t.subjects, subjects)
}

// at is how far the stream was handed out.
func (t *tail) at() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// change changes what is wanted; end is that of the stream before. Who begins to follow begins there.
func (t *tail) change(subjects []string, begun bool, end uint64) {
	t.mu.Lock()
	switch {
	case !begun:
		t.last, t.epochs = end, nil
	case end > t.last:
		t.epochs = append(t.epochs, epoch{end, t.subjects})
	}
	t.subjects = subjects
	t.version++
	t.mu.Unlock()
	t.stir()
}

// wasWanted tells whether a message is wanted, and was when it was stored.
func (t *tail) wasWanted(seq uint64, subject string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	covers := func(s string) bool { return subjectCovers(s, subject) }
	if !slices.ContainsFunc(t.subjects, covers) {
		return false
	}
	for len(t.epochs) > 0 && t.epochs[0].until < seq {
		t.epochs = t.epochs[1:]
	}
	for i := range t.epochs {
		if seq <= t.epochs[i].until && !slices.ContainsFunc(t.epochs[i].subjects, covers) {
			return false
		}
	}
	return true
}

// want returns what is wanted now.
func (t *tail) want() (subjects []string, version, last uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.subjects, t.version, t.last
}

// advance notes that everything up to a sequence is handed out. false: something else is wanted since version.
func (t *tail) advance(version, last uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.version != version {
		return false
	}
	t.last = max(t.last, last)
	t.bus.seen.raise(t.stream, last)
	return true
}

// run keeps a consumer while something is wanted and NATS is there.
func (t *tail) run(ctx context.Context) {
	d := &decoder{}
	for rest := restMin; ctx.Err() == nil; {
		subjects, version, _ := t.want()
		w := t.bus.echo.now.Load()
		if subjects == nil || w == nil {
			select {
			case <-t.wake:
			case <-ctx.Done():
			}
			continue
		}
		c := &tailConsumer{tail: t, wire: w, decoder: d, subjects: consumerSubjects(subjects), version: version}
		c.serve(ctx)
		t.bus.count.logRestarts.Add(1)
		if c.worked {
			rest = restMin
		}
		if _, now, _ := t.want(); now == version {
			t.sleep(ctx, rest)
			rest = min(2*rest, restMax)
		}
	}
}

// sleep waits before the next consumer, or until something changes.
func (t *tail) sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.wake:
	case <-ctx.Done():
	}
}
