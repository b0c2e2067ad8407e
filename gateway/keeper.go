package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/session"
)

// keeper keeps the record of one persistent session in NATS. There is one for each such session that this shard has, live or away;
// it hangs on the session. Every write is a compare-and-set on the revision, so that a gateway that has lost a session to another
// finds out at its next write, and writes nothing.
type keeper struct {
	sess       *session.Session
	revision   uint64 // of the record as we know it
	generation uint64 // of the connect that has the session

	saving  bool // a write is under way
	moving  bool // the session goes on elsewhere after it
	fenced  bool // another gateway has it
	adopted bool // from a gateway that was taken for dead; no connection has been here
	again   bool // and another is to follow, as something has changed since
	held    []*heldSuback
	ready   []*heldSuback // wait for the write under way
	savedAt uint32        // NowSec of the last write
	next    *opening      // a CONNECT that waits for the write under way
	ended   bool          // the session: its record goes after the write under way
	logPos  uint64        // from where on who takes over reads the log for QoS 2 of the device, as the last write says
	exactly bool          // the device has published with QoS 2 since that

	stream uint16 // of what was missed: that is read next
	read   uint32 // number of the read under way; 0: none
	reads  uint32 // of the last one
	gained bool   // the session has a filter more than the read under way
	waits  bool   // for the tails, to read on
}

// A record in NATS is what the gateways say of the session, and then the session:
//
//	generation(8) flags(1) [length(2) user] record
const recordHead = 9

// recordOpen is the flag of a session that a gateway has taken over and not written since: what follows is older.
const recordOpen = 1

// recordAdopted is the flag of a session that was taken up from a gateway that was taken for dead, and that no connection has had since.
const recordAdopted = 4

// recordOwned is the flag of a session that belongs to a user, who is named then.
const recordOwned = 2

// appendHead is what we say of a session.
func appendHead(dst []byte, generation uint64, flags byte, user string) []byte {
	if user == "" {
		return append(binary.BigEndian.AppendUint64(dst, generation), flags)
	}
	dst = append(binary.BigEndian.AppendUint64(dst, generation), flags|recordOwned)
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(user))), user...)
}

// keeperOf is the keeper of a session; nil when it is not kept.
func keeperOf(sess *session.Session) *keeper {
	k, _ := sess.Kept().(*keeper)
	return k
}

// appendRecord is the record of a session.
func (s *shard) appendRecord(k *keeper) (value []byte, token uint32) {
	k.sess.LogIsAt(s.gw.durable.at(uint16(inLog)))
	flags := byte(0)
	if k.adopted {
		flags = recordAdopted
	}
	head := appendHead(nil, k.generation, flags, k.sess.User())
	return k.sess.AppendRecord(head, s.loop.NowSec(), wallSec())
}

// seen moves the cursor of a session that misses nothing to where the tails are; of one that wants nothing from streams, to where these are.
func (s *shard) seen(sess *session.Session) {
	if sess.Owner() == 0 || sess.Behind() {
		return
	}
	if !hasPlainFilter(sess) {
		s.beginAt(sess)
		return
	}
	for stream, seq := range s.tailAt {
		sess.SeenUpTo(uint16(stream), seq)
	}
}

// save writes the record, now or after the write that is under way. A SUBACK that waits for it may be given along.
func (s *shard) save(k *keeper, held *heldSuback) {
	if held != nil {
		k.held = append(k.held, held)
	}
	if k.saving {
		k.again = true
		return
	}
	k.saving, k.again = true, false
	s.saving++
	k.ready, k.held = k.held, k.ready[:0]
	s.seen(k.sess)
	value, token := s.appendRecord(k)
	k.logPos, k.exactly = k.sess.LogPos(), false
	base := k.revision
	k.savedAt = s.loop.NowSec()
	ttl := uint32(0)
	if k.sess.Owner() == 0 && k.sess.ExpirySec() != session.Never {
		ttl = k.sess.ExpirySec() + 1
	}
	s.count.recordsWritten++
	g := s.gw
	g.durable.saves.Add(1)
	g.bus.SaveSession([]byte(k.sess.ClientID()), value, k.revision, ttl, func(revision uint64, err error) {
		g.durable.saves.Add(-1)
		s.doSoon(func(s *shard) { s.saved(k, token, base, revision, err) })
	})
}

// saved goes on with what waited for a record.
func (s *shard) saved(k *keeper, token uint32, base, revision uint64, err error) {
	k.saving = false
	s.saving--
	defer s.beginNext(k)
	if k.ended {
		s.savedAfterEnd(k, base, revision, err)
		s.letGo(k)
		return
	}
	if keeperOf(k.sess) != k {
		s.letGo(k)
		return
	}
	switch {
	case k.moving && !k.again:
		s.forget(k.sess)
		s.letGo(k)
		return
	case err != nil && base != k.revision: // a connect of the device wrote the record meanwhile
		k.held, k.ready = append(k.ready, k.held...), nil
		s.save(k, nil)
		return
	case err != nil:
		s.notSaved(k, err)
		return
	}
	k.revision = max(k.revision, revision) // a connect of the device may have written a later one
	ready := k.ready
	k.ready = nil
	for _, h := range ready {
		s.finishHeld(h)
	}
	s.stepKept(k, &session.Event{Kind: session.Saved, Token: token})
	if k.again && keeperOf(k.sess) == k {
		s.save(k, nil)
	}
}

// notSaved is the end of a session here that another gateway has now, unless its connection is still here and nowhere else. Other errors come when this gateway ends.
func (s *shard) notSaved(k *keeper, err error) {
	if !errors.Is(err, bus.ErrFenced) {
		s.gw.log.Debug().Err(err).Msg("a session could not be kept")
		return
	}
	s.count.recordsFenced++
	if s.isLive(k) && k.next == nil {
		s.regain(k)
		return
	}
	s.giveUp(k)
}

// giveUp ends what is here of a session whose record another gateway has.
func (s *shard) giveUp(k *keeper) {
	k.fenced = true
	s.yield(&claim{id: []byte(k.sess.ClientID())})
	s.letGo(k)
}

// stepKept runs a session on something that happened to its record or to what it missed.
func (s *shard) stepKept(k *keeper, ev *session.Event) {
	s.out.Reset()
	c := s.loop.Conn(epoll.Handle(k.sess.Owner()))
	ev.Congested = c != nil && s.measured(c)
	k.sess.Step(s.loop.NowSec(), ev, &s.out)
	if c == nil {
		s.afterStep(k.sess, &s.out)
		s.applyTable(&s.out)
		return
	}
	if d := s.devices.At(c.Slot()); d.sess == k.sess && s.apply(c, d, &s.out) {
		s.arm(c, d)
	}
}

// afterStep does what a step of a kept session asks for beside its packets.
func (s *shard) afterStep(sess *session.Session, out *session.Out) {
	for _, id := range out.Releases {
		s.storeRelease(sess, id)
	}
	if k := keeperOf(sess); k != nil && out.Save {
		s.save(k, nil)
	}
	if out.Behind {
		s.count.fellBehind++
	}
	s.keepRecords(out.Records)
}

// keepRecords writes or drops the records of sessions that were opened, left or ended.
func (s *shard) keepRecords(list []*session.Session) {
	for _, sess := range list {
		switch k := keeperOf(sess); {
		case k == nil: // it is only being opened, or another gateway has it
		case sess.Gone():
			s.forgetRecord(k)
		default:
			s.save(k, nil)
		}
	}
}

// forgetRecord drops the record of a session that ended, after a write of it that is under way. A CONNECT of the client id waits for that.
func (s *shard) forgetRecord(k *keeper) {
	k.sess.Keep(nil)
	s.drops[k.sess.ClientID()] = nil
	if k.ended = true; !k.saving {
		s.dropRecord(k)
	}
}

func (s *shard) dropRecord(k *keeper) {
	g, id := s.gw, k.sess.ClientID()
	g.durable.saves.Add(1)
	g.bus.DropSession([]byte(id), k.revision, func(error) {
		g.durable.saves.Add(-1)
		s.doSoon(func(s *shard) { s.dropped(id) })
	})
}

// dropped lets a CONNECT go on that has waited for the end of a record.
func (s *shard) dropped(id string) {
	next := s.drops[id]
	delete(s.drops, id)
	if next != nil {
		s.begin(next)
	}
}

// savedAfterEnd is the end of a write whose session ended meanwhile.
func (s *shard) savedAfterEnd(k *keeper, base, revision uint64, err error) {
	if err != nil && base == k.revision { // it is another gateway's
		s.dropped(k.sess.ClientID())
		return
	}
	k.revision = max(k.revision, revision)
	s.dropRecord(k)
}

// checkpointSec is how often the record of a live session is written when its cursor has moved: how much QoS 1 is repeated to
// it at most after its gateway was killed. A loop writes at most checkpointMax records a second for that.
const (
	checkpointSec = 5
	checkpointMax = 500
)

// publishesExactly notes that a device publishes with QoS 2; true: its session is kept, so that the message is stored with its packet id.
func (s *shard) publishesExactly(sess *session.Session) bool {
	k := keeperOf(sess)
	if k == nil {
		return false
	}
	sess.LogIsAt(s.gw.durable.at(uint16(inLog)))
	k.exactly = true
	return true
}

// lags tells whether who takes over a session would have to read much of the log to know what its device has published with QoS 2, and a
// new record would spare that.
func (s *shard) lags(k *keeper) bool {
	at := s.gw.durable.at(uint16(inLog))
	if !k.exactly || at <= k.logPos+checkpointLog {
		return false
	}
	k.sess.LogIsAt(at)
	return k.sess.LogPos() > k.logPos+checkpointLog/2
}

// checkpointLog is how many messages the log may go on, about, before the record of a device that publishes with QoS 2 is written again. Who takes over
// reads so many: 2 ms of NATS for one alone.
const checkpointLog = 10_000

// checkpoint looks at some live sessions each second.
func (s *shard) checkpoint(now uint32) {
	budget := checkpointMax
	s.checkFrom = s.loop.EachFrom(max(1, s.checkFrom), checkpointLook, func(c *epoll.Conn) {
		d := s.devices.At(c.Slot())
		if d.sess == nil || budget == 0 {
			return
		}
		k := keeperOf(d.sess)
		if k == nil || k.saving {
			return
		}
		lags := s.lags(k)
		if !lags && now-k.savedAt < checkpointSec {
			return
		}
		s.seen(d.sess)
		if d.sess.Changed() || lags {
			budget--
			s.save(k, nil)
		}
	})
}

// checkpointLook is how many connections are looked at in a second.
const checkpointLook = 5000

// wallSec is the time of day in seconds since 1970, for what outlives the process.
func wallSec() uint32 { return uint32(time.Now().Unix()) }

func nowSec() uint32 { return epoll.NowSec() }

// letGo ends the wait of SUBACKs for a record that is not written any more, as their sessions and connections ended.
func (s *shard) letGo(k *keeper) {
	held := append(k.ready, k.held...)
	k.ready, k.held = nil, nil
	for _, h := range held {
		s.finishHeld(h)
	}
}

// awaitSaves waits until NATS has the records of sessions that ended with this gateway, or ctx ends.
func (g *Gateway) awaitSaves(ctx context.Context) {
	for g.durable.saves.Load() > 0 {
		select {
		case <-ctx.Done():
			g.log.Warn().Int64("records", g.durable.saves.Load()).Msg("NATS did not take the records of some sessions; what they say of the last seconds is lost")
			return
		case <-time.After(drainStep):
		}
	}
}

// since is where the streams are now, for a durable session that subscribes: what is older is not for its new filters.
func (s *shard) since(sess *session.Session) []uint64 {
	if !sess.Durable() {
		return nil
	}
	at := make([]uint64, len(s.tailAt))
	for i := range at {
		at[i] = s.gw.durable.at(uint16(i))
	}
	return at
}
