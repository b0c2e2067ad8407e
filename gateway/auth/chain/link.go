package chain

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tidegate/tidegate/gateway/auth"
)

// Settings bound what one provider may cost.
type Settings struct {
	Workers    int           // questions that the provider has at a time
	WaitingMax int           // questions that wait for an answer; beyond it a device is told that we are busy
	Timeout    time.Duration // of one question, and of its wait for a worker
	CacheMax   int           // answers remembered: so many that let in, and so many that do not
	AllowTime  time.Duration // how long one that lets in holds; 0: not at all
	DenyTime   time.Duration // and one that does not
	Remote     bool          // the provider is elsewhere, so that it has a breaker
	FailNext   bool          // when it cannot tell, the next one is asked; else nobody gets in
}

// Link is one provider in chains. Safe from any goroutine.
type Link struct {
	provider auth.Provider
	set      Settings
	key      [keyBytes]byte // of the HMAC

	mu      sync.Mutex
	cache   cache
	flights map[digest]*flight
	queue   []*flight
	waiting int // questions in flights
	running int // workers
	breaker breaker
	stats   Stats
}

// flight is one question to the provider, for everybody who asks the same.
type flight struct {
	key     digest
	request *auth.Request
	since   time.Time
	waiting []*question
}

// NewLink puts a provider behind its limits.
func NewLink(p auth.Provider, set Settings) *Link {
	return &Link{provider: p, set: set, key: newKey(), cache: newCache(set.CacheMax), flights: map[digest]*flight{}}
}

// Name is that of the provider.
func (l *Link) Name() string { return l.provider.Name() }

// Count notes an answer that the provider gave without being asked by a chain.
func (l *Link) Count(v auth.Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Answers[v]++
}

// Forget has the link forget every answer, such as when a file has changed.
func (l *Link) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cache = newCache(l.set.CacheMax)
	l.flights = map[digest]*flight{} // those under way answer who waits, and nobody after
}

// ask gets q an answer, now or later.
func (l *Link) ask(q *question) {
	if a, now := l.take(q, time.Now()); now {
		q.answered(a)
	}
}

// take answers a question if it can, and else has it wait.
func (l *Link) take(q *question, now time.Time) (a auth.Answer, answered bool) {
	key := digestOf(l.key[:], q.request)
	l.mu.Lock()
	defer l.mu.Unlock()
	if a, ok := l.cache.get(key, now); ok {
		l.stats.Cached++
		return a, true
	}
	if l.waiting >= l.set.WaitingMax {
		l.stats.Busy++
		return auth.Answer{Verdict: auth.Deny, Refusal: auth.Busy}, true
	}
	if f := l.flights[key]; f != nil {
		l.stats.Shared++
		l.waiting++
		f.waiting = append(f.waiting, q)
		return a, false
	}
	if l.set.Remote && !l.breaker.lets(now) {
		l.stats.Spared++
		return l.failed(), true
	}
	f := &flight{key: key, request: q.request, since: now, waiting: []*question{q}}
	l.waiting++
	l.flights[key] = f
	l.queue = append(l.queue, f)
	if l.running < l.set.Workers {
		l.running++
		go l.work()
	}
	return a, false
}

// failed is the answer when the provider cannot tell.
func (l *Link) failed() auth.Answer {
	if l.set.FailNext {
		return auth.Answer{Verdict: auth.Pass}
	}
	return auth.Answer{Verdict: auth.Deny, Refusal: auth.Unavailable}
}

// work asks until nobody waits any more.
func (l *Link) work() {
	for {
		f := l.next()
		if f == nil {
			return
		}
		waiting, a := l.settle(f)
		for _, q := range waiting {
			q.answered(a)
		}
	}
}

// next takes a flight off the queue; nil: there is none, and the worker has gone.
func (l *Link) next() *flight {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		l.running--
		l.queue = nil
		return nil
	}
	f := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	return f
}

// settle asks the provider, and says whom to tell what.
func (l *Link) settle(f *flight) (waiting []*question, a auth.Answer) {
	if late := time.Since(f.since) > l.set.Timeout; late || l.unwanted(f) {
		return l.land(f, time.Now(), func() auth.Answer {
			if late {
				l.stats.Busy++
			}
			l.breaker.unasked()
			return auth.Answer{Verdict: auth.Deny, Refusal: auth.Busy}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.set.Timeout)
	defer cancel()
	a, err := l.provider.Authenticate(ctx, f.request, time.Now().Unix())
	now := time.Now()
	return l.land(f, now, func() auth.Answer {
		if err != nil {
			l.stats.Failed++
			if errors.Is(err, errAnswer) {
				l.breaker.worked()
			} else {
				l.breaker.failed(now)
			}
			return l.failed()
		}
		l.breaker.worked()
		if a.Verdict == auth.Allow && a.ExpiresSec != 0 && a.ExpiresSec <= now.Unix() {
			a = auth.Answer{Verdict: auth.Deny, Refusal: auth.NotAuthorized}
		}
		l.stats.Answers[a.Verdict]++
		if l.flights[f.key] == f { // else what it was asked about has changed since
			l.cache.put(f.key, a, now, l.holds(a, now))
		}
		return a
	})
}

// land ends a flight with what decide says, under the lock.
func (l *Link) land(f *flight, now time.Time, decide func() auth.Answer) ([]*question, auth.Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := decide()
	if l.flights[f.key] == f {
		delete(l.flights, f.key)
	}
	l.waiting -= len(f.waiting)
	l.stats.Slowest = max(l.stats.Slowest, now.Sub(f.since))
	return f.waiting, a
}

// unwanted tells that nobody waits for a flight any more.
func (l *Link) unwanted(f *flight) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range f.waiting {
		if !q.gone.Load() {
			return false
		}
	}
	if l.flights[f.key] == f { // who asks from now on is not told that we are busy
		delete(l.flights, f.key)
	}
	return true
}

// holds is how long an answer may be remembered.
func (l *Link) holds(a auth.Answer, now time.Time) time.Duration {
	d := l.set.DenyTime
	if a.Verdict == auth.Allow {
		d = l.set.AllowTime
	}
	if a.Verdict == auth.Deny && (a.Refusal == auth.Unavailable || a.Refusal == auth.Busy) {
		return 0
	}
	if a.CacheSec != 0 {
		d = time.Duration(a.CacheSec) * time.Second
	}
	if a.Verdict == auth.Allow && a.ExpiresSec != 0 {
		d = min(d, time.Unix(a.ExpiresSec, 0).Sub(now))
	}
	return d
}

// Stats are what a link has done since it was made.
type Stats struct {
	Answers [auth.Deny + 1]uint64 // of the provider, by verdict
	Failed  uint64                // times it could not tell
	Cached  uint64                // questions answered from the cache
	Shared  uint64                // questions that one under way answered, too
	Busy    uint64                // questions refused as too many waited, or one too long
	Spared  uint64                // questions that the breaker kept from the provider
	Waiting int                   // questions now
	Open    bool                  // the breaker is
	Slowest time.Duration         // longest time to an answer
}

// Stats may be called at any time.
func (l *Link) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Waiting, s.Open = l.waiting, l.breaker.open()
	return s
}
