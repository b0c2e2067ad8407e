package bus

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Retained messages are the values of a key-value bucket, TG_retained: one key for each topic, the payload itself as the value, and all else
// in the headers that a message has on core NATS. So a backend reads and writes them with nothing but NATS:
//
//	nats kv put TG_retained devices.d1.conf on
//
// The key of a topic is its subject, with every byte that a key can't have as "=" and two upper-case hex digits. A value with a header TG is
// a gateway's, which delivers the message itself; one without is a backend's. A gateway deletes with a marker that goes by itself
// after retainedMarkerTime, and only where there is a message, so that nothing stays of a topic that has none.
//
//	PutRetained ─▶ retainedPuts ─▶ bucket ─▶ retainedWatch ─▶ the function given to WatchRetained
const (
	retainedStream  = "KV_TG_retained"
	retainedSubject = "$KV.TG_retained."

	// retainedMarkerTime is how long the marker of a deletion stays. Whoever was away longer than retainedResumeTime reads the bucket from
	// its beginning, instead of the changes, because markers may be gone.
	retainedMarkerTime = 2 * time.Minute
	retainedResumeTime = time.Minute
)

// Errors of PutRetained; compare with errors.Is.
var (
	ErrRetainedBusy    = errors.New("bus: too many retained messages wait for NATS")
	ErrRetainedFull    = errors.New("bus: the bucket TG_retained, or what the account may store, is full")
	ErrRetainedRefused = errors.New("bus: the bucket TG_retained does not take this retained message")
)

// RetainedKind is what a RetainedUpdate tells.
type RetainedKind uint8

const (
	// RetainedBegin: what follows, up to RetainedComplete, is all that the bucket has; what is not among it is gone.
	RetainedBegin RetainedKind = iota
	RetainedComplete
	RetainedSet     // the topic has this message now; an empty payload means none
	RetainedDeleted // the topic has none any more; there is no message
)

// RetainedUpdate is one thing to know of the bucket. Everything in it is borrowed until the function given to WatchRetained returns.
type RetainedUpdate struct {
	Inbound // without Interest and Reply; Fields.ExpirySec is what is left
	Kind    RetainedKind
	// Revision orders all changes of all topics; it is the one that PutRetained tells.
	Revision uint64
	// News tells that the change was made after the watch began, and was not told before.
	News bool
	// HasTTL and TTLSec: the bucket forgets the message after so many more seconds.
	HasTTL bool
	TTLSec uint32
}

// RetainedCounters are totals since Open.
type RetainedCounters struct {
	Puts     uint64 // sets and deletions that the bucket stored
	Merged   uint64 // of these, those that a later one of the same topic replaced before they went
	Retries  uint64 // sent again: no answer, or the bucket could not take it for now
	Refused  uint64 // the bucket will not take it
	Busy     uint64 // ErrRetainedBusy
	Updates  uint64 // changes told to the watcher
	Reloads  uint64 // times that all the bucket has was told
	Unusable uint64 // keys in the bucket that no topic maps to
	Pending  int    // topics whose message waits for the bucket now
}

// retained is the way to and from the bucket. Safe from any goroutine.
type retained struct {
	bus   *Bus
	puts  retainedPuts
	watch retainedWatch
	count struct {
		puts, merged, retries, refused, busy, updates, reloads, unusable atomic.Uint64
	}

	mu      sync.Mutex
	started bool
	ended   bool
	wait    sync.WaitGroup
}

func newRetained(b *Bus) *retained {
	r := &retained{bus: b}
	r.puts.init(r)
	r.watch.init(r)
	return r
}

// WatchRetained has f called, on a bus goroutine, with what the bucket TG_retained has and with every change from then on, in the order of the
// bucket and in runs of at most 256. While the bucket is not there, or NATS is away, the Bus tries again; then it goes on where it
// was, or tells everything anew with RetainedBegin. f may block: then the watch lags, and nothing is lost. It must not call Close. To be
// called once at most; only then does PutRetained reach the bucket.
func (b *Bus) WatchRetained(f func(run []RetainedUpdate)) {
	r := b.retained
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started || r.ended {
		return
	}
	r.started, r.watch.tell = true, f
	r.wait.Add(2)
	go r.puts.run()
	go r.watch.loop()
}

// PutRetained makes m the retained message of its topic, for ttlSec seconds (0: without end); an empty payload deletes it. done, which may be nil, runs
// once on a bus goroutine: with the revision when the bucket has it, or a later one of the same topic that was put meanwhile; with
// ErrRetainedFull, ErrRetainedRefused or ErrClosed when it has not. While NATS is away or the bucket can't be reached, puts wait: of each topic the
// last one, and of all together 32 MiB and 65,536 topics. An error that is returned (ErrRetainedBusy beyond that, ErrClosed, ErrSubjectTooLong,
// ErrReserved, ErrRetainedRefused when NATS carries no message of this size) means that nothing was taken and done is not called.
// m is copied. Safe from any goroutine, never blocks.
func (b *Bus) PutRetained(m *Message, ttlSec uint32, done func(revision uint64, err error)) error {
	return b.retained.puts.put(m, ttlSec, done)
}

// RetainedCounters returns the totals since Open. Safe from any goroutine, never blocks.
func (b *Bus) RetainedCounters() RetainedCounters {
	c := &b.retained.count
	return RetainedCounters{
		Puts: c.puts.Load(), Merged: c.merged.Load(), Retries: c.retries.Load(), Refused: c.refused.Load(), Busy: c.busy.Load(),
		Updates: c.updates.Load(), Reloads: c.reloads.Load(), Unusable: c.unusable.Load(), Pending: b.retained.puts.len(),
	}
}

// wireChanged tells both goroutines that the connection came or went.
func (r *retained) wireChanged() {
	r.puts.wake()
	r.watch.rouse()
}

// running tells whether puts reach the bucket at all.
func (r *retained) running() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.started && !r.ended
}

// stop ends both goroutines; puts that wait get ErrClosed, and the watcher is told nothing more.
func (r *retained) stop() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.puts.close()
	r.watch.close()
	r.wait.Wait()
	r.puts.giveUp()
}

// appendRetainedKey appends the key of a topic.
func appendRetainedKey(dst, topic []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range AppendSubject(nil, topic) {
		if keyByte(c) {
			dst = append(dst, c)
		} else {
			dst = append(dst, '=', digits[c>>4], digits[c&15])
		}
	}
	return dst
}

// appendKeySubject appends the subject of a key; false: it is not the key that appendRetainedKey makes.
func appendKeySubject(dst []byte, key string) ([]byte, bool) {
	for i := 0; i < len(key); i++ {
		c := key[i]
		if c == '=' {
			if i+2 >= len(key) {
				return dst, false
			}
			high, low := upperNibble(key[i+1]), upperNibble(key[i+2])
			if high > 15 || low > 15 || keyByte(high<<4|low) {
				return dst, false
			}
			c, i = high<<4|low, i+2
		} else if !keyByte(c) {
			return dst, false
		}
		dst = append(dst, c)
	}
	return dst, true
}

// keyByte tells whether a byte stands for itself in a key.
func keyByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '/' || c == '.'
}

// Headers of JetStream and of its key-value buckets.
const (
	headerTTL       = "Nats-TTL"
	headerOperation = "KV-Operation"
	headerMarker    = "Nats-Marker-Reason"
	kvDelete        = "DEL"
)
