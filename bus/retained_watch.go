package bus

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// retainedWatch follows the bucket with one ordered push consumer at a time: without acknowledgements, with heartbeats and flow control. The
// consumer ends with the wire, with a gap in its numbers, or with silence; the next one goes on behind the last revision seen, or, when
// markers of deletions may be gone by then, or the bucket is another one, at its beginning.
type retainedWatch struct {
	retained *retained
	tell     func(run []RetainedUpdate)
	wakes    chan struct{}
	end      chan struct{}

	mu      sync.Mutex // held while tell runs
	now     *retainedFeed
	run     []RetainedUpdate
	decoder decoder
	key     []byte
	last    uint64    // revision seen last
	upTo    time.Time // when it was known that nothing is missing
	whole   bool      // the state up to last was told completely
	made    time.Time // when the bucket was made
}

// retainedFeed is one consumer.
type retainedFeed struct {
	watch  *retainedWatch
	wire   *wire
	sub    *nats.Subscription
	seq    uint64        // consumer sequence seen last
	news   uint64        // later revisions are news
	over   chan struct{} // closed when another is needed
	heard  time.Time     // anything of it, heartbeats included
	broken bool
}

const (
	retainedBeat     = 5 * time.Second
	retainedSilence  = 3 * retainedBeat
	retainedAskTime  = 5 * time.Second
	retainedRunMax   = 256
	retainedFeedMax  = 1 << 19  // messages that wait in nats.go
	retainedFeedRoom = 64 << 20 // their bytes; flow control stops the server long before
)

func (x *retainedWatch) init(r *retained) {
	x.retained, x.wakes, x.end = r, make(chan struct{}, 1), make(chan struct{})
}

// rouse has run look for a wire at once.
func (x *retainedWatch) rouse() {
	select {
	case x.wakes <- struct{}{}:
	default:
	}
}

func (x *retainedWatch) close() {
	close(x.end)
	x.mu.Lock() // tell does not run any more, and will not
	x.now = nil
	x.mu.Unlock()
}

// loop starts one consumer after the other until the end.
func (x *retainedWatch) loop() {
	defer x.retained.wait.Done()
	pause := retainedPauseMin
	for {
		var over, gone <-chan struct{}
		wait := retainedPauseMax
		if w := x.retained.bus.echo.now.Load(); w != nil {
			f, err := x.follow(w)
			if err == nil {
				over, gone, pause, wait = f.over, w.gone, retainedPauseMin, retainedBeat
			} else {
				wait = pause
				pause = min(2*pause, retainedPauseMax)
			}
		}
		if !x.rest(over, gone, wait) {
			return
		}
	}
}

// rest waits until a consumer is needed; false: the end.
func (x *retainedWatch) rest(over, gone <-chan struct{}, wait time.Duration) bool {
	t := time.NewTicker(wait)
	defer t.Stop()
	for {
		select {
		case <-over:
			return true
		case <-gone:
			return true
		case <-x.end:
			return false
		case <-x.wakes:
			if over == nil {
				return true
			}
		case now := <-t.C:
			if over == nil || x.silent(now) {
				return true
			}
		}
	}
}

// silent tells that the consumer should have been heard of meanwhile.
func (x *retainedWatch) silent(now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.now == nil || now.Sub(x.now.heard) > retainedSilence
}

// follow starts a consumer on a wire.
func (x *retainedWatch) follow(w *wire) (*retainedFeed, error) {
	js, err := w.nc.JetStream(nats.MaxWait(retainedAskTime))
	if err != nil {
		return nil, fmt.Errorf("bus: retained messages: %w", err)
	}
	info, err := js.StreamInfo(retainedStream)
	if err != nil {
		return nil, fmt.Errorf("bus: bucket of retained messages: %w", err)
	}
	f := &retainedFeed{watch: x, wire: w, over: make(chan struct{}), heard: time.Now()}
	from := x.begin(f, info)
	inbox := nats.NewInbox()
	if f.sub, err = w.nc.Subscribe(inbox, f.take); err == nil {
		err = f.sub.SetPendingLimits(retainedFeedMax, retainedFeedRoom)
	}
	if err != nil {
		return nil, fmt.Errorf("bus: retained messages: %w", err)
	}
	made, err := js.AddConsumer(retainedStream, &nats.ConsumerConfig{
		DeliverSubject: inbox, DeliverPolicy: nats.DeliverByStartSequencePolicy, OptStartSeq: from, AckPolicy: nats.AckNonePolicy, MaxDeliver: 1,
		Heartbeat: retainedBeat, FlowControl: true, MemoryStorage: true, Replicas: 1, InactiveThreshold: 2 * retainedSilence,
	})
	if err != nil {
		_ = f.sub.Unsubscribe()
		return nil, fmt.Errorf("bus: watch the bucket of retained messages: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if made.NumPending == 0 && made.Delivered.Consumer == 0 && x.now == f && f.seq == 0 {
		x.complete()
		x.flush()
	}
	return f, nil
}

// begin makes f the consumer that counts, and returns where it starts.
func (x *retainedWatch) begin(f *retainedFeed, info *nats.StreamInfo) (from uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.now != nil {
		_ = x.now.sub.Unsubscribe() // fails only if the wire is gone, and the subscription with it
	}
	same := x.made.Equal(info.Created) && x.last <= info.State.LastSeq
	if f.news = info.State.LastSeq; same {
		f.news = x.last
	}
	x.now = f
	select {
	case <-x.end:
		x.now = nil
	default:
	}
	if same && x.whole && time.Since(x.upTo) < retainedResumeTime {
		return x.last + 1
	}
	x.made, x.whole, x.last = info.Created, false, 0
	x.retained.count.reloads.Add(1)
	x.run = append(x.run[:0], RetainedUpdate{Kind: RetainedBegin})
	return 1
}

// take is called by nats.go with each message of the consumer, one after the other.
func (f *retainedFeed) take(m *nats.Msg) {
	x := f.watch
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.now != f || f.broken {
		return
	}
	f.heard = time.Now()
	if status := m.Header.Get("Status"); status != "" && len(m.Data) == 0 {
		f.control(m, status)
		return
	}
	meta, err := m.Metadata()
	if err != nil {
		return
	}
	if meta.Sequence.Consumer != f.seq+1 {
		f.fail()
		return
	}
	f.seq, x.last, x.upTo = meta.Sequence.Consumer, meta.Sequence.Stream, f.heard
	x.add(m, meta, meta.Sequence.Stream > f.news)
	if meta.NumPending == 0 && !x.whole {
		x.complete()
	}
	waiting, _, _ := m.Sub.Pending()
	if waiting <= 1 || len(x.run) >= retainedRunMax-1 { // this message counts as waiting, too
		x.flush()
	}
}

// control answers flow control, and finds out by heartbeats that messages are missing.
func (f *retainedFeed) control(m *nats.Msg, status string) {
	if status != "100" {
		f.fail() // the consumer is gone
		return
	}
	f.watch.flush()
	to := m.Reply
	if stalled := m.Header.Get("Nats-Consumer-Stalled"); stalled != "" {
		to = stalled
	}
	if to != "" {
		_ = f.wire.nc.Publish(to, nil)
	}
	if last := m.Header.Get("Nats-Last-Consumer"); last != "" && last != strconv.FormatUint(f.seq, 10) {
		f.fail()
	} else if last != "" && f.watch.whole {
		f.watch.upTo = f.heard
	}
}

// fail asks for another consumer.
func (f *retainedFeed) fail() {
	f.broken = true
	close(f.over)
}

// complete ends the telling of all there is.
func (x *retainedWatch) complete() {
	x.upTo = time.Now()
	if !x.whole {
		x.whole = true
		x.run = append(x.run, RetainedUpdate{Kind: RetainedComplete, Revision: x.last})
	}
}

// flush tells what was gathered.
func (x *retainedWatch) flush() {
	if len(x.run) == 0 || x.now == nil {
		return
	}
	x.retained.count.updates.Add(uint64(len(x.run)))
	x.tell(x.run)
	clear(x.run)
	x.run = x.run[:0]
	x.decoder.reset()
}

// add decodes one message of the bucket.
func (x *retainedWatch) add(m *nats.Msg, meta *nats.MsgMetadata, news bool) {
	count := &x.retained.bus.count
	key, mine := bytes.CutPrefix([]byte(m.Subject), []byte(retainedSubject))
	var ok bool
	if x.key, ok = appendKeySubject(x.key[:0], string(key)); !ok || !mine || Reserved(x.key) {
		x.retained.count.unusable.Add(1)
		return
	}
	x.decoder.run = x.decoder.run[:0] // the updates hold what was decoded, not the run
	natural := &nats.Msg{Subject: string(x.key), Header: m.Header, Data: m.Data}
	if !x.decoder.add(0, natural, count) {
		x.retained.count.unusable.Add(1)
		return
	}
	u := RetainedUpdate{Inbound: x.decoder.run[0], Kind: RetainedSet, Revision: meta.Sequence.Stream, News: news}
	u.Fields.Users = append([]UserProperty(nil), u.Fields.Users...)
	age := uint32(max(0, time.Since(meta.Timestamp).Seconds()))
	if u.Fields.HasExpiry {
		u.Fields.ExpirySec -= min(age, u.Fields.ExpirySec)
	}
	if ttl, ok := readTTL(m.Header.Get(headerTTL)); ok {
		u.HasTTL, u.TTLSec = true, ttl-min(age, ttl)
	}
	if _, marked := first(m.Header, headerMarker); marked || m.Header.Get(headerOperation) != "" {
		u.Kind, u.Payload = RetainedDeleted, nil
	}
	x.run = append(x.run, u)
}

// readTTL reads a Nats-TTL header: seconds, a duration, or "never".
func readTTL(v string) (sec uint32, ok bool) {
	if n, err := strconv.ParseUint(v, 10, 32); err == nil {
		return uint32(n), true
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 || d > (1<<32-1)*time.Second {
		return 0, false
	}
	return uint32((d + time.Second - 1) / time.Second), true
}
