package gateway

import (
	"errors"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// A session whose gateway died is nobody's until its device comes back. But its will is due, and it is to end in its time. So the gateway that
// puts right who is online takes such sessions up as if it had had the connection, and that had just ended.

// adoptLost takes up the session of a client whose gateway died, if its record says that it was connected there. Any goroutine.
func (g *Gateway) adoptLost(client string, generation uint64) {
	if !g.durable.keepsSessions() {
		return
	}
	o := adoption(client, generation)
	g.openRecord(o, openTries, func() {
		g.home(o.id).doSoon(func(s *shard) { s.adoptSession(o) })
	})
}

// adoption is the opening of a session that was connected with a generation. It claims the record with the next one, which no connection has: so a
// session is taken up once, although its loss may be told twice, and in two gateways.
func adoption(client string, generation uint64) *opening {
	return &opening{id: []byte(client), generation: generation + 1, adopts: true}
}

// errNotLost says that a session is not one that a gateway left behind.
var errNotLost = errors.New("the session was closed, or is connected elsewhere")

// isLost tells whether a record is of a session that was connected, before a generation, when its gateway died.
func isLost(generation, before uint64, value []byte) bool {
	info, err := session.ReadRecord(value)
	return generation < before && err == nil && len(value) > 0 && !info.Away
}

// adoptSession takes up a session whose record is ours now.
func (s *shard) adoptSession(o *opening) {
	if o.err != nil || s.table.Get(o.id) != nil {
		return
	}
	info, err := session.ReadRecord(o.value)
	if err != nil {
		return
	}
	now := s.loop.NowSec()
	in := session.Connect{ClientID: o.id, Version: uint8(mqtt.V5), ExpirySec: info.ExpirySec, Durable: true, Class: s.gw.classAway(string(o.id))}
	if info.HasWill && info.Will.DelaySec > 0 { // one without a delay is published by Restore
		in.Will = &info.Will
	}
	s.out.Reset()
	kept := session.Kept{
		Record: o.value, WallSec: wallSec(), Received: o.received, Open: o.open, LogAt: s.gw.durable.at(uint16(inLog)),
	}
	sess, _, err := s.table.Restore(now, &in, kept, elsewhere, &s.out)
	if err != nil || sess == nil {
		s.out.Reset()
		return
	}
	s.count.adopted++
	k := &keeper{sess: sess, revision: o.revision, generation: o.generation, adopted: o.adopts, savedAt: now}
	sess.Keep(k)
	if o.owner != "" {
		sess.BelongTo(o.owner)
	}
	s.event = session.Event{Kind: session.Lost, Owner: elsewhere, KeepWill: true}
	sess.Step(now, &s.event, &s.out)
	s.applyTable(&s.out)
	if !sess.Gone() {
		s.feeds(-plainCount(sess))
		s.save(k, nil)
	}
}
