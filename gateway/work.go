package gateway

import "github.com/tidegate/tidegate/epoll"

// A tick is as long as the work of all connections that have their turn in it, and everybody's messages wait for its end. Work is counted in units
// of about 5 ns; a subscription that is visited counts as one, though it takes 40 and more. One connection's turn ends after workMax, 0.2 ms
// or 32,000 visits, and once all turns of a tick have come to that, further ones end after workLeast. What is left over waits in line, and one of the
// line goes on in each tick, between those of whom there is news: so few who ask for much keep it from each other, and get no less in the end, as
// ticks follow each other at once while anybody waits.
//
// Visits are cheap here because the ticks of a fan-out are not: each ends with a write to every subscriber, and the fewer messages there are in
// it, the more writes a message costs. With 4,000 visits a turn a message to 100 subscribers took 25 us, with 32,000 it takes 11 (BenchmarkQoS0).
//
// Considered and left: a clock read now and then in a turn. It would count everything, and a pause of the process as work of whom it met.
const (
	workMax   = 32_000
	workLeast = 4_000
)

// beginTurn is at the begin of a connection's turn.
func (s *shard) beginTurn() {
	s.worked += s.work
	s.work, s.filtersAsked = 0, 0
}

// share is how much work the connection whose turn it is may be.
func (s *shard) share() int { return max(workLeast, workMax-s.worked) }

// mayWork tells whether something that takes long may be begun: not in a tick that is full, but for who has come to the head of the line.
func (s *shard) mayWork(c *epoll.Conn) bool { return s.worked+s.work < workMax || s.head == c.Handle() }

// overworked tells that a connection has had its turn; it goes on when its turn comes again.
func (s *shard) overworked(c *epoll.Conn, d *device) bool {
	if !d.resting && (s.work < workLeast || s.work < s.share()) {
		return false
	}
	s.waitsTurn(c, d)
	return true
}

// waitsTurn puts a connection in line. One that was resumed for something else keeps its place.
func (s *shard) waitsTurn(c *epoll.Conn, d *device) {
	c.PauseRead()
	if !d.resting {
		d.resting = true
		s.count.turnsEnded++
		s.resting = append(s.resting, c.Handle())
	}
}

// endWork is at the end of a tick: the first in line goes on in the next one.
func (s *shard) endWork() {
	s.count.workMost = max(s.count.workMost, s.worked+s.work)
	s.work, s.worked, s.head = 0, 0, 0
	n := 0
	for n < len(s.resting) {
		h := s.resting[n]
		n++
		c := s.loop.Conn(h)
		if c == nil || c.Closing() {
			continue
		}
		d := s.devices.At(c.Slot())
		d.resting = false
		if !d.paused {
			c.ResumeRead()
			s.head = h
			break
		}
	}
	if s.resting = append(s.resting[:0], s.resting[n:]...); len(s.resting) > 0 {
		s.loop.Wake()
	}
}
