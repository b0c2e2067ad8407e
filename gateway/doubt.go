package gateway

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/epoll"
)

// A gateway that did not run for some seconds, stopped by its host or starved, finds in its sockets what devices sent before they gave it up. Their
// sessions have gone on elsewhere, with the same messages sent again, and the claims that say so wait in another socket. So a loop that
// finds itself late is in doubt: it reads no device with a kept session until this gateway has heard what the others said meanwhile. Only
// their PINGREQs are answered. What the loop had read before it stopped is not held back by this; nor is a stop that is shorter than lateSec, for
// which no device gives a gateway up.
//
// After a stop of some seconds it suffices that NATS answers, as others had told it to us and it comes in order. After a longer one they may have
// forgotten us, and told nothing; and when the connection to NATS broke, what they told is lost. Then everything is claimed again, which
// who has a newer connection disputes, and their answers are given some time. Reading the record of each session would tell the same for certain; it is as many reads
// as there are devices, at the moment when they all send, against one second.

const (
	// forgottenTime is after how long a stop others may have told us nothing: they forget who has been silent for claimForgetTime.
	forgottenTime = claimForgetTime - 2*claimBeatTime
	// disputeTime is how long others have to dispute what was claimed again, reclaimTime how long claiming may take.
	disputeTime = time.Second
	reclaimTime = 10 * time.Second
	// heardTime is how long NATS has to answer before it is asked again, askPause the pause when it is away.
	heardTime = 5 * time.Second
	askPause  = 100 * time.Millisecond
)

// doubt is that of one loop.
type doubt struct {
	awakeSec uint32 // when the loop is known to have run
	number   uint64 // of the last doubt
	open     bool
}

// inDoubt tells whether a device must not be read now, as its session may be elsewhere. It looks at the clock itself: a stop in the middle of
// a tick counts as well. That is 50 ns for each read that brought something, of a few microseconds.
func (s *shard) inDoubt(d *device) bool {
	if d.state != stateLive || keeperOf(d.sess) == nil {
		return false
	}
	x := &s.doubt
	if now := epoll.NowSec(); x.awakeSec != 0 && now >= x.awakeSec+lateSec {
		s.beginDoubt(now)
	}
	return x.open
}

// ran notes that the loop runs; it finds a stop that no device's bytes found.
func (s *shard) ran() {
	x, now := &s.doubt, s.loop.NowSec()
	if x.awakeSec != 0 && now >= x.awakeSec+lateSec {
		s.beginDoubt(now)
	}
	x.awakeSec = max(x.awakeSec, now)
}

func (s *shard) beginDoubt(now uint32) {
	x := &s.doubt
	late := time.Duration(now-x.awakeSec) * time.Second
	x.awakeSec = now
	if s.gw.claims == nil || !s.gw.durable.keepsSessions() {
		return // nobody else can have them
	}
	x.open = true
	x.number++
	s.count.doubts++
	n := x.number
	go func() {
		if s.gw.hearOthers(late) {
			s.doSoon(func(s *shard) { s.endDoubt(n) })
		}
	}()
}

// endDoubt has the loop read again, unless it was late again.
func (s *shard) endDoubt(number uint64) {
	if x := &s.doubt; x.number == number {
		x.open = false
		s.resumePublishers()
	}
}

// hearOthers waits until what others said before now has been carried out by the loops, or at least is in their inboxes; false: the gateway ends.
func (g *Gateway) hearOthers(late time.Duration) bool {
	told := late < forgottenTime
	for {
		settle, cancel := context.WithTimeout(context.Background(), heardTime)
		err := g.bus.Settle(settle)
		cancel()
		switch {
		case err == nil && told:
			return true
		case err != nil:
			told = false
			if !g.rests(askPause) {
				return false
			}
		default:
			if !g.reclaim() || !g.rests(disputeTime) {
				return false
			}
			told = true
		}
	}
}

// reclaim claims everything again, and waits until that has been told; false: the gateway ends.
func (g *Gateway) reclaim() bool {
	g.claims.all(true)
	for end := time.Now().Add(reclaimTime); g.claims.claiming() && time.Now().Before(end); {
		if !g.rests(askPause) {
			return false
		}
	}
	return true
}

// claiming tells whether something is still to be claimed.
func (x *claims) claiming() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.again || x.scanning.Load() > 0 || len(x.pending) > 0
}

// rests waits a while; false: the gateway has stopped meanwhile.
func (g *Gateway) rests(d time.Duration) bool {
	select {
	case <-g.stopped:
		return false
	case <-time.After(d):
		return true
	}
}
