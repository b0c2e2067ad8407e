package session

// state of a session. It changes in becomeLive, becomeDetached and becomeGone only.
type state uint8

const (
	live     state = iota + 1 // it has a connection
	detached                  // it waits for one
	gone                      // it ended and is in no table
)

// Session is what one device is owed, across its connections. Owned by the shard of its table. 96 bytes, asserted in
// a test; whatever only some sessions need hangs behind flow and extra.
type Session struct {
	id    string
	owner uint64        // live: the connection; detached: the mark of the last one
	subs  *Subscription // list
	flow  *flow         // messages under way; nil when there are none
	extra *extra        // will and durable state; nil when there is neither
	table *Table
	chain *Session // of the same bucket

	expirySec  uint32 // capped
	endAtSec   uint32 // detached: when it ends; Never otherwise
	dueAt      int32  // place in the due heap, or notDue
	at         uint32 // place in the last Matches that had it
	stamp      uint32 // no other session of the table had or gets it
	subCount   uint16
	receiveMax uint16 // the device's window
	class      uint16 // of Limits.Classes
	lastID     uint16 // packet id given out last
	state      state
	version    uint8
	resumed    bool // Resume came: packets may be sent
	upgrade    bool // see Connect.Upgrade
}

// ClientID is the client id.
func (s *Session) ClientID() string { return s.id }

// Owner is the connection given to Open, 0 when there is none.
func (s *Session) Owner() uint64 {
	if s.state != live {
		return 0
	}
	return s.owner
}

// Mark is what the caller noted of the last connection when it ended (Event.Mark), 0 unless detached.
func (s *Session) Mark() uint64 {
	if s.state != detached {
		return 0
	}
	return s.owner
}

// Stamp tells this session from every other one that its table had or will have, also under the same client id.
func (s *Session) Stamp() uint32 { return s.stamp }

// Version is the protocol version of the last CONNECT.
func (s *Session) Version() uint8 { return s.version }

// ExpirySec is how long the session outlives its connection, as CONNACK must tell when the cap lowered it.
func (s *Session) ExpirySec() uint32 { return s.expirySec }

// Subscriptions is how many filters the session holds.
func (s *Session) Subscriptions() int { return int(s.subCount) }

// EachSubscription calls f for every filter, the newest first, until it says false. f must not change them.
func (s *Session) EachSubscription(f func(*Subscription) bool) {
	for sub := s.subs; sub != nil; sub = sub.next {
		if !f(sub) {
			return
		}
	}
}

// Step takes one event and appends its effects to out. A session that is gone takes none.
func (s *Session) Step(nowSec uint32, ev *Event, out *Out) {
	switch ev.Kind {
	case Deliver:
		s.onDeliver(nowSec, ev, out)
		return
	case Accepted:
		s.onAccepted(ev, out)
		return
	case Lost:
		s.onLost(nowSec, ev, out)
		return
	case Saved, Released, Refill:
		s.onRecord(nowSec, ev, out)
		return
	}
	checkLive(s, ev)
	if s.state != live {
		return
	}
	switch ev.Kind {
	case Publish:
		s.onPublish(ev, out)
	case Puback:
		s.onPuback(nowSec, ev, out)
	case Pubrec:
		s.onPubrec(nowSec, ev, out)
	case Pubrel:
		s.onPubrel(ev, out)
	case Pubcomp:
		s.onPubcomp(nowSec, ev, out)
	case Subscribe:
		s.onSubscribe(ev, out)
	case Unsubscribe:
		s.onUnsubscribe(ev, out)
	case Resume:
		s.resumed = true
		s.progress()
		s.pump(nowSec, ev.Congested, out)
	case Drained:
		s.progress()
		if ev.Most > 0 && !ev.Congested {
			s.pumpMost(nowSec, ev.Most, out)
			return
		}
		s.pump(nowSec, ev.Congested, out)
	case TooLarge:
		s.onTooLarge(nowSec, ev, out)
	}
}

// onRecord handles what became of something that a durable session asked for.
func (s *Session) onRecord(nowSec uint32, ev *Event, out *Out) {
	switch ev.Kind {
	case Saved:
		s.onSaved(nowSec, ev, out)
	case Released:
		s.onReleased(ev, out)
	default:
		s.onRefill(nowSec, ev, out)
	}
}

// onLost handles the end of the connection. Of one that was evicted it is late news: the session has another owner.
func (s *Session) onLost(nowSec uint32, ev *Event, out *Out) {
	if s.state != live || ev.Owner != 0 && ev.Owner != s.owner {
		return
	}
	if !ev.KeepWill {
		s.dropWill(out) // [MQTT-3.14.4-3], 3.1.1 [MQTT-3.1.2-10]
	}
	if ev.SetExpiry && s.expirySec > 0 {
		s.expirySec = min(ev.ExpirySec, s.table.limits.ExpiryMaxSec)
	}
	if s.expirySec == 0 {
		s.becomeGone(nowSec, out)
		return
	}
	s.becomeDetached(nowSec, ev.Mark, out)
}

// becomeLive gives the session a connection, be it new, detached or taken over.
func (s *Session) becomeLive(c *Connect, owner uint64, out *Out) {
	t := s.table
	if s.state == detached {
		s.state = live
		t.live++
		s.memberChange(+1, out)
	}
	s.owner = owner
	s.endAtSec = Never
	s.unschedule()
	s.version, s.class = c.Version, c.Class
	s.expirySec = min(c.ExpirySec, t.limits.ExpiryMaxSec)
	s.receiveMax = c.ReceiveMax
	if c.ReceiveMax == 0 {
		s.receiveMax = 65535
	}
	s.upgrade = c.Upgrade
	s.setWill(c.Will, out)
	s.resumed = false
	s.cutFlow()
}

// becomeDetached takes the connection away; the session waits for the next one, or its end.
func (s *Session) becomeDetached(nowSec uint32, mark uint64, out *Out) {
	s.state, s.owner, s.resumed = detached, mark, false
	s.table.live--
	s.memberChange(-1, out)
	s.cutFlow()
	s.giveUp(false, out)
	s.spareFlow()
	if s.expirySec != Never {
		s.endAtSec = min(addSec(nowSec, s.expirySec), Never-1)
	}
	s.willOnLoss(nowSec, out)
	s.schedule()
	s.mustSave(out)
}

// becomeGone ends the session: its will goes out [MQTT-3.1.2-8], its filters and messages are no more.
func (s *Session) becomeGone(nowSec uint32, out *Out) {
	t := s.table
	if d := s.durable(); d != nil && !d.moved {
		out.Records = append(out.Records, s)
	}
	s.publishWill(nowSec, out)
	for s.subs != nil {
		s.unlink(&s.subs, out)
	}
	s.dropFlow(out)
	if s.state == live {
		t.live--
	}
	s.state, s.owner, s.resumed = gone, 0, false
	s.unschedule()
	t.byID.remove(t.byID.hash(s), s)
	delete(t.users, s)
}
