package session

import (
	"fmt"
	"slices"
	"strconv"
)

// worldDevice is a device as the standard wants it, and the part of the gateway that serves it.
type worldDevice struct {
	w       *world
	id      string
	s       *Session // nil: no connection
	window  uint16
	filters map[string]*worldFilter
	got     map[int]*worldGot
	wanted  []wanted
	last    map[string]int // by topic and QoS: the latest message that came for the first time

	wire   []Send         // on their way to the device; Msg is a copy
	back   []Event        // on their way from it
	ids    map[uint16]int // QoS 2 messages received and not released
	unack  map[uint16]bool
	ups    []*upMessage // published, not done
	done   []int        // published, and acknowledged
	torn   map[int]bool // published, and perhaps to be stored twice with QoS 1
	nextID uint16
	token  uint32

	// the gateway's part
	wants     bool // Out.Save was said
	full      bool // and Out.Full, by the last event
	record    []byte
	snap      uint32 // its token; 0: none is on its way
	held      []heldAck
	revisions int
}

type worldFilter struct {
	qos   uint8
	asked uint16    // packet id of the last SUBSCRIBE, 0: unsubscribed since
	acked bool      // its SUBACK came
	since [2]uint64 // the tails when it was asked for the first time
}

type worldGot struct{ qos [3]int }

// wanted is a message that the device must get.
type wanted struct {
	at int
	m  worldMessage
}

// heldAck waits for a save.
type heldAck struct {
	send  Send
	token uint32
}

type upMessage struct {
	n        int
	id       uint16
	qos      uint8
	released bool // PUBREC came
}

var worldFilters = []string{"a", "a/#", "+/b", "c/#", "#", "+/1", "a/b/1", "c/d/e/1"}

// expect notes that the device must get m.
func (d *worldDevice) expect(at int, m *worldMessage) {
	for filter, f := range d.filters {
		if f.acked && f.qos > 0 && m.until == 0 && m.topic != worldLastTopic && naiveMatch(filter, m.topic) {
			d.wanted = append(d.wanted, wanted{at, *m})
			return
		}
	}
}

func (d *worldDevice) live() {
	r := d.w.rnd
	switch n := r.IntN(100); {
	case d.s == nil:
		if n < 30 {
			d.connect()
		}
	case n < 5:
		d.lose()
	case n < 12:
		d.subscribe()
	case n < 15:
		d.unsubscribe()
	case n < 30:
		d.publish()
	case n < 35:
		d.step(d.s, &Event{Kind: Drained, Congested: r.IntN(3) == 0})
	case n < 70:
		d.receive()
	default:
		d.answer()
	}
}

// connect opens the session here, or takes it over from its record.
// takeOver restores the session from the record that was stored last, as another gateway does.
// cut ends the connection, as seen from the device.
// drop forgets what the gateway had for the device.
// hangUp loses what is on the wire. A session does not remember for what it sent PUBACK.
func (d *worldDevice) hangUp() {
	for _, p := range d.wire {
		for _, up := range d.ups {
			if p.Kind == SendPuback && p.PacketID == up.id {
				d.torn[up.n] = true
			}
		}
	}
	d.wire, d.back, d.unack = nil, nil, nil
}

func (d *worldDevice) lose() {
	s := d.s
	d.w.note("[%d] %s loses its connection", d.w.wall, d.id)
	d.hangUp()
	d.held = nil
	d.step(s, &Event{Kind: Lost})
	d.s = nil
}

// step gives an event to the session and applies what comes of it.
// save takes a snapshot when one is asked for, or as a checkpoint.
// land is the record in the bucket.
// saved is the answer.
// replay reads up to n messages of each stream, and goes on with the tail when nothing is left.
// refill hands in what the record had no bytes of.
func (d *worldDevice) subscribe() {
	filter := worldFilters[d.w.rnd.IntN(len(worldFilters))]
	f := d.filters[filter]
	if f == nil {
		f = &worldFilter{since: d.w.tail}
		d.filters[filter] = f
	}
	f.qos, f.acked = uint8(d.w.rnd.IntN(3)), false
	if f.qos == 0 {
		d.wantLess(filter)
	}
	d.w.note("[%d] %s subscribes %s:%d", d.w.wall, d.id, filter, f.qos)
	d.nextID++
	f.asked = d.nextID
	d.step(d.s, &Event{Kind: Subscribe, PacketID: d.nextID, Filters: []Filter{{Topic: []byte(filter), QoS: f.qos, RetainHandling: 2, Since: d.w.tail[:]}}})
	d.asked(filter)
}

// asked notes what the SUBACK that was just made is about.
func (d *worldDevice) asked(filter string) {
	for i := range d.wire {
		if d.wire[i].Kind == SendSuback && d.wire[i].PacketID == d.nextID {
			d.wire[i].Msg = &Message{Topic: []byte(filter)}
		}
	}
	for i := range d.held {
		if d.held[i].send.Kind == SendSuback && d.held[i].send.PacketID == d.nextID {
			d.held[i].send.Msg = &Message{Topic: []byte(filter)}
		}
	}
}

// wantLess takes away what only this filter may have brought for sure.
func (d *worldDevice) wantLess(filter string) {
	d.wanted = slices.DeleteFunc(d.wanted, func(x wanted) bool { return naiveMatch(filter, x.m.topic) })
}

// unsubscribe lets the device expect less: what was not delivered by now may not come.
func (d *worldDevice) unsubscribe() {
	for _, filter := range worldFilters {
		f := d.filters[filter]
		if f == nil || d.w.rnd.IntN(2) == 0 {
			continue
		}
		f.acked, f.asked = false, 0
		d.wantLess(filter)
		d.nextID++
		d.w.note("[%d] %s unsubscribes %s", d.w.wall, d.id, filter)
		d.step(d.s, &Event{Kind: Unsubscribe, PacketID: d.nextID, Filters: []Filter{{Topic: []byte(filter)}}})
		return
	}
}

func (up *upMessage) message() *Message {
	return &Message{Topic: []byte("up"), Payload: fmt.Append(nil, up.n), QoS: up.qos}
}

// publish sends a message, as Receive Maximum allows.
func (d *worldDevice) publish() {
	if len(d.ups) >= int(d.w.limits.ReceiveMax) {
		return
	}
	d.w.numbers++
	up := &upMessage{n: d.w.numbers, qos: uint8(1 + d.w.rnd.IntN(2))}
	for up.id = 1; slices.ContainsFunc(d.ups, func(u *upMessage) bool { return u.id == up.id }); up.id++ {
	}
	d.ups = append(d.ups, up)
	d.back = append(d.back, Event{Kind: Publish, PacketID: up.id, QoS: up.qos, Msg: up.message()})
}

// answer lets the oldest packet of the device arrive.
func (d *worldDevice) answer() {
	if len(d.back) == 0 {
		return
	}
	ev := d.back[0]
	d.back = d.back[1:]
	ev.Congested = d.w.rnd.IntN(8) == 0
	if ev.Kind == Publish {
		d.token++
		ev.Token = d.token & 0xFFFF
		if ev.Dup {
			d.w.saw["resent"]++
		}
	}
	d.step(d.s, &ev)
}

func (d *worldDevice) receive() {
	if len(d.wire) == 0 {
		return
	}
	p := d.wire[0]
	d.wire = d.wire[1:]
	switch p.Kind {
	case SendPublish:
		d.receivePublish(&p)
	case SendPubrel:
		if p.Dup {
			d.w.saw["pubrel-again"]++
		}
		delete(d.ids, p.PacketID)
		d.back = append(d.back, Event{Kind: Pubcomp, PacketID: p.PacketID})
		delete(d.unack, p.PacketID)
	case SendSuback:
		if f := d.filters[string(p.Msg.Topic)]; f.asked == p.PacketID {
			f.acked = true
		}
	case SendPuback, SendPubcomp:
		d.ups = slices.DeleteFunc(d.ups, func(u *upMessage) bool {
			// Whose PUBREL is still to be sent is not what a PUBCOMP is for: that answers a second PUBREL of the message that had the packet id before.
			done := u.id == p.PacketID && u.released == (p.Kind == SendPubcomp)
			if done {
				d.done = append(d.done, u.n)
			}
			return done
		})
		d.w.saw["puback"]++
	case SendPubrec:
		for _, up := range d.ups {
			if up.id == p.PacketID {
				up.released = true
				d.back = append(d.back, Event{Kind: Pubrel, PacketID: up.id})
			}
		}
	}
}

func (d *worldDevice) receivePublish(p *Send) {
	n, _ := strconv.Atoi(string(p.Msg.Payload))
	d.w.saw[fmt.Sprintf("qos%d", p.QoS)]++
	if p.Dup {
		d.w.saw["dup"]++
	}
	if p.QoS > 0 {
		if d.unack == nil {
			d.unack = map[uint16]bool{}
		}
		d.unack[p.PacketID] = true
		if len(d.unack) > int(d.window) {
			d.w.fail("%s: %d messages under way, Receive Maximum is %d", d.id, len(d.unack), d.window)
		}
	}
	switch p.QoS {
	case 1:
		d.back = append(d.back, Event{Kind: Puback, PacketID: p.PacketID})
		delete(d.unack, p.PacketID)
	case 2:
		d.back = append(d.back, Event{Kind: Pubrec, PacketID: p.PacketID})
		if have, ok := d.ids[p.PacketID]; ok {
			if have != n && n > 0 {
				d.w.fail("%s: packet id %d has number %d, and comes with %d", d.id, p.PacketID, have, n)
			}
			return
		}
		if d.ids == nil {
			d.ids = map[uint16]int{}
		}
		d.ids[p.PacketID] = n
	}
	d.take(p, n)
}

// take is a message that came through.
func (d *worldDevice) take(p *Send, n int) {
	g := d.got[n]
	if g == nil {
		g = &worldGot{}
		d.got[n] = g
	}
	g.qos[p.QoS]++
	d.w.note("[%d] %s has number %d qos=%d", d.w.wall, d.id, n, p.QoS)
	// QoS 0 that is kept like the others may come twice when a gateway dies, since the record's cursor is older than the last message.
	if g.qos[p.QoS] > 1 && (p.QoS == 2 || p.QoS == 0 && !d.w.limits.QueueQoS0) {
		d.w.fail("%s: number %d came %d times with QoS %d", d.id, n, g.qos[p.QoS], p.QoS)
	}
	// What was superseded may come after all when a gateway dies, since the record's cursor is older.
	if n < 0 || g.qos[p.QoS] > 1 || p.QoS == 0 && d.w.limits.QueueQoS0 || string(p.Msg.Topic) == worldLastTopic {
		return
	}
	if d.last == nil {
		d.last = map[string]int{}
	}
	lane := fmt.Sprintf("%s %d", p.Msg.Topic, p.QoS)
	if d.last[lane] > n {
		d.w.fail("%s: %s: number %d came after %d", d.id, lane, n, d.last[lane])
	}
	d.last[lane] = n
	d.tooOld(string(p.Msg.Topic), n)
}

// tooOld looks whether a message is older than every filter that may have brought it.
func (d *worldDevice) tooOld(topic string, n int) {
	for at := range d.w.streams {
		for i := range d.w.streams[at] {
			m := &d.w.streams[at][i]
			if m.n != n {
				continue
			}
			for filter, f := range d.filters {
				if naiveMatch(filter, topic) && m.seq > f.since[at] {
					return
				}
			}
			d.w.fail("%s: number %d is older than its filters", d.id, n)
		}
	}
}

// settle brings the device some steps towards rest.
// arrived looks whether everything did.
// stored looks at what the log has of the device.
