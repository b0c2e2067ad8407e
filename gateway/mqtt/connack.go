package mqtt

// returnCodeMax is the largest return code of a CONNACK in MQTT 3.x: not authorized.
const returnCodeMax = 5

// decodeConnack reads a CONNACK (§3.2).
func (p *Packet) decodeConnack(body []byte) Reason {
	if len(body) < 2 {
		return MalformedPacket
	}
	// MQTT 3.1 does not use the first byte; later versions keep all bits but the lowest 0. [MQTT-3.2.2-1]
	if p.Version != V31 {
		if body[0] > 1 {
			return MalformedPacket
		}
		p.SessionPresent = body[0] == 1
	}
	// Who refuses has no session to show. [MQTT-3.2.2-6], 3.1.1 [MQTT-3.2.2-4]
	if p.SessionPresent && body[1] != 0 {
		return ProtocolError
	}
	if p.Version == V5 {
		p.Reason = Reason(body[1])
		if !p.Reason.allowedOn(TypeConnack) {
			return ProtocolError // [MQTT-3.2.2-8]
		}
		return p.decodeLastProperties(body[2:])
	}
	p.ReturnCode = body[1]
	switch {
	case len(body) > 2:
		return MalformedPacket
	case p.ReturnCode > returnCodeMax:
		return ProtocolError
	}
	return Success
}

// ConnackOut is what [AppendConnack] writes. In MQTT 3.x only SessionPresent and Reason have a place. Numbers that
// are zero and slices that are empty are left out unless a flag says otherwise.
type ConnackOut struct {
	// SessionPresent is written only with Success. [MQTT-3.2.2-6]
	SessionPresent bool
	// Reason is mapped by [ReturnCode311] for MQTT 3.x.
	Reason Reason

	SessionExpirySec   uint32
	HasSessionExpiry   bool
	MaxPacketBytes     uint32
	ReceiveMax         uint16
	TopicAliasMax      uint16
	ServerKeepAliveSec uint16
	HasServerKeepAlive bool
	// MaxQoS is written when it is 0 or 1. 2 means the same as leaving it out, so 2 and above (0xFF by custom) are
	// not written. [MQTT-3.2.2-9]
	MaxQoS byte

	RetainUnavailable, WildcardUnavailable, SubIDUnavailable, SharedUnavailable bool

	AssignedClientID, ReasonString, ServerReference []byte
	AuthMethod, AuthData, ResponseInfo              []byte

	UserProps []byte // written by AppendUserProperty
}

// AppendConnack appends a CONNACK.
func AppendConnack(dst []byte, v Version, c *ConnackOut) []byte {
	var present byte
	if c.SessionPresent && c.Reason == Success && v != V31 {
		present = 1
	}
	if v != V5 {
		return append(dst, byte(TypeConnack)<<4, 2, present, ReturnCode311(c.Reason))
	}
	dst, packet := open(dst, TypeConnack, 0)
	dst, block := openBlock(append(dst, present, byte(c.Reason)))
	return seal(seal(c.appendBlock(dst), block), packet)
}

func (c *ConnackOut) appendBlock(dst []byte) []byte {
	if c.HasSessionExpiry {
		dst = appendUint32(append(dst, byte(PropSessionExpiry)), c.SessionExpirySec)
	}
	dst = appendUint16Unless0(dst, PropReceiveMax, c.ReceiveMax)
	if c.MaxQoS < 2 {
		dst = append(dst, byte(PropMaxQoS), c.MaxQoS)
	}
	dst = appendUnavailable(dst, PropRetainAvailable, c.RetainUnavailable)
	dst = appendUint32Unless0(dst, PropMaxPacketBytes, c.MaxPacketBytes)
	dst = appendUnlessEmpty(dst, PropAssignedClientID, c.AssignedClientID)
	dst = appendUint16Unless0(dst, PropTopicAliasMax, c.TopicAliasMax)
	dst = appendUnlessEmpty(dst, PropReasonString, c.ReasonString)
	dst = appendUnavailable(dst, PropWildcardAvailable, c.WildcardUnavailable)
	dst = appendUnavailable(dst, PropSubIDAvailable, c.SubIDUnavailable)
	dst = appendUnavailable(dst, PropSharedAvailable, c.SharedUnavailable)
	if c.HasServerKeepAlive {
		dst = appendUint16(append(dst, byte(PropServerKeepAlive)), c.ServerKeepAliveSec)
	}
	dst = appendUnlessEmpty(dst, PropResponseInfo, c.ResponseInfo)
	dst = appendUnlessEmpty(dst, PropServerReference, c.ServerReference)
	dst = appendUnlessEmpty(dst, PropAuthMethod, c.AuthMethod)
	return append(appendUnlessEmpty(dst, PropAuthData, c.AuthData), c.UserProps...)
}

// appendUnavailable writes the properties whose absence means that the feature is there.
func appendUnavailable(dst []byte, id PropertyID, unavailable bool) []byte {
	if !unavailable {
		return dst
	}
	return append(dst, byte(id), 0)
}
