package session

// Subscription is one filter of one session. Owned by the shard of its table; 80 bytes, asserted in a test.
//
// The subscriptions of one filter hang together: the head is what the routing structure points to, and when there
// are more, all of them share a Group. So the usual case, a filter of the device's own, needs nothing but this struct.
type Subscription struct {
	// Filter is the topic filter without $share/group/. All subscriptions of one filter share its bytes.
	Filter string
	// Share is the group of a shared subscription, or empty.
	Share string
	// ID is the subscription identifier, 0 none.
	ID uint32
	// Interest is the caller's: the bus interest that feeds this filter. 0: none yet.
	Interest uint32

	QoS               uint8
	RetainHandling    uint8
	NoLocal           bool
	RetainAsPublished bool

	pos     uint32        // in group.subs
	session *Session      // never nil
	next    *Subscription // of the same session
	chain   *Subscription // exact filters: of the same bucket, heads only
	group   *Group        // nil when alone
}

// Session is whose filter it is; it may be gone when the filter was lost.
func (s *Subscription) Session() *Session { return s.session }

// Held tells whether its session still has it: it may have been lost since it was told of. It looks through the session's filters,
// the newest first.
func (s *Subscription) Held() bool {
	for sub := s.session.subs; sub != nil; sub = sub.next {
		if sub == s {
			return true
		}
	}
	return false
}

// set takes over the options of a SUBSCRIBE, which replace older ones [MQTT-3.8.4-3]. It says whether they differ.
func (s *Subscription) set(f *Filter, id uint32) (changed bool) {
	old := *s
	s.QoS = min(f.QoS, 2)
	s.RetainHandling = f.RetainHandling
	s.NoLocal = f.NoLocal
	s.RetainAsPublished = f.RetainAsPublished
	s.ID = id
	return s.QoS != old.QoS || s.RetainHandling != old.RetainHandling || s.NoLocal != old.NoLocal ||
		s.RetainAsPublished != old.RetainAsPublished || s.ID != old.ID
}
