package gateway

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// claims make the gateways on one NATS one gateway to devices: a client id has one connection, whichever process it is at.
//
// The idea. Whoever takes a CONNECT tells all others: a claim of the client id, with the time of the connect. A gateway
// with an older connection of that id ends it as a takeover [MQTT-3.1.4-3]; one with a newer connection claims again, and the
// teller ends its own. Equal times are settled by the number of the gateway. So of any two connections both sides name the
// same survivor, in whatever order the claims arrive.
//
// The time is a hybrid clock: the wall clock, but always later than every time heard. So clocks that disagree do no harm to
// a device that comes to one gateway after another, while they are within claimAheadMax.
//
// Nobody waits for a claim, so for some milliseconds there may be two connections. A claim is not repeated and not
// confirmed; what makes up for lost ones is that every message has a number. Who finds a gap, meets a gateway that it does not
// know, or has lost NATS meanwhile, has all live client ids claimed again with the times they have.
//
// The cost. Claims of a few milliseconds travel in one message, and without others in earshot none is sent: a gateway
// alone says a word every few seconds, and one on a NATS of its own, which others can only come to, nothing. Considered and left: a claim in a JetStream bucket, with
// compare-and-set, before CONNACK. It would decide before there are two connections, at a round trip and a stored write for
// each CONNECT; records of durable sessions will be written that way.
//
// Safe from any goroutine.
type claims struct {
	gw    *Gateway
	self  uint64        // number of this process
	host  bool          // NATS is our own: whoever comes will speak first
	clock atomic.Uint64 // latest time given or heard
	timed atomic.Bool   // connections get a time; false until somebody else was heard, where that can be known
	alone atomic.Bool   // nobody else is heard now: nothing is sent

	wake chan struct{}

	sent, heard, lost atomic.Uint64 // claims
	refused           atomic.Uint64 // messages of others
	scanning          atomic.Int32  // shards that claim everything again

	mu      sync.Mutex
	pending [][]byte          // messages to send, with room for the head
	spare   [][]byte          // sent ones
	others  map[uint64]*other // gateways that are heard
	asks    []uint64          // gateways to ask to claim everything again
	word    bool              // say something even without claims
	again   bool              // everything is to be claimed again
	atOnce  bool              // and that soon
	greeted int               // times that it was, since the last rest
	allAt   time.Time         // when it was last

	seq uint64 // of the last message sent; owned by run
}

// other is another gateway.
type other struct {
	seq     uint64    // of its last message
	heardAt time.Time // so that it is forgotten when it says no more
	askedAt time.Time // so that it is not asked all the time when it is we who are slow
}

// claim is one client id claimed by another gateway.
type claim struct {
	id    []byte
	at    uint64 // when it connected there
	by    uint64 // the gateway
	clean bool   // with clean start
}

const (
	// claimGatherTime is how long claims gather to travel together.
	claimGatherTime = 2 * time.Millisecond
	// claimBeatTime is how often a gateway says that it is there; after claimForgetTime of silence it is forgotten.
	claimBeatTime   = 5 * time.Second
	claimForgetTime = 4 * claimBeatTime
	// claimByeTime is how long a gateway that stops tries to say so.
	claimByeTime = time.Second
	// claimBytes is when a message is full, claimPendingMax how many full ones wait. Beyond that claims are lost, counted, and
	// made up for by claiming everything again.
	claimBytes      = 16 << 10
	claimPendingMax = 64
	// othersMax is how many gateways are noted, and asked at a time. One beyond it is heard, but not known: its silence, gaps and
	// arrival mean nothing.
	othersMax = 1024
	// sparesMax is how many sent messages are kept to be filled again.
	sparesMax = 4
	// claimAheadMax is how far ahead of our wall clock the time of another gateway may be; a message beyond it is refused, and counted.
	// It is far more than clocks differ that somebody looks after, and so little that nobody can move our clock to where others
	// refuse us for long.
	claimAheadMax = time.Hour
)

// newClaims is nil where nobody else can be heard, on an embedded NATS that listens nowhere, and nothing is recorded.
func newClaims(g *Gateway) *claims {
	embedded := g.cfg.NATS.URL == "embedded"
	if embedded && g.cfg.NATS.Listen == "" && !g.cfg.Presence.Records {
		return nil
	}
	var self [8]byte
	_, _ = rand.Read(self[:]) // never fails
	x := &claims{gw: g, host: embedded, self: binary.BigEndian.Uint64(self[:]), wake: make(chan struct{}, 1), others: map[uint64]*other{}}
	x.alone.Store(true)
	x.next() // no claim is later than the clock
	// On a NATS of our own nobody can have come before us, so those whom we do not know yet are younger than all we have. What is
	// recorded needs a time in any case.
	x.timed.Store(!embedded || g.cfg.Presence.Records)
	return x
}

// startClaims begins to hear and tell others; the function it returns says goodbye and ends the telling.
func (g *Gateway) startClaims() (stop func(), err error) {
	x := g.claims
	if x == nil {
		return func() {}, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	err = errors.Join(g.bus.Hear(x.hear), g.bus.HearRequests(g.requests.hear))
	running.Go(func() { x.run(ctx) })
	x.all(true)
	return func() {
		cancel()
		running.Wait()
	}, err
}

// next is a time later than all before.
func (x *claims) next() uint64 {
	now := uint64(time.Now().UnixNano())
	for {
		last := x.clock.Load()
		if t := max(now, last+1); x.clock.CompareAndSwap(last, t) {
			return t
		}
	}
}

// passed moves the clock on to a time that another gateway has given.
func (x *claims) passed(t uint64) {
	for last := x.clock.Load(); t > last && !x.clock.CompareAndSwap(last, t); last = x.clock.Load() {
	}
}

// add has a client id claimed. It takes a lock for memory work only.
func (x *claims) add(id string, at uint64, clean bool) {
	if x.alone.Load() {
		return // whoever comes is told everything
	}
	x.mu.Lock()
	full := len(x.pending) >= claimPendingMax
	if !full {
		x.append(id, at, clean)
	}
	x.mu.Unlock()
	if full {
		x.lost.Add(1)
		x.all(false)
		return
	}
	x.rouse()
}

// append must be called with the lock held.
func (x *claims) append(id string, at uint64, clean bool) {
	n := len(x.pending) - 1
	if n < 0 || len(x.pending[n])+claimHead+len(id) > claimBytes {
		x.pending = append(x.pending, x.blank())
		n++
	}
	x.pending[n] = appendClaim(x.pending[n], id, at, clean)
}

// blank is an empty message. Must be called with the lock held.
func (x *claims) blank() []byte {
	if n := len(x.spare); n > 0 {
		p := x.spare[n-1]
		x.spare = x.spare[:n-1]
		return p[:messageHead]
	}
	return make([]byte, messageHead, claimBytes)
}

// roomy tells whether many claims may be added.
func (x *claims) roomy() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.pending) < claimPendingMax/2
}

func (x *claims) rouse() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// run sends what is to be sent until ctx ends, and then says goodbye.
func (x *claims) run(ctx context.Context) {
	beat := time.NewTicker(claimBeatTime)
	defer beat.Stop()
	gather, later := time.NewTimer(0), time.NewTimer(claimBeatTime)
	for {
		select {
		case <-ctx.Done():
			x.bye()
			return
		case now := <-beat.C:
			x.beat(now)
		case <-x.wake:
			gather.Reset(claimGatherTime)
			<-gather.C
		case <-later.C:
		}
		if due, wait := x.due(time.Now()); due {
			x.claimAll()
		} else if wait > 0 {
			later.Reset(wait)
		}
		x.flush()
	}
}

// bye spares the others to wait until they forget us.
func (x *claims) bye() {
	if x.alone.Load() {
		return
	}
	p := make([]byte, messageHead)
	writeHead(p, &message{flags: messageBye, by: x.self, seq: x.seq + 1, clock: x.clock.Load()})
	_ = x.gw.bus.TellLast(p, claimByeTime)
}

// beat is the word that keeps us from being forgotten, and the end of those who do not say theirs.
func (x *claims) beat(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.word = true
	if !x.gw.bus.Status().Connected() {
		return // it is not they who are silent
	}
	for id, o := range x.others {
		if now.Sub(o.heardAt) > claimForgetTime {
			delete(x.others, id)
		}
	}
	x.alone.Store(len(x.others) == 0)
}

// flush sends what is pending. What NATS does not take while it is away is made up for when it is back.
func (x *claims) flush() {
	x.mu.Lock()
	pending, asks := x.pending, x.asks
	x.word = x.word && !(x.host && x.alone.Load())
	pending = x.outgoing(asks, pending)
	x.pending, x.asks, x.word = nil, nil, false
	x.mu.Unlock()
	for i, p := range pending {
		m := message{by: x.self, seq: x.seq + 1, clock: x.clock.Load()}
		if i < len(asks) {
			m.asks = asks[i]
		}
		writeHead(p, &m)
		n := uint64(claimCount(p))
		if err := x.gw.bus.Tell(p); err != nil {
			x.lost.Add(n)
			continue
		}
		x.seq++ // what was not sent leaves no gap: all is claimed again anyway
		x.sent.Add(n)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range pending {
		if cap(p) == claimBytes && len(x.spare) < sparesMax {
			x.spare = append(x.spare, p)
		}
	}
}

// outgoing adds messages, of heads alone, to those pending, so that there is one for each question, and for a word. Must be
// called with the lock held.
func (x *claims) outgoing(asks []uint64, pending [][]byte) [][]byte {
	for x.word && len(pending) == 0 || len(pending) < len(asks) {
		pending = append(pending, make([]byte, messageHead))
	}
	return pending
}

// hear takes a message of another gateway. It runs on a bus goroutine and may wait for a shard's inbox.
func (x *claims) hear(p []byte) {
	now := time.Now()
	m, ok := readMessage(p, uint64(now.Add(claimAheadMax).UnixNano()))
	if !ok {
		x.refuse()
		return
	}
	if m.by == x.self {
		return
	}
	x.passed(m.clock)
	if x.meet(&m, now) {
		x.rouse()
	}
	lists := make([][]claim, len(x.gw.shards))
	for rest := m.claims; len(rest) > 0; {
		var k claim
		if k, rest, ok = readClaim(rest); !ok || k.at > m.clock { // nobody claims for later than now
			x.refuse()
			break
		}
		k.by = m.by
		x.heard.Add(1)
		home := x.gw.home(k.id).index
		lists[home] = append(lists[home], k)
	}
	for i, list := range lists {
		if len(list) > 0 {
			x.gw.tellShard(x.gw.shards[i], func(s *shard) { s.hearClaims(list) })
		}
	}
}

// refuse counts a message that nobody can mean as a gateway here understands it.
func (x *claims) refuse() {
	if x.refused.Add(1) == 1 {
		x.gw.log.Warn().Msg("a message of another gateway was refused: its clock is more than an hour ahead of ours, it is of another version, or no gateway sent it; " +
			"set the clocks, or deny _TG.gateways to others; gateway_claims_total counts such messages from now on")
	}
}

// meet notes who spoke; true: what we have is to be claimed again.
func (x *claims) meet(m *message, now time.Time) (again bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if m.flags&messageBye != 0 {
		delete(x.others, m.by)
		x.alone.Store(len(x.others) == 0)
		return false
	}
	if m.asks == x.self {
		x.again, again = true, true
	}
	o := x.others[m.by]
	if o == nil {
		if len(x.others) >= othersMax {
			x.refused.Add(1)
			return again
		}
		o = &other{}
		x.others[m.by] = o
		x.timed.Store(true)
		x.alone.Store(false)
		x.again, x.atOnce, again = true, true, true
	}
	if m.seq != o.seq+1 && now.Sub(o.askedAt) > claimBeatTime && len(x.asks) < othersMax {
		o.askedAt = now
		x.asks = append(x.asks, m.by)
	}
	o.seq, o.heardAt = m.seq, now
	return again
}

// back tells that NATS is there again: what was claimed meanwhile was not heard, by nobody.
func (x *claims) back() {
	x.mu.Lock()
	for _, o := range x.others {
		o.heardAt = time.Now() // it was not they who were silent
	}
	x.mu.Unlock()
	x.all(true)
}

// peers is how many other gateways are heard.
func (x *claims) peers() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.others)
}
