package session

import "hash/maphash"

// Of a topic that is marked LastValue only the newest message waits. Looking for the older one must not cost a walk through the
// queue for each message, so the table has an index: session, group and topic, by hash, to the place in the queue. A place is a number that counts on
// while the queue moves (ring.head). The index costs about 40 bytes for a message that waits and is so marked, and nothing for all
// others; an index in each flow would cost every flow a pointer, and a small queue more than it saves.
//
// What was superseded stays in the ring, dead, so that the places of the others hold; when half of the ring is dead, it is sifted and the
// rest gets new places. Each message pays for its own, at most twice.

// lastKey names a topic in one queue. Messages of a group are apart, since they may go to another member, and so are those of streams to
// a durable session, which give way to what follows them in their stream only.
type lastKey struct {
	topic uint64 // hash
	stamp uint32
	group uint32
}

func (s *Session) lastKey(m *Message, group uint32) lastKey {
	return lastKey{maphash.Bytes(s.table.seed, m.Topic), s.stamp, group}
}

// loggedLane is the group of messages of streams in a lastKey. No interest has this number.
const loggedLane = 0xFFFFFFFF

// lane is the group by which ev's message is looked for.
func (s *Session) lane(ev *Event) uint32 {
	if ev.Group == 0 && ev.Msg.Seq != 0 && s.durable() != nil {
		return loggedLane
	}
	return ev.Group
}

func (e *entry) lane() uint32 {
	if e.has(markLogged) {
		return loggedLane
	}
	return e.group
}

// deadMin is how many dead entries are not worth a sift.
const deadMin = 16

// waiting is how many messages wait.
func (f *flow) waiting() int { return int(f.queue.n - f.dead) }

// older is the place in the queue of a message that m takes the place of, -1 when none waits. Topics are compared: a hash proves nothing.
func (s *Session) older(m *Message, group uint32) int {
	if len(s.table.lastValues) == 0 {
		return -1
	}
	q := &s.flow.queue
	place, ok := s.table.lastValues[s.lastKey(m, group)]
	i := place - q.head
	if !ok || i >= q.n || string(q.at(int(i)).kept.msg.Topic) != string(m.Topic) {
		return -1
	}
	return int(i)
}

// supersede drops the waiting message that ev's takes the place of. The flow may be empty then.
func (s *Session) supersede(ev *Event, out *Out) {
	i := s.older(ev.Msg, s.lane(ev))
	if i < 0 {
		return
	}
	s.supersedeAt(i, out)
}

func (s *Session) supersedeAt(i int, out *Out) {
	out.Drops[DropSuperseded]++
	s.kill(i, out)
}

// kill takes the i-th message out of the queue; its place stays until the queue is sifted.
func (s *Session) kill(i int, out *Out) {
	f := s.flow
	e := f.queue.at(i)
	s.uncount(e)
	f.unshare(e)
	out.hold(e)
	*e = entry{}
	f.dead++
	s.buryDead()
	if f.dead > deadMin && f.dead > f.queue.n/2 {
		s.sift(func(*entry) bool { return true })
	}
}

// buryDead takes superseded entries off the front of the queue.
func (s *Session) buryDead() {
	for f := s.flow; f.dead > 0 && f.queue.at(0).kept == nil; f.dead-- {
		f.queue.pop()
	}
}

// sift takes dead entries out of the queue, and those that keep does not want. The others get new places.
func (s *Session) sift(keep func(*entry) bool) {
	f := s.flow
	f.queue.filter(func(e *entry) bool { return e.kept != nil && keep(e) })
	f.dead = 0
	for i := range f.queue.len() {
		s.place(i)
	}
}

// place notes where the i-th message of the queue is.
func (s *Session) place(i int) {
	e := s.flow.queue.at(i)
	if !e.kept.msg.LastValue {
		return
	}
	if s.table.lastValues == nil {
		s.table.lastValues = map[lastKey]uint32{}
	}
	t := s.table
	t.lastValues[s.lastKey(&e.kept.msg, e.lane())] = s.flow.queue.head + uint32(i)
	t.lastValuesPeak = max(t.lastValuesPeak, len(t.lastValues))
}

// lastValuesSpareMax is the largest index that is kept while it is empty; a map does not shrink.
const lastValuesSpareMax = 1024

// displace forgets where a message that leaves the queue was.
func (s *Session) displace(e *entry) {
	if !e.kept.msg.LastValue {
		return
	}
	t := s.table
	delete(t.lastValues, s.lastKey(&e.kept.msg, e.lane()))
	if len(t.lastValues) == 0 && t.lastValuesPeak > lastValuesSpareMax {
		t.lastValues, t.lastValuesPeak = nil, 0
	}
}
