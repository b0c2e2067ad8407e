package mqtt

// decodeUnsuback reads an UNSUBACK (§3.11), which in MQTT 3.x is a packet identifier and nothing else.
func (p *Packet) decodeUnsuback(body []byte) Reason {
	id, rest, r := takePacketID(body)
	if r != Success {
		return r
	}
	p.PacketID = id
	if p.Version == V5 {
		return p.decodeReasons(rest)
	}
	if len(rest) > 0 {
		return MalformedPacket
	}
	return Success
}

// AppendUnsuback appends an UNSUBACK with one reason for each filter, in order [MQTT-3.11.3-1], and, unless it is empty,
// a reason string; MQTT 3.x tells neither.
func AppendUnsuback(dst []byte, v Version, id uint16, reasons []Reason, reasonString []byte) []byte {
	dst, packet := open(dst, TypeUnsuback, 0)
	dst = appendUint16(dst, id)
	if v == V5 {
		dst = appendReasonString(dst, reasonString)
		for _, r := range reasons {
			dst = append(dst, byte(r))
		}
	}
	return seal(dst, packet)
}
