package gateway

import (
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/session"
)

// What is stored reaches devices in one way: by the tail of its stream, in the order of the stream, with sequence numbers. So a
// session needs one number for each stream, its cursor, to know what it has had, wherever it is.

// tailMark is how far the tail of a stream has come with a batch.
type tailMark struct {
	seq    uint64 // 0: the batch is none of a tail
	stream uint16
}

// receiveLog takes messages of a stream to the shards. It runs on a bus goroutine of that stream and may wait for a shard's inbox;
// then the tail lags.
func (g *Gateway) receiveLog(run []bus.Inbound) {
	if len(run) == 0 {
		return
	}
	last := &run[len(run)-1]
	b := g.downPool.take()
	for i := range run {
		if g.wants(run[i].Topic) {
			g.addLogged(b, &run[i])
		}
	}
	g.durable.reached(last.Stream, last.Seq)
	b.refs.Store(int32(len(g.shards)))
	for _, s := range g.shards {
		g.putNote(s, note{batch: b, tail: tailMark{last.Seq, last.Stream}}, b.release)
	}
}

// addLogged adds a message of a stream to a batch.
func (g *Gateway) addLogged(b *batch, in *bus.Inbound) {
	g.addInbound(b, in, &routed{shard: -1})
	m := &b.msgs[len(b.msgs)-1]
	m.interest = 0
	m.client = b.keep(in.ClientID)
	if in.Fields.HasExpiry {
		m.expiresAtSec = loggedExpiry(in)
	}
	b.seqs = append(b.seqs, in.Seq)
	b.stream = in.Stream
}

// loggedExpiry is when a message of a stream is no longer worth sending: its expiry counts from when it was stored.
func loggedExpiry(in *bus.Inbound) uint32 {
	age := wallSec() - min(in.StoredSec, wallSec())
	if in.Fields.ExpirySec <= age {
		return 1 // long ago
	}
	return saturatingAdd(nowSec(), in.Fields.ExpirySec-age)
}

// takeTail delivers a batch of a tail.
func (s *shard) takeTail(b *batch, at tailMark) {
	for i := range b.msgs {
		s.takeLogged(b, i)
	}
	b.release()
	s.tailAt[at.stream] = max(s.tailAt[at.stream], at.seq)
}

func (s *shard) takeLogged(b *batch, i int) {
	defer s.containMessagePanic()
	b.logged(i, &s.routed)
	s.routed.From = s.table.Get(b.at(b.msgs[i].client)) // No Local
	s.fanOut(&s.routed, 0)
}

// logged is message for one of a stream.
func (b *batch) logged(i int, m *session.Message) {
	b.message(i, m)
	m.Seq, m.Stream = b.seqs[i], b.stream
}
