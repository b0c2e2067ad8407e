//go:build fault

package fault

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// device is an MQTT 5 client with a persistent session. It comes back by itself, to any gateway, and keeps what the
// standard demands: it sends what is unacknowledged again, in order, with DUP and the same packet ids [MQTT-4.4.0-1]
// [MQTT-4.6.0-1], goes on with QoS 2 where it was, and hands on a QoS 2 message once, however often it comes [MQTT-4.3.3].
//
// Safe from any goroutine; the callbacks run on the goroutine that reads, with the device locked.
type device struct {
	id      string
	filters []filter
	window  int // unacknowledged messages at most
	padding int // bytes of its messages beside the number
	choose  func() *gate
	dial    func(addr string) (net.Conn, error)
	took    func(topic string, qos byte, payload []byte) // a message came
	told    func(m *sending, reason byte)                // PUBACK, PUBREC, or a refusal
	slack   time.Duration                                // no PINGRESP for that long: the connection is dead
	count   *counts
	every   time.Duration // between two PINGREQs

	mu         sync.Mutex
	conn       net.Conn
	out        *bufio.Writer
	unacked    []*sending
	lastID     uint16
	received   map[uint16]bool // QoS 2 messages to us that are not released
	subscribed bool
	sessions   int       // connections that went on with a session, or began one
	pinged     time.Time // when the PINGREQ was sent that is not answered
	pingDue    time.Time
	scratch    []byte

	live atomic.Bool // connected, and subscribed where it wants to be
	stop context.CancelFunc
	done chan struct{}
}

// sending is a message to the gateway that is not completely acknowledged.
type sending struct {
	id       uint16
	qos      byte
	released bool // PUBREC came: PUBREL is what is sent again
	topic    string
	payload  []byte
	pub      int
	number   int
}

// counts are of all devices of a test.
type counts struct {
	connects, refusals atomic.Int64
	closedByLiving     atomic.Int64 // connections that a living gateway ended
	givenUp            atomic.Int64 // connections that we ended for want of a PINGRESP
	sessionsLost       atomic.Int64
	pingWaitMax        atomic.Int64 // nanoseconds
	lastReason         atomic.Value // of a refused CONNECT or a DISCONNECT, as text
	acks               atomic.Int64
	lastAck            atomic.Int64 // Unix nanoseconds
	stallMax           atomic.Int64 // longest time between two acknowledgements of any device
}

const (
	keepAliveSec = 60
	pingEvery    = 2 * time.Second
	sessionSec   = 3600
	connectTime  = 15 * time.Second
	writeTime    = 10 * time.Second
)

func newDevice(id string, c *counts, choose func() *gate) *device {
	return &device{
		id: id, window: 64, choose: choose, count: c, slack: 20 * time.Second, every: pingEvery, received: make(map[uint16]bool), done: make(chan struct{}),
		dial: func(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, 5*time.Second) },
		took: func(string, byte, []byte) {},
		told: func(*sending, byte) {},
	}
}

// start lets the device live until leave.
func (d *device) start() {
	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	go d.run(ctx)
}

// leave ends the device's connection without a word, and the device.
func (d *device) leave() {
	if d.stop == nil {
		return
	}
	d.stop()
	d.hangUp()
	<-d.done
	d.stop, d.done = nil, make(chan struct{})
}

func (d *device) run(ctx context.Context) {
	defer close(d.done)
	for ctx.Err() == nil {
		g := d.choose()
		kills := g.kills.Load()
		in, err := d.connect(ctx, g)
		if err == nil {
			err = d.serve(in)
			if ctx.Err() == nil && g.kills.Load() == kills && !errors.Is(err, net.ErrClosed) {
				d.count.closedByLiving.Add(1)
			}
		}
		d.hangUp()
		if err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(50+rand.IntN(200)) * time.Millisecond):
		}
	}
}

// connect returns when CONNACK was read and everything old is sent again.
func (d *device) connect(ctx context.Context, g *gate) (*bufio.Reader, error) {
	conn, err := d.dial(g.addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(connectTime))
	in := bufio.NewReaderSize(conn, 4<<10)
	present, err := d.handshake(conn, in)
	if err != nil {
		conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	d.count.connects.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn, d.out, d.pinged = conn, bufio.NewWriterSize(conn, 4<<10), time.Time{}
	if ctx.Err() != nil {
		conn.Close()
	}
	d.resume(present)
	return in, nil
}

func (d *device) handshake(conn net.Conn, in *bufio.Reader) (present bool, err error) {
	if _, err := conn.Write(appendConnect(nil, d.id, keepAliveSec, sessionSec)); err != nil {
		return false, err
	}
	first, body, err := readPacket(in, nil)
	switch {
	case err != nil:
		return false, err
	case first != pConnack || len(body) < 2:
		return false, errMalformed
	case body[1] >= refused:
		d.count.refusals.Add(1)
		d.count.lastReason.Store(fmt.Sprintf("%s CONNECT of %s refused with %#x", time.Now().Format("15:04:05.000"), d.id, body[1]))
		return false, fmt.Errorf("refused with %#x", body[1])
	}
	return body[0]&1 != 0, nil
}

// resume begins a connection: with the old session, or without.
func (d *device) resume(present bool) {
	d.sessions++
	if !present {
		if d.sessions > 1 {
			d.count.sessionsLost.Add(1)
		}
		d.unacked, d.subscribed = nil, false
		clear(d.received)
	}
	for _, m := range d.unacked {
		if m.released {
			d.write(appendAck(d.scratch[:0], pPubrel, m.id))
		} else {
			d.write(appendPublish(d.scratch[:0], m, true))
		}
	}
	if len(d.filters) > 0 && !d.subscribed {
		d.write(appendSubscribe(nil, d.freshID(), d.filters))
	}
	d.live.Store(d.subscribed || len(d.filters) == 0)
	d.flush()
}

// serve reads until the connection ends.
func (d *device) serve(in *bufio.Reader) error {
	buf := make([]byte, 1<<10)
	for {
		first, body, err := readPacket(in, buf)
		if err == nil {
			d.mu.Lock()
			err = d.handle(first, body)
			if in.Buffered() == 0 {
				d.flush()
			}
			d.mu.Unlock()
		}
		if err != nil {
			return err
		}
	}
}

func (d *device) handle(first byte, body []byte) error {
	switch first & 0xF0 {
	case pPublish:
		return d.onPublish(first, body)
	case pPuback, pPubrec, pPubcomp, pPubrel & 0xF0:
		return d.onAck(first, body)
	case pSuback:
		d.subscribed = true
		d.live.Store(true)
	case pPingresp:
		raise(&d.count.pingWaitMax, int64(time.Since(d.pinged)))
		d.pinged = time.Time{}
	case pDisconnect:
		if len(body) > 0 {
			d.count.lastReason.Store(fmt.Sprintf("%s %s got DISCONNECT with %#x at %s", time.Now().Format("15:04:05.000"), d.id, body[0], d.conn.RemoteAddr()))
		}
	default:
		return errMalformed
	}
	return nil
}

func (d *device) onPublish(first byte, body []byte) error {
	topic, qos, id, payload, err := publishOf(first, body)
	if err != nil {
		return err
	}
	if qos < 2 || !d.received[id] {
		d.took(topic, qos, payload)
	}
	switch {
	case qos == 1:
		d.write(appendAck(d.scratch[:0], pPuback, id))
	case qos == 2:
		d.received[id] = true
		d.write(appendAck(d.scratch[:0], pPubrec, id))
	}
	return nil
}

func (d *device) onAck(first byte, body []byte) error {
	id, reason, err := ackOf(body)
	if err != nil {
		return err
	}
	if first == pPubrel {
		delete(d.received, id)
		d.write(appendAck(d.scratch[:0], pPubcomp, id))
		return nil
	}
	at := -1
	for i, m := range d.unacked {
		if m.id == id {
			at = i
			break
		}
	}
	if at < 0 {
		if first == pPubrec && reason < refused {
			d.write(appendAck(d.scratch[:0], pPubrel, id))
		}
		return nil
	}
	m := d.unacked[at]
	if first == pPubrec && reason < refused {
		if !m.released {
			m.released = true
			d.acked(m, reason)
		}
		d.write(appendAck(d.scratch[:0], pPubrel, id))
		return nil
	}
	d.unacked = append(d.unacked[:at], d.unacked[at+1:]...)
	if first != pPubcomp {
		d.acked(m, reason)
	}
	return nil
}

// acked tells what the device was told of a message.
func (d *device) acked(m *sending, reason byte) {
	now := time.Now().UnixNano()
	if last := d.count.lastAck.Swap(now); last != 0 {
		raise(&d.count.stallMax, now-last)
	}
	d.count.acks.Add(1)
	d.told(m, reason)
}

// publish sends a message unless the window is full or the device is not connected.
func (d *device) publish(m *sending) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn == nil || len(d.unacked) >= d.window {
		return false
	}
	m.id = d.freshID()
	d.unacked = append(d.unacked, m)
	d.write(appendPublish(d.scratch[:0], m, false))
	return true
}

// freshID is a packet id that nothing unacknowledged has.
func (d *device) freshID() uint16 {
next:
	for {
		if d.lastID++; d.lastID == 0 {
			continue
		}
		for _, m := range d.unacked {
			if m.id == d.lastID {
				continue next
			}
		}
		return d.lastID
	}
}

// tend sends what is written, and a PINGREQ when it is due; it hangs up when the last one was not answered.
func (d *device) tend(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.conn == nil:
		return
	case d.pinged.IsZero() && now.Before(d.pingDue):
	case d.pinged.IsZero():
		d.pinged, d.pingDue = now, now.Add(d.every)
		d.write([]byte{pPingreq, 0})
	case now.Sub(d.pinged) > d.slack:
		d.count.givenUp.Add(1)
		raise(&d.count.pingWaitMax, int64(now.Sub(d.pinged)))
		d.conn.Close()
	}
	d.flush()
}

func (d *device) push() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flush()
}

func (d *device) write(p []byte) {
	d.scratch = p[:0]
	if d.out != nil {
		_, _ = d.out.Write(p) // the reader sees that the connection broke
	}
}

func (d *device) flush() {
	if d.out == nil || d.out.Buffered() == 0 {
		return
	}
	_ = d.conn.SetWriteDeadline(time.Now().Add(writeTime))
	if d.out.Flush() != nil {
		d.conn.Close()
	}
}

func (d *device) hangUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live.Store(false)
	if d.conn != nil {
		d.conn.Close()
		d.conn, d.out = nil, nil
	}
}

// waiting is how many messages are not completely acknowledged.
func (d *device) waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.unacked)
}

// raise makes a the larger of itself and n.
func raise(a *atomic.Int64, n int64) {
	for {
		old := a.Load()
		if n <= old || a.CompareAndSwap(old, n) {
			return
		}
	}
}

// The payload of a numbered message.
const payloadBytes = 64

func payloadOf(pub int, qos byte, number int) []byte {
	p := make([]byte, payloadBytes)
	copy(p, "TGF")
	p[3] = qos
	binary.BigEndian.PutUint32(p[4:], uint32(pub))
	binary.BigEndian.PutUint64(p[8:], uint64(number))
	return p
}

func numberOf(p []byte) (pub int, qos byte, number int, ok bool) {
	if len(p) < 16 || string(p[:3]) != "TGF" {
		return 0, 0, 0, false
	}
	return int(binary.BigEndian.Uint32(p[4:])), p[3], int(binary.BigEndian.Uint64(p[8:])), true
}
