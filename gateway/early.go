package gateway

import (
	"time"

	"github.com/tidegate/tidegate/session"
)

// earlyMax is how many subscriptions of a loop may wait for the bucket to tell what is retained. Those beyond it get what is known.
const earlyMax = 1 << 16

// earlyReplays are subscriptions that came before the bucket had told all that is retained: they get it when it has, and what
// is known when it takes too long. Owned by one shard.
type earlyReplays struct {
	waiting map[*session.Subscription]session.Replay
	served  bool // with what was known
	resting []restingReplay
}

// restingReplay is a replay that begins a moment later.
type restingReplay struct {
	want session.Replay
	at   time.Time
}

// settleTime is how long a replay waits where there are other gateways. What one of them retains comes here in two ways, live and by the bucket.
// Who subscribes after the live message has passed and before the bucket has told it would get it neither way, if its replay began at
// once. What comes live while a replay waits may come both ways.
const settleTime = 150 * time.Millisecond

// rests notes a replay that has to wait for settleTime; false: it need not.
func (s *shard) rests(want session.Replay, store *retainedStore) bool {
	x := s.gw.claims
	if store.mirror == nil || x == nil || x.alone.Load() || len(s.early.resting) >= earlyMax {
		return false
	}
	s.early.resting = append(s.early.resting, restingReplay{want, time.Now().Add(settleTime)})
	if len(s.early.resting) == 1 {
		s.wakeRested(settleTime)
	}
	return true
}

func (s *shard) wakeRested(d time.Duration) {
	time.AfterFunc(d, func() { s.doSoon((*shard).beginRested) })
}

// beginRested begins the replays that have waited for settleTime.
func (s *shard) beginRested() {
	list, now := s.early.resting, time.Now()
	for len(list) > 0 && !list[0].at.After(now) {
		if list[0].want.Sub.Held() {
			s.beginReplay(list[0].want, &s.gw.retained)
		}
		list[0] = restingReplay{}
		list = list[1:]
	}
	if s.early.resting = list; len(list) > 0 {
		s.wakeRested(list[0].at.Sub(now))
	} else {
		s.early.resting = nil
	}
	s.loop.Wake() // the end of this tick may be over
}

// isEarly notes a subscription whose retained messages are not all known yet; true: its replay has to wait.
func (s *shard) isEarly(want session.Replay, store *retainedStore) bool {
	e := &s.early
	if store.loaded() || len(e.waiting) >= earlyMax {
		return false
	}
	if e.waiting == nil {
		e.waiting = map[*session.Subscription]session.Replay{}
	}
	e.waiting[want.Sub] = want
	return !e.served
}

// lookAtEarly serves who waited long enough with what is known.
func (s *shard) lookAtEarly(now uint32) {
	if x := s.gw.retained.mirror; x != nil && now >= x.waitUntilSec && !s.early.served {
		s.beginEarly(false)
	}
}

// beginEarly begins the replays that waited; all: everything is known now.
func (s *shard) beginEarly(all bool) {
	for _, want := range s.early.waiting {
		if want.Sub.Held() {
			s.beginReplay(want, &s.gw.retained)
		}
	}
	if s.early.served = true; all {
		s.early.waiting = nil
	}
	s.loop.Wake() // the end of this tick may be over
}

// loaded tells whether all that NATS has is here.
func (r *retainedStore) loaded() bool {
	if r.mirror == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mirror.whole
}
