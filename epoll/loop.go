package epoll

// Why the loop is as it is.
//
// The idea. A device fleet is mostly idle sockets. A goroutine per socket costs kilobytes for each of them; a socket
// in an epoll set costs the kernel's share and here 64 bytes. So one goroutine serves many sockets, and everything
// those sockets can reach belongs to that goroutine: no locks, no atomics, no channels on the way of a byte. The
// price is that a callback which waits stops all its neighbours; nothing called from here may wait.
//
// Level triggered. We read once per report, and what is left is reported again, behind all others that are ready:
// fairness without a queue of our own. Edge triggering would save the epoll_ctl calls around a full socket and cost a
// list of connections that are readable but not finished, with the starvation bugs that live in such lists. For the
// same reason a pause does nothing at first: only when bytes arrive during the pause is EPOLLIN taken away, so short
// pauses are free.
//
// Waiting. A loop that left itself work asks with a zero timeout; otherwise it blocks. While something happens every
// sleepHidden, and when an alarm is that near, the scheduler is not told of it: it would give the P away, and its monitor
// would look every 20 us. Only a sleep that has lasted longer is one the scheduler knows of. Nor does the loop yield
// before it sleeps, for the sake of goroutines that the tick has made runnable: each yield wakes an idle thread to look
// for work and puts it to sleep again. At 10,000 single messages a second through one loop the yield was a third of the
// gateway's CPU, and telling the scheduler a tenth. So GOMAXPROCS has to be larger than the number of loops, and those
// goroutines get a thread of their own.
//
// Waking. One word holds the state: awake, woken, asleep. Wake changes it to woken and writes the eventfd only if it
// was asleep, so a busy loop is woken without a system call, and a second Wake is one load. The eventfd is edge
// triggered and never read: each write is a new edge, and its counter would last for centuries.
//
// Alarms. An owner with a timetable sets one (WakeAt), and the wait ends then, to the precision of epoll_pwait2. A
// goroutine that sleeps and calls Wake instead costs two threads their sleep for each alarm. Generator CPU of devices-sim
// per message, at 1,000 and at 10,000 a second: a goroutine 150 and 34 us, WakeAt 87 and 28, hidden from the scheduler 42
// and 21.
//
// Names instead of pointers. An event carries slot and generation; a slot gets a new generation when it is freed.
// Whatever is late (a kernel event for a closed descriptor, an answer for a device that left) finds nothing. That is
// one compare, where pointers in event data need something to keep them alive.
//
// Considered and left: io_uring (refused by container defaults; the gain is in reads, which batching already
// divides), one shared epoll set (contended), LockOSThread (a goroutine switch would become a thread switch).

import (
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/epoll/record"
)

// The states of Loop.wake.
const (
	awake uint32 = iota
	woken
	asleep
)

// Loop is one event loop. Owned by the goroutine that calls Run, except for Wake and Stop.
type Loop struct {
	o     Options
	h     Handler
	t     Ticker
	clock func() int64 // nanoseconds; tests put their own

	now    int64
	nowSec uint32
	sinceS int64 // when the tick before this one began
	wakeAt int64 // set by WakeAt; 0: none

	poll      poller
	listeners listeners
	wheel     wheel
	bufs      buffers
	rbuf      []byte // tailShort bytes for a tail, then room for one read
	sink      []byte // what Begin lends on a closing connection
	cbuf      []byte // ciphertext; nil before the first StartTLS
	ciphers   *record.Ciphers
	secures   Chunks[*secure] // by slot, of connections with TLS
	news      news
	securer   Securer // the handler, if it is one

	chunks    []*chunk
	slotsFree []uint32
	slotsUsed uint32 // slots below were handed out at least once
	live      int

	dirty    []uint32 // to be written at the flush
	resumed  []uint32 // tails to be offered again
	offers   []uint32 // the same list, while it is worked on
	ended    []uint32 // to be freed at the end of the tick
	showing  uint32   // the slot whose OnData is running; 0: none
	shown    []byte   // what that OnData was given
	lively   bool     // the last sleep ended with an event: the next is hidden at first
	again    bool     // something happened after its place in the tick: do not sleep
	stopped  bool     // Run is over or about to be
	catchUp  int      // ticks in which timers may yield to ready connections; see runTimers
	trimmedS uint32   // the second of the last trim

	stats Stats
	owner owner

	_        [64]byte // keeps other goroutines' writes off the loop's cache lines
	wake     atomic.Uint32
	writers  atomic.Int32 // goroutines between deciding to write the eventfd and having written it
	stopping atomic.Bool

	flights, flightBytes atomic.Uint64 // what workers have written for handshakes
}

// New makes a loop that tells h and t what happens. It holds descriptors until Run returns; to dispose of a loop that
// never ran, call Stop and then Run.
func New(o Options, h Handler, t Ticker) (*Loop, error) {
	l := &Loop{o: o.withDefaults(), h: h, t: t, clock: processNanos}
	if err := l.poll.open(); err != nil {
		return nil, err
	}
	l.securer, _ = h.(Securer)
	l.news.loop = l
	l.listeners.openSpare()
	l.rbuf = make([]byte, tailShort+l.o.ReadBytes)
	l.readClock()
	l.sinceS = l.now
	l.wheel.doneSec = l.nowSec
	return l, nil
}

// Run serves until Stop. It returns an error only if the kernel refuses to wait, which means a fault of ours.
func (l *Loop) Run() error {
	l.owner.enter()
	defer l.owner.leave()
	defer l.dispose()
	for {
		n, err := l.wait()
		if err != nil {
			l.closeAll()
			return err
		}
		if l.tick(n) {
			l.closeAll()
			return nil
		}
	}
}

// Stop ends Run: every connection gets OnClose(CauseStopped), unsent bytes of earlier ticks are discarded. Safe from
// any goroutine, at any time.
func (l *Loop) Stop() {
	l.stopping.Store(true)
	l.Wake()
}

// Wake makes the loop call OnWake soon. It is cheap when a wake is already pending. Safe from any goroutine, at any
// time.
func (l *Loop) Wake() {
	if l.wake.Load() == woken {
		return
	}
	l.writers.Add(1)
	if l.wake.Swap(woken) == asleep {
		l.poll.ring()
	}
	l.writers.Add(-1)
}

// wait returns how many events are in l.poll.events. It sleeps only if nothing is ready, nobody called Wake and the
// loop itself has nothing left to do.
func (l *Loop) wait() (int, error) {
	// Also who is woken in every tick, by itself or by others, hears its sockets.
	if l.again || !l.wake.CompareAndSwap(awake, asleep) {
		l.again = false
		return l.poll.look()
	}
	n, err := l.sleep()
	l.wake.CompareAndSwap(asleep, awake)
	return n, err
}

// sleep waits for an event, or for what the clock brings, the first sleepHidden of it hidden if there is much to do.
func (l *Loop) sleep() (n int, err error) {
	d := l.untilNext()
	if l.lively || d < sleepHidden {
		n, err = l.poll.sleep(min(d, sleepHidden), true)
		if l.lively = n > 0; n > 0 || err != nil || d < sleepHidden {
			return n, err
		}
		d -= sleepHidden
	}
	n, err = l.poll.sleep(d, false)
	l.lively = n > 0
	return n, err
}

// tick does one round with n events, and tells whether to stop.
func (l *Loop) tick(n int) (stop bool) {
	l.readClock()
	for i := range n {
		l.dispatch(&l.poll.events[i])
	}
	l.restListeners()
	if due := l.alarmDue(); due || l.wake.Load() == woken {
		// An alarm alone must not swallow a Wake that comes meanwhile: that one rings, or is seen in the next tick.
		if l.wake.CompareAndSwap(woken, awake) {
			stop = l.stopping.Load()
			l.hearNews()
		}
		l.t.OnWake()
	}
	l.offerResumed()
	l.runTimers(n)
	l.t.OnTickEnd()
	l.flush()
	l.reap()
	l.afterTick()
	return stop
}

// dispatch hands one kernel event to whom it names. Generation 0 names what is not a connection: listeners by index,
// and the eventfd, which has done its work by ending the wait.
func (l *Loop) dispatch(ev *unix.EpollEvent) {
	if ev.Pad == 0 {
		if ev.Fd >= 0 {
			l.accept(int(ev.Fd))
		}
		return
	}
	c := l.Conn(handleOf(uint32(ev.Fd), uint32(ev.Pad)))
	if c == nil || c.is(isEnded) {
		l.stats.StaleEvents++
		return
	}
	l.ready(c, ev.Events)
}

// ready acts on what the kernel reports for an open connection: first what frees memory, then what takes it.
func (l *Loop) ready(c *Conn, events uint32) {
	const broken = unix.EPOLLERR | unix.EPOLLHUP
	if c.is(isConnecting) {
		l.dialled(c, events)
		return
	}
	if c.is(isBlocked) && events&(unix.EPOLLOUT|broken) != 0 {
		l.unblock(c)
	}
	if c.is(isEnded) || events&(unix.EPOLLIN|broken) == 0 {
		return
	}
	switch {
	case c.is(isFinishing):
		l.discard(c)
	case events&broken != 0 && (c.is(isPaused) || c.is(isMuted) && l.shaking(c)):
		// The kernel cannot be told to keep this to itself, and nothing can be sent any more.
		l.end(c, CausePeerReset)
	case c.is(isResumed) && c.tail != 0 && !c.is(isPaused):
		// What it has is offered first, later in this tick. More would only have to be kept, and a connection that is held to a pace by pauses
		// would pile up its tail: 1.6 MB each, and 2 ms to move it, in a flood of pings.
	case !c.is(isPaused):
		l.read(c)
	default:
		c.flags |= isMuted
		l.rearm(c)
	}
}

// afterTick keeps the books, and gives unused memory back once a second.
func (l *Loop) afterTick() {
	if l.nowSec != l.trimmedS {
		l.trimmedS = l.nowSec
		l.bufs.trim()
	}
	if len(l.dirty)+len(l.resumed)+len(l.ended) > 0 {
		l.again = true
	}
	l.sinceS = l.now
	took := l.clock() - l.now
	l.stats.Ticks++
	l.stats.BusyNanos += took
	l.stats.LongestTickNanos = max(l.stats.LongestTickNanos, took)
	l.checkInvariants()
}

// closeAll ends what is left when the loop stops.
func (l *Loop) closeAll() {
	l.stopped = true
	for slot := uint32(1); slot < l.slotsUsed; slot++ {
		if slot&chunkMask == 0 {
			continue
		}
		if c := l.at(slot); c.is(isLive) {
			l.end(c, CauseStopped)
		}
	}
	l.reap()
}

// dispose closes the loop's own descriptors. A Wake that is about to write the eventfd must be let through first, or
// it would write to whatever gets the number next; after woken is set no other one can begin.
func (l *Loop) dispose() {
	l.stopped = true
	l.wake.Store(woken)
	for l.writers.Load() != 0 {
		runtime.Gosched()
	}
	l.CloseListeners()
	l.listeners.closeSpare()
	l.poll.close()
}
