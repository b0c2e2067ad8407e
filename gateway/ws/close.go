package ws

import (
	"encoding/binary"
	"strconv"
	"unicode/utf8"
)

// CloseCode says why a WebSocket connection ends (RFC 6455 §7.4.1 and the IANA registry). 0 is no code.
type CloseCode uint16

// The close codes that may stand in a close frame, and NoStatus, which may not.
const (
	CloseNormal        CloseCode = 1000
	GoingAway          CloseCode = 1001
	ProtocolError      CloseCode = 1002
	Unsupported        CloseCode = 1003
	NoStatus           CloseCode = 1005 // never on the wire: a close frame without a body
	InvalidPayload     CloseCode = 1007
	PolicyViolation    CloseCode = 1008
	TooBig             CloseCode = 1009
	MandatoryExtension CloseCode = 1010
	InternalError      CloseCode = 1011
	ServiceRestart     CloseCode = 1012
	TryAgainLater      CloseCode = 1013
	BadGateway         CloseCode = 1014
)

var closeNames = map[CloseCode]string{
	CloseNormal:        "normal closure",
	GoingAway:          "going away",
	ProtocolError:      "protocol error",
	Unsupported:        "unsupported data",
	NoStatus:           "no status",
	InvalidPayload:     "invalid payload",
	PolicyViolation:    "policy violation",
	TooBig:             "message too big",
	MandatoryExtension: "mandatory extension",
	InternalError:      "internal error",
	ServiceRestart:     "service restart",
	TryAgainLater:      "try again later",
	BadGateway:         "bad gateway",
}

// String returns the number and, where it has one, the name: "1002 protocol error".
func (c CloseCode) String() string {
	s := strconv.Itoa(int(c))
	if name := closeNames[c]; name != "" {
		s += " " + name
	}
	return s
}

// OnWire reports whether the code may stand in a close frame: 1000 to 1014 without 1004 (undefined), 1005 and 1006
// (reserved for local use), and 3000 to 4999 for libraries and applications (RFC 6455 §7.4).
func (c CloseCode) OnWire() bool {
	switch {
	case c >= 3000 && c <= 4999:
		return true
	case c < CloseNormal || c > BadGateway:
		return false
	}
	return c != 1004 && c != NoStatus && c != 1006
}

// closeReasonMax is what a control frame leaves to the reason, in bytes.
const closeReasonMax = ControlBytesMax - 2

// AppendClose appends a close frame as a server sends it. NoStatus and 0 give one without a body; a reason longer
// than 123 bytes is cut between two runes. A code that may not be sent is our mistake and panics.
func AppendClose(dst []byte, code CloseCode, reason string) []byte {
	var body [ControlBytesMax]byte
	return AppendFrame(dst, OpClose, closeBody(&body, code, reason))
}

// closeBody writes the payload of a close frame into body.
func closeBody(body *[ControlBytesMax]byte, code CloseCode, reason string) []byte {
	if code == NoStatus || code == 0 {
		return nil
	}
	if !code.OnWire() {
		panic("ws: close code " + strconv.Itoa(int(code)) + " must not be sent")
	}
	if len(reason) > closeReasonMax {
		cut := closeReasonMax
		for cut > 0 && !utf8.RuneStart(reason[cut]) {
			cut--
		}
		reason = reason[:cut]
	}
	binary.BigEndian.PutUint16(body[:], uint16(code))
	return body[:2+copy(body[2:], reason)]
}

// ParseClose reads the payload of a received close frame. code is the one to answer with: the peer's own, or
// CloseNormal when it gave none. bad != 0 means that the peer is wrong and is to be answered with bad instead:
// ProtocolError for a body of one byte or a code that may not be sent, InvalidPayload for a reason that is
// not UTF-8 (RFC 6455 §5.5.1, §7.4). reason is borrowed from payload.
func ParseClose(payload []byte) (code CloseCode, reason []byte, bad CloseCode) {
	switch len(payload) {
	case 0:
		return CloseNormal, nil, 0
	case 1:
		return 0, nil, ProtocolError
	}
	code, reason = CloseCode(binary.BigEndian.Uint16(payload)), payload[2:]
	if !code.OnWire() {
		return 0, nil, ProtocolError
	}
	if !utf8.Valid(reason) {
		return 0, nil, InvalidPayload
	}
	return code, reason, 0
}
