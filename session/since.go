package session

import "slices"

// A filter that the device subscribed to is of no effect on what was in the streams before. While it may be read again from below that, here or
// by who restores the session, the session remembers how far the stream was; a replay goes by it (Session.Match), and the record has it.

// setSince notes how far the streams were when sub came.
func (s *Session) setSince(sub *Subscription, seqs []uint64) {
	d := s.durable()
	if d == nil {
		return
	}
	for stream, seq := range seqs {
		if seq > s.Floor(uint16(stream)) {
			w := s.needWork()
			w.since = append(w.since, since{sub, place{uint16(stream), seq}})
		}
	}
}

// dropSince forgets what is noted of sub.
func (s *Session) dropSince(sub *Subscription) {
	if d := s.durable(); d != nil && d.work != nil {
		d.work.since = slices.DeleteFunc(d.work.since, func(n since) bool { return n.sub == sub })
		s.spareWork()
	}
}

// trimSince forgets what nobody reads again.
func (s *Session) trimSince() {
	if d := s.durable(); d != nil && d.work != nil {
		d.work.since = slices.DeleteFunc(d.work.since, func(n since) bool { return n.seq <= s.Floor(n.stream) })
		s.spareWork()
	}
}

// precedes says whether msg was in its stream before sub came.
func (s *Session) precedes(msg *Message, sub *Subscription) bool {
	d := s.durable()
	if d == nil || d.work == nil || msg.Seq == 0 {
		return false
	}
	return slices.ContainsFunc(d.work.since, func(n since) bool {
		return n.sub == sub && n.stream == msg.Stream && msg.Seq <= n.seq
	})
}
