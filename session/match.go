package session

import "unsafe"

// Matches is the result of Table.Match, one Match per session. Reused from call to call; the zero value is ready.
type Matches struct {
	List []Match
	ids  []uint32 // what SubIDs point into
}

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
			Interest: s.Interest, SubIDs: m.withID(nil, s.ID)})
		return
	}
	have := &m.List[at]
	have.QoS = max(have.QoS, s.QoS)
	have.RetainAsPublished = have.RetainAsPublished || s.RetainAsPublished
	if have.Interest == 0 || s.Interest != 0 && s.Interest < have.Interest {
		have.Interest = s.Interest
	}
	have.SubIDs = m.withID(have.SubIDs, s.ID)
}

// withID is ids and id, in reused memory; id 0 is none.
func (m *Matches) withID(ids []uint32, id uint32) []uint32 {
	if id == 0 {
		return ids
	}
	start := len(m.ids)
	switch n := len(ids); {
	case n > 0 && &ids[n-1] == &m.ids[start-1]:
		start -= n // the last one in: it grows in place
	default:
		m.ids = append(m.ids, ids...)
	}
	m.ids = append(m.ids, id)
	return m.ids[start:len(m.ids):len(m.ids)]
}

// borrowed is b as a string for a look-up that does not keep it: exact and wildcard filters are found without
// copying the topic.
func borrowed(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Match puts every session with a plain filter that matches topic into m. Sessions' No Local subscriptions do not match what they
// published themselves: from is the publisher when it is of this table. A topic that begins with $ is not matched by
// filters that begin with a wildcard. Nothing is allocated once m has grown.
func (t *Table) Match(topic []byte, from *Session, m *Matches) {
	m.List, m.ids = m.List[:0], m.ids[:0]
	m.addAll(t.exactHead(borrowed(topic)), from)
	t.wild.match(borrowed(topic), from, m)
}
