package mqtt

// Filter is one topic filter of a SUBSCRIBE with its options, or of an UNSUBSCRIBE without. Topic is borrowed like
// the slices of [Packet]. 32 bytes.
type Filter struct {
	Topic []byte
	QoS   byte
	// NoLocal, RetainAsPublished and RetainHandling (0, 1 or 2) exist in MQTT 5 only.
	NoLocal, RetainAsPublished bool
	RetainHandling             byte
}

// The subscription options (§3.8.3.1).
const (
	optionQoS               = 0x03
	optionNoLocal           = 0x04
	optionRetainAsPublished = 0x08
	optionReserved          = 0xC0
)

// decodeSubscribe reads a SUBSCRIBE (§3.8).
func (p *Packet) decodeSubscribe(body []byte) Reason {
	rest, r := p.decodeFilterHeader(body)
	for r == Success && len(rest) > 0 {
		var f Filter
		if f.Topic, rest, r = takeFilter(rest); r != Success {
			break
		}
		if len(rest) == 0 {
			return MalformedPacket
		}
		r = f.setOptions(rest[0], p.Version)
		p.Filters = append(p.Filters, f)
		rest = rest[1:]
	}
	return r
}

// decodeFilterHeader reads what SUBSCRIBE and UNSUBSCRIBE begin with, and sees that at least one filter follows.
// [MQTT-3.8.3-2], [MQTT-3.10.3-2]
func (p *Packet) decodeFilterHeader(body []byte) (rest []byte, r Reason) {
	if p.PacketID, rest, r = takePacketID(body); r != Success {
		return nil, r
	}
	if p.Version == V5 {
		if rest, r = takeProperties(rest, 1<<p.Type, &p.Props); r != Success {
			return nil, r
		}
	}
	if len(rest) == 0 {
		return nil, ProtocolError
	}
	return rest, Success
}

// takeFilter splits a topic filter from p.
func takeFilter(p []byte) (topic, rest []byte, r Reason) {
	topic, rest, ok := takeString(p)
	if !ok {
		return nil, nil, MalformedPacket
	}
	if !validLevels(topic) {
		return nil, nil, TopicFilterInvalid
	}
	return topic, rest, Success
}

func (f *Filter) setOptions(o byte, v Version) Reason {
	f.QoS = o & optionQoS
	if v != V5 {
		// 3.1.1 knows only the QoS here; anything else is malformed. 3.1.1 [MQTT-3-8.3-4]
		if o > 2 {
			return MalformedPacket
		}
		return Success
	}
	f.NoLocal = o&optionNoLocal != 0
	f.RetainAsPublished = o&optionRetainAsPublished != 0
	f.RetainHandling = o >> 4 & 3
	switch {
	case o&optionReserved != 0:
		return MalformedPacket // [MQTT-3.8.3-5]
	case f.QoS == 3, f.RetainHandling == 3:
		return ProtocolError // §3.8.3.1
	case f.NoLocal && shared(f.Topic):
		return ProtocolError // [MQTT-3.8.3-4]
	}
	return Success
}

// AppendSubscribe appends a SUBSCRIBE. subID 0 is no subscription identifier.
func AppendSubscribe(dst []byte, v Version, id uint16, filters []Filter, subID uint32) []byte {
	dst, packet := open(dst, TypeSubscribe, 0x02)
	dst = appendUint16(dst, id)
	if v == V5 {
		var block int
		dst, block = openBlock(dst)
		if subID != 0 {
			dst = appendVarint(append(dst, byte(PropSubscriptionID)), int(subID))
		}
		dst = seal(dst, block)
	}
	for i := range filters {
		dst = append(appendBinary(dst, filters[i].Topic), filters[i].options(v))
	}
	return seal(dst, packet)
}

func (f *Filter) options(v Version) byte {
	o := f.QoS
	if v != V5 {
		return o
	}
	if f.NoLocal {
		o |= optionNoLocal
	}
	if f.RetainAsPublished {
		o |= optionRetainAsPublished
	}
	return o | f.RetainHandling<<4
}
