package session

// enqueue lets a message wait, and says whether it does. A full queue is treated by the policy.
func (s *Session) enqueue(nowSec uint32, ev *Event, qos uint8, out *Out) bool {
	l := &s.table.limits
	size := ev.Msg.size()
	if size > l.QueueBytesMax {
		out.Drops[DropQueueBytes]++
		s.refuseQueue(out)
		return false
	}
	if s.table.store.bytes+size > l.TableBytesMax {
		out.Drops[DropTableBytes]++
		s.refuseQueue(out)
		return false
	}
	f := s.needFlow()
	for f.queue.len() >= l.QueueCountMax || f.queueBytes+size > l.QueueBytesMax {
		why := DropQueueFull
		if f.queue.len() < l.QueueCountMax {
			why = DropQueueBytes
		}
		if l.QueuePolicy != DropOldest || f.queue.n == 0 {
			out.Drops[why]++
			s.refuseQueue(out)
			return false
		}
		if f.queue.at(0).kept.msg.expired(nowSec) {
			why = DropExpired
		}
		s.dropQueued(why, out)
	}
	f.queue.push(f.hold(s, ev, qos))
	f.queueBytes += size
	s.table.queued++
	s.table.queuedBytes += size
	if qos == 0 {
		f.queueQoS0++
	}
	return true
}

// refuseQueue is what else happens when a message may not wait.
func (s *Session) refuseQueue(out *Out) {
	if s.table.limits.QueuePolicy == Disconnect && s.state == live {
		out.close(reasonQuota)
	}
	s.spareFlow()
}

// unqueue takes the message that waited longest.
func (s *Session) unqueue() entry {
	f := s.flow
	e := f.queue.pop()
	size := e.kept.msg.size()
	f.queueBytes -= size
	s.table.queued--
	s.table.queuedBytes -= size
	if e.qos == 0 {
		f.queueQoS0--
	}
	return e
}

// dropQueued drops the message that waited longest.
func (s *Session) dropQueued(why DropReason, out *Out) {
	e := s.unqueue()
	out.Drops[why]++
	out.hold(&e)
}
