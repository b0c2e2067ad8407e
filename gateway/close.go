package gateway

import (
	"runtime/debug"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/command"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
	"github.com/tidegate/tidegate/session"
)

// OnClose is part of epoll.Handler.
func (s *shard) OnClose(c *epoll.Conn, why epoll.Cause) {
	d := s.devices.At(c.Slot())
	if d.reason == reasonNone {
		d.reason = reasonOfCause(why)
	}
	s.count.closed[d.reason]++
	s.forgetOpening(c)
	d.forgetInquiry()
	s.gone(c, d, &session.Event{Kind: session.Lost, KeepWill: d.reason != reasonNormal})
	s.givePlace(c, d)
	s.dropAliases(d)
	if s.deflate.of == c.Handle() {
		s.deflate.end()
	}
	if len(s.runs) > 0 || len(s.changes) > 0 { // what its end set off comes after the end of this tick
		s.loop.Wake()
	}
	s.gw.log.Debug().Stringer("peer", s.peerOf(c, d)).Stringer("reason", d.reason).Msg("closed")
	*d = device{state: stateDraining}
}

// gone tells the session, if it is still this connection's, that its connection ended.
func (s *shard) gone(c *epoll.Conn, d *device, ev *session.Event) {
	s.unwatchAll(c, d)
	if d.wire == wireEcho && d.state == stateLive {
		s.count.live[liveEcho]--
		return
	}
	sess := d.sess
	if sess == nil {
		return
	}
	d.sess = nil
	s.count.live[d.kind()]--
	s.tellOffline(c, d, sess)
	if sess.Owner() != uint64(c.Handle()) {
		return // taken over
	}
	s.out.Reset()
	s.storing.ref = storeRef{}    // its will is no answer to what it published
	ev.Mark = s.claimOf(c.Slot()) // so that an older connection elsewhere does not end the session while its device is away
	s.seen(sess)
	sess.Step(s.loop.NowSec(), ev, &s.out)
	if k := keeperOf(sess); k != nil && s.out.Save {
		s.save(k, nil)
	}
	if sess.Durable() && !sess.Gone() {
		s.feeds(-plainCount(sess)) // it reads what it misses
	}
	s.tellHeld(sess, false)
	s.applyTable(&s.out)
}

// close ends a connection for a reason: the device is told as its protocol has it, and nothing more is read.
func (s *shard) close(c *epoll.Conn, d *device, r reason) {
	s.closeSaying(c, d, r, reasonTexts[r])
}

// closeSaying is close with words of its own, for a reason that has several causes.
func (s *shard) closeSaying(c *epoll.Conn, d *device, r reason, text string) {
	if c.Closing() || d.state == stateDraining {
		return
	}
	d.reason = r
	s.goodbye(c, d, r, text)
	s.leave(c, d, &session.Event{Kind: session.Lost, KeepWill: true})
}

// leave ends the session's part in the connection and closes it once the goodbye is written.
func (s *shard) leave(c *epoll.Conn, d *device, ev *session.Event) {
	s.gone(c, d, ev)
	d.state = stateDraining
	c.Finish(lingerSec)
}

// doomed is a connection to be closed once the shard has finished what it is doing.
type doomed struct {
	h epoll.Handle
	r reason
}

// closeDoomed closes the connections whose sessions asked for it while another device was being served.
func (s *shard) closeDoomed() {
	for i := 0; i < len(s.doomed); i++ { // one's will may doom another
		v := s.doomed[i]
		if c := s.loop.Conn(v.h); c != nil {
			s.close(c, s.devices.At(c.Slot()), v.r)
		}
	}
	s.doomed = s.doomed[:0]
}

// lingerSec is how long a closed device may take to read the goodbye.
const lingerSec = 2

// goodbye appends what the protocol has to say about the end of a connection.
func (s *shard) goodbye(c *epoll.Conn, d *device, r reason, text string) {
	code := reasonTable[r]
	live := d.state == stateLive && d.sess != nil
	switch d.wire {
	case wireMQTT:
		if live && d.version == mqtt.V5 && r > reasonPeerReset {
			c.End(s.appendDisconnect(c.Begin(), c, d, r, text))
		}
	case wireFrameMQTT:
		dst := c.Begin()
		if live && d.version == mqtt.V5 && r > reasonPeerReset {
			var mark int
			dst, mark = ws.BeginFrame(dst)
			dst = ws.EndFrame(s.appendDisconnect(dst, c, d, r, text), mark, ws.OpBinary)
		}
		c.End(ws.AppendClose(dst, code.ws, ""))
	case wireJSON, wireCBOR:
		s.endTalk(c, d, r)
	case wirePlain, wireEcho:
		c.End(ws.AppendClose(c.Begin(), code.ws, code.label))
	}
}

// containPanic keeps one crafted packet from ending everybody's connections: the one that met it is closed. In check builds the
// process ends instead, so that tests see it.
func (s *shard) containPanic(c *epoll.Conn, d *device) {
	if crashOnPanic {
		return
	}
	cause := recover()
	if cause == nil {
		return
	}
	s.count.panics++
	s.gw.log.Error().Interface("panic", cause).Bytes("stack", debug.Stack()).Msg("panic while serving a connection; it is closed")
	d.reason = reasonServer
	s.out, s.dout, s.skipping = session.Out{}, session.Out{}, false
	s.answering, s.answers, s.fanned = nil, command.Run{}, fanned{}
	c.Close()
}

// containMessagePanic is the same for a message that another shard or NATS handed over: it is left out.
func (s *shard) containMessagePanic() {
	if crashOnPanic {
		return
	}
	if cause := recover(); cause != nil {
		s.count.panics++
		s.gw.log.Error().Interface("panic", cause).Bytes("stack", debug.Stack()).Msg("panic while delivering a message; it is left out")
		s.dout, s.skipping, s.fanned = session.Out{}, false, fanned{}
	}
}
