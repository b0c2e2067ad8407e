package epoll

import (
	"container/list"
	"runtime"
	"sync"
	"time"
)

// Handshakes. crypto/tls cannot go on with a handshake after a temporary error, though it can with records
// (tls_std_test.go). So a handshake has a goroutine, which waits for the peer between two flights, and the number of
// them is bounded: these are the seats. Of those who have a seat few compute at a time, so that a storm of handshakes
// costs the loops no more than the cores it is given. A connection gets a seat when its first record is whole: who
// connects and says nothing, or half a hello, costs its bytes only. Who waits for a seat is in a bounded queue.
//
//	hello whole -> queue -> seat -> (computes <-> waits for its peer) -> done
//
// A goroutine that serves a seat reads no descriptor: the loop brings it the bytes. It writes a flight that the peer is to answer, which spares
// the loop a wake; what the socket does not take of it, and the end of the handshake, the loop writes.

// HandshakeOptions are the limits of a Handshaker. Zero fields take the defaults.
type HandshakeOptions struct {
	// Seats is how many handshakes may be in progress. Default 1024.
	Seats int
	// Compute is how many of them compute at a time. Default half of the cores, at least 1.
	Compute int
	// Queue is how many connections may wait for a seat. Beyond it a connection ends with CauseHandshake, FailBusy.
	// Default 8192.
	Queue int
	// PerSecond is how many handshakes may begin in a second, a tenth of a second's worth at once. 0: no limit.
	PerSecond int
	// Patience is how long a seat may wait for its peer, all in all, while others wait for the seat. The one that has waited longest
	// beyond it is evicted. Default 1 s.
	Patience time.Duration
	// Panicked is told of a panic in a handshake, on its worker, and ends that connection only: FailPanic. In check builds a panic ends the process. nil:
	// it is only counted.
	Panicked func(cause any, stack []byte)
}

// HandshakeStats are the counters and gauges of a Handshaker.
type HandshakeStats struct {
	// Counters since NewHandshaker.
	Done    uint64 // ended well
	Resumed uint64 // of those: without a full handshake
	Failed  uint64 // ended badly, those of connections that ended meanwhile included
	Evicted uint64 // of those: lost their seat
	Refused uint64 // found the queue full

	// Gauges.
	Seats  int // taken
	Queued int // connections that wait for one
}

// Handshaker does the handshakes of all loops of a process. Safe from any goroutine.
type Handshaker struct {
	o       HandshakeOptions
	compute chan struct{} // as many tokens as may compute

	mu      sync.Mutex
	work    *sync.Cond // somebody left the queue for a seat, or closed
	queue   list.List  // of *shake: those that wait for a seat
	ready   list.List  // of *shake: those that have a seat and no goroutine yet
	stalled list.List  // of *shake: those that wait for their peer, who has waited longest first
	leaving int        // evicted, with a seat that its goroutine has yet to give back
	idle    int        // goroutines that wait for work
	nextAt  time.Time  // when the rate lets the next one begin
	timer   *time.Timer
	closed  bool
	stats   HandshakeStats
}

// idleMax is how many goroutines without work are kept for the next handshake; with them their grown stacks.
const idleMax = 8

// NewHandshaker makes a Handshaker, which starts goroutines as they are needed.
func NewHandshaker(o HandshakeOptions) *Handshaker {
	setDefault(&o.Seats, 1024)
	setDefault(&o.Compute, max(1, runtime.GOMAXPROCS(0)/2))
	setDefault(&o.Queue, 8192)
	if o.Patience <= 0 {
		o.Patience = time.Second
	}
	h := &Handshaker{o: o, compute: make(chan struct{}, o.Compute)}
	h.work = sync.NewCond(&h.mu)
	h.timer = time.AfterFunc(time.Hour, h.tick)
	h.timer.Stop()
	return h
}

// Stats returns a copy of the counters.
func (h *Handshaker) Stats() HandshakeStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.Queued = h.queue.Len()
	return s
}

// Close ends all handshakes, and refuses those to come. It does not wait for them.
func (h *Handshaker) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.timer.Stop()
	for h.queue.Len() > 0 {
		h.take(&h.queue).fail(errBusy)
	}
	for h.stalled.Len() > 0 {
		h.take(&h.stalled).fail(errEvicted)
	}
	h.work.Broadcast()
}

// ask puts a handshake whose first record is there into the queue.
func (h *Handshaker) ask(s *shake) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.queue.Len() >= h.o.Queue {
		h.stats.Refused++
		s.fail(errBusy)
		return
	}
	h.put(&h.queue, s)
	h.seat()
}

// forget takes a handshake whose connection has ended out of the lists. Its goroutine, if it has one, is told by the
// shake itself.
func (h *Handshaker) forget(s *shake) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.in == &h.queue {
		h.remove(s)
	}
}

// seat gives free seats to those who wait longest, as the rate allows. Called with h.mu held.
func (h *Handshaker) seat() {
	now := time.Now()
	for h.queue.Len() > 0 && h.stats.Seats < h.o.Seats && h.mayBegin(now) {
		h.stats.Seats++
		h.put(&h.ready, h.take(&h.queue))
		if h.idle >= h.ready.Len() {
			h.work.Signal()
		} else {
			go h.serve()
		}
	}
	h.evict(now)
}

// mayBegin takes one from the budget of the rate, or sets the timer for when there is one.
func (h *Handshaker) mayBegin(now time.Time) bool {
	if h.o.PerSecond == 0 {
		return true
	}
	if now.Before(h.nextAt) {
		h.timer.Reset(h.nextAt.Sub(now))
		return false
	}
	if burst := now.Add(-time.Second / 10); h.nextAt.Before(burst) {
		h.nextAt = burst
	}
	h.nextAt = h.nextAt.Add(time.Second / time.Duration(h.o.PerSecond))
	return true
}

// evict ends the handshakes that have kept others waiting for longer than the patience, one for each that waits.
func (h *Handshaker) evict(now time.Time) {
	if h.queue.Len() == 0 || h.stats.Seats < h.o.Seats {
		return
	}
	for n := h.queue.Len() - h.leaving; n > 0 && h.stalled.Len() > 0; n-- {
		s := h.stalled.Front().Value.(*shake)
		if left := h.o.Patience - now.Sub(s.stalledAt); left > 0 {
			h.timer.Reset(left)
			return
		}
		h.stats.Evicted++
		h.leaving++
		s.leaving = true
		h.remove(s)
		s.fail(errEvicted)
	}
	// Who computes now may stall later: somebody has to look.
	h.timer.Reset(h.o.Patience)
}

func (h *Handshaker) tick() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.seat()
	}
}

// serve is a goroutine: it does one handshake after the other while there are any.
func (h *Handshaker) serve() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		for h.ready.Len() == 0 {
			if h.closed || h.idle >= idleMax {
				return
			}
			h.idle++
			h.work.Wait()
			h.idle--
		}
		s := h.take(&h.ready)
		h.mu.Unlock()
		ok, resumed := s.run()
		h.mu.Lock()
		h.stats.Seats--
		if s.leaving {
			h.leaving--
		}
		switch {
		case !ok:
			h.stats.Failed++
		case resumed:
			h.stats.Resumed++
			fallthrough
		default:
			h.stats.Done++
		}
		if !h.closed {
			h.seat()
		}
	}
}

// stall notes that a seat waits for its peer. What it has waited before counts, or a byte now and then would keep a seat.
func (h *Handshaker) stall(s *shake) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		s.fail(errEvicted)
		return
	}
	s.stalledAt = time.Now().Add(-s.waited)
	before := h.stalled.Back()
	for before != nil && before.Value.(*shake).stalledAt.After(s.stalledAt) {
		before = before.Prev()
	}
	if s.in = &h.stalled; before != nil {
		s.place = h.stalled.InsertAfter(s, before)
	} else {
		s.place = h.stalled.PushFront(s)
	}
}

// goOn notes that it no longer does.
func (h *Handshaker) goOn(s *shake) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.in == &h.stalled {
		s.waited = time.Since(s.stalledAt)
		h.remove(s)
	}
}

func (h *Handshaker) put(to *list.List, s *shake) { s.in, s.place = to, to.PushBack(s) }

func (h *Handshaker) remove(s *shake) {
	s.in.Remove(s.place)
	s.in, s.place = nil, nil
}

func (h *Handshaker) take(from *list.List) *shake {
	s := from.Front().Value.(*shake)
	h.remove(s)
	return s
}
