package mqtt

import "encoding/binary"

// PropertyID names a property of an MQTT 5 packet (§2.2.2.2).
type PropertyID byte

// The properties with the standard's names.
const (
	PropPayloadFormat       PropertyID = 0x01
	PropMessageExpiry       PropertyID = 0x02
	PropContentType         PropertyID = 0x03
	PropResponseTopic       PropertyID = 0x08
	PropCorrelationData     PropertyID = 0x09
	PropSubscriptionID      PropertyID = 0x0B
	PropSessionExpiry       PropertyID = 0x11
	PropAssignedClientID    PropertyID = 0x12
	PropServerKeepAlive     PropertyID = 0x13
	PropAuthMethod          PropertyID = 0x15
	PropAuthData            PropertyID = 0x16
	PropRequestProblemInfo  PropertyID = 0x17
	PropWillDelay           PropertyID = 0x18
	PropRequestResponseInfo PropertyID = 0x19
	PropResponseInfo        PropertyID = 0x1A
	PropServerReference     PropertyID = 0x1C
	PropReasonString        PropertyID = 0x1F
	PropReceiveMax          PropertyID = 0x21
	PropTopicAliasMax       PropertyID = 0x22
	PropTopicAlias          PropertyID = 0x23
	PropMaxQoS              PropertyID = 0x24
	PropRetainAvailable     PropertyID = 0x25
	PropUser                PropertyID = 0x26
	PropMaxPacketBytes      PropertyID = 0x27
	PropWildcardAvailable   PropertyID = 0x28
	PropSubIDAvailable      PropertyID = 0x29
	PropSharedAvailable     PropertyID = 0x2A
)

// shape is how a property's value lies on the wire.
type shape byte

const (
	shapeNone shape = iota
	shapeByte
	shapeUint16
	shapeUint32
	shapeVarint
	shapeString
	shapeBinary
	shapePair
)

// place is where a property may stand: bits 1<<Type for packets, and two places that are not packets.
type place uint32

const (
	inWill    place = 1 << 16 // the will properties in the payload of CONNECT
	inForward place = 1 << 17 // a block of properties that a server passes on unaltered, see AppendForward
)

const (
	inConnect    = place(1) << TypeConnect
	inConnack    = place(1) << TypeConnack
	inPublish    = place(1) << TypePublish
	inSubscribe  = place(1) << TypeSubscribe
	inDisconnect = place(1) << TypeDisconnect
	inAuth       = place(1) << TypeAuth
	inAnswers    = place(1)<<TypePuback | place(1)<<TypePubrec | place(1)<<TypePubrel | place(1)<<TypePubcomp |
		place(1)<<TypeSuback | place(1)<<TypeUnsuback | inConnack | inDisconnect | inAuth
	inMessage = inPublish | inWill | inForward
	inAny     = inAnswers | inMessage | inConnect | inSubscribe | place(1)<<TypeUnsubscribe
)

// propertyRule says how a property lies on the wire and where it may stand; the zero rule is that of a number that
// is no property.
type propertyRule struct {
	places place
	shape  shape
}

// propertyRules is table 2-4 of the standard.
var propertyRules = [64]propertyRule{
	PropPayloadFormat:       {inMessage, shapeByte},
	PropMessageExpiry:       {inPublish | inWill, shapeUint32},
	PropContentType:         {inMessage, shapeString},
	PropResponseTopic:       {inMessage, shapeString},
	PropCorrelationData:     {inMessage, shapeBinary},
	PropSubscriptionID:      {inPublish | inSubscribe, shapeVarint},
	PropSessionExpiry:       {inConnect | inConnack | inDisconnect, shapeUint32},
	PropAssignedClientID:    {inConnack, shapeString},
	PropServerKeepAlive:     {inConnack, shapeUint16},
	PropAuthMethod:          {inConnect | inConnack | inAuth, shapeString},
	PropAuthData:            {inConnect | inConnack | inAuth, shapeBinary},
	PropRequestProblemInfo:  {inConnect, shapeByte},
	PropWillDelay:           {inWill, shapeUint32},
	PropRequestResponseInfo: {inConnect, shapeByte},
	PropResponseInfo:        {inConnack, shapeString},
	PropServerReference:     {inConnack | inDisconnect, shapeString},
	PropReasonString:        {inAnswers, shapeString},
	PropReceiveMax:          {inConnect | inConnack, shapeUint16},
	PropTopicAliasMax:       {inConnect | inConnack, shapeUint16},
	PropTopicAlias:          {inPublish, shapeUint16},
	PropMaxQoS:              {inConnack, shapeByte},
	PropRetainAvailable:     {inConnack, shapeByte},
	PropUser:                {inAny, shapePair},
	PropMaxPacketBytes:      {inConnect | inConnack, shapeUint32},
	PropWildcardAvailable:   {inConnack, shapeByte},
	PropSubIDAvailable:      {inConnack, shapeByte},
	PropSharedAvailable:     {inConnack, shapeByte},
}

// property is one property of a block: number holds the value of the numeric shapes, data that of strings and
// binary data, and name the first half of a pair.
type property struct {
	id         PropertyID
	number     uint32
	name, data []byte
}

// takeProperty splits the first property from a block. ok is false when its number is none that may stand in this
// place [§2.2.2.2] or its value is cut off or ill-formed. Every identifier is below 128, so its variable byte
// integer is one byte.
func takeProperty(block []byte, where place) (q property, rest []byte, ok bool) {
	if len(block) == 0 || int(block[0]) >= len(propertyRules) {
		return q, nil, false
	}
	q.id = PropertyID(block[0])
	rule := propertyRules[q.id]
	if rule.places&where == 0 {
		return q, nil, false
	}
	rest, ok = q.takeValue(block[1:], rule.shape)
	return q, rest, ok
}

func (q *property) takeValue(p []byte, s shape) (rest []byte, ok bool) {
	switch s {
	case shapeByte:
		if len(p) < 1 {
			return nil, false
		}
		q.number, rest, ok = uint32(p[0]), p[1:], true
	case shapeUint16:
		var v uint16
		v, rest, ok = takeUint16(p)
		q.number = uint32(v)
	case shapeUint32:
		if len(p) < 4 {
			return nil, false
		}
		q.number, rest, ok = binary.BigEndian.Uint32(p), p[4:], true
	case shapeVarint:
		var v int
		v, rest, ok = takeVarint(p)
		q.number = uint32(v)
	case shapeString:
		q.data, rest, ok = takeString(p)
	case shapeBinary:
		q.data, rest, ok = takeBinary(p)
	case shapePair:
		if q.name, rest, ok = takeString(p); ok {
			q.data, rest, ok = takeString(rest)
		}
	}
	return rest, ok
}

// propertySize is the size of the first property of a block that parse has accepted; it checks nothing again.
func propertySize(block []byte) int {
	switch propertyRules[block[0]].shape {
	case shapeByte:
		return 2
	case shapeUint16:
		return 3
	case shapeUint32:
		return 5
	case shapeVarint:
		_, size, _ := readVarint(block[1:])
		return 1 + size
	case shapePair:
		name := 3 + int(binary.BigEndian.Uint16(block[1:]))
		return name + 2 + int(binary.BigEndian.Uint16(block[name:]))
	}
	return 3 + int(binary.BigEndian.Uint16(block[1:]))
}
