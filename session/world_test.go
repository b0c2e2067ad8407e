package session

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// A world is what durable sessions are for: streams, devices, a store of records, and a gateway that dies at any moment. It checks the
// promises at the devices and at the log, not the effects of single events: QoS 2 exactly once in both directions, QoS 1 at least once,
// order for each topic and QoS, nothing lost between cursor and stream.

// worldMessage is a message of a stream, or what a device stored there.
type worldMessage struct {
	seq     uint64
	topic   string
	qos     uint8
	until   uint32 // by the wall; 0: it does not expire
	from    string // of a device: its client id
	id      uint16 // its packet id, QoS 2
	release bool   // a marker
	n       int    // its number, which is its payload
}

type world struct {
	rnd     *rand.Rand
	limits  Limits
	table   *Table
	streams [2][]worldMessage // sorted by seq
	end     [2]uint64
	trimmed [2]uint64 // the stream forgot up to here
	tail    [2]uint64 // what the table was offered
	store   map[string][]byte
	devices []*worldDevice
	wall    uint32
	began   uint32 // of the table's clock
	owners  uint64
	numbers int
	storing []storing
	out     Out
	memory  bool // messages of no stream come too
	log     []string
	saw     map[string]int
	err     error
}

// storing is a message from a device on its way to the log.
type storing struct {
	d     *worldDevice
	s     *Session
	m     worldMessage
	token uint32
}

var worldLog = flag.Int("world.log", 120, "how many lines of its log a world shows that fails")

const worldBegan = 1_700_000_000

// Of worldLastTopic only the newest message waits.
const worldLastTopic = "c"

var worldTopics = []string{"a", "a/b", worldLastTopic, "c/d/e"}

func newWorld(rnd *rand.Rand) *world {
	w := &world{rnd: rnd, store: map[string][]byte{}, wall: worldBegan, saw: map[string]int{}, memory: rnd.IntN(2) == 0}
	w.limits = Limits{QueueCountMax: 1 + rnd.IntN(6), QueueBytesMax: 20 + rnd.IntN(100), QueuePolicy: QueuePolicy(rnd.IntN(2)),
		InflightMax: uint16(1 + rnd.IntN(6)), ReceiveMax: uint16(1 + rnd.IntN(6)), ExpiryMaxSec: Never, QueueQoS0: rnd.IntN(3) == 0}
	if rnd.IntN(6) == 0 {
		w.limits.QueueCountMax = -1
	}
	if !w.memory && rnd.IntN(3) == 0 {
		w.limits.QueuePolicy = Disconnect // which is not for messages of streams
	}
	if rnd.IntN(3) == 0 {
		w.limits.TableBytesMax = 600
	}
	w.newTable()
	for i := range 3 {
		w.devices = append(w.devices, &worldDevice{w: w, id: string(rune('a' + i)), filters: map[string]*worldFilter{}, got: map[int]*worldGot{}, torn: map[int]bool{},
			window: uint16(1 + rnd.IntN(6))})
	}
	return w
}

func (w *world) newTable() {
	w.table, w.began = NewTable(&w.limits), w.wall-1
	w.tail = w.end
}

func (w *world) now() uint32 { return w.wall - w.began }

func (w *world) note(format string, v ...any) { w.log = append(w.log, fmt.Sprintf(format, v...)) }

func (w *world) fail(format string, v ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, v...)
	}
}

// TestWorld lives through random worlds; each is brought to rest at its end, and everything must have arrived.
func TestWorld(t *testing.T) {
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-model.seed=%d -model.events=%d", seed, *modelEvents)
	const life = 1000
	saw := map[string]int{}
	for begin := 0; begin < *modelEvents; begin += life {
		w := newWorld(rand.New(rand.NewPCG(seed, uint64(begin))))
		for i := 0; i < life && w.err == nil; i++ {
			w.live()
		}
		if w.err == nil {
			w.rest()
		}
		if w.err != nil {
			t.Fatalf("seed %d, life from %d: %v\nlimits %+v\n%s", seed, begin, w.err, w.limits, strings.Join(w.log[max(0, len(w.log)-*worldLog):], "\n"))
		}
		for what, n := range w.saw {
			saw[what] += n
		}
	}
	t.Logf("seen: %v", saw)
	for what := range strings.FieldsSeq("kill move restore behind full refill refill-nil pubrel-again puback dup released received qos0 qos1 qos2 late-save trimmed resent") {
		if saw[what] == 0 && *modelEvents >= 20000 {
			t.Errorf("no life had a %q", what)
		}
	}
}

func (w *world) live() {
	if w.rnd.IntN(10) == 0 {
		w.wall += uint32(w.rnd.IntN(3))
	}
	d := w.devices[w.rnd.IntN(len(w.devices))]
	switch n := w.rnd.IntN(100); {
	case n < 20:
		w.publish()
	case n < 40:
		w.follow()
	case n < 48:
		w.stored(1)
	case n < 49 && w.rnd.IntN(3) == 0:
		w.kill()
	case n < 50 && w.memory:
		w.gossip()
	case n < 51:
		w.trim()
	case n < 58:
		d.save()
	case n < 66:
		d.saved()
	case n < 74:
		d.replay(1 + w.rnd.IntN(4))
	default:
		d.live()
	}
	if err := invariants(w.table); err != nil {
		w.fail("%v", err)
	}
}

// publish is what backends put into a stream. Other messages take numbers too.
func (w *world) publish() {
	at := w.rnd.IntN(2)
	w.end[at] += uint64(1 + w.rnd.IntN(2))
	w.numbers++
	m := worldMessage{seq: w.end[at], topic: worldTopics[w.rnd.IntN(len(worldTopics))], qos: uint8(1 + w.rnd.IntN(2)), n: w.numbers}
	if at == 1 {
		m.topic += "/1" // each topic is in one stream
	}
	if w.rnd.IntN(10) == 0 {
		m.until = w.wall + uint32(w.rnd.IntN(8))
	}
	w.streams[at] = append(w.streams[at], m)
	w.note("[%d] stream %d: %d %s qos=%d number %d", w.wall, at, m.seq, m.topic, m.qos, m.n)
	for _, d := range w.devices {
		d.expect(at, &m)
	}
}

// trim makes a stream forget.
func (w *world) trim() {
	if w.rnd.IntN(4) > 0 {
		return
	}
	at := w.rnd.IntN(2)
	if n := len(w.streams[at]); n > 8 {
		w.saw["trimmed"]++
		w.trimmed[at] = max(w.trimmed[at], w.streams[at][w.rnd.IntN(n-4)].seq)
		w.note("stream %d forgets up to %d", at, w.trimmed[at])
	}
}

// message is m as it comes from its stream.
func (w *world) message(at int, m *worldMessage) *Message {
	msg := &Message{Topic: []byte(m.topic), Payload: fmt.Append(nil, m.n), QoS: m.qos, Stream: uint16(at), Seq: m.seq,
		LastValue: m.topic == worldLastTopic}
	if m.until != 0 {
		msg.ExpiresAtSec = max(m.until, w.began+1) - w.began
	}
	return msg
}

// follow lets the tail bring a few messages.
func (w *world) follow() {
	at := w.rnd.IntN(2)
	for range 1 + w.rnd.IntN(4) {
		i, _ := slices.BinarySearchFunc(w.streams[at], w.tail[at]+1, func(m worldMessage, seq uint64) int { return int(m.seq) - int(seq) })
		if i == len(w.streams[at]) {
			w.tail[at] = w.end[at]
			return
		}
		m := &w.streams[at][i]
		w.tail[at] = m.seq
		if m.from != "" {
			continue
		}
		w.fan(w.message(at, m))
	}
}

func (w *world) fan(msg *Message) {
	var ms Matches
	w.table.Match(msg.Topic, nil, &ms)
	for _, m := range ms.List {
		ev := Event{Kind: Deliver, Msg: msg, QoS: m.QoS, Congested: w.rnd.IntN(8) == 0}
		w.device(m.Session.id).step(m.Session, &ev)
	}
}

// gossip is a message of no stream.
func (w *world) gossip() {
	w.numbers++
	topic := worldTopics[w.rnd.IntN(len(worldTopics))]
	w.fan(&Message{Topic: []byte(topic), Payload: fmt.Append(nil, -w.numbers), QoS: uint8(w.rnd.IntN(3)), LastValue: topic == worldLastTopic})
}

func (w *world) device(id string) *worldDevice { return w.devices[id[0]-'a'] }

// stored lets messages from devices arrive in the log, in order.
func (w *world) stored(n int) {
	for ; n > 0 && len(w.storing) > 0; n-- {
		st := w.storing[0]
		w.storing = w.storing[1:]
		w.end[0]++
		st.m.seq = w.end[0]
		w.streams[0] = append(w.streams[0], st.m)
		w.note("[%d] log: %d %+v", w.wall, st.m.seq, st.m)
		if st.s == nil {
			continue
		}
		if st.m.release {
			w.saw["released"]++
			st.d.step(st.s, &Event{Kind: Released, PacketID: st.m.id})
			continue
		}
		id := uint16(st.token)
		st.d.step(st.s, &Event{Kind: Accepted, PacketID: id, Token: st.token >> 16, Logged: st.m.qos == 2})
	}
}

// orphanStores is what becomes of messages on their way when their gateway dies, or has no session any more: the first ones arrive, and
// nobody hears of it.
func (w *world) orphanStores(of func(*storing) bool) {
	arrive := w.rnd.IntN(len(w.storing) + 1)
	var rest []storing
	for i, st := range w.storing {
		switch {
		case !of(&st):
			rest = append(rest, st)
		case i < arrive:
			w.end[0]++
			st.m.seq = w.end[0]
			w.streams[0] = append(w.streams[0], st.m)
			w.note("[%d] log, unheard: %+v", w.wall, st.m)
		}
	}
	w.storing = rest
}

// kill is the end of the gateway. Saves that are on their way arrive, or not.
func (w *world) kill() {
	w.saw["kill"]++
	w.note("[%d] KILL", w.wall)
	w.orphanStores(func(*storing) bool { return true })
	for _, d := range w.devices {
		d.cut()
	}
	w.out.Reset()
	w.newTable()
}

// receivedQoS2 is what bus.ReceivedQoS2 reads.
func (w *world) receivedQoS2(client string, after uint64) (ids []uint16) {
	for _, m := range w.streams[0] {
		if m.from != client || m.qos != 2 || m.seq <= after {
			continue
		}
		ids = slices.DeleteFunc(ids, func(id uint16) bool { return id == m.id })
		if !m.release {
			ids = append(ids, m.id)
		}
	}
	return ids
}

// rest lets everything come to its end, and looks whether it did.
func (w *world) rest() {
	w.note("REST")
	for range 400 {
		w.stored(len(w.storing))
		for range 8 {
			w.follow()
		}
		for _, d := range w.devices {
			d.settle()
		}
		if err := invariants(w.table); err != nil {
			w.fail("%v", err)
		}
	}
	for _, d := range w.devices {
		d.arrived()
	}
}

// sameRecord says whether two records differ in more than their time.
func sameRecord(a, b []byte) string {
	var x, y record
	if err := x.parse(a); err != nil {
		return err.Error()
	}
	if err := y.parse(b); err != nil {
		return err.Error()
	}
	x.flags, x.wallSec, x.endsAtSec, x.will.dueAtSec = y.flags, y.wallSec, y.endsAtSec, y.will.dueAtSec
	x.received, y.received, x.logPos = nil, nil, y.logPos
	if p, q := x.append(nil), y.append(nil); !bytes.Equal(p, q) {
		return fmt.Sprintf("%+v\nand\n%+v", x, y)
	}
	return ""
}
