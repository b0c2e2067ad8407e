package gateway

import (
	"strings"
	"unicode/utf8"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
	"github.com/tidegate/tidegate/session"
)

// openPlain opens the session of a plain WebSocket device: a session like any other, in the same space of ids.
func (s *shard) openPlain(c *epoll.Conn, d *device) {
	id := d.more.clientID
	if s.doorOf(c).chain != nil && !s.vouchedPlain(c, d) {
		return
	}
	id = d.tenant().idIn(id)
	if !s.owns(d, id) {
		s.close(c, d, reasonNotAuthorized)
		return
	}
	if s.banned(id, nil, d) || s.flapped(id) {
		s.count.refusedConnects++
		s.close(c, d, reasonBanned)
		return
	}
	if !s.entersTenant(c, d, id) {
		return
	}
	s.out.Reset()
	sess, _ := s.openSession(c, &session.Connect{ClientID: id, CleanStart: true, Version: uint8(mqtt.V5), Class: s.class(c)}, nil)
	if sess == nil {
		s.out.Reset()
		s.close(c, d, reasonQuota)
		return
	}
	s.own(d, sess)
	s.evict(s.out.Evict)
	d.sess, d.state, d.lastSec = sess, stateLive, s.loop.NowSec()
	s.count.live[d.kind()]++
	s.count.connects++
	s.claim(c, sess, true, nil)
	s.applyTable(&s.out)
	s.scratch2 = appendPattern(s.scratch2[:0], s.cfg.WebSocket.DownTopic, d.clientID())
	s.filters = append(s.filters[:0], session.Filter{Topic: s.scratch2})
	s.boundFilters(s.boundsOf(c), false)
	if s.restricts && !s.permitFilters(c, d) {
		s.close(c, d, reasonNotAuthorized)
		return
	}
	s.takeFilters(d)
	s.event = session.Event{Kind: session.Subscribe, PacketID: 1, Filters: s.filters}
	s.out.Reset()
	sess.Step(s.loop.NowSec(), &s.event, &s.out)
	s.finishOrHold(c, nil)
	if d.more.clientID = nil; d.more.who == nil {
		d.more = nil
	}
	s.arm(c, d)
}

// onMessage handles one whole WebSocket message, for which the uplink has room; false: the connection is closed.
func (s *shard) onMessage(c *epoll.Conn, d *device, op ws.Op, payload []byte) bool {
	switch d.wire {
	case wireEcho:
		if c.Unsent() > s.cfg.Limits.BatchBytesMax {
			s.close(c, d, reasonStalled) // it sends but does not read
			return false
		}
		c.End(s.appendMessage(d, c.Begin(), op, payload))
		return true
	case wireJSON, wireCBOR:
		return s.onTalk(c, d, op, payload)
	}
	s.scratch2 = appendPattern(s.scratch2[:0], s.cfg.WebSocket.UpTopic, d.clientID())
	s.message = session.Message{Topic: s.scratch2, Payload: payload, From: d.sess}
	if !s.fitsNATS(&s.message) {
		s.count.refused++
		return true
	}
	if s.restricts {
		if may := s.mayPublishOn(c, d, &s.message); !may.Allow {
			return s.denyUnheard(c, d, may.OnDeny)
		}
	}
	if s.gw.tenants != nil && s.inwardMessage(d, &s.message) != refusedNot {
		s.count.refused++
		return true
	}
	s.event = session.Event{Kind: session.Publish, Msg: &s.message}
	return s.step(c, d, &s.event)
}

// appendPattern appends a topic pattern with the client id in its place.
func appendPattern(dst []byte, pattern, clientID string) []byte {
	before, after, _ := strings.Cut(pattern, clientIDPlace)
	return append(append(append(dst, before...), clientID...), after...)
}

// sendToPlain sends one effect of the session to a plain device. It has subscribed with QoS 0, so that messages are all
// that can come.
func (s *shard) sendToPlain(c *epoll.Conn, d *device, a *session.Send) {
	if a.Kind != session.SendPublish {
		return
	}
	s.count.messagesOut[0]++
	s.count.payloadOut += uint64(len(a.Msg.Payload))
	op := ws.OpBinary
	if utf8.Valid(a.Msg.Payload) {
		op = ws.OpText
	}
	c.End(s.appendMessage(d, c.Begin(), op, a.Msg.Payload))
}

// pingPlain keeps a silent plain connection alive, or gives it up when two pings went unanswered.
func (s *shard) pingPlain(c *epoll.Conn, d *device) {
	if d.missed >= 2 {
		s.close(c, d, reasonKeepAlive)
		return
	}
	d.missed++
	c.End(ws.AppendFrame(c.Begin(), ws.OpPing, nil))
	s.arm(c, d)
}

// expectPlain asks NATS for the down topic of plain devices before there are any, so that the first one misses nothing.
func (s *shard) expectPlain() {
	for _, kind := range s.listeners {
		if kind != listenMQTT {
			filter := everyPlain(s.cfg.WebSocket.DownTopic)
			s.expect(filter)
			for _, prefix := range s.gw.tenants.prefixes() {
				s.expect(prefix + filter)
			}
			return
		}
	}
}

// expect asks NATS for a filter whether or not somebody holds it.
func (s *shard) expect(filter string) {
	e := &shardInterest{key: string(interestKey(nil, filter, "")), refs: 1}
	e.id, e.active = s.gw.interests.add(s.index, filter, "")
	s.interests[e.key], s.interestByID[e.id] = e, e
	s.widen(e)
}

// everyPlain is the filter for a topic pattern with any client id: the level that holds it becomes +, as a wildcard is a whole level.
func everyPlain(pattern string) string {
	levels := strings.Split(pattern, "/")
	for i, l := range levels {
		if strings.Contains(l, clientIDPlace) {
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}
