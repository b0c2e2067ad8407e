package mqtt

// decodeAuth reads an AUTH (§3.15). Without a body it is Success; when it says more, the method must be there.
func (p *Packet) decodeAuth(body []byte) Reason {
	switch {
	case p.Version != V5:
		return MalformedPacket // type 15 is reserved in 3.x
	case len(body) == 0:
		return Success
	}
	p.Reason = Reason(body[0])
	if !p.Reason.allowedOn(TypeAuth) {
		return ProtocolError // [MQTT-3.15.2-1]
	}
	if r := p.decodeLastProperties(body[1:]); r != Success {
		return r
	}
	// §3.15.2.2.2; a Success that says nothing more is the one without a body, spelt out. §3.15.2.1
	if !p.Props.Has(PropAuthMethod) && (p.Reason != Success || p.Props.Raw != nil) {
		return ProtocolError
	}
	return Success
}

// AppendAuth appends an AUTH. Data that is empty is left out; an empty method is right only for Success, which then
// has no body.
func AppendAuth(dst []byte, r Reason, method, data []byte) []byte {
	if r == Success && len(method) == 0 {
		return append(dst, byte(TypeAuth)<<4, 0)
	}
	dst, packet := open(dst, TypeAuth, 0)
	dst, block := openBlock(append(dst, byte(r)))
	dst = appendUnlessEmpty(dst, PropAuthMethod, method)
	dst = appendUnlessEmpty(dst, PropAuthData, data)
	return seal(seal(dst, block), packet)
}
