package gateway

import (
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/session"
)

// The tails of streams run while somebody here is there to be fed by them: a live device with a plain subscription, or one that is away and is kept
// in memory only. A session that is away and has a record needs none, as it reads what it missed; so a gateway that only takes messages in pays
// nothing for delivering. What a tail brings is the whole stream, or what one filter asks for, see bus.Follow.

// following says whether the tails run. Guarded by interests.mu, but for retry.
type following struct {
	gw     *Gateway // nil in tests without one
	shards int      // shards that are to be fed
	on     bool     // the tails bring all that is wanted
	times  uint64   // they were made to
	filter string   // of users' streams: what was asked for
	retry  <-chan time.Time
}

// followRetry is between two attempts to follow a stream.
const followRetry = time.Second

// feed counts a shard in (+1) or out (-1); true: the tails run. Otherwise the shard is told when they do, by a number of times above the one
// returned: what it was told for those before may still be on the way to it.
func (x *interests) feed(change int) (on bool, times uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := &x.tails
	f.shards += change
	if f.on == (f.shards > 0) && !f.moreWanted(x) {
		return f.on, f.times
	}
	select {
	case x.wake <- struct{}{}:
	default:
	}
	return f.on, f.times
}

// plainFilter is the one filter of all plain interests, or "#". Must be called with the lock held.
func (x *interests) plainFilter() string {
	one := ""
	for _, e := range x.byID {
		switch {
		case e.group != "":
		case one != "":
			return "#"
		default:
			one = e.filter
		}
	}
	return one
}

// moreWanted tells whether users' streams are followed for less than is wanted. Must be called with the lock held.
func (f *following) moreWanted(x *interests) bool {
	return f.on && f.gw != nil && len(f.gw.durable.streams) > 0 && f.filter != "#" && f.filter != x.plainFilter()
}

// update starts, widens or ends the tails. What waits for them goes on when they run.
func (f *following) update(x *interests) {
	if f.gw == nil || f.gw.durable.off() {
		return
	}
	x.mu.Lock()
	begins := !f.on
	wanted, filter, done := f.shards > 0, x.plainFilter(), f.on == (f.shards > 0) && !f.moreWanted(x)
	if !wanted {
		f.on = false // before the tails end: who comes now is told to wait
	}
	x.mu.Unlock()
	if done {
		return
	}
	f.retry = nil
	for stream := range f.gw.durable.logAt {
		if !f.follow(uint16(stream), wanted, filter) {
			f.retry = time.After(followRetry)
			f.each(func(s *shard) { s.notFed() })
			return
		}
	}
	if !wanted {
		return
	}
	var from []uint64
	if begins {
		from = f.gw.durable.tailsFrom()
	}
	x.mu.Lock()
	f.on, f.filter = true, filter
	f.times++
	gone, times := f.shards == 0, f.times
	x.mu.Unlock()
	f.each(func(s *shard) { s.fed(from, times) })
	if gone { // while they began
		f.update(x)
	}
}

func (f *following) each(do func(s *shard)) {
	for _, s := range f.gw.shards {
		s.doSoon(do)
	}
}

// follow follows one stream, or no longer.
func (f *following) follow(stream uint16, wanted bool, filter string) bool {
	var filters [][]byte
	switch {
	case !wanted || stream == uint16(inLog) && !f.gw.durable.logs():
	case stream == uint16(inLog):
		filters = [][]byte{[]byte("#")}
	default:
		filters = [][]byte{[]byte(filter)}
	}
	after, err := f.gw.bus.Follow(stream, filters)
	if err != nil {
		f.gw.log.Debug().Err(err).Uint16("stream", stream).Msg("a stream cannot be followed yet")
		return false
	}
	if filters != nil {
		f.gw.durable.reached(stream, after)
		f.gw.durable.follows(stream, after)
	}
	return true
}

// feeding is what a shard knows of its sessions that the tails are to feed. Owned by the shard.
type feeding struct {
	filters int           // plain ones of such sessions
	on      bool          // the tails run
	times   uint64        // what says so counts from beyond here, see interests.feed
	held    []*heldSuback // wait until they do
	behind  []*keeper     // the same, to go on reading what they missed
}

// feeds counts filters in or out.
func (s *shard) feeds(change int) {
	if s.gw.durable.off() {
		return
	}
	f := &s.feeding
	before := f.filters
	f.filters += change
	if crashOnPanic && f.filters < 0 {
		panic("gateway: fewer than no filters to feed")
	}
	switch {
	case before == 0 && f.filters > 0:
		f.on, f.times = s.gw.interests.feed(+1)
	case before > 0 && f.filters == 0:
		s.gw.interests.feed(-1)
		f.on = false
		if len(f.held) > 0 {
			s.doSoon((*shard).unfed)
		}
	}
}

// fed: the tails run, for the times-th time. from is where they began, by stream; nil if they were running.
func (s *shard) fed(from []uint64, times uint64) {
	f := &s.feeding
	if f.filters == 0 || times <= f.times {
		return // they may have ended since
	}
	for stream, seq := range from {
		s.tailAt[stream] = max(s.tailAt[stream], seq) // nothing older is to come, so who is fed has had it
	}
	f.on = true
	s.goOnFed()
}

// unfed: nothing is to be fed any more. A SUBACK that waits for the tails, of filters that are gone, need not.
func (s *shard) unfed() {
	if s.feeding.filters == 0 {
		s.goOnFed()
	}
}

// goOnFed goes on with what waited for the tails.
func (s *shard) goOnFed() {
	f := &s.feeding
	held, behind := f.held, f.behind
	f.held, f.behind = nil, nil
	for _, h := range held {
		if h.missing--; h.missing == 0 {
			s.keepHeld(h)
		}
	}
	for _, k := range behind {
		k.waits = false
		s.catchUp(k.sess)
	}
}

// notFed: the tails can't run now. Sessions that are kept wait, the others go without.
func (s *shard) notFed() {
	var still []*heldSuback
	for _, h := range s.feeding.held {
		if h.sess != nil {
			still = append(still, h)
		} else if h.missing--; h.missing == 0 {
			s.finishHeld(h)
		}
	}
	s.feeding.held = still
}

// isFed tells whether the tails feed a subscription: groups are served by way of NATS, and no stream has reserved topics.
func isFed(sub *session.Subscription) bool {
	return sub.Share == "" && !bus.Reserved([]byte(sub.Filter))
}

// plainCount is how many plain filters a session has.
func plainCount(sess *session.Session) (n int) {
	sess.EachSubscription(func(sub *session.Subscription) bool {
		if isFed(sub) {
			n++
		}
		return true
	})
	return n
}
