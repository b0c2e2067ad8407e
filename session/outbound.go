package session

import "math"

// onDeliver sends a message, or lets it wait, or drops it with a count.
func (s *Session) onDeliver(nowSec uint32, ev *Event, out *Out) {
	switch {
	case s.state == gone:
		out.Drops[DropSessionGone]++
		return
	case ev.Msg.Seq != 0 && ev.Group == 0 && s.durable() != nil:
		s.deliverLogged(nowSec, ev, out)
		return
	case ev.Msg.expired(nowSec):
		out.Drops[DropExpired]++
		return
	}
	qos := s.quality(ev)
	if qos == 0 {
		s.deliverQoS0(nowSec, ev, out)
		return
	}
	if !ev.Congested && s.canSend() && s.flowQueue() == 0 {
		e := s.needFlow().hold(s, ev, qos)
		s.launch(nowSec, e, out)
		return
	}
	if s.enqueue(nowSec, ev, qos, out) {
		s.pump(nowSec, ev.Congested, out)
	}
}

// quality is the QoS with which ev's message goes to the device.
func (s *Session) quality(ev *Event) uint8 {
	if s.upgrade {
		return ev.QoS
	}
	return min(ev.QoS, ev.Msg.QoS) // [MQTT-3.8.4-8]
}

// deliverQoS0 sends at once or not at all, unless the table keeps QoS 0 for a session that is away: then later ones
// stay behind the kept ones.
func (s *Session) deliverQoS0(nowSec uint32, ev *Event, out *Out) {
	away := s.state != live || !s.resumed
	waits := s.flow != nil && s.flow.queueQoS0 > 0
	switch {
	case s.limits().QueueQoS0 && (away || waits):
		if s.enqueue(nowSec, ev, 0, out) {
			s.pump(nowSec, ev.Congested, out)
		}
	case away:
		out.Drops[DropOffline]++
	case ev.Congested:
		out.Drops[DropCongested]++
	default:
		s.sendQoS0(nowSec, ev, out)
	}
}

// sendQoS0 sends a message without keeping it.
func (s *Session) sendQoS0(nowSec uint32, ev *Event, out *Out) {
	if ev.Msg.LastValue && s.flow != nil {
		s.supersede(ev, out) // or the older one would follow the newer
		s.spareFlow()
	}
	sd := Send{Kind: SendPublish, Msg: ev.Msg, Retain: ev.Retain, SubIDs: ev.SubIDs}
	sd.countDown(nowSec)
	out.Sends = append(out.Sends, sd)
}

// countDown tells what is left of the message's life [MQTT-3.3.2-6].
func (sd *Send) countDown(nowSec uint32) {
	if at := sd.Msg.ExpiresAtSec; at != 0 {
		sd.HasExpiry = true
		sd.ExpirySec = at - min(nowSec, at)
	}
}

// hold is an entry that keeps ev's message.
func (f *flow) hold(s *Session, ev *Event, qos uint8) entry {
	st := &s.table.store
	e := entry{kept: st.keep(ev.Msg), ids: st.keepIDs(ev.SubIDs), group: ev.Group, qos: qos}
	if ev.Retain {
		e.mark = markRetain
	}
	return e
}

// windowMax is how many messages may be in flight [MQTT-3.3.4-9].
func (s *Session) windowMax() int {
	n := min(s.receiveMax, s.limits().InflightMax)
	if n > idsLogged && s.durable() != nil {
		n = idsLogged // so that neither part of the packet ids runs out
	}
	return int(n)
}

// hasRoom says whether the window takes one more message: any single one, but together they have limits.
func (s *Session) hasRoom() bool {
	f := s.flow
	n := f.window.len()
	return n < s.windowMax() && (n == 0 || f.heldBytes < s.limits().InflightBytesMax)
}

// canSend says whether a QoS 1 or 2 message may leave now.
func (s *Session) canSend() bool {
	if s.state != live || !s.resumed {
		return false
	}
	f := s.flow
	return f == nil || f.sent == f.window.len() && s.hasRoom()
}

// Ready says that a message would be sent at once, however large it is.
func (s *Session) Ready() bool { return s.canSend() && s.flowQueue() == 0 }

// flowQueue is how many messages wait.
func (s *Session) flowQueue() int {
	if s.flow == nil {
		return 0
	}
	return s.flow.queue.len()
}

// Pending says that a Drained event would send something: messages wait, and the window has room.
func (s *Session) Pending() bool {
	f := s.flow
	if f == nil || s.state != live || !s.resumed {
		return false
	}
	if s.extra != nil && s.ripe() {
		return true
	}
	if f.sent < f.window.len() {
		return f.sent < s.windowMax() && !f.window.at(f.sent).has(markHollow)
	}
	return f.queue.n > 0 && (f.queue.at(0).qos == 0 || s.hasRoom())
}

// pumpBytes is how much one event sends of what waited, so that the caller can look at its connection again; a Drained
// event goes on.
const pumpBytes = 64 << 10

// pump sends what the window and the connection allow: first again what was in flight when the connection ended, in
// its old order [MQTT-4.4.0-1] [MQTT-4.6.0-1], then the queue.
func (s *Session) pump(nowSec uint32, congested bool, out *Out) {
	if !congested {
		s.pumpMost(nowSec, math.MaxInt, out)
	} else {
		s.spareFlow()
	}
}

// pumpMost sends so many messages at most.
func (s *Session) pumpMost(nowSec uint32, most int, out *Out) {
	for n := 0; most > 0 && n < pumpBytes && s.Pending(); most-- {
		f := s.flow
		if s.extra != nil && s.ripe() {
			n += s.sendRipe(nowSec, out)
			continue
		}
		if f.sent < f.window.len() {
			if e := f.window.at(f.sent); !e.has(markUnsaved) {
				n += e.size()
				e.send(nowSec, !e.has(markFresh), out)
			}
			f.sent++
			continue
		}
		e := s.unqueue()
		n += e.size()
		switch {
		case e.kept.msg.expired(nowSec):
			out.Drops[DropExpired]++
			out.hold(&e)
		case e.qos == 0:
			e.send(nowSec, false, out)
			out.hold(&e)
		default:
			s.launch(nowSec, e, out)
		}
	}
	s.spareFlow()
}

// launch gives e a packet id and a place in the window and sends it. The window has room.
func (s *Session) launch(nowSec uint32, e entry, out *Out) {
	f := s.flow
	if e.group != 0 {
		f.shared++
	}
	if e.has(markLogged) && e.qos == 2 {
		e.id = s.nextLoggedID()
		e.mark |= markUnsaved | markFresh
		s.mustSave(out)
	} else {
		e.id = s.nextID()
		e.send(nowSec, false, out)
	}
	f.window.push(e)
	if !e.has(markFresh) {
		f.overtake()
	}
	f.heldBytes += e.size()
	f.sent++
	s.table.inflight++
}

// overtake has the last message of the window, which was sent at once, before those that wait for a save, so that all are sent again
// in the order in which they were sent first [MQTT-4.6.0-1].
func (f *flow) overtake() {
	for i := f.window.len() - 1; i > 0; i-- {
		last, waits := f.window.at(i), f.window.at(i-1)
		if !waits.has(markFresh) || waits.kept == nil {
			return
		}
		*last, *waits = *waits, *last
	}
}

// send appends the packet that e is about: its PUBLISH, or the PUBREL of one that the device has.
func (e *entry) send(nowSec uint32, dup bool, out *Out) {
	e.mark &^= markFresh
	if e.kept == nil {
		out.Sends = append(out.Sends, Send{Kind: SendPubrel, PacketID: e.id, Dup: dup})
		return
	}
	sd := Send{Kind: SendPublish, PacketID: e.id, QoS: e.qos, Dup: dup, Retain: e.has(markRetain), Msg: &e.kept.msg, SubIDs: e.ids.slice()}
	sd.countDown(nowSec)
	out.Sends = append(out.Sends, sd)
}

// nextID is a packet id that is not in use [MQTT-2.2.1-4]. freeIDs remembers how far the ids ahead are free, so that
// the window is searched once in a run of them and not for each message.
func (s *Session) nextID() uint16 {
	f, from, to := s.flow, uint16(0), uint16(65535)
	if s.durable() != nil {
		to = idsLogged
	}
	for f.freeIDs == 0 {
		f.freeIDs = f.freeRun(s.lastID, from, to)
		if f.freeIDs == 0 {
			s.lastID = after(s.lastID, from, to)
		}
	}
	f.freeIDs--
	s.lastID = after(s.lastID, from, to)
	return s.lastID
}

// after is the packet id that follows id, of those above from up to to.
func after(id, from, to uint16) uint16 {
	if id >= to || id < from {
		return from + 1
	}
	return id + 1
}

// freeRun is how many ids after last are not in use, of those above from up to to.
func (f *flow) freeRun(last, from, to uint16) uint16 {
	run := int(to - from)
	if last > to || last < from {
		last = from
	}
	for i := range f.window.len() {
		id := f.window.at(i).id
		if id <= from || id > to {
			continue
		}
		ahead := int(id) - int(last)
		if ahead <= 0 {
			ahead += int(to - from)
		}
		run = min(run, ahead-1)
	}
	return uint16(run)
}

// acked is the place in the window of the packet id in ev, -1 when it is not there.
func (s *Session) acked(ev *Event) int {
	f := s.flow
	if f == nil {
		return -1
	}
	for i := range f.window.len() {
		if e := f.window.at(i); e.id == ev.PacketID {
			if e.has(markFresh) && e.kept != nil {
				return -1 // its PUBLISH was never sent
			}
			return i
		}
	}
	return -1
}

// onPuback ends a QoS 1 message to the device, whatever its reason [MQTT-4.8.2-6]. One that is not known answers an older life of the session.
func (s *Session) onPuback(nowSec uint32, ev *Event, out *Out) {
	i := s.acked(ev)
	switch {
	case i < 0:
	case s.flow.window.at(i).phase() != awaitAck:
		out.close(reasonProtocolError)
	default:
		out.settle(s.flow.window.at(i), ev.Reason)
		s.forget(i, out)
		s.pump(nowSec, ev.Congested, out)
	}
}

// onPubrec lets go of a QoS 2 message that the device has, and goes on to PUBREL; a reason of 0x80 or more ends it
// [MQTT-4.3.3-4] [MQTT-4.8.2-6].
func (s *Session) onPubrec(nowSec uint32, ev *Event, out *Out) {
	i := s.acked(ev)
	if i < 0 {
		if s.version == version5 {
			out.ack(SendPubrel, ev.PacketID, reasonIDNotFound)
		} else {
			out.ack(SendPubrel, ev.PacketID, 0)
		}
		return
	}
	e := s.flow.window.at(i)
	switch {
	case e.phase() == awaitAck:
		out.close(reasonProtocolError)
	case ev.Reason >= reasonFailure:
		out.settle(e, ev.Reason)
		s.forget(i, out)
		s.pump(nowSec, ev.Congested, out)
	default:
		out.settle(e, ev.Reason)
		s.received(e, out)
	}
}

// received lets go of a message that the device has. PUBREL is next, of a logged one when the record says that it is: if the session went on
// from a record that does not, PUBLISH would come after PUBREL, and be taken for a new message.
func (s *Session) received(e *entry, out *Out) {
	switch {
	case e.kept == nil && e.has(markFresh):
		return // PUBREC once more; PUBREL is to come
	case e.kept == nil || !e.has(markLogged):
		out.ack(SendPubrel, e.id, 0)
	default:
		e.mark = markLogged | markUnsaved | markFresh
		s.needWork().rels.push(e.id)
		s.mustSave(out)
	}
	out.hold(e)
	s.flow.heldBytes -= e.size()
	s.flow.unshare(e)
	e.kept, e.ids = nil, nil
}

// onPubcomp ends a QoS 2 message to the device.
func (s *Session) onPubcomp(nowSec uint32, ev *Event, out *Out) {
	i := s.acked(ev)
	switch {
	case i < 0:
	case s.flow.window.at(i).phase() != awaitComp, s.flow.window.at(i).has(markFresh):
		out.close(reasonProtocolError)
	default:
		s.forget(i, out)
		s.pump(nowSec, ev.Congested, out)
	}
}

// onTooLarge counts a message as done that the device could not take [MQTT-3.1.2-25], or may not have.
func (s *Session) onTooLarge(nowSec uint32, ev *Event, out *Out) {
	drop, reason := DropTooLarge, uint8(reasonTooLarge)
	if ev.Reason == reasonDenied {
		drop, reason = DropDenied, reasonDenied
	}
	out.Drops[drop]++
	if i := s.acked(ev); i >= 0 && s.flow.window.at(i).phase() != awaitComp {
		out.settle(s.flow.window.at(i), reason)
		s.forget(i, out)
		s.pump(nowSec, ev.Congested, out)
	}
}
