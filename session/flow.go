package session

// flow is the messages under way of one session. It exists only while it holds something and is recycled by the
// table, so that steady traffic allocates nothing.
type flow struct {
	window ring[entry]   // to the device, sent and not acknowledged, in the order they were first sent
	queue  ring[entry]   // to the device, waiting for window and connection
	acks   ring[inbound] // from the device, QoS 1, PUBACK due
	recs   ring[inbound] // from the device, QoS 2, until PUBREL

	sent       int    // of window, from the front: sent on this connection, or waiting for a save (markUnsaved)
	recd       int    // of recs, from the front: taken over, PUBREC sent or, without connection, due on request
	unacked    int    // of acks and recs: begun on this connection, what Receive Maximum counts
	queueBytes int    // size of the queued messages
	heldBytes  int    // size of the messages in window that the device has not got for sure
	queueQoS0  uint32 // how many of them are QoS 0
	stale      uint32 // of acks, from the front: of an earlier connection, and not sent again on this one; durable sessions only
	known      uint32 // how many of these are taken over
	freeIDs    uint16 // how many packet ids after lastID are surely not in use
	shared     uint32 // of window and queue: got as a member of a shared group
	dead       uint32 // of queue: superseded, never the first one
}

// entry is a message to the device.
type entry struct {
	kept  *stored // window: nil once only PUBREL is due; queue: nil when superseded
	ids   *idList // nil: none
	group uint32  // the shared group, by interest, as whose member the session got it; 0: none
	id    uint16  // packet id; 0 in the queue
	qos   uint8
	mark  mark
}

// mark is what else there is to know of an entry.
type mark uint8

const (
	markRetain  mark = 1 << iota
	markLogged       // of a stream, in a durable session: what the record and the cursors are about
	markUnsaved      // QoS 2: the next packet is due once a record that says so is stored
	markSnapped      // and that record is written, not yet stored
	markFresh        // QoS 2: the next packet was never sent
	markHollow       // restored: kept tells the place in the stream, its bytes come with Refill
)

// has says whether one of the marks is set.
func (e *entry) has(m mark) bool { return e.mark&m != 0 }

// phase is what an entry of the window waits for.
type phase uint8

const (
	awaitAck  phase = iota // QoS 1: PUBACK
	awaitRec               // QoS 2: PUBREC
	awaitComp              // QoS 2: PUBCOMP, PUBREL was sent
)

// phase is where an entry of the window is.
func (e *entry) phase() phase {
	switch {
	case e.qos == 1:
		return awaitAck
	case e.kept == nil:
		return awaitComp
	}
	return awaitRec
}

// inbound is a message from the device that is not done. 16 bytes.
type inbound struct {
	what   uint64 // durable sessions: QoS 1 a hash of the message, QoS 2 a place in the log after which it is
	token  uint32
	id     uint16
	reason uint8
	mark   inboundMark
}

// inboundMark is how far it is.
type inboundMark uint8

const (
	inTaken     inboundMark = 1 << iota // Accepted came
	inCounted                           // in unacked
	inLogged                            // its PUBREL needs a marker in the log
	inReleasing                         // which is under way
	inAsked                             // and PUBCOMP is due on this connection
)

// has says whether one of the marks is set.
func (in *inbound) has(m inboundMark) bool { return in.mark&m != 0 }

// flowsSpareMax is how many unused flows a table keeps.
const flowsSpareMax = 1024

// needFlow is the session's flow, made on demand.
func (s *Session) needFlow() *flow {
	if s.flow != nil {
		return s.flow
	}
	t := s.table
	if n := len(t.flows); n > 0 {
		s.flow = t.flows[n-1]
		t.flows[n-1] = nil
		t.flows = t.flows[:n-1]
		return s.flow
	}
	s.flow = new(flow)
	return s.flow
}

// spareFlow gives the flow back when it holds nothing.
func (s *Session) spareFlow() {
	f := s.flow
	if f == nil || f.window.n+f.queue.n+f.acks.n+f.recs.n > 0 {
		return
	}
	s.flow = nil
	f.window.trim()
	f.queue.trim()
	f.acks.trim()
	f.recs.trim()
	f.freeIDs = 0
	if len(s.table.flows) < flowsSpareMax {
		s.table.flows = append(s.table.flows, f)
	}
}

// cutFlow forgets what belonged to the connection. QoS 1 from the device goes: it sends it again [MQTT-4.4.0-1]; a durable session
// remembers it, so that it is not stored again.
func (s *Session) cutFlow() {
	f := s.flow
	if f == nil {
		return
	}
	f.sent, f.unacked = 0, 0
	if d := s.durable(); d != nil {
		d.ripe = false
		s.cutAcks()
	} else {
		f.clearAcks()
	}
	for i := range f.recs.len() {
		f.recs.at(i).mark &^= inCounted | inAsked
	}
	s.spareFlow()
}

// dropFlow forgets everything; what was owed to the device, and may not go to another member of a group, is counted.
func (s *Session) dropFlow(out *Out) {
	f := s.flow
	if f == nil {
		return
	}
	d := s.durable()
	moved := d != nil && d.moved // what the record has goes on elsewhere
	f.sent = 0
	s.giveUp(true, out)
	for f.queue.n > 0 {
		e := s.unqueue()
		out.hold(&e)
		if !moved || !e.has(markLogged) {
			out.Drops[DropSessionGone]++
		}
	}
	for f.window.n > 0 {
		if e := s.forget(0, out); e.phase() != awaitComp && (!moved || !e.has(markLogged)) {
			out.Drops[DropSessionGone]++
		}
	}
	f.clearAcks()
	f.recs.clear()
	f.recd, f.unacked = 0, 0
	s.spareFlow()
}

// forget takes the i-th entry out of the window.
func (s *Session) forget(i int, out *Out) entry {
	f := s.flow
	e := f.window.remove(i)
	s.table.inflight--
	f.heldBytes -= e.size()
	f.unshare(&e)
	if i < f.sent {
		f.sent--
	}
	if e.has(markLogged) {
		s.progress()
		s.durable().changed = true
	}
	out.hold(&e)
	return e
}

// unshare counts e out of those of shared groups.
func (f *flow) unshare(e *entry) {
	if e.group != 0 {
		f.shared--
		e.group = 0
	}
}

// size is the bytes that e keeps.
func (e *entry) size() int {
	if e.kept == nil {
		return 0
	}
	return e.kept.msg.size()
}

// hold ends e's references when out is reset.
func (o *Out) hold(e *entry) {
	if e.kept != nil {
		o.held = append(o.held, e.kept)
	}
	if e.ids != nil {
		o.heldIDs = append(o.heldIDs, e.ids)
	}
}

// Inflight is how many QoS 1 and 2 messages to the device are unacknowledged.
func (s *Session) Inflight() int {
	if s.flow == nil {
		return 0
	}
	return s.flow.window.len()
}

// Queued is how many messages wait behind them.
func (s *Session) Queued() int {
	if s.flow == nil {
		return 0
	}
	return s.flow.waiting()
}

// QueuedBytes is the size of the queued messages.
func (s *Session) QueuedBytes() int {
	if s.flow == nil {
		return 0
	}
	return s.flow.queueBytes
}

// Unaccepted is how many QoS 1 and 2 messages from the device wait for Accepted. The caller reads no more from a 3.x
// device while it is high, because such a device knows no Receive Maximum.
func (s *Session) Unaccepted() int {
	if s.flow == nil {
		return 0
	}
	return s.flow.acks.len() - int(s.flow.known) + s.flow.recs.len() - s.flow.recd
}
