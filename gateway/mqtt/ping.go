package mqtt

// decodePing reads PINGREQ and PINGRESP, which have no body (§3.12, §3.13).
func decodePing(body []byte) Reason {
	if len(body) > 0 {
		return MalformedPacket
	}
	return Success
}

// AppendPingreq appends a PINGREQ.
func AppendPingreq(dst []byte) []byte { return append(dst, byte(TypePingreq)<<4, 0) }

// AppendPingresp appends a PINGRESP.
func AppendPingresp(dst []byte) []byte { return append(dst, byte(TypePingresp)<<4, 0) }
