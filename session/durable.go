package session

import "slices"

// extra is what only some sessions have. 40 bytes.
type extra struct {
	will    will
	durable *durable // nil: the session lives in this table only
}

// durable is what a session is owed from streams, and what of it is in its record. Nothing here grows with the messages of a stream:
// places in it say what was taken, and what is under way is in the window. 96 bytes.
type durable struct {
	log     position   // of stream 0
	others  []position // of the other streams that it has a cursor of
	work    *work      // nil: none
	kept    any        // the caller's
	logAt   uint64     // the log had reached it before what the device publishes next
	token   uint32     // of the last snapshot
	lastID  uint16     // packet id given out last to a logged message of QoS 2
	behind  bool
	full    bool // Out.Full was said, and nothing left the queue or window since
	saving  bool // a snapshot is not yet stored
	dirty   bool // and it lacks what must be stored
	changed bool // a snapshot would differ
	ripe    bool // of window, before sent: entries that were saved and are not yet sent
	moved   bool // the record goes on without this table
}

// position is how far a session got in one stream.
type position struct {
	cursor uint64 // everything up to here was taken, but for what work.again has
	base   uint64 // the cursor when the session was restored: what is queued below it was taken out of order
	stream uint16
}

// work is what only some durable sessions have some of the time.
type work struct {
	again []place      // restored: below the cursor, but unacknowledged; sorted
	since []since      // filters younger than a cursor
	rels  ring[uint16] // packet ids whose PUBREL waits for a save, in the order of the PUBRECs [MQTT-4.6.0-4]
	snaps int          // how many of them the last snapshot has
}

// place is a message of a stream.
type place struct {
	stream uint16
	seq    uint64
}

func (p place) compare(q place) int {
	if p.stream != q.stream {
		return int(p.stream) - int(q.stream)
	}
	switch {
	case p.seq < q.seq:
		return -1
	case p.seq > q.seq:
		return 1
	}
	return 0
}

// since says that a filter was not there yet when its stream was at seq.
type since struct {
	sub *Subscription
	place
}

func (s *Session) needExtra() *extra {
	if s.extra == nil {
		s.extra = new(extra)
	}
	return s.extra
}

// spareExtra lets go of what is empty.
func (s *Session) spareExtra() {
	if s.extra.will.kept == nil && s.extra.durable == nil {
		s.extra = nil
	}
}

// durable is the session's durable state, nil when it has none.
func (s *Session) durable() *durable {
	if s.extra == nil {
		return nil
	}
	return s.extra.durable
}

// needWork is the session's work, made on demand.
func (s *Session) needWork() *work {
	d, t := s.durable(), s.table
	switch n := len(t.works); {
	case d.work != nil:
	case n > 0:
		d.work, t.works[n-1] = t.works[n-1], nil
		t.works = t.works[:n-1]
	default:
		d.work = new(work)
	}
	return d.work
}

// worksSpareMax is how many unused works a table keeps, each of at most workSpareMax of anything.
const (
	worksSpareMax = 256
	workSpareMax  = 64
)

// spareWork gives the work back when it holds nothing.
func (s *Session) spareWork() {
	d, t := s.durable(), s.table
	w := d.work
	if w == nil || len(w.again)+len(w.since)+int(w.rels.n) > 0 {
		return
	}
	d.work = nil
	if len(t.works) < worksSpareMax && max(cap(w.again), cap(w.since), len(w.rels.buf)) <= workSpareMax {
		*w = work{again: w.again[:0], since: w.since[:0], rels: w.rels}
		t.works = append(t.works, w)
	}
}

// at is the position in a stream, made on demand.
func (d *durable) at(stream uint16) *position {
	if p := d.find(stream); p != nil {
		return p
	}
	d.others = append(d.others, position{stream: stream})
	slices.SortFunc(d.others, func(a, b position) int { return int(a.stream) - int(b.stream) })
	return d.find(stream)
}

// find is the position in a stream, nil when there is none.
func (d *durable) find(stream uint16) *position {
	if stream == 0 {
		return &d.log
	}
	for i := range d.others {
		if d.others[i].stream == stream {
			return &d.others[i]
		}
	}
	return nil
}

// each calls f for every position.
func (d *durable) each(f func(*position)) {
	f(&d.log)
	for i := range d.others {
		f(&d.others[i])
	}
}

// owed is where in work.again the messages of a stream are.
func (d *durable) owed(stream uint16) (from, to int) {
	if d.work == nil {
		return 0, 0
	}
	from, _ = slices.BinarySearchFunc(d.work.again, place{stream: stream}, place.compare)
	for to = from; to < len(d.work.again) && d.work.again[to].stream == stream; to++ {
	}
	return from, to
}

// keep makes the session durable or not, now that it has a connection. away says that it had none before.
func (s *Session) keep(on, away bool) {
	d := s.durable()
	switch {
	case on && d == nil:
		s.needExtra().durable = &durable{lastID: idsLogged}
		if s.flow != nil {
			s.flow.freeIDs = 0
		}
	case on:
		d.behind = d.behind || away
	case d != nil:
		s.forgetRecord()
	}
}

// forgetRecord makes a durable session one that lives in this table only: nothing waits for a save any more.
func (s *Session) forgetRecord() {
	s.extra.durable = nil
	s.spareExtra()
	f := s.flow
	if f == nil {
		return
	}
	f.freeIDs = 0
	f.clearAcks()
	for i := range f.window.len() {
		e := f.window.at(i)
		if e.has(markHollow) {
			e.kept.release()
			e.kept = nil
		}
		e.mark &= markRetain | markFresh
	}
	for i := range f.queue.len() {
		if e := f.queue.at(i); e.kept != nil {
			s.displace(e)
			e.mark &= markRetain
			s.place(i)
		}
	}
	s.spareFlow()
}

// Durable says that the session is kept in a record (Connect.Durable).
func (s *Session) Durable() bool { return s.durable() != nil }

// Gone says that the session ended.
func (s *Session) Gone() bool { return s.state == gone }

// Cursor is where a replay of a stream begins: everything up to it is done with, or under way in memory. 0 when nothing is known of the
// stream; the caller then says with SeenUpTo where the session begins.
func (s *Session) Cursor(stream uint16) uint64 {
	d := s.durable()
	if d == nil {
		return 0
	}
	if from, to := d.owed(stream); from < to {
		return d.work.again[from].seq - 1
	}
	if p := d.find(stream); p != nil {
		return p.cursor
	}
	return 0
}

// Floor is below the lowest message of a stream that the device did not acknowledge; it is the cursor when it owes nothing.
func (s *Session) Floor(stream uint16) uint64 {
	floor, f := s.Cursor(stream), s.flow
	if s.durable() == nil || f == nil {
		return floor
	}
	for _, r := range []*ring[entry]{&f.window, &f.queue} {
		for i := range r.len() {
			if e := r.at(i); e.kept != nil && e.has(markLogged) && e.kept.msg.Stream == stream {
				floor = min(floor, e.kept.msg.Seq-1)
			}
		}
	}
	return floor
}

// SeenUpTo says that everything of a stream up to seq was offered to the session and taken: of a current session when the tail is at seq,
// of one that is behind when a replay got there (ReplayLog's upTo).
func (s *Session) SeenUpTo(stream uint16, seq uint64) {
	d := s.durable()
	if d == nil {
		return
	}
	p := d.at(stream)
	p.cursor = max(p.cursor, seq)
	s.passed(stream, seq)
	s.trimSince()
}

// RewindTo says that a stream ends at seq, before the session's cursor: it lost its end with the power, and its next messages have numbers that were there
// before.
func (s *Session) RewindTo(stream uint16, seq uint64) {
	d := s.durable()
	if d == nil {
		return
	}
	if p := d.at(stream); p.cursor > seq {
		p.cursor, p.base, d.changed = seq, min(p.base, seq), true
	}
}

// passed forgets what a replay that came to seq did not bring: it is no more.
func (s *Session) passed(stream uint16, seq uint64) {
	d := s.durable()
	from, to := d.owed(stream)
	n := from
	for n < to && d.work.again[n].seq <= seq {
		n++
	}
	if n > from {
		d.work.again = slices.Delete(d.work.again, from, n)
		s.spareWork()
	}
}

// Behind says that the session takes messages of streams from a replay only: it was away, or its queue was full.
func (s *Session) Behind() bool {
	d := s.durable()
	return d != nil && d.behind
}

// CaughtUp says that a replay of each stream reached the tail, whose next message is the first that the session has not been offered:
// from now on the tail feeds it.
func (s *Session) CaughtUp() {
	d := s.durable()
	if d == nil || s.state != live {
		return
	}
	d.behind, d.full = false, false
	if d.work != nil {
		d.work.again = d.work.again[:0]
		s.spareWork()
	}
}

// Hungry says that a replay should go on: the session is behind, and its queue is less than half full.
func (s *Session) Hungry() bool {
	d := s.durable()
	if d == nil || !d.behind || d.full || s.state != live || !s.resumed {
		return false
	}
	l := s.limits()
	return s.Ready() || 2*s.Queued() < l.QueueCountMax && 2*s.QueuedBytes() < l.QueueBytesMax
}

// progress notes that a message that was not taken may be taken now.
func (s *Session) progress() {
	if d := s.durable(); d != nil {
		d.full = false
	}
}

// Changed says that a message of a stream was taken or acknowledged since the last AppendRecord, so that a checkpoint is worth its
// while.
func (s *Session) Changed() bool {
	d := s.durable()
	return d != nil && d.changed
}

// Kept is what the caller hung on a durable session with Keep, nil if nothing.
func (s *Session) Kept() any {
	if d := s.durable(); d != nil {
		return d.kept
	}
	return nil
}

// Keep hangs something of the caller's on a durable session. It does nothing to another.
func (s *Session) Keep(what any) {
	if d := s.durable(); d != nil {
		d.kept = what
	}
}
