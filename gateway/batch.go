package gateway

import (
	"sync"
	"sync/atomic"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// arenaKeepMax is the largest arena, in bytes, that a pooled batch keeps; a burst must not stay in memory for ever.
const arenaKeepMax = 1 << 20

// batch is the messages that one producer (a shard's tick, or one delivery from NATS) hands to its consumers: the bus
// publisher and the shards. The bytes are copied once, here; consumers read and count down. Filled by one goroutine,
// then immutable until the last consumer is done.
type batch struct {
	arena []byte
	msgs  []batchMsg
	refs  atomic.Int32
	pool  *batchPool

	seqs   []uint64 // of messages of a stream, their sequence numbers
	stream uint16   // these are of

	// Scratch of the bus publisher, the only consumer that asks for NATS header fields.
	props mqtt.Properties
	users []bus.UserProperty
}

// batchMsg locates one message in the arena.
type batchMsg struct {
	topic, props, payload, client, user span
	expiresAtSec                        uint32
	interest                            uint32 // bus interest that brought it from NATS; 0: from a device here
	key                                 uint32 // session.Message.GroupKey
	request                             uint32 // session.Message.Request
	shard                               int16  // the only shard to take it; -1: all; nowhere and unpublished: none
	qos                                 uint8
	retain                              bool
	stored                              bool // the log has it; this is its copy for who listens on NATS
}

type span struct{ from, to uint32 }

// batchPool recycles batches. Safe from any goroutine.
type batchPool struct {
	mu   sync.Mutex
	free []*batch
}

// take returns an empty batch.
func (p *batchPool) take() *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	return &batch{pool: p}
}

// release is called once by each consumer; the last one recycles the batch.
func (b *batch) release() {
	if b.refs.Add(-1) > 0 {
		return
	}
	if cap(b.arena) > arenaKeepMax || cap(b.msgs)*batchMsgBytes > arenaKeepMax {
		b.arena, b.msgs = nil, nil
	}
	b.arena, b.msgs, b.seqs = b.arena[:0], b.msgs[:0], b.seqs[:0]
	b.pool.mu.Lock()
	defer b.pool.mu.Unlock()
	if len(b.pool.free) < 64 {
		b.pool.free = append(b.pool.free, b)
	}
}

func (b *batch) keep(p []byte) span {
	from := uint32(len(b.arena))
	b.arena = append(b.arena, p...)
	return span{from, uint32(len(b.arena))}
}

func (b *batch) at(s span) []byte { return b.arena[s.from:s.to:s.to] }

// add copies a message in and returns its place, for the caller to complete.
func (b *batch) add(m *session.Message) *batchMsg {
	b.msgs = append(b.msgs, batchMsg{
		topic: b.keep(m.Topic), props: b.keep(m.Props), payload: b.keep(m.Payload),
		expiresAtSec: m.ExpiresAtSec, qos: m.QoS, retain: m.Retain, key: m.GroupKey, request: m.Request, shard: -1,
	})
	return &b.msgs[len(b.msgs)-1]
}

// message fills m with the i-th message; its slices are valid until the consumer's release.
func (b *batch) message(i int, m *session.Message) {
	g := &b.msgs[i]
	*m = session.Message{
		Topic: b.at(g.topic), Props: b.at(g.props), Payload: b.at(g.payload),
		QoS: g.qos, Retain: g.retain, ExpiresAtSec: g.expiresAtSec, GroupKey: g.key, Request: g.request,
	}
}

// Len is part of bus.Batch.
func (b *batch) Len() int { return len(b.msgs) }

// Bytes is part of bus.Batch: what the batch holds in memory.
func (b *batch) Bytes() int { return len(b.arena) + len(b.msgs)*batchMsgBytes }

// batchMsgBytes is the size of a batchMsg, asserted in a test.
const batchMsgBytes = 60

// Done is part of bus.Batch: the bus needs the messages no more.
func (b *batch) Done() { b.release() }

// Message is part of bus.Batch.
func (b *batch) Message(i int, m *bus.Message) {
	g := &b.msgs[i]
	*m = bus.Message{
		Topic: b.at(g.topic), Payload: b.at(g.payload), ClientID: b.at(g.client), User: b.at(g.user),
		QoS: g.qos, Retain: g.retain,
	}
	switch g.shard {
	case nowhere:
		m.Topic, m.Subject = nil, m.Topic
	case unpublished:
		*m = bus.Message{Skip: true}
		return
	}
	m.Stored = g.stored
	if g.expiresAtSec != 0 {
		m.Fields.HasExpiry = true
		m.Fields.ExpirySec = g.expiresAtSec - min(epoll.NowSec(), g.expiresAtSec) // less what it waited here [MQTT-3.3.2-6]
	}
	if g.props.from != g.props.to {
		b.fields(b.at(g.props), &m.Fields)
	}
}

// fields turns properties in wire form into what the bus writes as NATS headers.
func (b *batch) fields(block []byte, f *bus.Fields) {
	p := &b.props
	if !mqtt.ParseForward(block, p) {
		return
	}
	if p.Has(mqtt.PropPayloadFormat) {
		f.HasFormat, f.Format = true, p.PayloadFormat
	}
	if p.Has(mqtt.PropContentType) {
		f.ContentType = p.ContentType
	}
	if p.Has(mqtt.PropResponseTopic) {
		f.ResponseTopic = p.ResponseTopic
	}
	if p.Has(mqtt.PropCorrelationData) {
		f.CorrelationData = p.CorrelationData
	}
	b.users = b.users[:0]
	p.EachUser(func(name, value []byte) bool {
		b.users = append(b.users, bus.UserProperty{Name: name, Value: value})
		return true
	})
	f.Users = b.users
}

// appendFields is the way back: header fields of a message from NATS as properties in wire form.
func appendFields(dst []byte, f *bus.Fields) []byte {
	if f.HasFormat {
		dst = mqtt.AppendPayloadFormat(dst, f.Format)
	}
	if f.ContentType != nil {
		dst = mqtt.AppendContentType(dst, f.ContentType)
	}
	if len(f.ResponseTopic) > 0 {
		dst = mqtt.AppendResponseTopic(dst, f.ResponseTopic)
	}
	if f.CorrelationData != nil {
		dst = mqtt.AppendCorrelationData(dst, f.CorrelationData)
	}
	for _, u := range f.Users {
		dst = mqtt.AppendUserProperty(dst, u.Name, u.Value)
	}
	return dst
}
