package gateway

import (
	"bytes"
	"slices"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// shardInterest is a shard's share in a NATS interest: how many of its sessions' filters it feeds. Owned by one shard.
type shardInterest struct {
	id     uint32
	key    string
	refs   int32
	active bool
	shaped bool // it is known to be a shape
	held   []*heldSuback
}

// heldSuback is a SUBACK that waits until NATS knows the subscription, so that a device that has it misses nothing
// that a backend publishes from then on.
type heldSuback struct {
	owner   epoll.Handle
	missing int
	packet  []byte
	replays []session.Replay
	sess    *session.Session // whose record is to be written before; nil: none
}

// gain gives a new subscription its interest; true: NATS knows it already (or never will: reserved topics stay here).
func (s *shard) gain(sub *session.Subscription) *shardInterest {
	filter := sub.Filter
	if bus.Reserved([]byte(filter)) {
		return nil
	}
	e := s.known(sub)
	if e == nil {
		e = &shardInterest{}
		if sub.Share != "" { // a member takes what its group gets without looking at it again
			e.key = string(interestKey(nil, filter, sub.Share))
			e.id, e.active = s.gw.interests.add(s.index, filter, sub.Share)
		} else {
			e.id, e.key, e.active = s.gw.interests.place(s.index, filter, s.gw.tenants.ownID(sub.Session().ClientID()))
		}
		if have := s.interests[e.key]; have != nil { // another form than those that known looks for
			s.gw.interests.remove(s.index, e.id)
			e = have
		}
		s.interests[e.key], s.interestByID[e.id] = e, e
	}
	e.refs++
	sub.Interest = e.id
	return e
}

// known is the interest that feeds a subscription, if this shard has it: the usual case, which needs no lock.
func (s *shard) known(sub *session.Subscription) *shardInterest {
	filter := sub.Filter
	if sub.Share == "" {
		s.scratch = shape(s.scratch[:0], filter, s.gw.tenants.ownID(sub.Session().ClientID()))
		shaped := len(s.scratch)
		s.scratch = interestKey(s.scratch, borrowed(s.scratch[:shaped]), "")
		if e := s.interests[string(s.scratch[shaped:])]; e != nil {
			if !e.shaped && string(s.scratch[:shaped]) != filter {
				s.widen(e)
			}
			return e
		}
	}
	s.scratch = interestKey(s.scratch[:0], filter, sub.Share)
	return s.interests[string(s.scratch)]
}

// widen notes that an interest, which somebody may hold as his own filter, is the shape of others'.
func (s *shard) widen(e *shardInterest) {
	e.shaped = true
	s.gw.interests.widen(e.id)
}

// lose takes a subscription's interest away.
func (s *shard) lose(sub *session.Subscription) {
	e := s.interestByID[sub.Interest]
	if e == nil {
		return
	}
	if e.refs--; e.refs == 0 {
		delete(s.interests, e.key)
		delete(s.interestByID, e.id)
		s.gw.interests.remove(s.index, e.id)
		s.confirm(e)
	}
}

// applyInterests follows what a step changed in a session's filters; held collects the interests NATS does not know yet.
func (s *shard) applyInterests(changes []session.Interest) (held []*shardInterest) {
	for i := range changes {
		ch := &changes[i]
		switch {
		case ch.LiveChange != 0:
			s.gw.interests.adjust(s.index, ch.Sub.Interest, 0, int32(ch.LiveChange))
		case ch.Gained:
			s.gw.tenants.countSubscription(ch.Sub, 1)
			if ch.Sub.Share == "" { // groups are served by way of NATS
				s.wanted.add(ch.Sub.Filter)
			}
			if isFed(ch.Sub) {
				s.feeds(+1)
				if k := keeperOf(ch.Sub.Session()); k != nil {
					k.gained = true
				}
			}
			if ch.Live {
				s.noteChange(ch.Sub, true)
			}
			e := s.gain(ch.Sub)
			if e == nil {
				continue
			}
			s.gw.interests.adjust(s.index, e.id, 1, liveCount(ch))
			if !e.active {
				held = append(held, e)
			}
		default:
			s.gw.tenants.countSubscription(ch.Sub, -1)
			if ch.Sub.Share == "" {
				s.wanted.remove(ch.Sub.Filter)
				s.endReplay(ch.Sub) // [MQTT-3.10.4-2]
			}
			if isFed(ch.Sub) && (ch.Live || !ch.Sub.Session().Durable()) {
				s.feeds(-1)
			}
			if ch.Live {
				s.noteChange(ch.Sub, false)
			}
			s.gw.interests.adjust(s.index, ch.Sub.Interest, -1, -liveCount(ch))
			s.lose(ch.Sub)
		}
	}
	return held
}

func liveCount(ch *session.Interest) int32 {
	if ch.Live {
		return 1
	}
	return 0
}

// heldSubacksMax is how many SUBACKs of one connection may wait for NATS; beyond it is not read until half of them are out.
const heldSubacksMax = 64

// awaitsNATS tells that too many SUBACKs of a connection wait.
func (s *shard) awaitsNATS(c *epoll.Conn) bool {
	if len(s.holding) == 0 || s.holding[c.Handle()] < heldSubacksMax {
		return false
	}
	if !c.Paused() {
		c.PauseRead()
		s.count.pauses++
	}
	return true
}

// released: a SUBACK of a connection waits no more.
func (s *shard) released(owner epoll.Handle) {
	n := s.holding[owner] - 1
	if s.holding[owner] = n; n == 0 {
		delete(s.holding, owner)
	}
	if c := s.loop.Conn(owner); n == heldSubacksMax/2 && c != nil && c.Paused() {
		s.devices.At(c.Slot()).lastSec = s.loop.NowSec() // see resumePublishers
		c.ResumeRead()
	}
}

// confirm: NATS knows the interest; SUBACKs that waited for it go out.
func (s *shard) confirm(e *shardInterest) {
	e.active = true
	held := e.held
	e.held = nil
	for _, h := range held {
		if h.missing--; h.missing > 0 {
			continue
		}
		s.keepHeld(h)
	}
}

// keepHeld has the SUBACK of a session that is kept wait for its record as well.
func (s *shard) keepHeld(h *heldSuback) {
	if h.sess != nil && keeperOf(h.sess) != nil {
		s.save(keeperOf(h.sess), h)
		return
	}
	s.finishHeld(h)
}

// finishHeld sends a SUBACK that has waited.
func (s *shard) finishHeld(h *heldSuback) {
	s.released(h.owner)
	// What was unsubscribed meanwhile gets no retained messages [MQTT-3.10.4-2].
	h.replays = slices.DeleteFunc(h.replays, func(want session.Replay) bool { return !want.Sub.Held() })
	s.finishSubscribe(s.loop.Conn(h.owner), h.packet, h.replays)
}

// finishOrHold carries out what Subscribe left in s.out: the answer goes out now, or once NATS knows every new filter.
func (s *shard) finishOrHold(c *epoll.Conn, answer []byte) {
	held := s.applyInterests(s.out.Interests)
	s.countDrops(&s.out)
	if s.out.Close {
		r := mqtt.Reason(s.out.CloseReason)
		s.closeSaying(c, s.devices.At(c.Slot()), reasonOfMQTT(r), stepText(mqtt.TypeSubscribe, r))
		return
	}
	sess := s.devices.At(c.Slot()).sess
	save := keeperOf(sess) != nil && sess.SavedBy() != 0
	waits := s.feeding.filters > 0 && !s.feeding.on // for the tails, as for NATS
	if len(held) == 0 && !save && !waits {
		s.finishSubscribe(c, answer, s.out.Replays)
		return
	}
	h := &heldSuback{
		owner: c.Handle(), missing: len(held), packet: bytes.Clone(answer),
		replays: append([]session.Replay(nil), s.out.Replays...),
	}
	s.holding[h.owner]++
	if save {
		h.sess = sess
	}
	if waits {
		h.missing++
		s.feeding.held = append(s.feeding.held, h)
	}
	if h.missing == 0 {
		s.keepHeld(h)
		return
	}
	for _, e := range held {
		e.held = append(e.held, h)
	}
}

// finishSubscribe sends the SUBACK and begins the replay of retained messages. When the connection ended meanwhile (nil, or it was
// told goodbye, and nothing may follow), they are for the one that the session has next.
func (s *shard) finishSubscribe(c *epoll.Conn, packet []byte, replays []session.Replay) {
	if c != nil && !c.Closing() && len(packet) > 0 { // without a packet nobody asked
		if d := s.devices.At(c.Slot()); d.sess != nil {
			s.send(c, d, packet)
		}
	}
	for _, want := range replays {
		s.replay(want)
	}
}
