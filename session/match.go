package session

import (
	"slices"
	"unsafe"
)

// Matches is the result of Table.Match, one Match per session. Reused from call to call; the zero value is ready.
type Matches struct {
	List []Match
	// Visited is how many subscriptions matched, before those of one session became one Match: the work that was done.
	Visited int

	found []foundID // identifiers as they were met
	ids   []uint32  // the same by session: what SubIDs point into
}

// foundID is the identifier of a matching subscription, and the place of its session in the list.
type foundID struct{ at, id uint32 }

// Match is one session with at least one matching filter.
type Match struct {
	Session *Session
	// SubIDs are the identifiers of all matching subscriptions that have one [MQTT-3.3.4-3]. Valid until the next Match.
	SubIDs []uint32
	// Interest is the lowest of the matching subscriptions' that is not 0, or 0: a message that comes once for each of
	// several overlapping bus interests is delivered for this one.
	Interest uint32
	// QoS is the highest of the matching subscriptions [MQTT-3.3.4-2].
	QoS uint8
	// RetainAsPublished is set when one of the matching subscriptions has it.
	RetainAsPublished bool
}

// addAll adds the subscriptions headed by head.
func (m *Matches) addAll(head *Subscription, from *Session) {
	if head == nil {
		return
	}
	if head.group == nil {
		m.add(head, from)
		return
	}
	for _, s := range head.group.subs {
		m.add(s, from)
	}
}

// add merges one matching subscription into the list. Session.at says where its session may be; the list itself
// says whether it is (a sparse set), so nothing needs clearing between calls.
func (m *Matches) add(s *Subscription, from *Session) {
	if s.NoLocal && s.session == from {
		return
	}
	at := s.session.at
	if int(at) >= len(m.List) || m.List[at].Session != s.session {
		s.session.at = uint32(len(m.List))
		m.List = append(m.List, Match{Session: s.session, QoS: s.QoS, RetainAsPublished: s.RetainAsPublished,
			Interest: s.Interest})
		m.note(s)
		return
	}
	have := &m.List[at]
	have.QoS = max(have.QoS, s.QoS)
	have.RetainAsPublished = have.RetainAsPublished || s.RetainAsPublished
	if have.Interest == 0 || s.Interest != 0 && s.Interest < have.Interest {
		have.Interest = s.Interest
	}
	m.note(s)
}

// note remembers the identifier of a subscription that is in the list.
func (m *Matches) note(s *Subscription) {
	m.Visited++
	if s.ID != 0 {
		m.found = append(m.found, foundID{s.session.at, s.ID})
	}
}

// sortIDs gives every session its identifiers, in time that grows with their number however sessions are mixed: first the
// places are measured, in the length of SubIDs, and then they are filled.
func (m *Matches) sortIDs() {
	if len(m.found) == 0 {
		return
	}
	m.ids = slices.Grow(m.ids[:0], len(m.found))[:len(m.found)]
	for _, f := range m.found {
		t := &m.List[f.at]
		t.SubIDs = m.ids[:len(t.SubIDs)+1]
	}
	rest := m.ids
	for i := range m.List {
		if n := len(m.List[i].SubIDs); n > 0 {
			m.List[i].SubIDs, rest = rest[:0:n], rest[n:]
		}
	}
	for _, f := range m.found {
		t := &m.List[f.at]
		t.SubIDs = append(t.SubIDs, f.id)
	}
}

// borrowed is b as a string for a look-up that does not keep it: exact and wildcard filters are found without
// copying the topic.
func borrowed(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Match puts every session with a plain filter that matches topic into m. Sessions' No Local subscriptions do not match what they
// published themselves: from is the publisher when it is of this table. A topic that begins with $ is not matched by
// filters that begin with a wildcard. Nothing is allocated once m has grown.
func (t *Table) Match(topic []byte, from *Session, m *Matches) {
	m.List, m.found, m.Visited = m.List[:0], m.found[:0], 0
	m.addAll(t.exactHead(borrowed(topic)), from)
	t.wild.match(borrowed(topic), from, m)
	m.sortIDs()
}

// Match puts this session alone into ms when one of its plain filters matches msg, or leaves ms.List empty: for a replay, where a filter
// does not match what is older than it (Filter.Since). msg.From is as for Table.Match. The work grows with the session's filters.
func (s *Session) Match(msg *Message, ms *Matches) {
	ms.List, ms.found, ms.Visited = ms.List[:0], ms.found[:0], 0
	topic := borrowed(msg.Topic)
	for sub := s.subs; sub != nil; sub = sub.next {
		if sub.Share == "" && covers(sub.Filter, topic) && !s.precedes(msg, sub) {
			ms.add(sub, msg.From)
		}
	}
	ms.sortIDs()
}
