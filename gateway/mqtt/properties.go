package mqtt

// Properties is a parsed property block of MQTT 5. What was absent is zero, whatever default the standard gives it;
// [Properties.Has] tells an absent property from one that says zero. The slices are borrowed like those of
// [Packet]. About 370 bytes. Owned by one goroutine.
type Properties struct {
	// Raw is the block without its length, nil when it is empty.
	Raw     []byte
	present uint64 // bit 1<<id for each property that was there

	SessionExpirySec   uint32
	MaxPacketBytes     uint32 // never 0 when present
	MessageExpirySec   uint32
	WillDelaySec       uint32
	ReceiveMax         uint16 // never 0 when present
	TopicAliasMax      uint16
	TopicAlias         uint16 // never 0 when present
	ServerKeepAliveSec uint16

	// The following are 0 or 1.
	PayloadFormat, MaxQoS                   byte
	RequestProblemInfo, RequestResponseInfo byte
	RetainAvailable, WildcardAvailable      byte
	SubIDAvailable, SharedAvailable         byte

	// UserCount is the number of user properties; EachUser lists them.
	UserCount int
	// SubscriptionIDs may be many in a PUBLISH from a server; a SUBSCRIBE has at most one. Never 0. The array is
	// reused.
	SubscriptionIDs []uint32

	ContentType, ResponseTopic, CorrelationData []byte
	AssignedClientID, AuthMethod, AuthData      []byte
	ReasonString, ServerReference, ResponseInfo []byte
}

// Has tells whether the property was present.
func (p *Properties) Has(id PropertyID) bool { return p.present>>id&1 != 0 }

// EachUser calls f with each user property in order until f returns false. The same name may come again. (§2.2.2.2)
func (p *Properties) EachUser(f func(name, value []byte) bool) {
	if p.UserCount == 0 {
		return
	}
	for rest := p.Raw; len(rest) > 0; {
		size := propertySize(rest)
		if PropertyID(rest[0]) == PropUser {
			name, behind, _ := takeBinary(rest[1:])
			value, _, _ := takeBinary(behind)
			if !f(name, value) {
				return
			}
		}
		rest = rest[size:]
	}
}

// reset empties p. Most packets have no properties, so it looks before it clears.
func (p *Properties) reset() {
	if p.Raw == nil {
		return
	}
	ids := emptied(p.SubscriptionIDs)
	*p = Properties{SubscriptionIDs: ids}
}

// takeProperties splits a property block with its length from body and parses it into dst.
func takeProperties(body []byte, where place, dst *Properties) (rest []byte, r Reason) {
	size, rest, ok := takeVarint(body)
	if !ok || size > len(rest) {
		return nil, MalformedPacket
	}
	if size == 0 {
		return rest, Success
	}
	return rest[size:], dst.parse(rest[:size:size], where)
}

// parse reads a whole block into an empty p. One pass, however many properties there are.
func (p *Properties) parse(block []byte, where place) Reason {
	p.Raw = block
	for len(block) > 0 {
		q, rest, ok := takeProperty(block, where)
		if !ok {
			return MalformedPacket
		}
		if p.Has(q.id) && !repeatable(q.id, where) {
			return ProtocolError
		}
		p.present |= 1 << q.id
		if r := p.set(&q); r != Success {
			return r
		}
		block = rest
	}
	return Success
}

// repeatable tells whether a property may come more than once: user properties everywhere, subscription identifiers
// in PUBLISH. [MQTT-3.3.4-3]
func repeatable(id PropertyID, where place) bool {
	return id == PropUser || id == PropSubscriptionID && where == inPublish
}

// set stores one property; it refuses a value that the standard calls a protocol error.
func (p *Properties) set(q *property) Reason {
	switch q.id {
	case PropPayloadFormat:
		return setFlag(&p.PayloadFormat, q.number)
	case PropMessageExpiry:
		p.MessageExpirySec = q.number
	case PropContentType:
		p.ContentType = q.data
	case PropResponseTopic:
		p.ResponseTopic = q.data
		if !ValidTopic(q.data) {
			return ProtocolError // [MQTT-3.3.2-14]
		}
	case PropCorrelationData:
		p.CorrelationData = q.data
	case PropSubscriptionID:
		p.SubscriptionIDs = append(p.SubscriptionIDs, q.number)
		return nonZero(q.number)
	case PropSessionExpiry:
		p.SessionExpirySec = q.number
	case PropAssignedClientID:
		p.AssignedClientID = q.data
	case PropServerKeepAlive:
		p.ServerKeepAliveSec = uint16(q.number)
	case PropAuthMethod:
		p.AuthMethod = q.data
	case PropAuthData:
		p.AuthData = q.data
	case PropRequestProblemInfo:
		return setFlag(&p.RequestProblemInfo, q.number)
	case PropWillDelay:
		p.WillDelaySec = q.number
	case PropRequestResponseInfo:
		return setFlag(&p.RequestResponseInfo, q.number)
	case PropResponseInfo:
		p.ResponseInfo = q.data
	case PropServerReference:
		p.ServerReference = q.data
	case PropReasonString:
		p.ReasonString = q.data
	case PropReceiveMax:
		p.ReceiveMax = uint16(q.number)
		return nonZero(q.number)
	case PropTopicAliasMax:
		p.TopicAliasMax = uint16(q.number)
	case PropTopicAlias:
		p.TopicAlias = uint16(q.number)
		if q.number == 0 {
			return TopicAliasInvalid // [MQTT-3.3.2-8]
		}
	case PropMaxQoS:
		return setFlag(&p.MaxQoS, q.number)
	case PropRetainAvailable:
		return setFlag(&p.RetainAvailable, q.number)
	case PropUser:
		p.UserCount++
	case PropMaxPacketBytes:
		p.MaxPacketBytes = q.number
		return nonZero(q.number)
	case PropWildcardAvailable:
		return setFlag(&p.WildcardAvailable, q.number)
	case PropSubIDAvailable:
		return setFlag(&p.SubIDAvailable, q.number)
	case PropSharedAvailable:
		return setFlag(&p.SharedAvailable, q.number)
	}
	return Success
}

// setFlag stores a property whose only values are 0 and 1.
func setFlag(dst *byte, v uint32) Reason {
	if v > 1 {
		return ProtocolError
	}
	*dst = byte(v)
	return Success
}

func nonZero(v uint32) Reason {
	if v == 0 {
		return ProtocolError
	}
	return Success
}
