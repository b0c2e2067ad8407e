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
	return AppendAck(dst, TypePuback, v, id, r, nil)
}

// AppendPubrec appends a PUBREC; see [AppendPuback].
func AppendPubrec(dst []byte, v Version, id uint16, r Reason) []byte {
	return AppendAck(dst, TypePubrec, v, id, r, nil)
}

// AppendPubrel appends a PUBREL; see [AppendPuback].
func AppendPubrel(dst []byte, v Version, id uint16, r Reason) []byte {
	return AppendAck(dst, TypePubrel, v, id, r, nil)
}

// AppendPubrelAgain appends a PUBREL of Success that was sent before. Only MQTT 3.1 marks it: with DUP (3.1 §2.1).
func AppendPubrelAgain(dst []byte, v Version, id uint16) []byte {
	from := len(dst)
	dst = AppendPubrel(dst, v, id, Success)
	if v == V31 {
		dst[from] |= flagDup
	}
	return dst
}

// AppendPubcomp appends a PUBCOMP; see [AppendPuback].
func AppendPubcomp(dst []byte, v Version, id uint16, r Reason) []byte {
	return AppendAck(dst, TypePubcomp, v, id, r, nil)
}

// AppendAck appends the PUBACK, PUBREC, PUBREL or PUBCOMP that t names. Reason and reason string are MQTT 5 only; an
// empty string is left out, and so is a Success that says nothing more.
func AppendAck(dst []byte, t Type, v Version, id uint16, r Reason, reasonString []byte) []byte {
	first := byte(t) << 4
	if t == TypePubrel {
		first |= 0x02 // [MQTT-3.6.1-1]
	}
	switch {
	case v != V5 || r == Success && len(reasonString) == 0:
		return append(dst, first, 2, byte(id>>8), byte(id))
	case len(reasonString) == 0:
		return append(dst, first, 3, byte(id>>8), byte(id), byte(r))
	}
	dst, packet := open(dst, t, first&0x0F)
	return seal(appendReasonString(append(appendUint16(dst, id), byte(r)), reasonString), packet)
}

// AckSize is the size of what [AppendAck] appends in MQTT 5 for a reason other than Success and a reason string of n
// bytes, to be held against the receiver's maximum packet size. [MQTT-3.4.2-2] and its siblings
func AckSize(n int) int {
	const idAndReason = 3
	if n == 0 {
		return 2 + idAndReason
	}
	return sealedSize(idAndReason + sealedBlockSize(n))
}

// sealedSize is the size of a packet by its remaining length.
func sealedSize(remaining int) int { return 1 + varintSize(remaining) + remaining }

// sealedBlockSize is the size, with its length, of a property block that has a reason string of n bytes or, for 0,
// nothing.
func sealedBlockSize(n int) int {
	if n == 0 {
		return 1
	}
	block := 1 + 2 + n
	return varintSize(block) + block
}
