package mqtt

// Next returns the first whole packet in p and its size n.
//
// n == 0 with [Success] means that p does not yet hold one: ask again with more bytes. Any other reason means that
// the peer is wrong, as its fixed header already shows, before the body arrives: [MalformedPacket] for a packet
// type or flags that do not exist and a length of more than four bytes, [PacketTooLarge] for a packet of more than
// maxBytes, header included. maxBytes 0 is no limit.
//
// The version is not known here, so what only some versions forbid (a length in more bytes than needed, the DUP
// flag of SUBSCRIBE) is left to [Decode].
func Next(p []byte, maxBytes int) (packet []byte, n int, r Reason) {
	if len(p) == 0 {
		return nil, 0, Success
	}
	if !knownFirst(p[0]) {
		return nil, 0, MalformedPacket
	}
	remaining, size, ok := readVarint(p[1:])
	if !ok {
		return nil, 0, MalformedPacket
	}
	if size == 0 {
		return nil, 0, Success
	}
	n = 1 + size + remaining
	if maxBytes > 0 && n > maxBytes {
		return nil, 0, PacketTooLarge
	}
	if n > len(p) {
		return nil, 0, Success
	}
	return p[:n:n], n, Success
}

// knownFirst tells whether some version has a packet with this first byte. [MQTT-2.1.3-1]
func knownFirst(first byte) bool {
	flags := first & 0x0F
	switch Type(first >> 4) {
	case TypePublish:
		// QoS 3 does not exist [MQTT-3.3.1-4]; QoS 0 is never sent twice [MQTT-3.3.1-2].
		return flags&0x06 != 0x06 && flags&0x0E != 0x08
	case TypePubrel, TypeSubscribe, TypeUnsubscribe:
		// MQTT 3.1 sets DUP when it sends these again.
		return flags&^flagDup == 0x02
	case 0:
		return false
	}
	return flags == 0
}

const flagDup = 0x08

// split takes the fixed header off a whole packet and checks what depends on the version.
func split(packet []byte) (t Type, body []byte, minimal, ok bool) {
	if len(packet) < 2 || !knownFirst(packet[0]) {
		return 0, nil, false, false
	}
	remaining, size, ok := readVarint(packet[1:])
	if !ok || size == 0 || 1+size+remaining != len(packet) {
		return 0, nil, false, false
	}
	return Type(packet[0] >> 4), packet[1+size:], !overlong(size, packet[size]), true
}
