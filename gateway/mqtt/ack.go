package mqtt

// decodeAck reads PUBACK, PUBREC, PUBREL and PUBCOMP (§3.4 to §3.7), which differ only in their reason codes. In
// MQTT 5 the reason may be left out when it is Success, the property length when there are no properties.
func (p *Packet) decodeAck(body []byte) Reason {
	id, rest, r := takePacketID(body)
	if r != Success {
		return r
	}
	p.PacketID = id
	if len(rest) == 0 {
		return Success
	}
	if p.Version != V5 {
		return MalformedPacket
	}
	return p.decodeReason(rest)
}

// decodeReason reads what PUBACK and its like and DISCONNECT end with: a reason code and, perhaps, properties.
func (p *Packet) decodeReason(body []byte) Reason {
	p.Reason = Reason(body[0])
	if !p.Reason.allowedOn(p.Type) {
		return ProtocolError
	}
	if len(body) == 1 {
		return Success
	}
	return p.decodeLastProperties(body[1:])
}

// decodeLastProperties reads a property block that nothing may follow.
func (p *Packet) decodeLastProperties(body []byte) Reason {
	rest, r := takeProperties(body, 1<<p.Type, &p.Props)
	if r == Success && len(rest) > 0 {
		return MalformedPacket
	}
	return r
}

// AppendPuback appends a PUBACK. MQTT 3.x cannot tell a reason; there the acknowledgement is all.
func AppendPuback(dst []byte, v Version, id uint16, r Reason) []byte {
	return appendAck(dst, byte(TypePuback)<<4, v, id, r)
}

// AppendPubrec appends a PUBREC; see [AppendPuback].
func AppendPubrec(dst []byte, v Version, id uint16, r Reason) []byte {
	return appendAck(dst, byte(TypePubrec)<<4, v, id, r)
}

// AppendPubrel appends a PUBREL; see [AppendPuback].
func AppendPubrel(dst []byte, v Version, id uint16, r Reason) []byte {
	return appendAck(dst, byte(TypePubrel)<<4|0x02, v, id, r) // [MQTT-3.6.1-1]
}

// AppendPubrelAgain appends a PUBREL of Success that was sent before. Only MQTT 3.1 marks it: with DUP (3.1 §2.1).
func AppendPubrelAgain(dst []byte, v Version, id uint16) []byte {
	first := byte(TypePubrel)<<4 | 0x02
	if v == V31 {
		first |= flagDup
	}
	return appendAck(dst, first, v, id, Success)
}

// AppendPubcomp appends a PUBCOMP; see [AppendPuback].
func AppendPubcomp(dst []byte, v Version, id uint16, r Reason) []byte {
	return appendAck(dst, byte(TypePubcomp)<<4, v, id, r)
}

func appendAck(dst []byte, first byte, v Version, id uint16, r Reason) []byte {
	if v != V5 || r == Success {
		return append(dst, first, 2, byte(id>>8), byte(id))
	}
	return append(dst, first, 3, byte(id>>8), byte(id), byte(r))
}
