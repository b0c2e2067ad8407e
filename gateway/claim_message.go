package gateway

import "encoding/binary"

// What gateways tell each other. Numbers are big-endian.
//
//	message: version(1) flags(1) gateway(8) number(8) clock(8) asked gateway(8) claim*
//	claim:   time(8) flags(1) length(2) client id
//
// A version that is not known is not heard; later versions may only append to the head by changing it.
const (
	messageVersion = 1
	messageHead    = 34
	claimHead      = 11
	// messageBytesMax is a message of one claim with the longest client id there is [MQTT-1.5.4].
	messageBytesMax = messageHead + claimHead + 65535

	messageBye = 1 // flag: this gateway is leaving
	claimClean = 1 // flag: connected with clean start
)

// message is the head of a message, and its claims as they came.
type message struct {
	flags  byte
	by     uint64 // the gateway that speaks
	seq    uint64 // of the messages it has sent
	clock  uint64
	asks   uint64 // the gateway that is to claim everything again, because we missed something of it; 0: none
	claims []byte
}

// writeHead writes m's head over the first bytes of p.
func writeHead(p []byte, m *message) {
	p[0], p[1] = messageVersion, m.flags
	binary.BigEndian.PutUint64(p[2:], m.by)
	binary.BigEndian.PutUint64(p[10:], m.seq)
	binary.BigEndian.PutUint64(p[18:], m.clock)
	binary.BigEndian.PutUint64(p[26:], m.asks)
}

// readMessage reads what another gateway told; false: nothing we understand, or its clock is later than latest.
func readMessage(p []byte, latest uint64) (m message, ok bool) {
	if len(p) < messageHead || len(p) > messageBytesMax || p[0] != messageVersion {
		return message{}, false
	}
	m = message{
		flags: p[1], by: binary.BigEndian.Uint64(p[2:]), seq: binary.BigEndian.Uint64(p[10:]), clock: binary.BigEndian.Uint64(p[18:]),
		asks: binary.BigEndian.Uint64(p[26:]), claims: p[messageHead:],
	}
	return m, m.clock <= latest
}

func appendClaim(dst []byte, id string, at uint64, clean bool) []byte {
	dst = binary.BigEndian.AppendUint64(dst, at)
	flags := byte(0)
	if clean {
		flags = claimClean
	}
	dst = binary.BigEndian.AppendUint16(append(dst, flags), uint16(len(id)))
	return append(dst, id...)
}

// readClaim reads one claim and returns what follows; false: there is no whole one.
func readClaim(p []byte) (k claim, rest []byte, ok bool) {
	if len(p) < claimHead {
		return claim{}, nil, false
	}
	end := claimHead + int(binary.BigEndian.Uint16(p[9:]))
	if len(p) < end {
		return claim{}, nil, false
	}
	k = claim{id: p[claimHead:end], at: binary.BigEndian.Uint64(p), clean: p[8]&claimClean != 0}
	return k, p[end:], true
}

// claimCount is how many claims a message has.
func claimCount(p []byte) (n int) {
	for rest, ok := p[messageHead:], true; len(rest) > 0 && ok; n++ {
		_, rest, ok = readClaim(rest)
	}
	return n
}
