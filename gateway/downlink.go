package gateway

import (
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/session"
)

// backendQoS is the quality of a message that a backend published: at least once, as far as the device's subscription
// goes, so that it is queued for a device that is away.
const backendQoS = 1

// receive takes messages from NATS to the shards: the one copy is made here, and every shard reads it. It runs on a bus
// goroutine and may wait for a shard's inbox.
func (g *Gateway) receive(ms []bus.Inbound) {
	b := g.downPool.take()
	for i := range ms {
		in := &ms[i]
		to, ok := g.interests.route(in.Interest, in.Topic, in.ClientID)
		switch {
		case !ok || bus.Reserved(in.Topic):
			g.noMember.Add(1)
		case to.shard < 0 && (in.Stored || g.durable.of(in.Topic) > inLog):
			// the tail of its stream brings it
		case to.shard < 0 && to.form != formExact && !g.wants(in.Topic):
			g.unwanted.Add(1)
			g.arrive(in, &to, 0)
		default:
			g.addInbound(b, in, &to)
		}
	}
	if len(b.msgs) == 0 {
		b.refs.Store(1)
		b.release()
		return
	}
	b.refs.Store(int32(len(g.shards)))
	for _, s := range g.shards {
		g.putNote(s, note{batch: b}, b.release)
	}
}

// wants tells whether a device here may want a topic that came for a shape of filters: most of what comes so is for devices of other
// gateways, and is dropped before it is copied.
func (g *Gateway) wants(topic []byte) bool {
	for _, s := range g.shards {
		if s.wanted.may(topic) {
			return true
		}
	}
	return false
}

func (g *Gateway) addInbound(b *batch, in *bus.Inbound, to *routed) {
	m := session.Message{Topic: in.Topic, Payload: in.Payload, QoS: backendQoS, GroupKey: to.key}
	if in.FromDevice {
		m.QoS, m.Retain = in.QoS, in.Retain
	}
	var props []byte
	shards := len(g.shards)
	if to.shard >= 0 {
		shards = 1
	}
	m.Request = g.arrive(in, to, shards)
	g.addCall(in)
	if in.HasFields {
		props = appendFields(nil, &in.Fields)
		if in.Fields.HasExpiry {
			m.ExpiresAtSec = saturatingAdd(epoll.NowSec(), in.Fields.ExpirySec)
		}
	}
	m.Props = props
	msg := b.add(&m)
	msg.interest, msg.shard = in.Interest, to.shard
}

// putNote waits for room in the shard's inbox, or until the gateway stops; then lost is called.
func (g *Gateway) putNote(s *shard, n note, lost func()) {
	room := make(chan struct{}, 1)
	for !s.inbox.put(s.loop, n, func() { room <- struct{}{} }) {
		select {
		case <-room:
		case <-g.stopped:
			lost()
			return
		}
	}
}
