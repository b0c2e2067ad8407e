package session

import (
	"slices"
	"strconv"
)

// The part of the gateway that serves one device of a world.

func (d *worldDevice) connect() {
	w := d.w
	w.owners++
	c := Connect{ClientID: []byte(d.id), Version: 5, ExpirySec: Never, ReceiveMax: d.window, Durable: true, Upgrade: w.rnd.IntN(8) == 0}
	known := d.revisions > 0
	var s *Session
	var present bool
	have := w.table.Get(c.ClientID)
	if have != nil && w.rnd.IntN(3) > 0 || !known {
		s, present = w.table.Open(w.now(), &c, w.owners, &w.out)
	} else {
		s, present = d.takeOver(&c, have)
	}
	if s == nil || present != known {
		w.fail("%s: present=%v, known=%v", d.id, present, known)
		return
	}
	w.note("[%d] %s connects, cursors %d %d", w.wall, d.id, s.Cursor(0), s.Cursor(1))
	d.s = s
	if !present {
		for at := range w.tail {
			s.SeenUpTo(uint16(at), w.tail[at])
		}
	}
	w.out.Reset()
	// The claim is stored before CONNACK.
	d.snapshot()
	d.land()
	d.step(s, &Event{Kind: Saved, Token: d.snap})
	d.snap = 0
	for _, up := range d.ups {
		ev := Event{Kind: Publish, PacketID: up.id, QoS: up.qos, Dup: true, Msg: up.message()}
		if up.released {
			ev = Event{Kind: Pubrel, PacketID: up.id}
		}
		d.back = append(d.back, ev)
	}
	if w.rnd.IntN(4) > 0 {
		d.refill()
	}
	d.step(s, &Event{Kind: Resume, Congested: w.rnd.IntN(4) == 0})
}

func (d *worldDevice) takeOver(c *Connect, have *Session) (*Session, bool) {
	w := d.w
	if have != nil {
		w.saw["move"]++
		w.note("%s moves", d.id)
		w.orphanStores(func(st *storing) bool { return st.d == d })
		d.drop()
	}
	w.saw["restore"]++
	k := Kept{Record: w.store[d.id], WallSec: w.wall, LogAt: uint64(w.rnd.IntN(int(w.end[0]) + 1))}
	info, err := ReadRecord(k.Record)
	if err != nil {
		w.fail("%v", err)
	}
	if !info.Clean {
		w.saw["received"]++
		k.Received = w.receivedQoS2(d.id, info.LogPos)
	}
	s, present, err := w.table.Restore(w.now(), c, k, w.owners, &w.out)
	if err != nil {
		w.fail("%v", err)
		return nil, false
	}
	again, _ := s.AppendRecord(nil, w.now(), w.wall)
	if diff := sameRecord(again, k.Record); diff != "" {
		w.fail("%s restored differs: %s", d.id, diff)
	}
	return s, present
}

func (d *worldDevice) cut() {
	if len(d.record) > 0 && d.snap != 0 && d.w.rnd.IntN(2) == 0 {
		d.land() // it was on its way, and arrives
		d.w.saw["late-save"]++
	}
	d.drop()
}

func (d *worldDevice) drop() {
	d.s, d.wants, d.snap, d.record, d.held = nil, false, 0, nil, nil
	d.hangUp()
	for _, up := range d.ups {
		d.torn[up.n] = true
	}
}

func (d *worldDevice) step(s *Session, ev *Event) {
	w := d.w
	logged := ev.Kind == Deliver && ev.Msg.Seq > 0
	if ev.Kind == Publish && w.rnd.IntN(4) > 0 {
		s.LogIsAt(w.end[0])
	}
	s.Step(w.now(), ev, &w.out)
	o := &w.out
	if logged && o.Drops[DropQueueFull]+o.Drops[DropQueueBytes]+o.Drops[DropTableBytes] > 0 {
		w.fail("%s: a message of a stream was dropped", d.id)
	}
	if o.Close {
		w.fail("%s: %v closes 0x%02X", d.id, ev.Kind, o.CloseReason)
	}
	d.wants, d.full = d.wants || o.Save, o.Full
	if o.Behind {
		w.saw["behind"]++
	}
	if ev.Kind == Deliver && ev.Msg.Seq > 0 || len(o.Sends) > 0 || o.Save {
		w.note("  %s %v stream=%d seq=%d id=%d replay=%v: %q cursors %d %d", d.id, ev.Kind, seqOf(ev).stream, seqOf(ev).seq, ev.PacketID, ev.Replay, words("", o), s.Cursor(0), s.Cursor(1))
	}
	for i := range o.Sends {
		send := o.Sends[i]
		if send.Msg != nil {
			send.Msg = send.Msg.clone()
		}
		send.Reasons = slices.Clone(send.Reasons)
		if token := s.SavedBy(); token != 0 && (send.Kind == SendSuback || send.Kind == SendUnsuback) {
			d.held = append(d.held, heldAck{send, token})
			continue
		}
		d.wire = append(d.wire, send)
	}
	d.token++
	for _, m := range o.Publishes {
		n, _ := strconv.Atoi(string(m.Payload))
		up := worldMessage{n: n, qos: m.QoS, from: d.id}
		if m.QoS == 2 {
			up.id = ev.PacketID
		}
		w.storing = append(w.storing, storing{d: d, s: s, m: up, token: ev.Token<<16 | uint32(ev.PacketID)})
	}
	for _, id := range o.Releases {
		w.storing = append(w.storing, storing{d: d, s: s, m: worldMessage{from: d.id, id: id, qos: 2, release: true}})
	}
	o.Reset()
}

func seqOf(ev *Event) place {
	if ev.Msg == nil {
		return place{}
	}
	return place{ev.Msg.Stream, ev.Msg.Seq}
}

func (d *worldDevice) save() {
	s := d.w.table.Get([]byte(d.id))
	if s == nil || d.snap == 0 && !d.wants && (!s.Changed() || d.w.rnd.IntN(3) > 0) && d.w.rnd.IntN(6) > 0 {
		return
	}
	if d.snap != 0 { // another snapshot before the first is stored: this one counts, though the other may arrive as well
		switch {
		case d.w.rnd.IntN(8) > 0:
			return
		case d.w.rnd.IntN(2) == 0:
			d.land()
		}
	}
	if s.state == live && !s.Behind() {
		for at := range d.w.tail {
			s.SeenUpTo(uint16(at), d.w.tail[at])
		}
	}
	d.snapshot()
}

func (d *worldDevice) snapshot() {
	s := d.w.table.Get([]byte(d.id))
	d.wants = false
	if d.w.rnd.IntN(4) > 0 {
		s.LogIsAt(d.w.end[0])
	}
	d.record, d.snap = s.AppendRecord(nil, d.w.now(), d.w.wall)
	var r record
	if err := r.parse(d.record); err != nil {
		d.w.fail("%s: %v", d.id, err)
	}
	if n := len(r.sent) + len(r.again); n > len(d.w.streams)*int(d.w.limits.InflightMax) {
		d.w.fail("%s: the record has %d messages under way: %+v", d.id, n, r)
	}
	d.w.note("[%d] %s snapshot %d: %v again=%v sent=%v received=%v", d.w.wall, d.id, d.snap, r.streams, r.again, r.sent, r.received)
}

func (d *worldDevice) land() {
	d.w.store[d.id] = d.record
	d.revisions++
}

func (d *worldDevice) saved() {
	s := d.w.table.Get([]byte(d.id))
	if s == nil || d.snap == 0 {
		return
	}
	d.land()
	token := d.snap
	d.snap = 0
	d.step(s, &Event{Kind: Saved, Token: token, Congested: d.w.rnd.IntN(6) == 0})
	d.held = slices.DeleteFunc(d.held, func(h heldAck) bool {
		if int32(token-h.token) < 0 {
			return false
		}
		d.wire = append(d.wire, h.send)
		return true
	})
}

func (d *worldDevice) replay(n int) {
	s, w := d.s, d.w
	if s == nil {
		return
	}
	d.refill()
	if !s.Hungry() {
		return
	}
	caught := true
	for at := range w.streams {
		after := s.Cursor(uint16(at))
		full := false
		read := 0
		for i := range w.streams[at] {
			m := &w.streams[at][i]
			if m.seq <= after || m.seq <= w.trimmed[at] || m.from != "" {
				continue
			}
			msg := w.message(at, m)
			var ms Matches
			if s.Match(msg, &ms); len(ms.List) == 0 {
				continue
			}
			if read++; read > n {
				break
			}
			d.step(s, &Event{Kind: Deliver, Msg: msg, QoS: ms.List[0].QoS, Replay: true, Congested: w.rnd.IntN(8) == 0})
			if full = d.full; full {
				w.saw["full"]++
				break
			}
		}
		switch {
		case full || read > n:
			caught = false
		default:
			s.SeenUpTo(uint16(at), w.end[at])
		}
	}
	if caught {
		s.CaughtUp()
		w.note("[%d] %s caught up", w.wall, d.id)
	}
}

func (d *worldDevice) refill() {
	var lacks []place
	d.s.EachRefill(func(stream uint16, seq uint64) bool {
		lacks = append(lacks, place{stream, seq})
		return true
	})
	for _, p := range lacks {
		ev := Event{Kind: Refill, Stream: p.stream, Seq: p.seq}
		for i := range d.w.streams[p.stream] {
			if m := &d.w.streams[p.stream][i]; m.seq == p.seq && m.seq > d.w.trimmed[p.stream] {
				ev.Msg = d.w.message(int(p.stream), m)
			}
		}
		d.w.saw["refill"]++
		if ev.Msg == nil {
			d.w.saw["refill-nil"]++
		}
		d.step(d.s, &ev)
	}
}

func (d *worldDevice) settle() {
	if d.s == nil {
		d.connect()
	}
	if d.w.err != nil {
		return
	}
	d.step(d.s, &Event{Kind: Drained})
	d.save()
	d.saved()
	for range 20 {
		d.receive()
		d.answer()
	}
	d.replay(3)
}

func (d *worldDevice) arrived() {
	w, s := d.w, d.s
	for _, x := range d.wanted {
		if g := d.got[x.m.n]; x.m.seq > w.trimmed[x.at] && (g == nil || g.qos[1]+g.qos[2] == 0) {
			w.fail("%s: number %d at %d of stream %d did not come", d.id, x.m.n, x.m.seq, x.at)
		}
	}
	if s.Inflight()+s.Queued()+len(d.ups) > 0 || s.Behind() {
		w.fail("%s at rest: %d in flight, %d queued, %d published, behind %v hungry %v pending %v %+v", d.id, s.Inflight(), s.Queued(), len(d.ups), s.Behind(), s.Hungry(), s.Pending(), s.durable())
	}
	d.stored()
}

func (d *worldDevice) stored() {
	times := map[int]int{}
	for _, m := range d.w.streams[0] {
		if m.from == d.id && !m.release {
			if times[m.n]++; times[m.n] > 1 && (m.qos == 2 || !d.torn[m.n]) {
				d.w.fail("%s: number %d is stored twice", d.id, m.n)
			}
		}
	}
	for _, n := range d.done {
		if times[n] == 0 {
			d.w.fail("%s: number %d was acknowledged, but not stored", d.id, n)
		}
	}
}
