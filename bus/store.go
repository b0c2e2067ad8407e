package bus

import (
	"crypto/rand"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// StoreBatch is the messages of one tick of one shard that JetStream must have before they are acknowledged. A Storer that took one owns it
// until Done. Its methods are called on bus goroutines, one at a time.
type StoreBatch interface {
	Len() int
	// Bytes is the memory the batch holds; it counts against Options.PendingBytesMax.
	Bytes() int
	// Store fills m with message i; m comes zeroed. It may be called several times for a message.
	Store(i int, m *StoreMessage)
	// Stored tells what became of message i: in order of i, once each, before Done.
	Stored(i int, c StoreCode)
	// Done is called once, after the last Stored.
	Done()
}

// StoreMessage is one message to be stored. Its slices are borrowed from the StoreBatch that fills it, until StoreBatch.Done.
//
// In the log it has the subject $TG.log.<subject of the topic>, or $TG.log2.<client key>.<subject of the topic> with a PacketID, which the header TG has as
// p=; in a user's stream it has the subject of its topic.
type StoreMessage struct {
	Message
	Stream   uint16 // 0: the log; n: Durable.Streams[n-1]
	PacketID uint16 // of a QoS 2 message of a persistent session, else 0; only with the log
	// Release stores, instead of a message, the marker $TG.rel.<client key> that ClientID has released PacketID; nothing else counts. Its payload is
	// the packet id in decimal.
	Release bool
}

// StoreCode is what became of one message.
type StoreCode uint8

const (
	StoreOK      StoreCode = iota // the stream has it
	StoreFull                     // a limit of the stream, the account or the server is reached, or its disk takes nothing
	StoreRefused                  // this message can never be stored: too large, or a subject or stream that does not take it
	StoreGivenUp                  // the Bus closed before the stream was known to have it; perhaps it does
)

// Storer takes the messages of one shard and sees them into JetStream, in order. Offer is for one goroutine; the rest is safe from any.
// While NATS is away, has no leader or does not answer, everything is held and goes again; nothing is ever told stored that is not.
//
// One goroutine works in rounds (store_round.go). At most one round is under way; what is offered meanwhile waits for the next one, so that the group
// grows with the load, and an answer a group is all that it costs. Three positions run through a ring of batches:
//
//	done ≤ taken ≤ offered
//	  |      |        +-- Offer adds here
//	  |      +----------- messages before are slots: in a round, waiting for one, or settled but behind one that is not
//	  +------------------ everything before has been told
type Storer struct {
	bus     *Bus
	room    func()
	id      string         // in message ids and reply subjects; unique among all gateways
	inbox   string         // reply subjects begin with it; ends with "."
	answers chan *nats.Msg // what arrives there
	wake    chan struct{}  // something changed
	done    chan struct{}  // closed when the goroutine has ended

	mu        sync.Mutex
	ring      []storing // length is a power of two
	told      uint64
	offered   uint64
	bytes     int    // memory of the batches in the ring
	messages  uint64 // offered so far; numbers them for their ids
	refused   bool   // Offer said no; room is owed
	idle      bool   // the goroutine waits for an Offer
	draining  bool   // Close waits for the ring to become empty
	abandoned bool   // Close waits no longer

	// Of the goroutine.
	round   round
	heard   *wire   // where the answers are subscribed to
	front   storing // the batch at told, as it is being told; batch nil: not read yet
	taken   uint64
	takenTo int // messages of batch taken that are slots
	slots   []slot
	send    storeSender
	timer   *time.Timer
	due     time.Time     // when the timer fires; zero: it does not
	rest    time.Duration // before the next round; 0: none
	pause   time.Duration // the last rest
	limit   time.Duration // for an answer
	number  uint64        // of the last round
	singles int           // how many messages go singly, after an answer that does not tell enough
	strikes int           // wires in succession that broke under a round
}

// storing is one batch in the ring.
type storing struct {
	batch StoreBatch
	bytes int
	len   int
	first uint64 // number of message 0
	told  int    // messages whose Stored was called
}

// slot is one message that was taken from the ring and not yet told. Owned by the goroutine.
type slot struct {
	batch   uint64 // position in the ring
	i       int32
	stream  uint16
	known   bool // stream is known
	settled bool
	code    StoreCode
	suspect bool // a wire was ended with an error while this message was alone on it
	bytes   int  // of the payload
}

const (
	// storeSlotsMax and storeBytesMax bound a group: what a retry repeats, and what a stream that serves many Storers must queue (nats-server drops
	// beyond 10,000 messages).
	storeSlotsMax = 512
	storeBytesMax = 512 << 10

	// An answer that takes longer counts as lost. The embedded server loses none, but its disk may be slow.
	storeLimit         = 2 * time.Second
	storeLimitEmbedded = 10 * time.Second
	storeLimitMax      = 16 * time.Second
	// The pause after a round that brought nothing doubles between these.
	storeRestMin = 10 * time.Millisecond
	storeRestMax = time.Second
)

// storerIDBytes is the length of randomID.
const storerIDBytes = 10

// randomID is unique among all gateways: 50 bits of chance.
func randomID() string { return rand.Text()[:storerIDBytes] }

// NewStorer returns the Storer of one shard. room is called on a bus goroutine, once for each run of refused Offers, when half of
// PendingBytesMax is free again. Only with Options.Durable.
func (b *Bus) NewStorer(room func()) *Storer {
	s := &Storer{
		bus: b, room: room, id: randomID(), wake: make(chan struct{}, 1), done: make(chan struct{}),
		answers: make(chan *nats.Msg, storeAnswersMax), ring: make([]storing, 16), slots: make([]slot, 0, storeSlotsMax), timer: time.NewTimer(time.Hour),
	}
	s.inbox = "_INBOX." + s.id + "."
	s.send = storeSender{encoder: newEncoder(b)}
	s.limit = s.limitMin()
	b.mu.Lock()
	closing := b.closing
	if !closing {
		b.storers = append(b.storers[:len(b.storers):len(b.storers)], s)
	}
	b.mu.Unlock()
	s.draining, s.abandoned = closing, closing
	go s.run()
	return s
}

// Offer takes a batch, or returns false because the Storer is full (Counters.StoreOfferRefused) or the Bus is closed; then the batch stays
// the caller's. It never waits for NATS. A batch larger than PendingBytesMax is taken when the Storer is empty.
func (s *Storer) Offer(batch StoreBatch) bool {
	n, messages := batch.Bytes()+batchBytes, batch.Len()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	if s.bytes > 0 && s.bytes+n > s.bus.options.PendingBytesMax {
		s.refused = true
		s.bus.count.storeOfferRefused.Add(1)
		return false
	}
	if s.offered-s.told == uint64(len(s.ring)) {
		s.grow()
	}
	*s.at(s.offered) = storing{batch: batch, bytes: n, len: messages, first: s.messages}
	s.offered++
	s.bytes += n
	s.messages += uint64(messages)
	s.bus.count.storePending.Add(int64(messages))
	if s.idle {
		s.idle = false
		s.stir()
	}
	return true
}

// Pending returns how many batches are not yet done and the memory they hold.
func (s *Storer) Pending() (batches, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.offered - s.told), s.bytes
}

// stir makes the goroutine look again.
func (s *Storer) stir() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Storer) at(i uint64) *storing { return &s.ring[i&uint64(len(s.ring)-1)] }

func (s *Storer) grow() {
	old := s.ring
	s.ring = make([]storing, 2*len(old))
	for i := s.told; i < s.offered; i++ {
		*s.at(i) = old[i&uint64(len(old)-1)]
	}
}

func (s *Storer) limitMin() time.Duration {
	if s.bus.options.Embedded {
		return storeLimitEmbedded
	}
	return storeLimit
}

// run works until the ring is empty and the Bus closes, or until it is abandoned; then it gives up the rest.
func (s *Storer) run() {
	defer close(s.done)
	defer s.timer.Stop()
	for {
		wait, ok := s.step()
		if !ok {
			break
		}
		s.arm(wait)
		select {
		case m := <-s.answers:
			s.arrive(m)
		case <-s.wake:
		case <-s.timer.C:
			s.due = time.Time{}
		}
	}
	s.giveUpRest()
}

// arm has the timer fire after d, or earlier: mostly a round ends long before its limit, and setting a timer wakes a thread.
func (s *Storer) arm(d time.Duration) {
	if d == 0 {
		return
	}
	if due := time.Now().Add(d); s.due.IsZero() || due.Before(s.due) {
		s.due = due
		s.timer.Reset(d)
	}
}

// step does what can be done now, and returns how long nothing else can, 0 for until stirred. false: the end.
func (s *Storer) step() (time.Duration, bool) {
	for {
		now := time.Now()
		s.mu.Lock()
		if s.abandoned || (s.draining && s.told == s.offered) {
			s.mu.Unlock()
			return 0, false
		}
		s.mu.Unlock()
		active, wait := s.round.waits(now, s.bus.durable.took[s.round.stream].mode.Load() == streamBroken)
		switch {
		case active && wait > 0:
			return wait, true
		case active:
			s.endRound()
		}
		s.settle()
		if wait = s.rest; wait > 0 {
			s.rest = 0
			return wait, true
		}
		s.take()
		switch {
		case len(s.slots) > 0:
			if !s.beginRound() {
				return 0, true // a wire, or a stream that is ready, wakes us
			}
		case s.nothing():
			return 0, true // an Offer, or the end
		}
	}
}

// nothing tells that the ring is empty, and has the next Offer wake us.
func (s *Storer) nothing() bool {
	s.settle() // of batches without messages
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = s.told == s.offered && !s.draining
	return s.idle
}

// drain refuses further batches and ends the goroutine when the ring is empty.
func (s *Storer) drain() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	s.stir()
}

// giveUp ends the goroutine as soon as the wire lets it.
func (s *Storer) giveUp() {
	s.mu.Lock()
	s.abandoned = true
	s.mu.Unlock()
	s.stir()
}
