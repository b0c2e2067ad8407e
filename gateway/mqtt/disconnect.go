package mqtt

// decodeDisconnect reads a DISCONNECT (§3.14). In MQTT 3.x it has no body; in MQTT 5 an absent reason is normal
// disconnection.
func (p *Packet) decodeDisconnect(body []byte) Reason {
	switch {
	case len(body) == 0:
		return Success
	case p.Version != V5:
		return MalformedPacket
	}
	return p.decodeReason(body)
}

// AppendDisconnect appends a DISCONNECT, in MQTT 5 with a reason and, unless it is empty, a reason string. In MQTT
// 3.x only a client says goodbye, and only a normal one; for any other reason nothing is appended and the
// connection just ends.
func AppendDisconnect(dst []byte, v Version, r Reason, reasonString []byte) []byte {
	switch {
	case v != V5 && r != Success:
		return dst
	case v != V5 || r == Success && len(reasonString) == 0:
		return append(dst, byte(TypeDisconnect)<<4, 0)
	case len(reasonString) == 0:
		return append(dst, byte(TypeDisconnect)<<4, 1, byte(r))
	}
	dst, packet := open(dst, TypeDisconnect, 0)
	return seal(appendReasonString(append(dst, byte(r)), reasonString), packet)
}

// DisconnectSize is the size of a DISCONNECT of MQTT 5 with a reason other than Success and a reason string of n bytes,
// to be held against the receiver's maximum packet size. [MQTT-3.14.2-3]
func DisconnectSize(n int) int {
	if n == 0 {
		return 3
	}
	return sealedSize(1 + sealedBlockSize(n))
}

// AppendDisconnectLater appends the DISCONNECT of an MQTT 5 server that may take the client again: userProps, written by
// AppendUserProperty, say when.
func AppendDisconnectLater(dst []byte, r Reason, reasonString, userProps []byte) []byte {
	dst, packet := open(dst, TypeDisconnect, 0)
	dst, block := openBlock(append(dst, byte(r)))
	return seal(seal(append(appendUnlessEmpty(dst, PropReasonString, reasonString), userProps...), block), packet)
}
