package mqtt

// Connect is what only a CONNECT carries. The slices are borrowed like those of [Packet].
type Connect struct {
	ProtocolName []byte
	// ClientID is empty when the server shall choose one; whether it will is not decided here, save that MQTT 3.1
	// has no such thing.
	ClientID           []byte
	Username, Password []byte
	// KeepAliveSec 0 turns keep-alive off.
	KeepAliveSec uint16
	// CleanStart is called clean session in 3.x.
	CleanStart               bool
	HasUsername, HasPassword bool
	HasWill, WillRetain      bool
	WillQoS                  byte
	WillTopic, WillPayload   []byte
	WillProps                Properties
}

// The flags of CONNECT (§3.1.2.3).
const (
	connectReserved   = 0x01
	connectCleanStart = 0x02
	connectWill       = 0x04
	connectWillRetain = 0x20
	connectPassword   = 0x40
	connectUsername   = 0x80
)

// decodeConnect reads a CONNECT (§3.1). minimal says whether its remaining length was in the shortest form.
func (p *Packet) decodeConnect(body []byte, minimal bool) Reason {
	c := &p.Connect
	*c = Connect{}
	name, rest, ok := takeBinary(body)
	if !ok || len(rest) == 0 {
		return MalformedPacket
	}
	c.ProtocolName = name
	p.Version, ok = protocol(name, rest[0])
	if !ok {
		return UnsupportedProtocolVersion
	}
	if len(rest) < 4 || p.Version == V5 && !minimal {
		return MalformedPacket
	}
	flags := rest[1]
	if r := c.setFlags(flags, p.Version); r != Success {
		return r
	}
	c.KeepAliveSec, rest, _ = takeUint16(rest[2:])
	if p.Version == V5 {
		var r Reason
		if rest, r = takeProperties(rest, inConnect, &p.Props); r != Success {
			return r
		}
		if p.Props.Has(PropAuthData) && !p.Props.Has(PropAuthMethod) {
			return ProtocolError // §3.1.2.11.10
		}
	}
	return c.decodePayload(rest, p.Version)
}

// protocol finds the version that a protocol name and level stand for. When they stand for none it returns the
// version to refuse them in. A level with the top bit set is a bridge of Mosquitto, which falls back on a 3.1.1
// refusal.
func protocol(name []byte, level byte) (v Version, known bool) {
	switch {
	case string(name) == "MQTT" && (level == byte(V311) || level == byte(V5)):
		return Version(level), true
	case string(name) == "MQIsdp" && level == byte(V31):
		return V31, true
	case string(name) == "MQTT" && level > byte(V5) && level < 0x80:
		return V5, false
	}
	return V311, false
}

// setFlags reads the connect flags and checks what they may say together.
func (c *Connect) setFlags(flags byte, v Version) Reason {
	c.CleanStart = flags&connectCleanStart != 0
	c.HasWill = flags&connectWill != 0
	c.WillQoS = flags >> 3 & 3
	c.WillRetain = flags&connectWillRetain != 0
	c.HasPassword = flags&connectPassword != 0
	c.HasUsername = flags&connectUsername != 0
	switch {
	case flags&connectReserved != 0, c.WillQoS == 3:
		return MalformedPacket // [MQTT-3.1.2-3], [MQTT-3.1.2-12]
	case !c.HasWill && (c.WillQoS != 0 || c.WillRetain):
		return ProtocolError // [MQTT-3.1.2-11], [MQTT-3.1.2-13]
	case v != V5 && c.HasPassword && !c.HasUsername:
		return ProtocolError // 3.1.1 [MQTT-3.1.2-22]; MQTT 5 allows it
	}
	return Success
}

// decodePayload reads client id, will, user name and password, in the order [MQTT-3.1.3-1] fixes.
func (c *Connect) decodePayload(p []byte, v Version) Reason {
	var ok bool
	if c.ClientID, p, ok = takeString(p); !ok {
		return MalformedPacket
	}
	// MQTT 3.1 wants 1 to 23 characters. Nobody keeps to the 23; without any there is no session to speak of.
	if v == V31 && len(c.ClientID) == 0 {
		return ClientIdentifierNotValid
	}
	if c.HasWill {
		var r Reason
		if p, r = c.decodeWill(p, v); r != Success {
			return r
		}
	}
	// In MQTT 3.1 the remaining length takes precedence over these two flags: a flag whose field is not there is no
	// fault. (3.1 §3.1)
	if v == V31 {
		c.HasUsername = c.HasUsername && len(p) > 0
	}
	if c.HasUsername {
		if c.Username, p, ok = takeString(p); !ok {
			return MalformedPacket // [MQTT-3.1.2-17], [MQTT-3.1.3-12]
		}
	}
	if v == V31 {
		c.HasPassword = c.HasPassword && len(p) > 0
	}
	if c.HasPassword {
		if c.Password, p, ok = takeBinary(p); !ok {
			return MalformedPacket // [MQTT-3.1.2-19]
		}
	}
	if len(p) > 0 {
		return MalformedPacket
	}
	return Success
}

func (c *Connect) decodeWill(p []byte, v Version) (rest []byte, r Reason) {
	if v == V5 {
		if p, r = takeProperties(p, inWill, &c.WillProps); r != Success {
			return nil, r
		}
	}
	topic, p, ok := takeString(p)
	if !ok {
		return nil, MalformedPacket
	}
	if c.WillPayload, p, ok = takeBinary(p); !ok {
		return nil, MalformedPacket
	}
	if !ValidTopic(topic) {
		return nil, TopicNameInvalid
	}
	c.WillTopic = topic
	return p, Success
}
