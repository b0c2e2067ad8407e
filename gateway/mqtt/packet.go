package mqtt

// Packet is a decoded packet, reused from packet to packet.
//
// Its slices are borrowed: they point into the packet given to [Decode]. Connect is that of the last CONNECT
// decoded and means nothing for other types; every other field is of this packet, and zero where the packet has no
// such thing. After a failed Decode nothing but Type is sure, and Version for a CONNECT. About 1 KB; keep one per
// loop, not one per connection. Owned by one goroutine.
type Packet struct {
	Type    Type
	Version Version
	// Dup, Retain and QoS are the flags of a PUBLISH.
	Dup, Retain bool
	QoS         byte
	// ReturnCode is the answer in a CONNACK of MQTT 3.x, 0 to 5.
	ReturnCode byte
	// SessionPresent is the flag of a CONNACK; MQTT 3.1 has none.
	SessionPresent bool
	// Reason is that of PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH and CONNACK in MQTT 5.
	Reason Reason
	// PacketID is never 0 in a packet that has one.
	PacketID uint16
	// Topic of a PUBLISH is empty when a topic alias stands for it.
	Topic   []byte
	Payload []byte
	// Filters are those of SUBSCRIBE and UNSUBSCRIBE, in order, at least one. The array is reused.
	Filters []Filter
	// Reasons are those of SUBACK and UNSUBACK, in the order of the filters. MQTT 3.x: 0, 1, 2 or 0x80 in SUBACK,
	// none in UNSUBACK. The array is reused.
	Reasons []Reason
	Connect Connect
	// Props are the properties in MQTT 5; a will's are in Connect.
	Props Properties
}

// reusedMax is how many elements of a reused array a packet may leave behind. One packet with a quarter of a
// million filters must not cost its memory forever.
const reusedMax = 1024

// Decode reads one whole packet as returned by [Next] into dst.
//
// v is the connection's version; it is ignored for CONNECT, which says its own. Success means that the packet keeps
// every rule that can be seen from the packet alone, whichever side sent it; see [ClientFault] for the rest. Any
// other reason is the one to close the connection with.
//
// After [UnsupportedProtocolVersion], dst.Version is the version to answer in: MQTT 5 for a level above 5,
// otherwise 3.1.1, where return code 1 is understood since the first MQTT. [MQTT-3.1.2-2]
func Decode(packet []byte, v Version, dst *Packet) Reason {
	t, body, minimal, ok := split(packet)
	if !ok {
		return MalformedPacket
	}
	dst.reset(t, v)
	if t != TypeConnect && !minimal && v == V5 {
		return MalformedPacket // [MQTT-1.5.5-1]
	}
	switch t {
	case TypePublish:
		return dst.decodePublish(body, packet[0]&0x0F)
	case TypePuback, TypePubrec, TypePubcomp:
		return dst.decodeAck(body)
	case TypePingreq, TypePingresp:
		return decodePing(body)
	}
	if packet[0]&flagDup != 0 && v != V31 {
		return MalformedPacket // [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1]
	}
	switch t {
	case TypeConnect:
		return dst.decodeConnect(body, minimal)
	case TypeConnack:
		return dst.decodeConnack(body)
	case TypePubrel:
		return dst.decodeAck(body)
	case TypeSubscribe:
		return dst.decodeSubscribe(body)
	case TypeSuback:
		return dst.decodeSuback(body)
	case TypeUnsubscribe:
		return dst.decodeUnsubscribe(body)
	case TypeUnsuback:
		return dst.decodeUnsuback(body)
	case TypeDisconnect:
		return dst.decodeDisconnect(body)
	}
	return dst.decodeAuth(body)
}

// reset makes dst an empty packet of this type. It touches no properties that are empty already, and Connect not at
// all.
func (p *Packet) reset(t Type, v Version) {
	p.Type, p.Version = t, v
	p.Dup, p.Retain, p.QoS = false, false, 0
	p.ReturnCode, p.SessionPresent, p.Reason = 0, false, Success
	p.PacketID = 0
	p.Topic, p.Payload = nil, nil
	p.Filters = emptied(p.Filters)
	p.Reasons = emptied(p.Reasons)
	p.Props.reset()
}

// emptied returns s without elements, and without its array when that has grown beyond reason.
func emptied[T any](s []T) []T {
	if cap(s) > reusedMax {
		return nil
	}
	return s[:0]
}

// takePacketID splits the packet identifier from a variable header. 0 is none. [MQTT-2.2.1-3]
func takePacketID(body []byte) (id uint16, rest []byte, r Reason) {
	id, rest, ok := takeUint16(body)
	if !ok {
		return 0, nil, MalformedPacket
	}
	if id == 0 {
		return 0, nil, ProtocolError
	}
	return id, rest, Success
}
