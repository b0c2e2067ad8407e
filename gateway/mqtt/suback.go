package mqtt

// decodeSuback reads a SUBACK (§3.9).
func (p *Packet) decodeSuback(body []byte) Reason {
	id, rest, r := takePacketID(body)
	if r != Success {
		return r
	}
	p.PacketID = id
	if p.Version == V5 {
		return p.decodeReasons(rest)
	}
	if len(rest) == 0 {
		return ProtocolError
	}
	for _, code := range rest {
		// 3.1.1 [MQTT-3.9.3-2]. MQTT 3.1 has no failure, but servers of today send it there too.
		if code > 2 && code != byte(UnspecifiedError) {
			return ProtocolError
		}
		p.Reasons = append(p.Reasons, Reason(code))
	}
	return Success
}

// decodeReasons reads the properties and the reasons, at least one, of a SUBACK or UNSUBACK in MQTT 5.
func (p *Packet) decodeReasons(body []byte) Reason {
	rest, r := takeProperties(body, 1<<p.Type, &p.Props)
	if r != Success {
		return r
	}
	if len(rest) == 0 {
		return ProtocolError
	}
	for _, code := range rest {
		if !Reason(code).allowedOn(p.Type) {
			return ProtocolError // [MQTT-3.9.3-2], [MQTT-3.11.3-2]
		}
		p.Reasons = append(p.Reasons, Reason(code))
	}
	return Success
}

// AppendSuback appends a SUBACK with one reason for each filter, in order [MQTT-3.8.4-6], and in MQTT 5, unless it is
// empty, a reason string. In MQTT 3.x every failure is 0x80.
func AppendSuback(dst []byte, v Version, id uint16, reasons []Reason, reasonString []byte) []byte {
	dst, packet := open(dst, TypeSuback, 0)
	dst = appendUint16(dst, id)
	if v == V5 {
		dst = appendReasonString(dst, reasonString)
	}
	for _, r := range reasons {
		if v != V5 && r.Failed() {
			r = UnspecifiedError
		}
		dst = append(dst, byte(r))
	}
	return seal(dst, packet)
}

// SubackSize is the size of a SUBACK or UNSUBACK of MQTT 5 with this many reasons and a reason string of n bytes, to be
// held against the receiver's maximum packet size. [MQTT-3.9.2-1], [MQTT-3.11.2-1]
func SubackSize(reasons, n int) int { return sealedSize(2 + sealedBlockSize(n) + reasons) }

// appendReasonString appends a property block with a reason string or, when that is empty, nothing.
func appendReasonString(dst, reasonString []byte) []byte {
	dst, block := openBlock(dst)
	return seal(appendUnlessEmpty(dst, PropReasonString, reasonString), block)
}
