package session

// onPublish takes a message from the device: it is routed once, and remembered until it may be acknowledged.
func (s *Session) onPublish(ev *Event, out *Out) {
	if ev.QoS == 0 {
		out.Publishes = append(out.Publishes, ev.Msg)
		return
	}
	d := s.durable()
	switch {
	case ev.QoS == 2:
		if s.repeated(ev, out) {
			return
		}
	case d != nil && s.resent(ev, out):
		return
	}
	if !s.admits(out) {
		return
	}
	f := s.flow
	f.unacked++
	in := inbound{token: ev.Token, id: ev.PacketID, mark: inCounted}
	switch {
	case ev.QoS == 2:
		if d != nil {
			in.what = d.logAt
		}
		f.recs.push(in)
	default:
		if d != nil {
			in.what = s.table.printOf(ev.Msg)
		}
		f.acks.push(in)
	}
	out.Publishes = append(out.Publishes, ev.Msg)
}

// admits says whether one more message from the device may be under way, and makes the flow for it; otherwise the connection ends.
func (s *Session) admits(out *Out) bool {
	f := s.needFlow()
	limit := int(s.receiveLimit())
	total := 2 * max(limit, int(s.table.limits.ReceiveMax))
	if f.stale > 0 {
		f.shed(total)
	}
	if f.unacked >= limit || f.acks.len()+f.recs.len() >= total {
		// What earlier connections left behind, which may have been told more, is no part of this one's quota, but it is memory.
		out.close(reasonReceiveMax) // [MQTT-3.3.4-7]
		s.spareFlow()
		return false
	}
	return true
}

// repeated says whether a QoS 2 PUBLISH is one whose packet id is not yet released: it is answered again and not
// routed again [MQTT-4.3.3-10], 3.1.1 [MQTT-4.3.3-2]. Before it was taken over the answer is still to come.
func (s *Session) repeated(ev *Event, out *Out) bool {
	f := s.flow
	if f == nil {
		return false
	}
	i := findInbound(&f.recs, ev.PacketID)
	if i < 0 {
		return false
	}
	if i < f.recd {
		out.ack(SendPubrec, ev.PacketID, f.recs.at(i).reason)
	}
	return true
}

// receiveLimit is how many messages from the device may be under way.
func (s *Session) receiveLimit() uint16 {
	if s.version != version5 {
		return s.limits().ReceiveMaxV3
	}
	return s.limits().ReceiveMax
}

// findInbound is the place of a packet id, -1 when it is not there.
func findInbound(r *ring[inbound], id uint16) int {
	for i := range r.len() {
		if r.at(i).id == id {
			return i
		}
	}
	return -1
}

// onAccepted notes that a message was taken over, or refused with a reason code, and acknowledges what can be
// acknowledged in order [MQTT-4.6.0-2] [MQTT-4.6.0-3].
func (s *Session) onAccepted(ev *Event, out *Out) {
	f := s.flow
	if f == nil {
		return
	}
	if i := markTaken(&f.acks, 0, ev); i >= 0 {
		if i < int(f.stale) {
			f.staleTaken(i)
		}
		s.settleAcks(out)
	} else if markTaken(&f.recs, f.recd, ev) >= 0 {
		s.settleRecs(out)
		if s.state != live {
			s.mustSave(out) // the record may be clean now
		}
	}
	s.spareFlow()
}

// markTaken marks the message that ev is about, from the i-th on, and gives its place, -1 when it is not there.
func markTaken(r *ring[inbound], i int, ev *Event) int {
	for ; i < r.len(); i++ {
		in := r.at(i)
		if in.id == ev.PacketID && !in.has(inTaken) && (ev.Token == 0 || ev.Token == in.token) {
			in.mark |= inTaken
			if ev.Logged {
				in.mark |= inLogged
			}
			in.reason = ev.Reason
			return i
		}
	}
	return -1
}

// settleAcks sends the PUBACKs whose turn it is.
func (s *Session) settleAcks(out *Out) {
	f := s.flow
	for f.acks.n > f.stale {
		in := f.acks.at(int(f.stale))
		if !in.has(inTaken) {
			return
		}
		f.unacked--
		out.ack(SendPuback, in.id, in.reason)
		if f.stale == 0 {
			f.acks.pop()
		} else {
			f.acks.remove(int(f.stale))
		}
	}
}

// settleRecs sends the PUBRECs whose turn it is. Without a connection they are due when the device asks again.
func (s *Session) settleRecs(out *Out) {
	f := s.flow
	for f.recd < f.recs.len() && f.recs.at(f.recd).has(inTaken) {
		in := *f.recs.at(f.recd)
		if in.reason >= reasonFailure {
			s.freeInbound(f.recd) // the packet id is free again [MQTT-4.3.3-9]
		} else {
			f.recd++
		}
		if s.state == live {
			out.ack(SendPubrec, in.id, in.reason)
		}
	}
}

// freeInbound forgets the i-th QoS 2 message from the device.
func (s *Session) freeInbound(i int) {
	f := s.flow
	if in := f.recs.remove(i); in.has(inCounted) {
		f.unacked--
	}
	if i < f.recd {
		f.recd--
	}
}

// onPubrel ends a QoS 2 message from the device [MQTT-4.3.3-11].
func (s *Session) onPubrel(ev *Event, out *Out) {
	at := -1
	if s.flow != nil {
		at = findInbound(&s.flow.recs, ev.PacketID)
	}
	switch {
	case at < 0 && s.version == version5:
		out.ack(SendPubcomp, ev.PacketID, reasonIDNotFound)
	case at < 0:
		// 3.1.1 has no other answer, and the device may have missed the first one.
		out.ack(SendPubcomp, ev.PacketID, 0)
	case at >= s.flow.recd:
		out.close(reasonProtocolError) // PUBREL answers PUBREC, which was not sent
	case s.flow.recs.at(at).has(inLogged) && s.durable() != nil:
		s.release(s.flow.recs.at(at), out)
	default:
		s.freeInbound(at)
		s.spareFlow()
		out.ack(SendPubcomp, ev.PacketID, 0)
	}
}

// release asks for the marker that says that the device released in; PUBCOMP waits for it. Without it, whoever goes on with the session
// from the log would take the next message with this packet id for this one.
func (s *Session) release(in *inbound, out *Out) {
	in.mark |= inAsked
	if !in.has(inReleasing) {
		in.mark |= inReleasing
		out.Releases = append(out.Releases, in.id)
	}
}

// onReleased ends a QoS 2 message from the device whose marker is stored.
func (s *Session) onReleased(ev *Event, out *Out) {
	if s.flow == nil {
		return
	}
	i := findInbound(&s.flow.recs, ev.PacketID)
	if i < 0 || !s.flow.recs.at(i).has(inReleasing) {
		return
	}
	if s.flow.recs.at(i).has(inAsked) {
		out.ack(SendPubcomp, ev.PacketID, 0)
	}
	s.freeInbound(i)
	s.spareFlow()
}
