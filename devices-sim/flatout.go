package main

import "github.com/tidegate/tidegate/epoll"

// Flat out is the other way to load a server: no timetable, but a window. A publisher sends the next message as soon as
// one of its window has come through, so the rate is what the server can do and the latency says little (a closed loop
// measures its own window). With QoS 1 and 2 a message has come through when it is acknowledged, and the window is each
// publisher's own. With QoS 0 nobody answers: there it has come through when the subscribers, or the witness at the far
// end, have received it, and the window is the whole worker's, its publishers taking turns.
//
// What is lost at QoS 0 would close the window for good. So when nothing at all has arrived for stallNanos, all that is
// missing is written off, and counted.
const stallNanos = second / 2

// begin starts flat-out traffic when its time has come.
func (f *fleet) beginFlatOut() {
	if f.stage != sending || !f.p.FlatOut || f.flat || f.now < f.flatAt {
		return
	}
	f.flat, f.progressAt = true, f.now
	if f.p.QoS == 0 {
		return
	}
	for i := range uint32(f.p.Pubs) {
		d := &f.devices[i]
		f.push(i, d, f.loop.Conn(d.conn))
	}
}

// underWay is how many messages of QoS 0, copies counted, are sent and not yet received.
func (f *fleet) underWay() int64 {
	if f.arrivals != nil {
		return int64(f.count.Expected) - int64(f.count.Arrived) - f.writtenOff
	}
	return int64(f.count.Sent) - f.farEnd - f.writtenOff
}

// fill sends as many messages of QoS 0 as the window has room for.
func (f *fleet) fill() {
	if !f.flat || f.p.QoS > 0 {
		return
	}
	if f.now >= f.progressAt+stallNanos {
		if missing := f.underWay(); missing > 0 {
			f.writtenOff += missing
			f.count.Stalls++
		}
		f.progressAt = f.now
	}
	room := f.windowCopies - f.underWay()
	for idle := 0; room > 0 && idle < f.p.Pubs; {
		i := f.turn
		if f.turn++; int(f.turn) == f.p.Pubs {
			f.turn = 0
		}
		d := &f.devices[i]
		c := f.loop.Conn(d.conn)
		if d.role != good || d.phase != live || c == nil || !canSend(c) {
			idle++
			continue
		}
		idle = 0
		d.due++
		f.open++
		f.sendNext(i, d, c, f.now)
		room -= max(1, f.copiesOf(i))
	}
}

// canSend tells whether the connection takes another message.
func canSend(c *epoll.Conn) bool {
	return !c.Closing() && !c.Blocked() && c.Unsent() < unsentBytesMax
}

// copiesOf is how many copies of a message of a worker's publisher have to arrive at subscribers.
func (f *fleet) copiesOf(i uint32) int64 {
	if f.copies == nil {
		return 0
	}
	return int64(f.copies[f.p.number(i)])
}

// windowOf is the window of all publishers of the worker together, copies counted.
func (f *fleet) windowOf() (n int64) {
	for i := range uint32(f.p.Pubs) {
		n += max(1, f.copiesOf(i)) * int64(f.p.Window)
	}
	return n
}
