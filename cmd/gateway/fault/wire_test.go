//go:build fault

package fault

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// The part of MQTT 5 that the devices need, by hand.
const (
	pConnect    = 0x10
	pConnack    = 0x20
	pPublish    = 0x30
	pPuback     = 0x40
	pPubrec     = 0x50
	pPubrel     = 0x62
	pPubcomp    = 0x70
	pSubscribe  = 0x82
	pSuback     = 0x90
	pPingreq    = 0xC0
	pPingresp   = 0xD0
	pDisconnect = 0xE0

	flagDup    = 0x08
	refused    = 0x80 // reason codes from here on are failures
	quotaIsOut = 0x97
)

var errMalformed = errors.New("malformed packet")

func appendPacket(dst []byte, first byte, body []byte) []byte {
	dst = append(dst, first)
	dst = appendVarint(dst, len(body))
	return append(dst, body...)
}

func appendVarint(dst []byte, n int) []byte {
	for ; n > 0x7F; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func appendConnect(dst []byte, id string, keepAliveSec uint16, expirySec uint32) []byte {
	body := append(appendText(nil, "MQTT"), 5, 0)
	body = binary.BigEndian.AppendUint16(body, keepAliveSec)
	body = append(body, 5, 0x11) // properties: Session Expiry Interval
	body = binary.BigEndian.AppendUint32(body, expirySec)
	return appendPacket(dst, pConnect, appendText(body, id))
}

func appendPublish(dst []byte, m *sending, dup bool) []byte {
	first := byte(pPublish) | m.qos<<1
	if dup {
		first |= flagDup
	}
	size := 2 + len(m.topic) + 2 + 1 + len(m.payload)
	dst = appendVarint(append(dst, first), size)
	dst = appendText(dst, m.topic)
	dst = binary.BigEndian.AppendUint16(dst, m.id)
	return append(append(dst, 0), m.payload...)
}

// appendAck is PUBACK, PUBREC, PUBREL or PUBCOMP with success.
func appendAck(dst []byte, first byte, id uint16) []byte {
	return append(dst, first, 2, byte(id>>8), byte(id))
}

func appendSubscribe(dst []byte, id uint16, filters []filter) []byte {
	body := append(binary.BigEndian.AppendUint16(nil, id), 0)
	for _, f := range filters {
		body = append(appendText(body, f.topic), f.qos)
	}
	return appendPacket(dst, pSubscribe, body)
}

// filter is one subscription.
type filter struct {
	topic string
	qos   byte
}

// readPacket reads one packet. The body is borrowed until the next call with the same buffer.
func readPacket(in *bufio.Reader, buf []byte) (first byte, body []byte, err error) {
	if first, err = in.ReadByte(); err != nil {
		return 0, nil, err
	}
	size := 0
	for shift := 0; ; shift += 7 {
		b, err := in.ReadByte()
		if err != nil {
			return 0, nil, err
		}
		size |= int(b&0x7F) << shift
		if b < 0x80 {
			break
		}
		if shift == 21 {
			return 0, nil, errMalformed
		}
	}
	if body = buf; size > len(buf) {
		body = make([]byte, size)
	}
	_, err = io.ReadFull(in, body[:size])
	return first, body[:size], err
}

// ackOf reads an acknowledgement: the packet id and the reason.
func ackOf(body []byte) (id uint16, reason byte, err error) {
	if len(body) < 2 {
		return 0, 0, errMalformed
	}
	if len(body) > 2 {
		reason = body[2]
	}
	return binary.BigEndian.Uint16(body), reason, nil
}

// publishOf reads a PUBLISH.
func publishOf(first byte, body []byte) (topic string, qos byte, id uint16, payload []byte, err error) {
	qos = first >> 1 & 3
	if len(body) < 2 {
		return "", 0, 0, nil, errMalformed
	}
	n := int(binary.BigEndian.Uint16(body))
	rest := body[2:]
	if len(rest) < n {
		return "", 0, 0, nil, errMalformed
	}
	topic, rest = string(rest[:n]), rest[n:]
	if qos > 0 {
		if len(rest) < 2 {
			return "", 0, 0, nil, errMalformed
		}
		id, rest = binary.BigEndian.Uint16(rest), rest[2:]
	}
	size, n := binary.Uvarint(rest) // of the properties; MQTT's variable byte integer is the same as this one
	if n <= 0 || len(rest) < n+int(size) {
		return "", 0, 0, nil, errMalformed
	}
	return topic, qos, id, rest[n+int(size):], nil
}
