package session

import (
	"slices"
)

// Kept is what there is of a session outside of the table.
type Kept struct {
	Record []byte // as AppendRecord wrote it; empty: there is none
	// WallSec is the time now, in seconds since 1970.
	WallSec uint32
	// Received are the packet ids of the QoS 2 messages that the device published and did not release, as the log has them since
	// RecordInfo.LogPos. They count when the record is not clean.
	Received []uint16
	// LogAt is what the log is known to have reached, 0: nothing is known. A record may know of more than there is, when the log lost its
	// end with the power.
	LogAt uint64
	// Open says that somebody took the session over after the record was written, and wrote none: a clean record is not clean then.
	Open bool
}

// RecordInfo is what a record says at a glance. Its bytes are borrowed from the record.
type RecordInfo struct {
	// Clean says that the session was away when the record was written, and nothing of it under way to a store: the record is all there
	// is. Otherwise its gateway died, or still has it.
	Clean bool
	// Away says that the session was away when the record was written.
	Away bool
	// LogPos is the position in the log after which ReceivedQoS2 has to look when the record is not clean.
	LogPos uint64
	// ExpirySec is how long the session outlives its connection.
	ExpirySec uint32
	// EndsAtSec is when a session that was away ends, in seconds since 1970; 0: it does not.
	EndsAtSec uint32
	// Will is the will; Message.ExpiresAtSec is not set. Valid with HasWill.
	Will    Will
	HasWill bool
	// WillAtSec is when the will of a session that was away is due, in seconds since 1970.
	WillAtSec uint32
}

// ReadRecord reads a record. A record of another version, or a damaged one, is an error.
func ReadRecord(b []byte) (RecordInfo, error) {
	var r record
	if err := r.parse(b); err != nil {
		return RecordInfo{}, err
	}
	in := RecordInfo{Clean: r.flags&recordClean != 0, Away: r.flags&recordAway != 0, LogPos: r.logPos, ExpirySec: r.expirySec,
		EndsAtSec: r.endsAtSec, HasWill: r.flags&recordHasWill != 0, WillAtSec: r.will.dueAtSec}
	if in.HasWill {
		in.Will = r.will.will()
	}
	return in, nil
}

func (w *recordWill) will() Will {
	return Will{
		Message: Message{Topic: w.topic, Props: w.props, Payload: w.payload, User: w.user, QoS: w.options & willQoS,
			Retain: w.options&willRetain != 0, Recheck: w.options&willRecheck != 0},
		DelaySec: w.delaySec, ExpirySec: w.expirySec, HasExpiry: w.options&willExpiry != 0,
	}
}

// AppendRecord appends the session's record and gives it a token for Event Saved. Of several snapshots the last one counts: each is
// either stored, and Saved follows, or another one is. nowSec and wallSec (since 1970) are the same moment: a record has no other
// clock. The session is durable.
func (s *Session) AppendRecord(dst []byte, nowSec, wallSec uint32) (record []byte, token uint32) {
	d, r := s.durable(), &s.table.rec
	r.reset()
	r.wallSec, r.expirySec = wallSec, s.expirySec
	if s.state != live {
		r.flags |= recordAway
		if s.endAtSec != Never {
			r.endsAtSec = wallOf(s.endAtSec, nowSec, wallSec)
		}
	}
	s.recordStreams(r)
	s.recordFilters(r)
	s.recordInbound(r)
	s.recordSent(r)
	s.recordWill(r, nowSec, wallSec)
	d.saving, d.dirty, d.changed = true, false, false
	d.token = nextToken(d.token)
	if d.work != nil {
		d.work.snaps = d.work.rels.len()
	}
	return r.append(dst), d.token
}

// wallOf is a time of the session's clock in seconds since 1970.
func wallOf(atSec, nowSec, wallSec uint32) uint32 {
	return min(addSec(wallSec, atSec-min(atSec, nowSec)), Never-1)
}

// sessionTime is the inverse.
func sessionTime(atSec, nowSec, wallSec uint32) uint32 {
	return min(addSec(nowSec, atSec-min(atSec, wallSec)), Never-1)
}

// recordStreams writes the places in the streams: a cursor below the first message that waits, and what is unacknowledged below it.
func (s *Session) recordStreams(r *record) {
	d := s.durable()
	d.each(func(p *position) {
		from := len(r.again)
		if lo, hi := d.owed(p.stream); lo < hi {
			for _, a := range d.work.again[lo:hi] {
				r.again = append(r.again, a.seq)
			}
		}
		cursor := p.cursor
		if f := s.flow; f != nil {
			cursor = f.recordAgain(p, r)
		}
		if cursor == 0 && len(r.again) == from {
			return
		}
		slices.Sort(r.again[from:])
		r.streams = append(r.streams, recordStream{stream: p.stream, cursor: cursor, again: len(r.again) - from})
	})
}

// recordAgain adds the messages of one stream that are to be delivered again, and gives the cursor above which all are.
func (f *flow) recordAgain(p *position, r *record) uint64 {
	for i := range f.window.len() {
		if e := f.window.at(i); e.of(p.stream) && e.qos == 1 {
			r.again = append(r.again, e.kept.msg.Seq)
		}
	}
	for i := range f.queue.len() {
		e := f.queue.at(i)
		switch {
		case !e.of(p.stream):
		case e.kept.msg.Seq > p.base:
			return e.kept.msg.Seq - 1
		default:
			r.again = append(r.again, e.kept.msg.Seq)
		}
	}
	return p.cursor
}

// of says whether e keeps a message of a stream.
func (e *entry) of(stream uint16) bool {
	return e.has(markLogged) && e.kept != nil && e.kept.msg.Stream == stream
}

func (s *Session) recordFilters(r *record) {
	d := s.durable()
	for sub := s.subs; sub != nil; sub = sub.next {
		f := recordFilter{topic: sub.Filter, id: sub.ID, options: sub.QoS | sub.RetainHandling<<filterHandle}
		if sub.Share != "" {
			f.topic = sub.group.name
		}
		if sub.NoLocal {
			f.options |= filterNoLocal
		}
		if sub.RetainAsPublished {
			f.options |= filterAsPub
		}
		if sub.ID != 0 {
			f.options |= filterID
		}
		if d.work != nil {
			for _, n := range d.work.since {
				if n.sub == sub {
					r.since = append(r.since, n.place)
					f.since++
					f.options |= filterSince
				}
			}
		}
		r.filters = append(r.filters, f)
	}
}

// recordInbound writes what the device published and did not release. While more of it is under way to a store, who goes on with the
// session has to look there.
func (s *Session) recordInbound(r *record) {
	r.logPos = s.LogPos()
	if s.state != live {
		r.flags |= recordClean
	}
	f := s.flow
	if f == nil || f.recs.n == 0 {
		return
	}
	for i := range f.recs.len() {
		in := f.recs.at(i)
		if !in.has(inTaken) {
			r.flags &^= recordClean
		} else if in.reason < reasonFailure {
			r.received = append(r.received, in.id)
		}
	}
}

// recordSent writes the logged QoS 2 messages to the device, and lets their next packets wait for this record.
func (s *Session) recordSent(r *record) {
	for i := 0; s.flow != nil && i < s.flow.window.len(); i++ {
		e := s.flow.window.at(i)
		if e.qos != 2 || !e.has(markLogged) {
			continue
		}
		sent := recordSent{id: e.id}
		if e.kept != nil {
			sent.place = place{e.kept.msg.Stream, e.kept.msg.Seq}
		}
		r.sent = append(r.sent, sent)
		if e.has(markUnsaved) {
			e.mark |= markSnapped
		}
	}
}

func (s *Session) recordWill(r *record, nowSec, wallSec uint32) {
	if !s.hasWill() {
		return
	}
	w := &s.extra.will
	m := &w.kept.msg
	r.flags |= recordHasWill
	r.will = recordWill{topic: m.Topic, props: m.Props, payload: m.Payload, user: m.User, options: m.QoS,
		delaySec: w.delaySec, expirySec: w.expirySec}
	if m.Retain {
		r.will.options |= willRetain
	}
	if m.Recheck {
		r.will.options |= willRecheck
	}
	if w.hasExpiry {
		r.will.options |= willExpiry
	}
	if s.state != live {
		r.will.dueAtSec = wallOf(w.dueSec, nowSec, wallSec)
	}
}

// Restore is Open of a session from its record. What the table has of it is forgotten (Forget), since a record that somebody else wrote
// is newer; a live connection is reported in out.Evict. The session comes back durable and behind: the caller hands in what EachRefill
// asks for, and replays it. Without a record it is Open. err: the record cannot be read, nothing was done.
func (t *Table) Restore(nowSec uint32, c *Connect, kept Kept, owner uint64, out *Out) (s *Session, present bool, err error) {
	if len(kept.Record) == 0 {
		s, present = t.Open(nowSec, c, owner, out)
		return s, present, nil
	}
	r := &t.rec
	if err := r.parse(kept.Record); err != nil {
		return nil, false, err
	}
	evict := uint64(0)
	if old := t.Get(c.ClientID); old != nil {
		evict = old.Owner()
		t.Forget(old, out)
	}
	if s = t.add(c.ClientID); s == nil {
		out.Evict = evict
		return nil, false, nil
	}
	s.revive(nowSec, kept.WallSec, r, out)
	again := *c
	again.Durable = true
	s, present = t.Open(nowSec, &again, owner, out)
	out.Evict = evict
	if present {
		if s.durable().behind = true; r.flags&recordClean == 0 || kept.Open {
			r.received = append(r.received[:0], kept.Received...)
		}
		if kept.LogAt != 0 {
			r.logPos = min(r.logPos, kept.LogAt)
		}
		s.restore(r, kept.WallSec, out)
	}
	return s, present, nil
}

// revive makes of a session that has nothing one that is away, with expiry and will as the record has them. The will of one that was live is
// due when it has no delay, because that connection ends now; otherwise it is cancelled.
func (s *Session) revive(nowSec, wallSec uint32, r *record, out *Out) {
	s.expirySec, s.endAtSec = r.expirySec, Never
	s.needExtra().durable = &durable{lastID: idsLogged}
	if r.endsAtSec != 0 {
		s.endAtSec = sessionTime(r.endsAtSec, nowSec, wallSec)
	}
	if r.flags&recordHasWill == 0 {
		return
	}
	w := r.will.will()
	s.setWill(&w, out)
	switch {
	case r.flags&recordAway != 0:
		s.extra.will.dueSec = sessionTime(r.will.dueAtSec, nowSec, wallSec)
	case w.DelaySec == 0:
		s.extra.will.dueSec = nowSec
	}
}

// restore gives a session that was revived, and is live, everything else.
func (s *Session) restore(r *record, wallSec uint32, out *Out) {
	d, again := s.durable(), r.again
	for _, p := range r.streams {
		*d.at(p.stream) = position{stream: p.stream, cursor: p.cursor, base: max(p.cursor, lastOf(again[:p.again]))}
		for _, seq := range again[:p.again] {
			w := s.needWork()
			w.again = append(w.again, place{p.stream, seq})
		}
		again = again[p.again:]
	}
	d.logAt = r.logPos
	s.restoreFilters(r, out)
	s.restoreFlow(r)
	// Ids that are not in the record may be held by the device too, of messages that are lost; it is unlikely that it holds these.
	s.lastID = uint16(wallSec * 40503 % idsLogged)
}

// lastOf is the last of seqs, 0 when there is none.
func lastOf(seqs []uint64) uint64 {
	if len(seqs) == 0 {
		return 0
	}
	return seqs[len(seqs)-1]
}

func (s *Session) restoreFilters(r *record, out *Out) {
	rest := r.since
	for i := len(r.filters) - 1; i >= 0; i-- { // link puts each before the others
		f := &r.filters[i]
		mine := rest[len(rest)-f.since:]
		rest = rest[:len(rest)-f.since]
		full := []byte(f.topic)
		share, filter, _ := shareOf(full)
		if *s.find(share, filter) != nil {
			continue
		}
		sub := s.link(full, share, filter, out)
		sub.set(&Filter{QoS: f.options & filterQoS, NoLocal: f.options&filterNoLocal != 0, RetainAsPublished: f.options&filterAsPub != 0,
			RetainHandling: f.options >> filterHandle & 3}, f.id)
		for _, p := range mine {
			w := s.needWork()
			w.since = append(w.since, since{sub, p})
		}
	}
}

func (s *Session) restoreFlow(r *record) {
	if len(r.received)+len(r.sent) == 0 {
		return
	}
	f, d := s.needFlow(), s.durable()
	for _, id := range r.received {
		if id != 0 && findInbound(&f.recs, id) < 0 {
			f.recs.push(inbound{id: id, what: r.logPos, mark: inTaken | inLogged})
		}
	}
	f.recd = f.recs.len()
	for _, e := range r.sent {
		to := entry{id: e.id, qos: 2, mark: markLogged}
		if e.seq != 0 {
			to.kept = s.table.store.keep(&Message{Stream: e.stream, Seq: e.seq, QoS: 2})
			to.mark |= markHollow
		}
		f.window.push(to)
		s.table.inflight++
		d.lastID = e.id
	}
	s.spareFlow()
}

// Forget takes a session out of the table because its record goes on elsewhere, or is all that is needed of it: no will is published, its
// filters are reported as lost. What it had of streams is in the record, or above its cursor; messages from elsewhere are counted as
// dropped, or become orphans of their group. Its late events find it gone.
func (t *Table) Forget(s *Session, out *Out) {
	if s.state == gone {
		return
	}
	if d := s.durable(); d != nil {
		d.moved = true
	}
	s.dropWill(out)
	s.becomeGone(0, out)
}
