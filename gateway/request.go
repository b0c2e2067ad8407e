package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/session"
)

// requests know what becomes of what backends ask of devices, where somebody has to be told: that nobody is there, and, to those who ask
// for it, what became of the message (decision 0010).
//
// A request is a message from NATS with a reply subject. Each copy that NATS brings of it (one for every interest that matches) is
// noted here before the shards see it, under a token that goes with the message; each shard then reports what it did with it. A device's
// acknowledgement comes later, by the same token. One goroutine answers, speaks with other gateways (request_words.go) and looks for
// those whose time is over: a request costs an entry in a table, and neither a goroutine nor a timer.
//
// Safe from any goroutine; the lock is held for memory work only.
type requests struct {
	gw         *Gateway
	nobodyTime time.Duration // nats.nobody_time; 0: nobody is told that nobody is there
	wake       chan struct{}

	mu      sync.Mutex
	byHash  map[uint64]*followed
	byToken map[uint32]*followed
	order   []*followed // by arrival
	last    uint32      // token given last
	answers []requestAnswer
	taken   []uint64 // hashes of requests that devices here have, to be told to others
	words   [][]byte // to be told to others
	counts  [outcomes]atomic.Uint64
}

// followed is one request. Guarded by requests.mu.
type followed struct {
	token    uint32
	waits    int32 // reports of shards that are still to come
	hash     uint64
	reply    string
	topic    string
	born     time.Time
	deadline time.Time // ask: when outcomeTimeout is the answer
	fate     fate
	ask      bool // the gateway is to answer
	direct   bool // it may be said that nobody is there: see routed.direct
	done     bool // answered, or nothing is left to say
	heard    bool // another gateway asks who has it
	asked    bool // we did
	nays     int  // gateways that said no
	need     int  // how many have to
}

// requestAnswer is what is to be published.
type requestAnswer struct {
	reply   string
	outcome outcome
}

// fate is what shards, and other gateways, did with a request.
type fate uint8

const (
	fateSent      fate = 1 << iota // to a live device, which is to acknowledge it
	fateSentOnce                   // with QoS 0
	fateWaits                      // for room in a live device's window
	fateQueued                     // for a device that is away
	fateDropped                    // a device could not be given it
	fateElsewhere                  // by way of another interest, or at another gateway

	fateTaken = fateSent | fateSentOnce | fateWaits | fateQueued | fateElsewhere
)

// outcome is what became of a request, as TG-Outcome and gateway_requests_total say.
type outcome uint8

const (
	outcomeDelivered outcome = iota // a device acknowledged it
	outcomeSent                     // QoS 0: written to a device's connection
	outcomeQueued                   // the device is away; it gets it when it is back in time
	outcomeRefused                  // the device answered with a failure, or cannot take so much
	outcomeDropped                  // a queue was full
	outcomeTimeout                  // the device has not acknowledged it in time
	outcomeNobody                   // no device wants it
	outcomeUnknown                  // nobody here, and not every other gateway said so, too; not answered
	outcomeUntracked                // too many at a time; not answered
	outcomes
)

var outcomeNames = [outcomes]string{"delivered", "sent", "queued", "refused", "dropped", "timeout", "nobody", "unknown", "untracked"}

// String is the outcome as backends and metrics read it.
func (o outcome) String() string { return outcomeNames[o] }

const (
	// requestsKnownMax is how many requests are known at a time; a further one is delivered, but not followed: outcomeUntracked.
	requestsKnownMax = 1 << 15
	// requestTick is how late anything about a request may be found.
	requestTick = 25 * time.Millisecond
	// requestKeepTime is how long a request is known at least, for copies of it and questions about it that come late.
	requestKeepTime = time.Second
	// requestWaitMax is the longest time that an acknowledgement is waited for.
	requestWaitMax = 5 * time.Minute
)

func newRequests(g *Gateway) *requests {
	return &requests{
		gw: g, nobodyTime: g.nobodyTime(), wake: make(chan struct{}, 1),
		byHash: map[uint64]*followed{}, byToken: map[uint32]*followed{},
	}
}

// arrive notes a copy of a request that so many shards will see, and gives it the time that it has; 0: it is none, or not followed.
func (g *Gateway) arrive(in *bus.Inbound, to *routed, shards int) (token uint32) {
	if in.Reply == "" {
		return 0
	}
	if wait := uint32(g.cfg.NATS.RequestExpiry.Seconds()); wait > 0 && !in.Fields.HasExpiry && bus.Answerable(in.Reply) {
		in.Fields.HasExpiry, in.Fields.ExpirySec, in.HasFields = true, wait, true
	}
	return g.requests.arrive(in, to, shards)
}

// arrive notes a copy of a request; 0: it is not followed.
func (x *requests) arrive(in *bus.Inbound, to *routed, shards int) (token uint32) {
	ask := in.Ask == bus.AskOutcome
	if !bus.Answerable(in.Reply) || !ask && x.nobodyTime == 0 {
		return 0
	}
	hash := hashReply(in.Reply)
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byHash[hash]
	if e == nil {
		if len(x.order) >= requestsKnownMax {
			x.counts[outcomeUntracked].Add(1)
			return 0
		}
		for x.last++; x.last == 0 || x.byToken[x.last] != nil; x.last++ {
		}
		e = &followed{token: x.last, hash: hash, reply: in.Reply, topic: string(in.Topic), born: time.Now(), ask: ask}
		wait := requestWaitMax
		if in.Fields.HasExpiry {
			wait = min(wait, time.Duration(in.Fields.ExpirySec)*time.Second)
		}
		e.deadline = e.born.Add(wait)
		x.byHash[hash], x.byToken[e.token] = e, e
		x.order = append(x.order, e)
		if len(x.order) == 1 {
			x.rouse() // the ticking begins
		}
	}
	e.direct = e.direct || to.direct
	e.waits += int32(shards)
	return e.token
}

func (x *requests) rouse() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// report is what a shard did with one copy.
func (x *requests) report(token uint32, f fate) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byToken[token]
	if e == nil {
		return
	}
	e.waits--
	if f&fateTaken != 0 && e.fate&fateTaken == 0 && x.hasPeers() && len(x.taken) < requestsKnownMax {
		x.taken = append(x.taken, e.hash)
	}
	e.fate |= f
	x.settle(e)
}

// settle answers a request that is to be answered, once it is known what came of it. Must be called with the lock held.
func (x *requests) settle(e *followed) {
	switch {
	case !e.ask || e.done || e.waits > 0 || e.fate&(fateSent|fateWaits) != 0:
	case e.fate&fateSentOnce != 0:
		x.answer(e, outcomeSent)
	case e.fate&fateQueued != 0:
		x.answer(e, outcomeQueued)
	case e.fate&fateDropped != 0:
		x.answer(e, outcomeDropped)
	}
}

// acknowledged is the end of a message at a device.
func (x *requests) acknowledged(token uint32, reason uint8) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byToken[token]
	switch {
	case e == nil || e.done || !e.ask:
	case reason >= 0x80:
		x.answer(e, outcomeRefused)
	default:
		x.answer(e, outcomeDelivered)
	}
}

// answer must be called with the lock held.
func (x *requests) answer(e *followed, o outcome) {
	e.done = true
	x.answers = append(x.answers, requestAnswer{e.reply, o})
	x.rouse()
}

// run answers until ctx ends.
func (x *requests) run(ctx context.Context) {
	tick := time.NewTimer(requestTick)
	for {
		select {
		case <-ctx.Done():
			return
		case <-x.wake:
		case now := <-tick.C:
			x.step(now)
		}
		if x.flush() {
			tick.Reset(requestTick)
		} else {
			tick.Stop()
		}
	}
}

// step looks after every request that is known.
func (x *requests) step(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	known := x.order[:0]
	var questions []*followed
	for _, e := range x.order {
		if x.over(e, now, &questions) {
			delete(x.byHash, e.hash)
			delete(x.byToken, e.token)
			continue
		}
		known = append(known, e)
	}
	clear(x.order[len(known):])
	x.order = known
	x.askOthers(questions)
}

// over carries a request on; true: it need not be known any more. Must be called with the lock held.
func (x *requests) over(e *followed, now time.Time, questions *[]*followed) bool {
	age := now.Sub(e.born)
	switch {
	case e.done || e.heard:
		return age > requestKeepTime
	case e.fate&(fateTaken|fateDropped) != 0 || e.waits > 0:
		if e.ask && e.fate&^fateElsewhere != 0 {
			if now.After(e.deadline) {
				x.answer(e, outcomeTimeout)
			}
			return false
		}
		return age > requestKeepTime
	case x.nobodyTime == 0 || !e.direct && !e.ask:
		return age > requestKeepTime
	}
	return x.overWithoutDevice(e, age, questions)
}

// overWithoutDevice is over for a request that no device here has. Must be called with the lock held.
func (x *requests) overWithoutDevice(e *followed, age time.Duration, questions *[]*followed) bool {
	switch {
	case !e.asked && !x.hasPeers():
		if age >= x.nobodyTime {
			x.answer(e, outcomeNobody)
		}
	case !e.asked:
		if age >= x.nobodyTime/2+x.turn(e) {
			e.asked, e.need = true, x.gw.claims.peers()
			*questions = append(*questions, e)
		}
	case e.nays >= e.need:
		if age >= x.nobodyTime {
			x.answer(e, outcomeNobody)
		}
	case age > x.nobodyTime+requestKeepTime:
		x.counts[outcomeUnknown].Add(1)
		e.done = true
	}
	return false
}

// flush publishes what is to be; true: there are requests to look after.
func (x *requests) flush() (busy bool) {
	x.mu.Lock()
	x.tellTaken()
	answers, words := x.answers, x.words
	x.answers, x.words = nil, nil
	busy = len(x.order) > 0
	x.mu.Unlock()
	for _, p := range words {
		_ = x.gw.bus.TellRequests(p) // who does not hear it says nothing, and then nobody is told anything
	}
	for _, a := range answers {
		x.counts[a.outcome].Add(1)
		_ = x.gw.bus.Answer(a.reply, a.outcome.String(), a.outcome == outcomeNobody) // without NATS nobody waits for it
	}
	return busy
}

// known is how many requests are known.
func (x *requests) known() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.order)
}

// hasPeers tells whether there are other gateways.
func (x *requests) hasPeers() bool { return x.gw.claims != nil && !x.gw.claims.alone.Load() }

// fateOf is what came of delivering a request to a session, as s.dout has it.
func (s *shard) fateOf(sess *session.Session, ev *session.Event) fate {
	for i := range s.dout.Sends {
		if a := &s.dout.Sends[i]; a.Kind == session.SendPublish && a.Msg.Request == ev.Msg.Request {
			if a.QoS > 0 {
				return fateSent
			}
			return fateSentOnce
		}
	}
	d := &s.dout.Drops
	switch {
	case d[session.DropOffline] > 0:
		return 0
	case d[session.DropCongested]+d[session.DropExpired]+d[session.DropSessionGone]+d[session.DropTableBytes] > 0,
		s.cfg.Session.QueuePolicy != "drop-oldest" && d[session.DropQueueFull]+d[session.DropQueueBytes] > 0, sess.Queued() == 0:
		return fateDropped
	case sess.Owner() == 0:
		return fateQueued
	}
	return fateWaits
}

// settled passes acknowledgements of requests on.
func (s *shard) settled(list []session.Settled) {
	for _, x := range list {
		s.gw.requests.acknowledged(x.Request, x.Reason)
	}
}

// hears tells whether a session here would get a message of this topic.
func (s *shard) hears(topic []byte) bool {
	s.table.Match(topic, nil, &s.matches)
	for i := range s.matches.List {
		if t := &s.matches.List[i]; t.QoS > 0 || t.Session.Owner() != 0 {
			return true
		}
	}
	return false
}
