package gateway

import (
	"bytes"
	"hash/maphash"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Topic aliases towards a device. Which topics get one: while there are free ones, each topic at its first message, since
// most devices hear a few topics again and again and the alias pays from the second message on. When all are taken, one
// passes to a topic that came twice since the alias was last used. So topics that come once cost nothing, and more topics
// in turn than there are aliases do not chase each other out: most of the aliases stay where they are.
//
// BenchmarkAliasOut, topics of 27 bytes, 16 aliases of 3 bytes each in the packet: with up to 16 topics 24 B saved a message for
// 20 ns, with 20 in turn 19 B for 20 ns, with 1,000 in turn nothing for 32 ns. If each topic without an alias took the one
// least recently used, 20 or 1,000 in turn would cost 3 B a message instead.

// aliasBytes is what an alias takes in a PUBLISH; a topic that is no longer saves nothing.
const aliasBytes = 3

// aliasesOut is what a connection's device knows of topics by alias, and which topics came lately without one. It exists
// once a device that takes aliases is sent something. Owned by one shard.
type aliasesOut struct {
	topics []aliasTopic // by alias, 1-based
	passed []passedBy   // ring, as long as there may be aliases
	clock  uint32       // messages so far
	last   uint16       // alias used last
	oldest uint16       // place in passed that is written next
	fresh  uint32       // hash of the topic that propose was asked about, when it has no alias
}

// aliasTopic is a topic with an alias.
type aliasTopic struct {
	topic  []byte
	hash   uint32
	usedAt uint32
}

// passedBy is a topic that came and got no alias.
type passedBy struct {
	hash   uint32
	seenAt uint32
}

// propose is the alias for a topic, 0 for none; known: the device knows it, so that the topic can be left out. What is
// proposed is settled by commit once the packet is written. limit is how many aliases there may be.
func (a *aliasesOut) propose(topic []byte, limit int) (alias uint16, known bool) {
	if a.last != 0 && bytes.Equal(a.topics[a.last-1].topic, topic) {
		return a.last, true
	}
	a.fresh = uint32(maphash.Bytes(homeSeed, topic))
	for i := range a.topics {
		if t := &a.topics[i]; t.hash == a.fresh && bytes.Equal(t.topic, topic) {
			return uint16(i + 1), true
		}
	}
	if len(a.topics) < limit {
		return uint16(len(a.topics) + 1), false
	}
	return a.successor(), false
}

// successor is the alias that passes to the topic that propose looks at; 0: none, it came for the first time lately, or
// all aliases were used since.
func (a *aliasesOut) successor() uint16 {
	for i := range a.passed {
		if p := &a.passed[i]; p.hash == a.fresh {
			idle := a.leastUsed()
			if a.clock-a.topics[idle-1].usedAt > a.clock-p.seenAt {
				return idle
			}
			return 0
		}
	}
	return 0
}

// leastUsed is the alias whose last use is longest ago.
func (a *aliasesOut) leastUsed() uint16 {
	idle, age := 0, uint32(0)
	for i := range a.topics {
		if n := a.clock - a.topics[i].usedAt; n >= age {
			idle, age = i, n
		}
	}
	return uint16(idle + 1)
}

// commit notes that a packet with what propose said went out; alias 0: without one. It returns by how many bytes
// the memory of topics grew.
func (a *aliasesOut) commit(topic []byte, alias uint16, known bool, limit int) (grown int) {
	a.clock++
	switch {
	case alias == 0:
		a.pass(limit)
		return 0
	case !known:
		if int(alias) > len(a.topics) {
			a.topics = append(a.topics, aliasTopic{})
		}
		t := &a.topics[alias-1]
		grown = len(topic) - len(t.topic)
		t.topic, t.hash = append(t.topic[:0], topic...), a.fresh
	}
	a.topics[alias-1].usedAt, a.last = a.clock, alias
	return grown
}

// pass remembers a topic that got no alias.
func (a *aliasesOut) pass(limit int) {
	for i := range a.passed {
		if a.passed[i].hash == a.fresh {
			a.passed[i].seenAt = a.clock
			return
		}
	}
	if len(a.passed) < limit {
		a.passed = append(a.passed, passedBy{a.fresh, a.clock})
		return
	}
	a.passed[a.oldest] = passedBy{a.fresh, a.clock}
	a.oldest = uint16((int(a.oldest) + 1) % limit)
}

// fits settles the topic alias of a packet that is about to be written, and tells whether the device takes it
// [MQTT-3.1.2-24].
func (s *shard) fits(d *device, p *mqtt.PublishOut) bool {
	if d.more != nil && d.more.aliasMax != 0 {
		return s.fitsAliased(d, p)
	}
	return d.takes(p)
}

// takes tells whether the packet as it is is within the device's maximum.
func (d *device) takes(p *mqtt.PublishOut) bool {
	return d.packetMax == 0 || mqtt.PublishSize(d.version, p) <= int(d.packetMax)
}

// fitsAliased is fits for a device that takes topic aliases [MQTT-3.1.2-26]: it puts one into p if there is one to
// be had. When it says true, p must be written: it counts on the device to know the alias from then on.
func (s *shard) fitsAliased(d *device, p *mqtt.PublishOut) bool {
	topic := p.Topic
	if len(topic) <= aliasBytes || len(topic) > s.cfg.MQTT.TopicBytesMax {
		return d.takes(p)
	}
	if d.more.aliasesOut == nil {
		d.more.aliasesOut = &aliasesOut{}
	}
	a, limit := d.more.aliasesOut, int(d.more.aliasMax)
	alias, known := a.propose(topic, limit)
	if p.TopicAlias = alias; known {
		p.Topic = nil
	}
	fits := d.takes(p)
	if !fits && alias != 0 && !known {
		alias, p.TopicAlias = 0, 0 // there may be room for the packet without the alias
		fits = d.takes(p)
	}
	if !fits {
		return false
	}
	s.count.aliasBytesOut += int64(a.commit(topic, alias, known, limit))
	if known {
		s.count.aliasBytesSaved += uint64(len(topic) - aliasBytes)
	}
	return true
}

// dropAliases takes what a connection had in aliases out of the counters; both directions begin anew with the next
// connection [MQTT-3.3.2-7].
func (s *shard) dropAliases(d *device) {
	if d.more == nil {
		return
	}
	for _, topic := range d.more.aliases {
		s.count.aliasBytesIn -= int64(len(topic))
	}
	if a := d.more.aliasesOut; a != nil {
		for i := range a.topics {
			s.count.aliasBytesOut -= int64(len(a.topics[i].topic))
		}
	}
}
