package mqtt

// PeekClientID returns the client id of a CONNECT of which perhaps only the beginning is there, without judging the
// rest of it. ok is false when more bytes are needed to know. What is no CONNECT that this package could decode
// gives ok without an id: there is nothing to wait for, and [Decode] will say why. v is the version as Decode would
// set it. id is borrowed from p.
func PeekClientID(packet []byte) (id []byte, v Version, ok bool) {
	if len(packet) == 0 {
		return nil, 0, false
	}
	if packet[0] != byte(TypeConnect)<<4 {
		return nil, 0, true
	}
	remaining, size, valid := readVarint(packet[1:])
	if !valid || size == 0 {
		return nil, 0, !valid
	}
	body := packet[1+size:]
	whole := len(body) >= remaining
	if whole {
		body = body[:remaining]
	}
	name, rest, valid := takeBinary(body)
	if !valid || len(rest) == 0 {
		return nil, 0, whole
	}
	v, known := protocol(name, rest[0])
	if !known {
		return nil, v, true
	}
	// Level, flags and keep-alive are four bytes.
	if len(rest) < 4 {
		return nil, v, whole
	}
	rest = rest[4:]
	if v == V5 {
		block, size, valid := readVarint(rest)
		if !valid || size == 0 || block > len(rest)-size {
			return nil, v, whole || !valid
		}
		rest = rest[size+block:]
	}
	id, _, valid = takeBinary(rest)
	return id, v, valid || whole
}
