package session

// enqueue lets a message wait, and says whether it does. A full queue is treated by the policy.
func (s *Session) enqueue(nowSec uint32, ev *Event, qos uint8, out *Out) bool {
	l := s.limits()
	size := ev.Msg.size()
	if size > l.QueueBytesMax {
		return s.refuseQueue(ev, DropQueueBytes, out)
	}
	if s.table.store.bytes+size > s.table.limits.TableBytesMax {
		return s.refuseQueue(ev, DropTableBytes, out)
	}
	if !l.hasRoom(size) {
		return s.refuseQueue(ev, DropAccountBytes, out)
	}
	f := s.needFlow()
	if ev.Msg.LastValue && !s.enqueueLast(ev, size, out) {
		return false
	}
	for f.waiting() >= l.QueueCountMax || f.queueBytes+size > l.QueueBytesMax {
		why := DropQueueFull
		if f.waiting() < l.QueueCountMax {
			why = DropQueueBytes
		}
		i := s.oldest()
		if l.QueuePolicy != DropOldest || i < 0 {
			return s.refuseQueue(ev, why, out)
		}
		if f.queue.at(i).kept.msg.expired(nowSec) {
			why = DropExpired
		}
		s.dropQueued(i, why, out)
	}
	s.push(f.hold(s, ev, qos))
	return true
}

// push lets e wait.
func (s *Session) push(e entry) {
	f, size := s.flow, e.size()
	f.queue.push(e)
	f.queueBytes += size
	s.table.queued++
	s.table.queuedBytes += size
	s.account(size)
	if e.qos == 0 {
		f.queueQoS0++
	}
	if e.group != 0 {
		f.shared++
	}
	s.place(f.queue.len() - 1)
}

// oldest is the place of the message that waits longest and may give way, -1 when there is none: those of a stream do not.
func (s *Session) oldest() int {
	q := &s.flow.queue
	if q.n > 0 && s.durable() == nil {
		return 0
	}
	for i := range q.len() {
		if e := q.at(i); e.kept != nil && !e.has(markLogged) {
			return i
		}
	}
	return -1
}

// enqueueLast makes room for a message that takes the place of an older one, and says whether it may wait.
func (s *Session) enqueueLast(ev *Event, size int, out *Out) bool {
	f, l := s.flow, s.limits()
	i := s.older(ev.Msg, ev.Group)
	switch {
	case i < 0:
	case ev.Orphan:
		out.Drops[DropSuperseded]++
		return false
	case l.QueuePolicy == DropOldest || f.queueBytes-f.queue.at(i).size()+size <= l.QueueBytesMax:
		s.supersedeAt(i, out)
	default:
		// The policy keeps what came first: the older one stays, since the newer would be refused in its place too.
	}
	return true
}

// refuseQueue is what else happens when a message may not wait. It says that it does not.
func (s *Session) refuseQueue(ev *Event, why DropReason, out *Out) bool {
	out.Drops[why]++
	if s.limits().QueuePolicy == Disconnect && s.state == live && !ev.Orphan {
		out.close(reasonQuota)
	}
	s.spareFlow()
	return false
}

// unqueue takes the message that waited longest.
func (s *Session) unqueue() entry {
	f := s.flow
	e := *f.queue.at(0)
	s.uncount(&e)
	f.queue.pop()
	if e.group != 0 {
		f.shared--
	}
	if f.dead > 0 {
		s.buryDead()
	}
	return e
}

// uncount is what changes in the counts when e does not wait any more.
func (s *Session) uncount(e *entry) {
	f, size := s.flow, e.kept.msg.size()
	f.queueBytes -= size
	s.table.queued--
	s.table.queuedBytes -= size
	s.account(-size)
	if e.qos == 0 {
		f.queueQoS0--
	}
	s.displace(e)
}

// dropQueued drops the i-th message that waits.
func (s *Session) dropQueued(i int, why DropReason, out *Out) {
	out.Drops[why]++
	if i > 0 {
		s.kill(i, out)
		return
	}
	e := s.unqueue()
	out.hold(&e)
}
