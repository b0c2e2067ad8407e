package mqtt

// A forward block is the part of a message's properties that a server passes on unaltered with it, in wire form
// without a length: payload format [MQTT-3.3.2-4], content type [MQTT-3.3.2-20], response topic [MQTT-3.3.2-15],
// correlation data [MQTT-3.3.2-16] and user properties in order [MQTT-3.3.2-17] [MQTT-3.3.2-18]. As bytes it can
// travel, wait in a queue and be written to a client without being parsed again.

// AppendForward appends the forward block of a received PUBLISH or will.
func (p *Properties) AppendForward(dst []byte) []byte {
	for rest := p.Raw; len(rest) > 0; {
		size := propertySize(rest)
		if propertyRules[rest[0]].places&inForward != 0 {
			dst = append(dst, rest[:size]...)
		}
		rest = rest[size:]
	}
	return dst
}

// ParseForward parses a forward block into dst, whatever dst held before. False when the block is not one.
func ParseForward(block []byte, dst *Properties) bool {
	dst.reset()
	if len(block) == 0 {
		return true
	}
	return dst.parse(block, inForward) == Success
}

// AppendPayloadFormat appends a payload format to a forward block: 0 for bytes, 1 for UTF-8 text.
func AppendPayloadFormat(dst []byte, format byte) []byte {
	return append(dst, byte(PropPayloadFormat), format)
}

// AppendContentType appends a content type to a forward block. Like its siblings below it appends nothing when the
// wire has no form for what it is given: more than 65,535 bytes, or text that is not UTF-8 as MQTT wants it, which
// would make every receiver disconnect.
func AppendContentType(dst, contentType []byte) []byte {
	return appendText(dst, PropContentType, contentType)
}

// AppendResponseTopic appends a response topic to a forward block; nothing when it is no topic name.
func AppendResponseTopic(dst, topic []byte) []byte {
	if !ValidTopic(topic) {
		return dst
	}
	return appendText(dst, PropResponseTopic, topic)
}

// AppendCorrelationData appends correlation data to a forward block; nothing when it is longer than 65,535 bytes.
func AppendCorrelationData(dst, data []byte) []byte {
	if len(data) > stringBytesMax {
		return dst
	}
	return appendBinary(append(dst, byte(PropCorrelationData)), data)
}

// AppendUserProperty appends a user property to a forward block; nothing when name or value is not text that the
// wire can carry.
func AppendUserProperty(dst, name, value []byte) []byte {
	if !carries(name) || !carries(value) {
		return dst
	}
	return appendBinary(appendBinary(append(dst, byte(PropUser)), name), value)
}

func appendText(dst []byte, id PropertyID, s []byte) []byte {
	if !carries(s) {
		return dst
	}
	return appendBinary(append(dst, byte(id)), s)
}

// carries tells whether the wire has a form for s as a string.
func carries(s []byte) bool { return len(s) <= stringBytesMax && validString(s) }

// FindResponseTopic finds the response topic in a forward block, and where it stands there; to is 0 when there is none.
func FindResponseTopic(block []byte) (topic []byte, from, to int) {
	for at := 0; at < len(block); {
		size := propertySize(block[at:])
		if PropertyID(block[at]) == PropResponseTopic {
			return block[at+3 : at+size], at, at + size
		}
		at += size
	}
	return nil, 0, 0
}
