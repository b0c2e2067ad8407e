package gateway

import (
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// route takes a message that a device of this shard published (or its will): it is stored if retained, delivered here,
// and put into the tick's batch for NATS and the other shards.
func (s *shard) route(m *session.Message) {
	if m.Recheck && !s.mayStillPublish(m) {
		s.count.denied[deniedWill]++
		return
	}
	if bus.Reserved(m.Topic) {
		if isCall(m.Topic) {
			s.answerCall(m)
		} else {
			s.count.refused++
		}
		return
	}
	s.count.messagesIn[m.QoS&3]++
	s.count.payloadIn += uint64(len(m.Payload))
	to := s.gw.durable.of(m.Topic)
	switch {
	case !m.Retain || !s.gw.retains:
	case to >= inLog && s.storing.ref.token != 0:
		s.retainedToo(m)
	case !s.gw.retained.set(s.loop.NowSec(), m):
		s.count.retainedFull++
	}
	client := ""
	if m.From != nil {
		client = m.From.ClientID()
	}
	switch {
	case to >= inLog && m.QoS > 0:
		if !s.store(m, to, client) {
			s.notStored(client)
		}
		return // it comes back by the tail
	case !s.uplink.add(m, client):
		s.count.willsLost++
	}
	if to <= inLog { // what a user's stream takes off NATS comes by its tail
		s.fanOut(m, 0)
	}
}

// takeBatch delivers messages of another shard, or from NATS, to the sessions here.
func (s *shard) takeBatch(b *batch) {
	for i := range b.msgs {
		if to := b.msgs[i].shard; to < 0 || int(to) == s.index {
			s.takeMessage(b, i)
		}
	}
	b.release()
}

func (s *shard) takeMessage(b *batch, i int) {
	defer s.containMessagePanic()
	g := &b.msgs[i]
	b.message(i, &s.routed)
	s.fate = 0
	if g.shard >= 0 {
		if !s.giveToGroup(&s.routed, g.interest, false) {
			s.fate = fateElsewhere // another member gets it, here or in another shard
			s.makeOrphan(&s.routed, g.interest)
		}
	} else {
		s.fanOut(&s.routed, g.interest)
	}
	if g.request != 0 {
		s.gw.requests.report(g.request, s.fate)
	}
}

// fanOut delivers m to every session with a matching filter. A message that came from NATS by one of several
// overlapping interests is taken by the sessions whose lowest interest it is; see interests.
func (s *shard) fanOut(m *session.Message, interest uint32) {
	m.LastValue = s.lastValues.has(m.Topic)
	s.table.Match(m.Topic, m.From, &s.matches)
	s.work += 1 + s.matches.Visited
	s.fanned = fanned{payload: m.Payload}
	for i := range s.matches.List {
		t := &s.matches.List[i]
		if interest != 0 && t.Interest != interest {
			s.fate |= fateElsewhere
			continue
		}
		ev := &s.devent
		ev.Kind, ev.Msg, ev.QoS, ev.SubIDs = session.Deliver, m, t.QoS, t.SubIDs
		ev.Group, ev.Orphan, ev.Replay = 0, false, false
		// The flag tells old from new: a live message carries it only to those who asked for it [MQTT-3.3.1-8], [MQTT-3.3.1-9], [MQTT-3.3.1-12], [MQTT-3.3.1-13].
		ev.Retain = m.Retain && t.RetainAsPublished
		s.deliverTo(t.Session, ev)
	}
	s.fanned = fanned{}
}

// giveToGroup delivers m to the member of a shared subscription whose turn it is; false: the last one left while the message was
// on its way. orphan: it was another member's before.
func (s *shard) giveToGroup(m *session.Message, interest uint32, orphan bool) bool {
	g := s.table.Group(interest)
	if g == nil {
		return false
	}
	sub := g.Next(m.GroupKey)
	if sub == nil {
		return false
	}
	m.LastValue = s.lastValues.has(m.Topic)
	ev := &s.devent
	ev.Group, ev.Orphan, ev.Replay = interest, orphan, false
	ev.Kind, ev.Msg, ev.QoS, ev.SubIDs = session.Deliver, m, sub.QoS, s.subIDs[:0]
	if sub.ID != 0 {
		s.subIDs = append(s.subIDs[:0], sub.ID)
		ev.SubIDs = s.subIDs
	}
	ev.Retain = m.Retain && sub.RetainAsPublished
	s.deliverTo(sub.Session(), ev)
	return true
}

// deliverTo gives one message to one session, and what comes of it to its connection; false: it could not take what it had missed.
func (s *shard) deliverTo(sess *session.Session, ev *session.Event) (taken bool) {
	c := s.loop.Conn(epoll.Handle(sess.Owner()))
	ev.Congested = c != nil && (c.Unsent() > s.cfg.Limits.BatchBytesMax || s.measured(c) && (s.slowed(c) || sess.Queued() > 0))
	sess.Step(s.loop.NowSec(), ev, &s.dout)
	if ev.Msg.Request != 0 {
		s.fate |= s.fateOf(sess, ev)
	}
	if c != nil {
		s.applySends(c, s.devices.At(c.Slot()), sess, &s.dout)
		if s.dout.Close {
			s.doomed = append(s.doomed, doomed{c.Handle(), reasonOfMQTT(mqtt.Reason(s.dout.CloseReason))})
		}
	}
	if s.dout.Asks() {
		s.afterStep(sess, &s.dout)
	}
	s.countDrops(&s.dout)
	taken = !s.dout.Full
	behind := s.dout.Behind
	s.dout.Reset()
	if c != nil && ev.QoS > 0 && (behind || sess.Pending()) {
		s.goOnLater(c)
	}
	return taken
}
