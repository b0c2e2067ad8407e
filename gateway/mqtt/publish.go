package mqtt

import "slices"

// decodePublish reads the variable header and the payload of a PUBLISH (§3.3); flags are those of its first byte,
// already known to be possible.
func (p *Packet) decodePublish(body []byte, flags byte) Reason {
	p.Dup = flags&flagDup != 0
	p.QoS = flags >> 1 & 3
	p.Retain = flags&1 != 0
	topic, rest, ok := takeBinary(body)
	if !ok {
		return MalformedPacket
	}
	if r := topicFault(topic); r != Success {
		return r
	}
	p.Topic = topic
	if p.QoS > 0 {
		var r Reason
		if p.PacketID, rest, r = takePacketID(rest); r != Success {
			return r
		}
	}
	if p.Version == V5 {
		var r Reason
		if rest, r = takeProperties(rest, inPublish, &p.Props); r != Success {
			return r
		}
	}
	// Without a topic there must be an alias for one. [MQTT-4.7.3-1], §3.3.2.1
	if len(topic) == 0 && !p.Props.Has(PropTopicAlias) {
		return ProtocolError
	}
	p.Payload = rest
	return Success
}

// PublishOut is what [AppendPublish] writes. The slices are read during the call only.
type PublishOut struct {
	// Topic is at most 65,535 bytes, and empty only with a TopicAlias.
	Topic, Payload []byte
	// Props is a forward block as [Properties.AppendForward] builds it. MQTT 5 only, like the fields after
	// PacketID.
	Props []byte
	QoS   byte
	// Dup is ignored at QoS 0. [MQTT-3.3.1-2]
	Retain, Dup bool
	// PacketID is not 0 when QoS is 1 or 2, ignored at QoS 0.
	PacketID uint16
	// TopicAlias 0 is none.
	TopicAlias uint16
	// ExpirySec is the message's remaining life, written when HasExpiry.
	ExpirySec uint32
	HasExpiry bool
	// SubscriptionIDs are 1 to 268,435,455.
	SubscriptionIDs []uint32
}

// AppendPublish appends a PUBLISH.
func AppendPublish(dst []byte, v Version, p *PublishOut) []byte {
	remaining, block := p.sizes(v)
	first := byte(TypePublish)<<4 | p.QoS<<1
	if p.Dup && p.QoS > 0 {
		first |= flagDup
	}
	if p.Retain {
		first |= 1
	}
	dst = slices.Grow(dst, 1+varintSize(remaining)+remaining)
	dst = appendVarint(append(dst, first), remaining)
	dst = appendBinary(dst, p.Topic)
	if p.QoS > 0 {
		dst = appendUint16(dst, p.PacketID)
	}
	if v == V5 {
		dst = p.appendBlock(appendVarint(dst, block))
	}
	return append(dst, p.Payload...)
}

// PublishSize is the size of the whole packet that [AppendPublish] would append, to be held against the receiver's
// maximum packet size. [MQTT-3.1.2-24]
func PublishSize(v Version, p *PublishOut) int {
	remaining, _ := p.sizes(v)
	return 1 + varintSize(remaining) + remaining
}

// sizes returns the remaining length and the length of the property block.
func (p *PublishOut) sizes(v Version) (remaining, block int) {
	remaining = 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		remaining += 2
	}
	if v != V5 {
		return remaining, 0
	}
	block = len(p.Props)
	if p.TopicAlias != 0 {
		block += 3
	}
	if p.HasExpiry {
		block += 5
	}
	for _, id := range p.SubscriptionIDs {
		block += 1 + varintSize(int(id))
	}
	return remaining + varintSize(block) + block, block
}

func (p *PublishOut) appendBlock(dst []byte) []byte {
	if p.TopicAlias != 0 {
		dst = appendUint16(append(dst, byte(PropTopicAlias)), p.TopicAlias)
	}
	if p.HasExpiry {
		dst = appendUint32(append(dst, byte(PropMessageExpiry)), p.ExpirySec)
	}
	for _, id := range p.SubscriptionIDs {
		dst = appendVarint(append(dst, byte(PropSubscriptionID)), int(id))
	}
	return append(dst, p.Props...)
}
