package session

// Messages of streams to a durable session. What the session took is told by one number a stream, so a message that comes a second time is
// known without a list, and one that finds the queue full needs none: it stays in the stream, and the session is behind.

// Packet ids of a durable session are in two parts: 1 to idsLogged, and above them those of logged QoS 2 messages. A device may hold
// the id of a QoS 2 message that was lost with the memory of a gateway, and take the next one with this id for the same; so it must not be
// a logged one. Logged ones do not get lost: their ids are in the record before the device sees them.
const idsLogged = 32767

// deliverLogged sends a message of a stream, or lets it wait, or leaves it in the stream.
func (s *Session) deliverLogged(nowSec uint32, ev *Event, out *Out) {
	d, m, qos := s.durable(), ev.Msg, s.quality(ev)
	p := d.at(m.Stream)
	owed := m.Seq <= p.cursor && ev.Replay && d.owes(m)
	if owed {
		qos = 1 // which it was sent with, whatever the filters say by now
	}
	atOnce := qos == 0 && !s.limits().QueueQoS0
	switch {
	case s.state != live:
		return
	case d.behind && !ev.Replay:
		if atOnce && s.resumed && m.Seq > p.cursor {
			s.nowOrNever(nowSec, ev, out)
		}
		return
	case ev.Replay && atOnce:
		// It was sent when it came, or the device was away.
	case m.Seq <= p.cursor && !owed:
		if ev.Replay {
			s.passed(m.Stream, m.Seq)
		}
		return
	case m.expired(nowSec):
		out.Drops[DropExpired]++
	case atOnce:
		s.nowOrNever(nowSec, ev, out)
	case !s.takeLogged(nowSec, ev, qos, out):
		d.refused(ev, out)
		s.spareFlow()
		return
	}
	d.changed = true
	s.passed(m.Stream, m.Seq)
	p.cursor = max(p.cursor, m.Seq)
}

// nowOrNever sends a message of quality 0.
func (s *Session) nowOrNever(nowSec uint32, ev *Event, out *Out) {
	switch {
	case ev.Msg.expired(nowSec):
		out.Drops[DropExpired]++
	case !s.resumed:
		out.Drops[DropOffline]++
	case ev.Congested:
		out.Drops[DropCongested]++
	default:
		s.sendQoS0(nowSec, ev, out)
	}
}

// owes says whether m is below the cursor, and still to be delivered.
func (d *durable) owes(m *Message) bool {
	from, to := d.owed(m.Stream)
	for ; from < to; from++ {
		if d.work.again[from].seq == m.Seq {
			return true
		}
	}
	return false
}

// refused is what comes of a message that finds no place: the session is behind, or the replay pauses.
func (d *durable) refused(ev *Event, out *Out) {
	if ev.Replay {
		d.full, out.Full = true, true
	}
	if !d.behind {
		d.behind, out.Behind = true, true
	}
}

// takeLogged sends a message or lets it wait, and says whether it does.
func (s *Session) takeLogged(nowSec uint32, ev *Event, qos uint8, out *Out) bool {
	idle := s.flowQueue() == 0 && !ev.Congested
	switch {
	case qos == 0 && idle && s.resumed:
		s.sendQoS0(nowSec, ev, out)
		return true
	case qos > 0 && idle && s.canSend():
		e := s.needFlow().hold(s, ev, qos)
		e.mark |= markLogged
		s.launch(nowSec, e, out)
		return true
	}
	f := s.needFlow()
	older := -1
	if ev.Msg.LastValue {
		older = s.older(ev.Msg, loggedLane)
	}
	if !s.fits(ev.Msg.size(), older) {
		return false
	}
	e := f.hold(s, ev, qos)
	e.mark |= markLogged
	if older >= 0 {
		s.supersedeAt(older, out)
	}
	s.push(e)
	s.pump(nowSec, ev.Congested, out)
	return true
}

// fits says whether a message of so many bytes may wait, in the place of the older one when there is one (not -1).
func (s *Session) fits(size, older int) bool {
	l, f := s.limits(), s.flow
	count, bytes := f.waiting(), f.queueBytes
	if older >= 0 {
		count--
		bytes -= f.queue.at(older).size()
	}
	return count < l.QueueCountMax && bytes+size <= l.QueueBytesMax && s.table.store.bytes+size <= s.table.limits.TableBytesMax && l.hasRoom(size)
}

// nextLoggedID is a packet id for a logged message of QoS 2.
func (s *Session) nextLoggedID() uint16 {
	d := s.durable()
	for s.flow.freeRun(d.lastID, idsLogged, 65535) == 0 {
		d.lastID = after(d.lastID, idsLogged, 65535)
	}
	d.lastID = after(d.lastID, idsLogged, 65535)
	return d.lastID
}

// mustSave says that the record is to be written, once the one that is being stored is.
func (s *Session) mustSave(out *Out) {
	d := s.durable()
	if d == nil {
		return
	}
	d.dirty = true
	out.Save = out.Save || !d.saving
}

// SavedBy is the token of the snapshot that has, or will have, all that must be stored so far: an answer to the device that needs it, such as
// SUBACK, may go out at Saved with this token or a later one. 0: it is stored.
func (s *Session) SavedBy() uint32 {
	d := s.durable()
	switch {
	case d == nil || !d.dirty && !d.saving:
		return 0
	case d.dirty:
		return nextToken(d.token)
	}
	return d.token
}

// nextToken is the token after t; 0 is none.
func nextToken(t uint32) uint32 { return max(t+1, 1) }

// onSaved lets go on what the last snapshot has. An older one is of no interest: what it has, the last one has.
func (s *Session) onSaved(nowSec uint32, ev *Event, out *Out) {
	d := s.durable()
	if d == nil || s.state == gone || !d.saving || ev.Token != d.token {
		return
	}
	d.saving = false
	s.saveRels(out)
	f := s.flow
	for i := 0; f != nil && i < f.window.len(); i++ {
		if e := f.window.at(i); e.has(markSnapped) {
			e.mark &^= markUnsaved | markSnapped
			d.ripe = d.ripe || i < f.sent
		}
	}
	if d.dirty {
		out.Save = true
	}
	s.pump(nowSec, ev.Congested, out)
}

// saveRels sends the PUBRELs that the snapshot has; one whose turn after a reconnect is still to come goes then.
func (s *Session) saveRels(out *Out) {
	d := s.durable()
	if d.work == nil {
		return
	}
	w := d.work
	for ; w.snaps > 0; w.snaps-- {
		i := s.acked(&Event{PacketID: w.rels.pop()})
		if i < 0 {
			continue
		}
		e := s.flow.window.at(i)
		e.mark &^= markUnsaved | markSnapped
		if i < s.flow.sent {
			e.send(0, false, out)
		}
	}
	s.spareWork()
}

// ripe says that something was saved and not yet sent.
func (s *Session) ripe() bool {
	d := s.durable()
	return d != nil && d.ripe
}

// sendRipe sends it, and says how many bytes that was.
func (s *Session) sendRipe(nowSec uint32, out *Out) (n int) {
	f := s.flow
	s.durable().ripe = false
	for i := range f.sent {
		if e := f.window.at(i); e.has(markFresh) && !e.has(markUnsaved) {
			e.send(nowSec, false, out)
			n += e.size()
		}
	}
	return n
}

// EachRefill calls f for every restored QoS 2 message to the device whose bytes are missing, in order, until it says false. Each is to be
// read from its stream, whatever the filters are by now, and handed in with Refill; until then nothing is sent to the device that
// follows it. f must not step the session.
func (s *Session) EachRefill(f func(stream uint16, seq uint64) bool) {
	if s.flow == nil {
		return
	}
	for i := range s.flow.window.len() {
		if e := s.flow.window.at(i); e.has(markHollow) && !f(e.kept.msg.Stream, e.kept.msg.Seq) {
			return
		}
	}
}

// onRefill takes the bytes of a restored message. One that is no more ends with PUBREL, as if the device had it: if it does, it is complete,
// and in any case the device does not hold the packet id any longer.
func (s *Session) onRefill(nowSec uint32, ev *Event, out *Out) {
	f := s.flow
	if s.state == gone || f == nil {
		return
	}
	for i := range f.window.len() {
		e := f.window.at(i)
		if !e.has(markHollow) || e.kept.msg.Stream != ev.Stream || e.kept.msg.Seq != ev.Seq {
			continue
		}
		if ev.Msg == nil {
			out.Drops[DropExpired]++
			s.received(e, out)
		} else {
			out.hold(e)
			st := &s.table.store
			e.kept, e.ids, e.mark = st.keep(ev.Msg), st.keepIDs(ev.SubIDs), markLogged
			if ev.Retain {
				e.mark |= markRetain
			}
			f.heldBytes += e.size()
		}
		s.pump(nowSec, ev.Congested, out)
		return
	}
}
