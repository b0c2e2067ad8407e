package session

import (
	"fmt"
	"slices"
	"strings"
)

// The model says in the plainest way what Step must yield: lists and maps, no sharing, no recycling. fleet_test.go
// lives random lives against it.

type modelTable struct {
	limits   Limits
	sessions map[string]*modelSession
	groups   map[string]uint32 // by filter as sent; the fleet's
	others   map[uint32]bool   // groups with a live member in another table; the fleet's
	orphans  []*modelEntry     // that wait
	fresh    [][]*modelEntry   // what this event's sessions gave up, one list a session
}

type modelSession struct {
	id         string
	version    uint8
	owner      uint64 // 0: away
	resumed    bool
	expiry     uint32
	endAt      uint32
	receiveMax int
	inboundMax int
	subsMax    int
	upgrade    bool
	lastID     uint16
	subs       map[string]modelFilter // by filter as sent
	will       *modelWill
	window     []*modelEntry
	queue      []*modelEntry
	acks, recs []*modelInbound
}

type modelFilter struct {
	share, filter  string
	qos            uint8
	noLocal, rap   bool
	retainHandling uint8
	id             uint32
}

type modelWill struct {
	topic        string
	delay, dueAt uint32
}

type modelEntry struct {
	topic, payload string
	qos            uint8
	retain, sent   bool // sent: on this connection
	until          uint32
	ids            []uint32
	group          uint32
	msg            *Message
	id             uint16
	phase          phase
}

type modelInbound struct {
	id             uint16
	token          uint32
	reason         uint8
	taken, counted bool
}

// modelOut is what one event yields; other is compared without regard to order.
type modelOut struct {
	sends, other []string
	drops        map[DropReason]int
	closed       bool
}

func (o *modelOut) send(format string, v ...any) {
	o.sends = append(o.sends, fmt.Sprintf(format, v...))
}
func (o *modelOut) say(format string, v ...any) { o.other = append(o.other, fmt.Sprintf(format, v...)) }

func (o *modelOut) drop(r DropReason) {
	if o.drops == nil {
		o.drops = map[DropReason]int{}
	}
	o.drops[r]++
}

func (o *modelOut) close(reason uint8) {
	if !o.closed {
		o.closed = true
		o.say("close 0x%02X", reason)
	}
}

// lines is what words makes of the Out, in one comparable form.
func (o *modelOut) lines() string {
	other := slices.Clone(o.other)
	for r, n := range o.drops {
		other = append(other, fmt.Sprintf("drop %s %d", r, n))
	}
	return sorted(o.sends, other)
}

// outLines is the real one's.
func outLines(out *Out) string {
	var sends, other []string
	for i := range out.Sends {
		sends = append(sends, out.Sends[i].words())
	}
	rest := *out
	rest.Sends = nil
	return sorted(sends, append(other, words("", &rest)...))
}

func sorted(sends, other []string) string {
	slices.Sort(other)
	return strings.Join(append(slices.Clone(sends), other...), "\n")
}

func (m *modelTable) open(now uint32, c *Connect, owner uint64, o *modelOut) bool {
	s := m.sessions[string(c.ClientID)]
	if s != nil {
		if s.owner != 0 {
			o.say("evict %d", s.owner)
		}
		if c.CleanStart || s.owner != 0 && s.expiry == 0 || s.owner == 0 && s.endAt <= now {
			m.end(s, now, o)
			s = nil
		}
	}
	present := s != nil
	switch {
	case !present && m.limits.SessionsMax > 0 && len(m.sessions) >= m.limits.SessionsMax:
		return false
	case !present:
		s = &modelSession{id: string(c.ClientID), subs: map[string]modelFilter{}}
		m.sessions[s.id] = s
	case s.will != nil && (s.owner != 0 && s.will.delay == 0 || s.owner == 0 && s.will.dueAt <= now):
		s.publishWill(o)
	}
	if s.owner == 0 {
		s.members(+1, o)
	}
	s.owner, s.version, s.expiry, s.receiveMax = owner, c.Version, min(c.ExpirySec, m.limits.ExpiryMaxSec), int(c.ReceiveMax)
	s.upgrade = c.Upgrade
	l := m.limits
	if c.Class > 0 {
		l = m.limits.Classes[c.Class-1]
	}
	s.inboundMax, s.subsMax = int(l.ReceiveMaxV3), l.SubscriptionsMax
	if c.Version == 5 {
		s.inboundMax = int(l.ReceiveMax)
	}
	s.cut()
	s.resumed = !present
	s.will = nil
	if c.Will != nil {
		s.will = &modelWill{topic: string(c.Will.Message.Topic), delay: c.Will.DelaySec}
	}
	return present
}

func (s *modelSession) members(change int, o *modelOut) {
	for full, f := range s.subs {
		if f.share != "" {
			o.say("member %+d %s %s", change, s.id, full)
		}
	}
}

// cut forgets what belonged to the connection.
func (s *modelSession) cut() {
	for _, e := range s.window {
		e.sent = false
	}
	s.acks = nil
	for _, in := range s.recs {
		in.counted = false
	}
}

func (s *modelSession) publishWill(o *modelOut) {
	if s.will != nil {
		o.say("route %s gone qos=1 from=%s", s.will.topic, s.id)
		s.will = nil
	}
}

func (m *modelTable) end(s *modelSession, _ uint32, o *modelOut) {
	s.publishWill(o)
	for full := range s.subs {
		o.say("lost %s %s live=%v", s.id, full, s.owner != 0)
	}
	m.giveUp(s, true)
	for range s.queue {
		o.drop(DropSessionGone)
	}
	for _, e := range s.window {
		if e.phase != awaitComp {
			o.drop(DropSessionGone)
		}
	}
	delete(m.sessions, s.id)
}

func (m *modelTable) lost(s *modelSession, now uint32, ev *Event, o *modelOut) {
	if ev.Owner != 0 && ev.Owner != s.owner {
		return
	}
	if !ev.KeepWill {
		s.will = nil
	}
	if ev.SetExpiry && s.expiry > 0 {
		s.expiry = min(ev.ExpirySec, m.limits.ExpiryMaxSec)
	}
	if s.expiry == 0 {
		m.end(s, now, o)
		return
	}
	s.owner, s.resumed, s.endAt = 0, false, now+s.expiry
	s.cut()
	s.members(-1, o)
	m.giveUp(s, false)
	if s.will != nil {
		s.will.dueAt = now + s.will.delay
		if s.will.delay == 0 {
			s.publishWill(o)
		}
	}
}

func (m *modelTable) tick(now uint32, o *modelOut) {
	for _, s := range m.sessions {
		switch {
		case s.owner != 0:
		case s.endAt <= now:
			m.end(s, now, o)
		case s.will != nil && s.will.dueAt <= now:
			s.publishWill(o)
		}
	}
}

// step is every event but Lost.
func (m *modelTable) step(s *modelSession, now uint32, ev *Event, o *modelOut) {
	switch ev.Kind {
	case Publish:
		m.publish(s, ev, o)
	case Accepted:
		s.accepted(ev, o)
	case Pubrel:
		s.pubrel(ev, o)
	case Puback, Pubrec, Pubcomp, TooLarge:
		m.acknowledged(s, now, ev, o)
	case Subscribe:
		m.subscribe(s, ev, o)
	case Unsubscribe:
		s.unsubscribe(ev, o)
	case Deliver:
		m.deliver(s, now, ev, o)
	case Resume:
		s.resumed = true
		m.pump(s, now, ev.Congested, o)
	case Drained:
		m.pump(s, now, ev.Congested, o)
	}
}

func (m *modelTable) publish(s *modelSession, ev *Event, o *modelOut) {
	route := "route " + ev.Msg.words()
	if ev.QoS == 0 {
		o.say("%s", route)
		return
	}
	if ev.QoS == 2 {
		if i := indexInbound(s.recs, ev.PacketID); i >= 0 {
			if s.received(i) {
				o.send("%s", ackWords("pubrec", ev.PacketID, s.recs[i].reason))
			}
			return
		}
	}
	limit, counted := s.inboundMax, len(s.acks)
	for _, in := range s.recs {
		if in.counted {
			counted++
		}
	}
	if counted >= limit || len(s.acks)+len(s.recs) >= 2*max(limit, int(m.limits.ReceiveMax)) {
		o.close(0x93)
		return
	}
	in := &modelInbound{id: ev.PacketID, token: ev.Token, counted: true}
	if ev.QoS == 1 {
		s.acks = append(s.acks, in)
	} else {
		s.recs = append(s.recs, in)
	}
	o.say("%s", route)
}

func indexInbound(list []*modelInbound, id uint16) int {
	return slices.IndexFunc(list, func(in *modelInbound) bool { return in.id == id })
}

// received says that the i-th and all before it were taken over.
func (s *modelSession) received(i int) bool {
	return !slices.ContainsFunc(s.recs[:i+1], func(in *modelInbound) bool { return !in.taken })
}

func ackWords(name string, id uint16, reason uint8) string {
	if reason == 0 {
		return fmt.Sprintf("%s %d", name, id)
	}
	return fmt.Sprintf("%s %d reason=0x%02X", name, id, reason)
}

func (s *modelSession) accepted(ev *Event, o *modelOut) {
	mark := func(list []*modelInbound) bool {
		for _, in := range list {
			if in.id == ev.PacketID && in.token == ev.Token && !in.taken {
				in.taken, in.reason = true, ev.Reason
				return true
			}
		}
		return false
	}
	if mark(s.acks) {
		for len(s.acks) > 0 && s.acks[0].taken {
			o.send("%s", ackWords("puback", s.acks[0].id, s.acks[0].reason))
			s.acks = s.acks[1:]
		}
		return
	}
	before := 0
	for before < len(s.recs) && s.recs[before].taken {
		before++
	}
	if !mark(s.recs) {
		return
	}
	for before < len(s.recs) && s.recs[before].taken {
		in := s.recs[before]
		if s.owner != 0 {
			o.send("%s", ackWords("pubrec", in.id, in.reason))
		}
		if in.reason >= 0x80 {
			s.recs = slices.Delete(s.recs, before, before+1)
			continue
		}
		before++
	}
}

func (s *modelSession) pubrel(ev *Event, o *modelOut) {
	i := indexInbound(s.recs, ev.PacketID)
	switch {
	case i < 0 && s.version == 5:
		o.send("pubcomp %d reason=0x92", ev.PacketID)
	case i < 0:
		o.send("pubcomp %d", ev.PacketID)
	case !s.received(i):
		o.close(0x82)
	default:
		s.recs = slices.Delete(s.recs, i, i+1)
		o.send("pubcomp %d", ev.PacketID)
	}
}

func (m *modelTable) subscribe(s *modelSession, ev *Event, o *modelOut) {
	line := fmt.Sprintf("suback %d", ev.PacketID)
	var replays []string
	for _, f := range ev.Filters {
		full := string(f.Topic)
		mf := modelFilter{filter: full, qos: f.QoS, noLocal: f.NoLocal, rap: f.RetainAsPublished, retainHandling: f.RetainHandling, id: ev.SubID}
		if rest, ok := strings.CutPrefix(full, "$share/"); ok {
			mf.share, mf.filter, _ = strings.Cut(rest, "/")
		}
		_, known := s.subs[full]
		if !known && len(s.subs) >= s.subsMax {
			line += " 0x97"
			continue
		}
		s.subs[full] = mf
		line += fmt.Sprintf(" 0x%02X", f.QoS)
		if !known {
			o.say("gained %s %s live=true", s.id, full)
		}
		if mf.share == "" && (f.RetainHandling == 0 || f.RetainHandling == 1 && !known) {
			replays = append(replays, full)
		}
	}
	for _, full := range replays { // with the options that the packet left
		o.say("replay %s qos=%d rap=%v id=%d", full, s.subs[full].qos, s.subs[full].rap, s.subs[full].id)
	}
	o.send("%s", line)
}

func (s *modelSession) unsubscribe(ev *Event, o *modelOut) {
	line := fmt.Sprintf("unsuback %d", ev.PacketID)
	for _, f := range ev.Filters {
		if _, known := s.subs[string(f.Topic)]; known {
			delete(s.subs, string(f.Topic))
			o.say("lost %s %s live=true", s.id, f.Topic)
			line += " 0x00"
		} else {
			line += " 0x11"
		}
	}
	o.send("%s", line)
}
