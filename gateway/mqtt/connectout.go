package mqtt

// ConnectOut is what [AppendConnect] writes. A zero number is a property that is left out, unless said otherwise.
// The slices are read during the call only, each at most 65,535 bytes.
type ConnectOut struct {
	ClientID, Username, Password []byte
	// HasUsername and HasPassword are needed for empty ones only.
	HasUsername, HasPassword bool
	CleanStart               bool
	KeepAliveSec             uint16

	HasWill, WillRetain    bool
	WillQoS                byte
	WillTopic, WillPayload []byte
	// The rest exists in MQTT 5 only. WillProps is a forward block.
	WillProps     []byte
	WillDelaySec  uint32
	WillExpirySec uint32
	HasWillExpiry bool

	SessionExpirySec    uint32
	MaxPacketBytes      uint32
	ReceiveMax          uint16
	TopicAliasMax       uint16
	RequestResponseInfo bool
	// RefuseProblemInfo asks the server to leave out reason strings and user properties.
	RefuseProblemInfo bool
	// AuthData needs an AuthMethod. §3.1.2.11.10
	AuthMethod, AuthData []byte
	// UserProps are wire form as [AppendUserProperty] builds them.
	UserProps []byte
}

// AppendConnect appends a CONNECT.
func AppendConnect(dst []byte, v Version, c *ConnectOut) []byte {
	name := "MQTT"
	if v == V31 {
		name = "MQIsdp"
	}
	dst, mark := open(dst, TypeConnect, 0)
	dst = append(dst, 0, byte(len(name)))
	dst = append(append(dst, name...), byte(v), c.flags())
	dst = appendUint16(dst, c.KeepAliveSec)
	if v == V5 {
		dst = c.appendBlock(dst)
	}
	dst = appendBinary(dst, c.ClientID)
	if c.HasWill {
		dst = c.appendWill(dst, v)
	}
	if c.named() {
		dst = appendBinary(dst, c.Username)
	}
	if c.secret() {
		dst = appendBinary(dst, c.Password)
	}
	return seal(dst, mark)
}

func (c *ConnectOut) named() bool  { return c.HasUsername || len(c.Username) > 0 }
func (c *ConnectOut) secret() bool { return c.HasPassword || len(c.Password) > 0 }

func (c *ConnectOut) flags() (f byte) {
	if c.CleanStart {
		f |= connectCleanStart
	}
	if c.HasWill {
		f |= connectWill | c.WillQoS<<3
		if c.WillRetain {
			f |= connectWillRetain
		}
	}
	if c.secret() {
		f |= connectPassword
	}
	if c.named() {
		f |= connectUsername
	}
	return f
}

func (c *ConnectOut) appendBlock(dst []byte) []byte {
	dst, mark := openBlock(dst)
	dst = appendUint32Unless0(dst, PropSessionExpiry, c.SessionExpirySec)
	dst = appendUint16Unless0(dst, PropReceiveMax, c.ReceiveMax)
	dst = appendUint32Unless0(dst, PropMaxPacketBytes, c.MaxPacketBytes)
	dst = appendUint16Unless0(dst, PropTopicAliasMax, c.TopicAliasMax)
	if c.RequestResponseInfo {
		dst = append(dst, byte(PropRequestResponseInfo), 1)
	}
	if c.RefuseProblemInfo {
		dst = append(dst, byte(PropRequestProblemInfo), 0)
	}
	dst = appendUnlessEmpty(dst, PropAuthMethod, c.AuthMethod)
	dst = appendUnlessEmpty(dst, PropAuthData, c.AuthData)
	return seal(append(dst, c.UserProps...), mark)
}

func (c *ConnectOut) appendWill(dst []byte, v Version) []byte {
	if v == V5 {
		var mark int
		dst, mark = openBlock(dst)
		dst = appendUint32Unless0(dst, PropWillDelay, c.WillDelaySec)
		if c.HasWillExpiry {
			dst = appendUint32(append(dst, byte(PropMessageExpiry)), c.WillExpirySec)
		}
		dst = seal(append(dst, c.WillProps...), mark)
	}
	return appendBinary(appendBinary(dst, c.WillTopic), c.WillPayload)
}

func appendUint32Unless0(dst []byte, id PropertyID, v uint32) []byte {
	if v == 0 {
		return dst
	}
	return appendUint32(append(dst, byte(id)), v)
}

func appendUint16Unless0(dst []byte, id PropertyID, v uint16) []byte {
	if v == 0 {
		return dst
	}
	return appendUint16(append(dst, byte(id)), v)
}

func appendUnlessEmpty(dst []byte, id PropertyID, field []byte) []byte {
	if len(field) == 0 {
		return dst
	}
	return appendBinary(append(dst, byte(id)), field)
}
