package main

import (
	"container/heap"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/ws"
)

// phase is where a device's connection stands.
//
//	away -> dialling -> upgrading (WebSocket) -> greeting -> subscribing -> live -> parting -> away
//	                                                 garbage only:  babbling
type phase uint8

const (
	away        phase = iota
	dialling          // TCP
	upgrading         // the WebSocket handshake is sent
	greeting          // CONNECT is sent
	subscribing       // SUBSCRIBE is sent
	live
	babbling // a garbage device has sent its bytes
	parting  // our goodbye is sent
)

func (p phase) String() string {
	return [...]string{"away", "dialling", "upgrading", "connecting", "subscribing", "live", "babbling", "leaving"}[p]
}

// device is one simulated device: about 170 bytes, more only while messages are under way. Owned by its fleet's loop.
type device struct {
	conn     epoll.Handle
	reader   ws.ClientReader
	commands track
	flights  []flight // sent with QoS 1 or 2 and not yet acknowledged, oldest first
	taken    []uint16 // packet ids of QoS 2 messages received and not yet released
	reason   string   // why the connection is ending, when we know better than the socket
	since    int64    // when it was to be dialled; a silent device: when it fell silent

	due   uint32 // messages its schedule has asked for
	next  uint32 // messages sent or skipped: the next one has sequence number next+1
	sent  uint32 // messages sent, each once
	acked uint32
	held  uint32 // bytes at the start of the tail that are already out of their frame

	sentSec  uint32 // when it last sent anything
	packetID uint16
	window   uint16 // the server's receive maximum or ours
	attempt  uint16 // dials so far
	failures uint8  // since it was last live

	target    uint8
	role      role
	phase     phase
	pinging   bool // PINGREQ is not answered
	returning bool // dropped by a storm: to be dialled again at once
	session   bool // the server has kept the session
	known     bool // it was live before
}

// flight is a message that the server has not yet acknowledged.
type flight struct {
	at       int64 // when it was to be sent
	sequence uint32
	id       uint16
	released bool // PUBREC came, PUBREL is sent
}

// retry is a device that waits to be dialled again.
type retry struct {
	at     int64
	device uint32
}

// retryQueue is the waiting devices, the next one first.
type retryQueue []retry

// Len, Less, Swap, Push and Pop are what container/heap asks for.
func (q retryQueue) Len() int           { return len(q) }
func (q retryQueue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q retryQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *retryQueue) Push(x any)        { *q = append(*q, x.(retry)) }
func (q *retryQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func (q *retryQueue) add(device uint32, at int64) { heap.Push(q, retry{at, device}) }

// take removes and returns a device whose time has come.
func (q *retryQueue) take(now int64) (device uint32, ok bool) {
	if q.nextAt() > now {
		return 0, false
	}
	return heap.Pop(q).(retry).device, true
}

func (q retryQueue) nextAt() int64 {
	if len(q) == 0 {
		return never
	}
	return q[0].at
}

// dial begins a device's connection; dueAt is when it should have begun.
func (f *fleet) dial(i uint32, dueAt int64) {
	d := &f.devices[i]
	t := &f.p.Targets[d.target]
	c, err := f.loop.Dial(sourceOf(t, f.number(i), d.attempt), t.Addr)
	d.attempt++
	d.since = dueAt
	if err != nil {
		f.failed(i, d, "dial: "+rootCause(err))
		return
	}
	d.conn, d.phase, d.reason = c.Handle(), dialling, ""
	d.reader, d.held, d.pinging = ws.ClientReader{}, 0, false
	*f.owners.At(c.Slot()) = i
	c.Arm(f.loop.NowSec() + connectTimeoutSec)
}

// owner is the device of a connection.
func (f *fleet) owner(c *epoll.Conn) (i uint32, d *device) {
	i = *f.owners.At(c.Slot())
	return i, &f.devices[i]
}

// OnOpen greets.
func (f *fleet) OnOpen(c *epoll.Conn) {
	f.now = f.clock()
	i, d := f.owner(c)
	switch t := &f.p.Targets[d.target]; {
	case d.role == garbage && f.rng.IntN(2) == 0:
		f.babble(c, d)
	case t.Kind == kindMQTT:
		f.greet(c, i, d)
	default:
		f.upgrade(c, i, d, t)
	}
}

// OnData reads what the server says.
func (f *fleet) OnData(c *epoll.Conn, p []byte) (rest []byte) {
	f.now = f.clock()
	i, d := f.owner(c)
	switch {
	case d.phase == parting || d.phase == babbling:
		return nil
	case f.p.Targets[d.target].Kind == kindMQTT:
		n := f.packets(c, i, d, p)
		return p[n:]
	case d.phase == upgrading:
		return f.upgraded(c, i, d, p)
	}
	return f.frames(c, i, d, p)
}

// OnDrained goes on sending.
func (f *fleet) OnDrained(c *epoll.Conn) {
	f.now = f.clock()
	i, d := f.owner(c)
	f.push(i, d, c)
}

// OnTimeout is the end of a connection that came to nothing, or a keep-alive.
func (f *fleet) OnTimeout(c *epoll.Conn) {
	f.now = f.clock()
	_, d := f.owner(c)
	switch {
	case d.phase < live:
		f.fail(c, d, "no answer while "+d.phase.String())
	case d.phase == babbling:
		f.fail(c, d, "garbage was not refused")
	case d.phase == live:
		f.keepAlive(c, d)
	}
}

// fail ends a connection for a reason that we know.
func (f *fleet) fail(c *epoll.Conn, d *device, reason string) {
	if d.reason == "" {
		d.reason = reason
	}
	c.Close()
}

// OnClose counts how a connection ended and lets the device return.
func (f *fleet) OnClose(c *epoll.Conn, why epoll.Cause) {
	f.now = f.clock()
	i, d := f.owner(c)
	was := d.phase
	d.conn, d.phase = 0, away
	reason := d.reason
	if reason == "" {
		reason = why.String()
	}
	if was == live && d.role == good {
		f.count.Live--
	}
	f.push(i, d, nil)
	switch {
	case was == parting:
	case d.role != good:
		f.badEnded(i, d, was, why)
	case d.returning:
		d.returning = false
		f.roam(d)
		f.retries.add(i, f.now+int64(f.p.Away))
	case was == live:
		f.count.Unexpected++
		f.count.Closes[reason]++
		f.roam(d)
		f.retries.add(i, f.now+int64(f.p.Away)+f.backoff(d))
	default:
		f.failed(i, d, was.String()+": "+reason)
	}
}

// failed counts an attempt that came to nothing, and plans the next.
func (f *fleet) failed(i uint32, d *device, reason string) {
	f.count.ConnectFailures++
	f.count.Failures[reason]++
	if f.stage < leaving {
		f.roam(d)
		f.retries.add(i, f.now+f.backoff(d))
	}
}

// roam lets a device go on to another target that speaks as it does, if it may.
func (f *fleet) roam(d *device) {
	if !f.p.Roam || d.role != good {
		return
	}
	n := len(f.p.Targets)
	from := f.rng.IntN(n)
	for k := range n {
		at := (from + k) % n
		if at != int(d.target) && f.p.Targets[at].Kind == f.p.Targets[d.target].Kind {
			d.target = uint8(at)
			return
		}
	}
}

// backoff is how long a device waits before it dials again: 0.1 s doubled up to 6.4 s, half of it by chance, so that a
// fleet does not return in step.
func (f *fleet) backoff(d *device) int64 {
	full := second / 10 << min(d.failures, 6)
	d.failures = min(d.failures+1, 100)
	return full/2 + f.rng.Int64N(full)
}

// badEnded counts the end of a bad device: it is what the server should do. Garbage comes again.
func (f *fleet) badEnded(i uint32, d *device, was phase, why epoll.Cause) {
	if why != epoll.CauseClosed && why != epoll.CauseDialFailed {
		f.count.BadClosed++
	}
	if d.role == silent && was == live {
		f.hist.Silence.record(f.now - d.since)
	}
	if d.role == garbage && f.stage < leaving {
		f.retries.add(i, f.now+second/5+f.rng.Int64N(second/5))
	}
}
