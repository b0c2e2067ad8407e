package session

import "bytes"

// onSubscribe answers each filter in order [MQTT-3.9.3-1]. Retained messages are asked for with Replays, to be sent
// after the SUBACK.
func (s *Session) onSubscribe(ev *Event, out *Out) {
	for i := range ev.Filters {
		if f := &ev.Filters[i]; f.NoLocal && bytes.HasPrefix(f.Topic, []byte(sharePrefix)) {
			out.close(reasonProtocolError) // [MQTT-3.8.3-4]
			return
		}
	}
	look := &s.table.look
	look.begin(s, len(ev.Filters))
	from := len(out.codes)
	for i := range ev.Filters {
		out.codes = append(out.codes, s.subscribe(&ev.Filters[i], ev.SubID, out))
	}
	look.end()
	out.Sends = append(out.Sends, Send{Kind: SendSuback, PacketID: ev.PacketID, Reasons: out.codes[from:len(out.codes):len(out.codes)]})
}

// subscribe adds or replaces one filter and returns its reason code.
func (s *Session) subscribe(f *Filter, id uint32, out *Out) uint8 {
	if f.Refuse != 0 {
		return f.Refuse
	}
	share, filter, ok := shareOf(f.Topic)
	if !ok {
		return reasonFilterInvalid
	}
	sub := s.held(share, filter)
	known := sub != nil
	if !known && int(s.subCount) >= s.limits().SubscriptionsMax {
		return reasonQuota
	}
	if !known {
		sub = s.link(f.Topic, share, filter, out)
		s.setSince(sub, f.Since)
		if look := &s.table.look; look.made() {
			look.add(sub)
		}
	}
	if sub.set(f, id) || !known {
		s.mustSave(out)
	}
	if share == nil && (f.RetainHandling == 0 || f.RetainHandling == 1 && !known) { // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
		out.Replays = append(out.Replays, Replay{Sub: sub, Filter: sub.Filter})
	}
	return sub.QoS
}

// onUnsubscribe answers each filter in order [MQTT-3.11.3-1]. Messages already under way are still delivered.
func (s *Session) onUnsubscribe(ev *Event, out *Out) {
	look := &s.table.look
	look.begin(s, len(ev.Filters))
	from := len(out.codes)
	for i := range ev.Filters {
		reason := uint8(reasonNoSubscription)
		share, filter, ok := shareOf(ev.Filters[i].Topic)
		if ok && ev.Filters[i].Refuse == 0 && (!look.made() || look.get(share, filter) != nil) {
			if at := s.find(share, filter); *at != nil {
				s.unlink(at, out)
				s.mustSave(out)
				reason = 0
			}
		}
		if ev.Filters[i].Refuse != 0 {
			reason = ev.Filters[i].Refuse
		}
		out.codes = append(out.codes, reason)
	}
	look.end()
	out.Sends = append(out.Sends, Send{Kind: SendUnsuback, PacketID: ev.PacketID, Reasons: out.codes[from:len(out.codes):len(out.codes)]})
}

// held is the subscription with this filter; nil: there is none. With a lookup it may be one that the packet at hand has unsubscribed.
func (s *Session) held(share, filter []byte) *Subscription {
	if look := &s.table.look; look.made() {
		return look.get(share, filter)
	}
	return *s.find(share, filter)
}

// find is where the list points to the subscription with this filter, or its end.
func (s *Session) find(share, filter []byte) **Subscription {
	at := &s.subs
	for *at != nil && ((*at).Filter != string(filter) || (*at).Share != string(share)) {
		at = &(*at).next
	}
	return at
}

// link gains a filter.
func (s *Session) link(full, share, filter []byte, out *Out) *Subscription {
	t := s.table
	sub := &Subscription{session: s, next: s.subs}
	s.subs = sub
	s.subCount++
	t.subscriptions++
	switch {
	case share != nil:
		sub.Filter = string(filter)
		t.joinShared(sub, string(full))
	default:
		t.route(sub, filter)
	}
	out.Interests = append(out.Interests, Interest{Sub: sub, Gained: true, Live: true})
	return sub
}

// route enters a plain filter.
func (t *Table) route(sub *Subscription, filter []byte) {
	sub.Filter = string(filter)
	if wildcard(sub.Filter) {
		t.wild.add(sub)
		return
	}
	t.addExact(sub)
}

// unlink loses the filter that at points to.
func (s *Session) unlink(at **Subscription, out *Out) {
	t, sub := s.table, *at
	*at, sub.next = sub.next, nil
	s.dropSince(sub)
	s.subCount--
	t.subscriptions--
	switch {
	case sub.Share != "":
		t.leaveShared(sub)
	case wildcard(sub.Filter):
		t.wild.remove(sub)
	default:
		t.removeExact(sub)
	}
	out.Interests = append(out.Interests, Interest{Sub: sub, Live: s.state == live})
}

// memberChange tells the shared groups that this member became live (+1) or detached (-1).
func (s *Session) memberChange(change int8, out *Out) {
	for sub := s.subs; sub != nil; sub = sub.next {
		if sub.Share == "" {
			continue
		}
		if change > 0 {
			sub.group.awake(sub)
		} else {
			sub.group.asleep(sub)
		}
		out.Interests = append(out.Interests, Interest{Sub: sub, LiveChange: change, Live: change > 0})
	}
}
