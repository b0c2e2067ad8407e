package gateway

import (
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/command"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// tenant is whose the device is; nil: nobody's.
func (d *device) tenant() *tenant {
	if w := d.who(); w != nil {
		return w.of
	}
	return nil
}

// clientID is the id of a device with a session, as it knows it itself.
func (d *device) clientID() string { return d.tenant().idOut(d.sess.ClientID()) }

// tenantName is that of its tenant, "" for none.
func (d *device) tenantName() string {
	if t := d.tenant(); t != nil {
		return t.name
	}
	return ""
}

// assignTenant finds out whose a device is by all that is known of it so far: its listener, what TLS has shown, who let it in, and its proved name. They
// have to agree. It is asked again when more is known.
func (s *shard) assignTenant(c *epoll.Conn, d *device) refusal {
	x, w := s.gw.tenants, d.who()
	of, agree := x.byName[s.boundsOf(c).Tenant], true
	say := func(t *tenant) {
		if t != nil {
			agree = agree && (of == nil || of == t)
			of = t
		}
	}
	if w != nil {
		if w.tls != nil {
			say(x.ofHost(w.tls.ServerName))
			say(x.byName[w.tls.Tenant])
		}
		if w.tenant != "" {
			t := x.byName[w.tenant]
			agree = agree && t != nil
			say(t)
		}
		t, two := x.ofUser(w.user)
		agree = agree && !two
		say(t)
	}
	if !agree {
		return refusedTenant
	}
	if of != nil {
		d.known().of = of
	}
	return refusedNot
}

// mayKeep tells whether a live device may take a newer proof of who it is that names a user and a tenant, "" for none. Whose a session is does not change as
// long as a connection lasts.
func (d *device) mayKeep(user, tenant string) bool {
	w := d.who()
	return user == w.user && (tenant == w.tenant || d.tenant() != nil && (tenant == "" || tenant == d.tenantName()))
}

// knowsID tells whether a device may have a client id, as it is inside: whoever is nobody's must not be taken for a tenant's.
func (s *shard) knowsID(d *device, id []byte) bool {
	return s.gw.tenants == nil || d.tenant() != nil || s.gw.tenants.ofClient(borrowed(id)) == nil
}

// goesHome sends a device of which more is known now to its home, if that is another shard; false: it is here.
func (s *shard) goesHome(c *epoll.Conn, d *device, ownID []byte) bool {
	to := s.gw.home(d.tenant().idIn(ownID))
	if to == s {
		return false
	}
	s.sendHome(c, d, to)
	return true
}

// inward gives what a device publishes its internal names, once all else has been looked at. They are good until the device says something more.
func (s *shard) inward(d *device, m *session.Message) refusal {
	t := d.tenant()
	topic, from, to := mqtt.FindResponseTopic(m.Props)
	switch {
	case t == nil && (s.gw.tenants.holds(m.Topic) || to > 0 && s.gw.tenants.holds(topic)): // a backend would answer there for it
		s.count.denied[deniedPublish]++
		return refusedDeniedTopic
	case t == nil:
		return refusedNot
	}
	if !isCall(m.Topic) {
		s.inTopic = append(append(s.inTopic[:0], t.prefix...), m.Topic...)
		m.Topic = s.inTopic
	}
	if to > 0 && !isCall(topic) {
		s.scratch = append(append(s.scratch[:0], t.prefix...), topic...)
		s.inProps = readdress(s.inProps[:0], m.Props, from, to, s.scratch)
		m.Props = s.inProps
	}
	return refusedNot
}

// inwardMessage is inward for what a connected device publishes, which has become longer.
func (s *shard) inwardMessage(d *device, m *session.Message) refusal {
	if r := s.inward(d, m); r != refusedNot {
		return r
	}
	if !s.fitsNATS(m) {
		return refusedForNATS
	}
	return refusedNot
}

// readdress appends a forward block with another response topic.
func readdress(dst, block []byte, from, to int, topic []byte) []byte {
	dst = append(dst, block[:from]...)
	if len(topic) > 0 {
		dst = mqtt.AppendResponseTopic(dst, topic)
	}
	return append(dst, block[to:]...)
}

// propsOut are the properties of a message as a device of a tenant may have them: a response topic that is not the tenant's is left out, as the device
// would answer itself there.
func (s *shard) propsOut(t *tenant, block []byte) []byte {
	topic, from, to := mqtt.FindResponseTopic(block)
	if to == 0 || isCall(topic) {
		return block
	}
	if !t.has(topic) {
		topic = nil
	}
	s.outProps = readdress(s.outProps[:0], block, from, to, t.topicOut(topic))
	return s.outProps
}

// inwardFilters gives the filters of a device, in s.filters, their internal names, once all else has been looked at.
func (s *shard) inwardFilters(d *device) {
	x, t := s.gw.tenants, d.tenant()
	if x == nil {
		return
	}
	s.inTopic = s.inTopic[:0]
	for i := range s.filters {
		f := &s.filters[i]
		group, plain := cutGroup(borrowed(f.Topic))
		switch {
		case f.Refuse != 0:
		case !mqtt.ValidFilter(f.Topic): // it may be one behind a prefix
			f.Refuse = uint8(mqtt.TopicFilterInvalid)
		case t == nil && (x.ofTopic(plain) != nil || group != "" && x.reached(plain)): // a member of a group takes what it is not sent from the others
			s.count.denied[deniedSubscribe]++
			s.refuseFilter(i, refusedDeniedFilter)
		}
		if t == nil {
			continue
		}
		from := len(s.inTopic)
		s.inTopic = append(append(append(s.inTopic, group...), t.prefix...), plain...)
		f.Topic = s.inTopic[from:len(s.inTopic):len(s.inTopic)]
		if f.Refuse == 0 && len(f.Topic) > bus.SubjectBytesMax/3 {
			s.refuseFilter(i, refusedFilterNATS)
		}
	}
}

// takeFilters is inwardFilters for filters to subscribe to, which count for the tenant.
func (s *shard) takeFilters(d *device) {
	if s.gw.tenants != nil {
		s.inwardFilters(d)
		s.boundTenant(d)
	}
}

// refuseFilter refuses one of s.filters.
func (s *shard) refuseFilter(i int, r refusal) {
	s.filters[i].Refuse = uint8(r.code())
	if i < len(s.refused) {
		s.refused[i] = r
	}
}

// boundTenant holds new subscriptions, in s.filters, against the limit of their tenant.
func (s *shard) boundTenant(d *device) {
	t := d.tenant()
	if t == nil || t.subscriptionsMax == 0 {
		return
	}
	room := t.subscriptionsMax - t.subscriptions.Load()
	for i := range s.filters {
		f := &s.filters[i]
		if f.Refuse != 0 || d.sess.Holds(f.Topic) {
			continue
		}
		if room--; room < 0 {
			t.refused[tenantSubscriptions].Add(1)
			s.refuseFilter(i, refusedTenantFilters)
		}
	}
}

// topicFor is an internal topic as a device knows it; false: it is none of its topics.
func (s *shard) topicFor(d *device, topic []byte) (own []byte, may bool) {
	t := d.tenant()
	switch {
	case s.gw.tenants == nil:
		return topic, true
	case t == nil:
		return topic, !s.gw.tenants.holds(topic)
	}
	return t.topicOut(topic), t.has(topic)
}

// commandErrorOf is what a device with commands is told.
func commandErrorOf(r refusal) *command.Error {
	if r == refusedForNATS {
		return command.ErrTooLarge
	}
	return command.ErrForbidden
}

// subscribeErrorOf is what a device with commands is told of a reason code in SUBACK.
func subscribeErrorOf(code uint8) *command.Error {
	if mqtt.Reason(code) == mqtt.NotAuthorized {
		return command.ErrForbidden
	}
	return command.ErrQuota
}
