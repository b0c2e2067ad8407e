package proxy

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"unicode/utf8"
)

// Version 2 is 16 bytes, then the addresses, then values of a type and a length each (§2.2):
//
//	signature 12 | version and command 1 | family and transport 1 | length 2 | addresses 0, 12, 36 or 216 | TLVs
const binaryBytes = len(signature) + 4

// Commands, families and transports.
const (
	commandLocal = 0
	commandProxy = 1

	familyUnspec = 0
	familyInet   = 1
	familyInet6  = 2
	familyUnix   = 3

	transportStream = 1
	transportMax    = 2
)

// addressBytes are those of both ends, by family.
var addressBytes = [...]int{familyUnspec: 0, familyInet: 12, familyInet6: 36, familyUnix: 216}

// parseBinary reads version 2.
func parseBinary(p []byte) (h Header, n int, err error) {
	if len(p) > len(signature) && p[len(signature)]>>4 != 2 {
		return Header{}, 0, ErrMalformed
	}
	if len(p) < binaryBytes {
		return Header{}, 0, nil
	}
	command, family, transport := p[12]&15, int(p[13]>>4), p[13]&15
	n = binaryBytes + int(binary.BigEndian.Uint16(p[14:]))
	if command > commandProxy || family >= len(addressBytes) || transport > transportMax || n > BytesMax {
		return Header{}, 0, ErrMalformed
	}
	if len(p) < n {
		return Header{}, 0, nil
	}
	if command == commandLocal || family == familyUnspec || transport == 0 {
		return Header{}, n, nil // what follows is to be skipped, whatever it is
	}
	body := p[binaryBytes:n]
	if len(body) < addressBytes[family] {
		return Header{}, 0, ErrMalformed
	}
	switch {
	case transport != transportStream: // no datagrams come here: whoever says so does not speak of this connection
	case family == familyInet:
		h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:]))
	case family == familyInet6:
		h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)).Unmap(), binary.BigEndian.Uint16(body[32:]))
	}
	if !h.values(p[:n], body[addressBytes[family]:]) {
		return Header{}, 0, ErrMalformed
	}
	return h, n, nil
}

// Types of values.
const (
	typeALPN      = 0x01
	typeAuthority = 0x02
	typeCRC32C    = 0x03
	typeSSL       = 0x20
	typeCN        = 0x22 // within typeSSL
)

// What a value may have: more than these need is a mistake or an attack.
const (
	alpnBytesMax      = 255
	authorityBytesMax = 255
	cnBytesMax        = 256
)

// values reads the TLVs; whole is the header with them. Of a type that we use there may be one: of two, another reader could choose the other.
func (h *Header) values(whole, p []byte) bool {
	var summed, ssl bool
	for len(p) > 0 {
		kind, value, rest, ok := cutValue(p)
		if !ok {
			return false
		}
		p = rest
		switch kind {
		case typeALPN:
			ok = take(&h.ALPN, value, alpnBytesMax)
		case typeAuthority:
			ok = take(&h.Authority, value, authorityBytesMax)
		case typeCRC32C:
			ok = !summed && len(value) == 4 && sumFits(whole, value, len(whole)-len(rest)-4)
			summed = true
		case typeSSL:
			ok = !ssl && h.ssl(value)
			ssl = true
		}
		if !ok {
			return false
		}
	}
	return true
}

// cutValue takes the first TLV off p.
func cutValue(p []byte) (kind byte, value, rest []byte, ok bool) {
	if len(p) < 3 {
		return 0, nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(p[1:]))
	if len(p)-3 < n {
		return 0, nil, nil, false
	}
	return p[0], p[3 : 3+n], p[3+n:], true
}

// take keeps a text.
func take(field *[]byte, value []byte, bytesMax int) bool {
	if *field != nil || len(value) == 0 || len(value) > bytesMax || !utf8.Valid(value) || bytes.ContainsFunc(value, control) {
		return false
	}
	*field = value
	return true
}

func control(r rune) bool { return r < ' ' || r == 0x7F }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumFits checks the CRC32C at whole[at:], which was made with zeros in its own place.
func sumFits(whole, sum []byte, at int) bool {
	n := crc32.Update(0, castagnoli, whole[:at])
	n = crc32.Update(n, castagnoli, []byte{0, 0, 0, 0})
	return crc32.Update(n, castagnoli, whole[at+4:]) == binary.BigEndian.Uint32(sum)
}

// What the balancer says of TLS: how the client came, and whether its certificate is good.
const (
	sslTLS         = 1 // over TLS
	sslCertificate = 2 // with a certificate in this connection
	sslResumed     = 4 // with one in the session that this connection resumes

	sslBytes = 5 // flags 1 | result of the verification 4, 0: good
)

// ssl reads the value of TLS, which holds further ones.
func (h *Header) ssl(p []byte) bool {
	if len(p) < sslBytes {
		return false
	}
	flags := p[0]
	verified := flags&sslTLS != 0 && flags&(sslCertificate|sslResumed) != 0 && binary.BigEndian.Uint32(p[1:]) == 0
	h.TLS = flags&sslTLS != 0
	var cn []byte
	for p = p[sslBytes:]; len(p) > 0; {
		kind, value, rest, ok := cutValue(p)
		if !ok || kind == typeCN && !take(&cn, value, cnBytesMax) {
			return false
		}
		p = rest
	}
	if verified {
		h.CN = cn
	}
	return true
}
