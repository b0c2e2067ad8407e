package session

import (
	"fmt"
	"slices"
)

// The model's other half: messages to the device.

func (s *modelSession) windowMax(m *modelTable) int {
	return min(s.receiveMax, int(m.limits.InflightMax))
}

func (m *modelTable) deliver(s *modelSession, now uint32, ev *Event, o *modelOut) {
	if ev.Msg.ExpiresAtSec != 0 && ev.Msg.ExpiresAtSec <= now {
		o.drop(DropExpired)
		return
	}
	e := &modelEntry{topic: string(ev.Msg.Topic), payload: string(ev.Msg.Payload), qos: min(ev.QoS, ev.Msg.QoS),
		retain: ev.Retain, until: ev.Msg.ExpiresAtSec, ids: slices.Clone(ev.SubIDs), group: ev.Group, msg: ev.Msg.clone()}
	if s.upgrade {
		e.qos = ev.QoS
	}
	ready := s.owner != 0 && s.resumed
	if e.qos == 0 {
		waits := slices.ContainsFunc(s.queue, func(q *modelEntry) bool { return q.qos == 0 })
		switch {
		case m.limits.QueueQoS0 && (!ready || waits):
		case !ready:
			o.drop(DropOffline)
			return
		case ev.Congested:
			o.drop(DropCongested)
			return
		default:
			if i := s.older(e); i >= 0 {
				o.drop(DropSuperseded)
				s.queue = slices.Delete(s.queue, i, i+1)
			}
			o.send("%s", e.words(now, false))
			return
		}
	}
	allSent := !slices.ContainsFunc(s.window, func(w *modelEntry) bool { return !w.sent })
	if e.qos > 0 && ready && !ev.Congested && len(s.queue) == 0 && allSent && len(s.window) < s.windowMax(m) {
		s.launch(e, now, o)
		return
	}
	if m.enqueue(s, e, now, ev.Orphan, o) {
		m.pump(s, now, ev.Congested, o)
	}
}

// clone lasts longer than the event.
func (m *Message) clone() *Message {
	return &Message{Topic: slices.Clone(m.Topic), Payload: slices.Clone(m.Payload), QoS: m.QoS, ExpiresAtSec: m.ExpiresAtSec,
		LastValue: m.LastValue, GroupKey: m.GroupKey}
}

func (s *modelSession) queueBytes() (n int) {
	for _, e := range s.queue {
		n += len(e.topic) + len(e.payload)
	}
	return n
}

// older is the place of the message that e takes the place of.
func (s *modelSession) older(e *modelEntry) int {
	return slices.IndexFunc(s.queue, func(q *modelEntry) bool {
		return e.msg.LastValue && q.msg.LastValue && q.group == e.group && q.topic == e.topic
	})
}

// giveUp makes orphans of what another member of a shared group may have.
func (m *modelTable) giveUp(s *modelSession, ended bool) {
	var given []*modelEntry
	move := func(list []*modelEntry, may func(e *modelEntry) bool) (rest []*modelEntry) {
		for _, e := range list {
			if e.group != 0 && may(e) && (ended || m.groupLive(e.group)) {
				given = append(given, e)
			} else {
				rest = append(rest, e)
			}
		}
		return rest
	}
	s.window = move(s.window, func(e *modelEntry) bool { return e.qos == 1 })
	s.queue = move(s.queue, func(*modelEntry) bool { return true })
	m.fresh = append(m.fresh, given)
}

func (m *modelTable) groupLive(group uint32) bool {
	for _, s := range m.sessions {
		for full := range s.subs {
			if s.owner != 0 && m.groups[full] == group {
				return true
			}
		}
	}
	return m.others[group]
}

func (m *modelTable) enqueue(s *modelSession, e *modelEntry, now uint32, orphan bool, o *modelOut) bool {
	l, size := &m.limits, len(e.topic)+len(e.payload)
	fits := func() bool { return len(s.queue) < l.QueueCountMax && s.queueBytes()+size <= l.QueueBytesMax }
	if i := s.older(e); i >= 0 && size <= l.QueueBytesMax {
		old := s.queue[i]
		switch {
		case orphan:
			o.drop(DropSuperseded)
			return false
		case l.QueuePolicy == DropOldest || s.queueBytes()-len(old.topic)-len(old.payload)+size <= l.QueueBytesMax:
			o.drop(DropSuperseded)
			s.queue = slices.Delete(s.queue, i, i+1)
		}
	}
	for size <= l.QueueBytesMax && !fits() && l.QueuePolicy == DropOldest && len(s.queue) > 0 {
		first := s.queue[0]
		switch {
		case first.until != 0 && first.until <= now:
			o.drop(DropExpired)
		case len(s.queue) >= l.QueueCountMax:
			o.drop(DropQueueFull)
		default:
			o.drop(DropQueueBytes)
		}
		s.queue = s.queue[1:]
	}
	if fits() {
		s.queue = append(s.queue, e)
		return true
	}
	if size <= l.QueueBytesMax && len(s.queue) >= l.QueueCountMax {
		o.drop(DropQueueFull)
	} else {
		o.drop(DropQueueBytes)
	}
	if l.QueuePolicy == Disconnect && s.owner != 0 && !orphan {
		o.close(0x97)
	}
	return false
}

func (m *modelTable) pump(s *modelSession, now uint32, congested bool, o *modelOut) {
	for !congested && s.owner != 0 && s.resumed {
		sent := 0
		for sent < len(s.window) && s.window[sent].sent {
			sent++
		}
		if sent < len(s.window) {
			if sent >= s.windowMax(m) {
				return
			}
			s.window[sent].sent = true
			o.send("%s", s.window[sent].words(now, true))
			continue
		}
		if len(s.queue) == 0 || s.queue[0].qos > 0 && len(s.window) >= s.windowMax(m) {
			return
		}
		e := s.queue[0]
		s.queue = s.queue[1:]
		switch {
		case e.until != 0 && e.until <= now:
			o.drop(DropExpired)
		case e.qos == 0:
			o.send("%s", e.words(now, false))
		default:
			s.launch(e, now, o)
		}
	}
}

func (s *modelSession) launch(e *modelEntry, now uint32, o *modelOut) {
	for {
		s.lastID++
		if s.lastID != 0 && s.find(s.lastID) < 0 {
			break
		}
	}
	e.id, e.sent = s.lastID, true
	if e.qos == 2 {
		e.phase = awaitRec
	}
	s.window = append(s.window, e)
	o.send("%s", e.words(now, false))
}

func (s *modelSession) find(id uint16) int {
	return slices.IndexFunc(s.window, func(e *modelEntry) bool { return e.id == id })
}

func (e *modelEntry) words(now uint32, dup bool) string {
	if e.phase == awaitComp {
		return fmt.Sprintf("pubrel %d", e.id)
	}
	sd := Send{Kind: SendPublish, PacketID: e.id, QoS: e.qos, Dup: dup, Retain: e.retain, SubIDs: e.ids,
		Msg: &Message{Topic: []byte(e.topic), Payload: []byte(e.payload)}}
	if e.until != 0 {
		sd.HasExpiry, sd.ExpirySec = true, e.until-min(e.until, now)
	}
	return sd.words()
}

// acknowledged is PUBACK, PUBREC, PUBCOMP and TooLarge.
func (m *modelTable) acknowledged(s *modelSession, now uint32, ev *Event, o *modelOut) {
	i := s.find(ev.PacketID)
	if ev.Kind == TooLarge {
		o.drop(DropTooLarge)
	}
	if i < 0 {
		switch {
		case ev.Kind == Pubrec && s.version == 5:
			o.send("pubrel %d reason=0x92", ev.PacketID)
		case ev.Kind == Pubrec:
			o.send("pubrel %d", ev.PacketID)
		}
		return
	}
	e := s.window[i]
	done := false
	switch {
	case ev.Kind == TooLarge:
		done = e.phase != awaitComp
	case ev.Kind == Puback && e.phase == awaitAck, ev.Kind == Pubcomp && e.phase == awaitComp:
		done = true
	case ev.Kind == Pubrec && e.phase != awaitAck && ev.Reason >= 0x80:
		done = true
	case ev.Kind == Pubrec && e.phase != awaitAck:
		e.phase = awaitComp
		o.send("pubrel %d", e.id)
	default:
		o.close(0x82)
	}
	if done {
		s.window = slices.Delete(s.window, i, i+1)
		m.pump(s, now, ev.Congested, o)
	}
}
