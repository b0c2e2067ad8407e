package main

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// newWitness connects to the far end that url names.
func newWitness(url string, topics []string, o *options, l *ledger, now clock, stored bool) (witness, error) {
	if strings.HasPrefix(url, "mqtt://") || strings.HasPrefix(url, "tcp://") {
		return newMQTTWitness(url, topics, o, l, now)
	}
	return newNATSWitness(url, topics, l, now, stored)
}

// mqttWitness stands at the far end of a broker that has no NATS: one MQTT 3.1.1 subscriber to everything, on a loop of
// its own. send, flush and close are safe from any goroutine, the rest is the loop's.
type mqttWitness struct {
	loop   *epoll.Loop
	ledger *ledger
	now    clock
	topics []string
	qos    byte
	id     []byte
	ready  chan error
	ended  chan struct{}

	conn     *epoll.Conn
	pkt      mqtt.Packet
	packetID uint16
	taken    map[uint16]bool // QoS 2, not yet released
	live     bool

	mu     sync.Mutex
	queue  []byte // PUBLISH packets to be sent
	gone   error
	closed bool
}

const witnessTimeout = 10 * time.Second

func newMQTTWitness(url string, topics []string, o *options, l *ledger, now clock) (*mqttWitness, error) {
	targets, err := parseTargets([]string{url}, false)
	if err != nil {
		return nil, err
	}
	w := &mqttWitness{
		ledger: l, now: now, topics: topics, qos: o.QoS, id: fmt.Appendf(nil, "%switness-%d", o.Prefix, o.Run),
		ready: make(chan error, 1), ended: make(chan struct{}), taken: map[uint16]bool{},
	}
	if w.loop, err = epoll.New(epoll.Options{}, w, w); err != nil {
		return nil, err
	}
	if w.conn, err = w.loop.Dial(sourceOf(&targets[0], 0, 0), targets[0].Addr); err != nil {
		w.loop.Stop()
	}
	go func() {
		defer close(w.ended)
		if err := w.loop.Run(); err != nil {
			w.fail(err)
		}
	}()
	if err == nil {
		select {
		case err = <-w.ready:
		case <-time.After(witnessTimeout):
			err = errors.New("no answer")
		}
	}
	if err != nil {
		w.close()
		return nil, fmt.Errorf("--verify %s: %w", url, err)
	}
	return w, nil
}

func (w *mqttWitness) send(topic string, payload []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone != nil {
		return w.gone
	}
	out := mqtt.PublishOut{Topic: []byte(topic), Payload: payload, QoS: w.qos}
	if w.packetID++; w.packetID == 0 {
		w.packetID = 1
	}
	out.PacketID = w.packetID
	w.queue = mqtt.AppendPublish(w.queue, mqtt.V311, &out)
	return nil
}

func (w *mqttWitness) flush() { w.loop.Wake() }

func (w *mqttWitness) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.loop.Stop()
	<-w.ended
}

// fail notes the end of the connection, unless it is ours.
func (w *mqttWitness) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone == nil && !w.closed {
		w.gone = err
		w.ledger.problem("mqtt: " + err.Error())
	}
	select {
	case w.ready <- err:
	default: // it was ready before
	}
}

// OnWake sends what is queued.
func (w *mqttWitness) OnWake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.live {
		w.conn.End(append(w.conn.Begin(), w.queue...))
		w.queue = w.queue[:0]
	}
}

// OnTickEnd has nothing to do.
func (w *mqttWitness) OnTickEnd() {}

// OnOpen greets.
func (w *mqttWitness) OnOpen(c *epoll.Conn) {
	out := mqtt.ConnectOut{ClientID: w.id, CleanStart: true}
	c.End(mqtt.AppendConnect(c.Begin(), mqtt.V311, &out))
}

// OnData reads what the broker says.
func (w *mqttWitness) OnData(c *epoll.Conn, p []byte) (rest []byte) {
	for len(p) > 0 {
		packet, n, r := mqtt.Next(p, packetBytesMax)
		if r == mqtt.Success && n == 0 {
			return p
		}
		if r == mqtt.Success {
			r = mqtt.Decode(packet, mqtt.V311, &w.pkt)
		}
		if r != mqtt.Success {
			w.fail(r)
			c.Close()
			return nil
		}
		w.handle(c, &w.pkt)
		p = p[n:]
	}
	return nil
}

func (w *mqttWitness) handle(c *epoll.Conn, pkt *mqtt.Packet) {
	switch pkt.Type {
	case mqtt.TypeConnack:
		if pkt.ReturnCode != 0 {
			w.fail(fmt.Errorf("refused: %s", returnCodes[min(int(pkt.ReturnCode), len(returnCodes)-1)]))
			c.Close()
			return
		}
		filters := make([]mqtt.Filter, len(w.topics))
		for i, topic := range w.topics {
			filters[i] = mqtt.Filter{Topic: []byte(topic), QoS: w.qos}
		}
		c.End(mqtt.AppendSubscribe(c.Begin(), mqtt.V311, 1, filters, 0))
	case mqtt.TypeSuback:
		w.live = true
		w.ready <- nil
	case mqtt.TypePublish:
		if pkt.QoS < 2 || !w.taken[pkt.PacketID] {
			w.ledger.note(pkt.Payload, w.now())
		}
		switch pkt.QoS {
		case 1:
			c.End(mqtt.AppendPuback(c.Begin(), mqtt.V311, pkt.PacketID, mqtt.Success))
		case 2:
			w.taken[pkt.PacketID] = true
			c.End(mqtt.AppendPubrec(c.Begin(), mqtt.V311, pkt.PacketID, mqtt.Success))
		}
	case mqtt.TypePubrel:
		delete(w.taken, pkt.PacketID)
		c.End(mqtt.AppendPubcomp(c.Begin(), mqtt.V311, pkt.PacketID, mqtt.Success))
	case mqtt.TypePubrec: // of a command
		c.End(mqtt.AppendPubrel(c.Begin(), mqtt.V311, pkt.PacketID, mqtt.Success))
	}
}

// OnDrained has nothing to do: the batch grows while the broker does not read.
func (w *mqttWitness) OnDrained(*epoll.Conn) {}

// OnTimeout never comes.
func (w *mqttWitness) OnTimeout(*epoll.Conn) {}

// OnClose notes that there is no witness any more.
func (w *mqttWitness) OnClose(_ *epoll.Conn, why epoll.Cause) {
	w.live = false
	w.fail(fmt.Errorf("connection ended: %s", why))
}
