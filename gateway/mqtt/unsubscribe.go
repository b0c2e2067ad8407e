package mqtt

// decodeUnsubscribe reads an UNSUBSCRIBE (§3.10).
func (p *Packet) decodeUnsubscribe(body []byte) Reason {
	rest, r := p.decodeFilterHeader(body)
	for r == Success && len(rest) > 0 {
		var f Filter
		if f.Topic, rest, r = takeFilter(rest); r == Success {
			p.Filters = append(p.Filters, f)
		}
	}
	return r
}

// AppendUnsubscribe appends an UNSUBSCRIBE; only the topics of the filters count.
func AppendUnsubscribe(dst []byte, v Version, id uint16, filters []Filter) []byte {
	dst, packet := open(dst, TypeUnsubscribe, 0x02)
	dst = appendUint16(dst, id)
	if v == V5 {
		dst = append(dst, 0)
	}
	for i := range filters {
		dst = appendBinary(dst, filters[i].Topic)
	}
	return seal(dst, packet)
}
