package session

import (
	"hash/maphash"
	"math/bits"
)

// What a device published with QoS 1 and had no PUBACK for, it sends again on its next connection. A durable session knows these messages,
// as many as Receive Maximum, so that they are not stored twice: the ring of acks begins with those of earlier connections (flow.stale), and
// one that is sent again moves to its end, which keeps PUBACKs in the order of the PUBLISH packets [MQTT-4.6.0-2].

// resent says whether ev is a QoS 1 PUBLISH that is known: PUBACK is due, or will be when it is stored.
func (s *Session) resent(ev *Event, out *Out) bool {
	f := s.flow
	if f == nil || f.stale == 0 && !ev.Dup {
		return false
	}
	i := findInbound(&f.acks, ev.PacketID)
	if i < 0 {
		return false
	}
	same := ev.Dup && f.acks.at(i).what == s.table.printOf(ev.Msg)
	switch {
	case i >= int(f.stale):
		return same // PUBACK is to come for the first one
	case !same:
		f.forgetStale(i) // its packet id is that of another message now
		return false
	case !s.admits(out):
		return true
	}
	i = findInbound(&f.acks, ev.PacketID) // which admits may have moved, or forgotten
	if i < 0 {
		return false
	}
	in := f.forgetStale(i)
	in.mark |= inCounted
	f.unacked++
	f.acks.push(in)
	s.settleAcks(out)
	s.spareFlow()
	return true
}

// printOf is a fingerprint of a message: a device that lost its state may use a packet id anew, and only its next packet, which we see,
// may say that it is sent again.
func (t *Table) printOf(m *Message) uint64 {
	return maphash.Bytes(t.seed, m.Payload) ^ bits.RotateLeft64(maphash.Bytes(t.seed, m.Topic), 1)
}

// cutAcks makes all acks those of an earlier connection. What was refused may be sent again, and tried again.
func (s *Session) cutAcks() {
	f := s.flow
	f.acks.filter(func(in *inbound) bool { return !in.has(inTaken) || in.reason < reasonFailure })
	f.stale, f.known = f.acks.n, 0
	for i := range f.acks.len() {
		in := f.acks.at(i)
		in.mark &^= inCounted
		if in.has(inTaken) {
			f.known++
		}
	}
	for f.stale > uint32(s.receiveLimit()) {
		f.forgetStale(0)
	}
}

// forgetStale takes out the i-th of acks, which is of an earlier connection.
func (f *flow) forgetStale(i int) inbound {
	in := f.acks.remove(i)
	f.stale--
	if in.has(inTaken) {
		f.known--
	}
	return in
}

// staleTaken counts the i-th of acks, which is of an earlier connection and was just taken over. One that was refused may be tried again.
func (f *flow) staleTaken(i int) {
	if f.acks.at(i).reason >= reasonFailure {
		f.acks.remove(i)
		f.stale--
		return
	}
	f.known++
}

// shed forgets acks of earlier connections until fewer than total messages from the device are known.
func (f *flow) shed(total int) {
	for f.stale > 0 && f.acks.len()+f.recs.len() >= total {
		f.forgetStale(0)
	}
}

// clearAcks forgets all QoS 1 messages from the device.
func (f *flow) clearAcks() {
	f.acks.clear()
	f.stale, f.known = 0, 0
}
