package session

import "bytes"

// will is a session's own copy of its Will.
type will struct {
	kept      *stored // nil: there is none
	delaySec  uint32
	dueSec    uint32 // when it is published; Never while the session is live
	expirySec uint32
	hasExpiry bool
}

// hasWill says whether the session has a will.
func (s *Session) hasWill() bool { return s.extra != nil && s.extra.will.kept != nil }

// Will is the message that is to be published for a live session when its connection ends, nil for none; borrowed, and not to be changed.
func (s *Session) Will() *Message {
	if !s.hasWill() {
		return nil
	}
	return &s.extra.will.kept.msg
}

// setWill replaces the will by a copy of w, nil for none. It was published or dropped before.
func (s *Session) setWill(w *Will, out *Out) {
	s.dropWill(out)
	if w == nil {
		return
	}
	m := w.Message
	m.kept = nil
	kept := s.table.store.keep(&m)
	kept.msg.User, kept.msg.Recheck = bytes.Clone(m.User), m.Recheck
	s.needExtra().will = will{kept: kept, delaySec: w.DelaySec, dueSec: Never, expirySec: w.ExpirySec, hasExpiry: w.HasExpiry}
}

// dropWill forgets the will.
func (s *Session) dropWill(out *Out) {
	if !s.hasWill() {
		return
	}
	out.held = append(out.held, s.extra.will.kept)
	s.extra.will = will{}
	s.spareExtra()
}

// publishWill publishes the will and forgets it [MQTT-3.1.2-10].
func (s *Session) publishWill(nowSec uint32, out *Out) {
	if !s.hasWill() {
		return
	}
	w := &s.extra.will
	m := &w.kept.msg
	m.From = s
	if w.hasExpiry {
		m.ExpiresAtSec = addSec(nowSec, w.expirySec)
	}
	out.Publishes = append(out.Publishes, m)
	s.dropWill(out)
}

// willOnLoss publishes the will of a session that was just detached, or sets its time [MQTT-3.1.2-8]. The end of
// the session, when it is sooner, publishes it too.
func (s *Session) willOnLoss(nowSec uint32, out *Out) {
	switch {
	case !s.hasWill():
	case s.extra.will.delaySec == 0:
		s.publishWill(nowSec, out)
	default:
		s.extra.will.dueSec = addSec(nowSec, s.extra.will.delaySec)
	}
}

// willOnReturn settles the will of the connection before, now that there is a new one: a delay that still runs is
// cancelled [MQTT-3.1.3-9], a will without delay is published, because the older connection ends here.
func (s *Session) willOnReturn(nowSec uint32, out *Out) {
	switch {
	case !s.hasWill():
	case s.state == live && s.extra.will.delaySec == 0, s.state == detached && s.extra.will.dueSec <= nowSec:
		s.publishWill(nowSec, out)
	default:
		s.dropWill(out)
	}
}
