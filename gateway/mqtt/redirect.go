package mqtt

// AppendRedirect appends the DISCONNECT of an MQTT 5 server that sends the client to another one: r is [UseAnotherServer] or
// [ServerMoved], serverReference says where (§4.13).
func AppendRedirect(dst []byte, r Reason, serverReference []byte) []byte {
	dst, packet := open(dst, TypeDisconnect, 0)
	dst, block := openBlock(append(dst, byte(r)))
	return seal(seal(appendUnlessEmpty(dst, PropServerReference, serverReference), block), packet)
}
