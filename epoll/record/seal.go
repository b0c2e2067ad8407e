package record

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Owes tells whether the peer has asked for a KeyUpdate that was not sent yet. The next Seal sends it before the data;
// Seal without data sends nothing else. It may wait for the next data, if there is any soon. RFC 8446, 4.6.3
func (s *State) Owes() bool { return s.is(owes) }

// Seal appends plain to dst as records of at most 16 KiB of data, and before them what Owes tells of. Without data it appends only that. plain must not overlap
// what dst has room for. id is the connection's number in k.
func (s *State) Seal(k *Ciphers, id uint32, dst, plain []byte) []byte {
	if s.is(owes) {
		dst = s.AppendKeyUpdate(k, id, dst, false)
	}
	dst = slices.Grow(dst, SealedLen(len(plain)))
	for len(plain) > 0 {
		n := min(len(plain), plainMax)
		dst = s.seal(k, id, dst, typeData, plain[:n])
		plain = plain[n:]
	}
	return dst
}

// SealedLen returns how many bytes Seal appends for n bytes of data at most, KeyUpdates aside.
func SealedLen(n int) int {
	const most = headerLen + 8 + tagLen + 1
	return n + (n+plainMax-1)/plainMax*most
}

// AppendCloseNotify appends that we will send nothing more.
func (s *State) AppendCloseNotify(k *Ciphers, id uint32, dst []byte) []byte {
	return s.AppendAlert(k, id, dst, AlertCloseNotify)
}

// AppendAlert appends the alert, after which the connection is to be closed.
func (s *State) AppendAlert(k *Ciphers, id uint32, dst []byte, alert Alert) []byte {
	level := byte(2)
	if alert == AlertCloseNotify || alert == AlertNoRenegotiation {
		level = 1
	}
	return s.seal(k, id, dst, typeAlert, []byte{level, byte(alert)})
}

// AppendKeyUpdate appends that we go on under a new key, which all later records are sealed with; request asks the peer
// to do the same. It pays what Owes tells of. TLS 1.3 only; under 1.2 nothing is appended. Seal calls it in time for the
// limit of a key.
func (s *State) AppendKeyUpdate(k *Ciphers, id uint32, dst []byte, request bool) []byte {
	s.flags &^= owes
	if s.is(is12) {
		return dst
	}
	message := []byte{24, 0, 0, 1, 0}
	if request {
		message[4] = 1
	}
	dst = s.sealNow(k, id, dst, typeHandshake, message)
	s.write.update(suiteOf(s.suite))
	return dst
}

// seal appends one record, and before it a KeyUpdate if the key is due.
func (s *State) seal(k *Ciphers, id uint32, dst []byte, content uint8, plain []byte) []byte {
	if !s.is(is12) && s.write.sequence >= records13Max {
		dst = s.AppendKeyUpdate(k, id, dst, false)
	}
	return s.sealNow(k, id, dst, content, plain)
}

// sealNow appends one record under the key as it is.
//
//	TLS 1.3: 23 3 3 length | plain content-type | tag        the header is authenticated
//	TLS 1.2: type 3 3 length | explicit nonce (GCM) | plain | tag
func (s *State) sealNow(k *Ciphers, id uint32, dst []byte, content uint8, plain []byte) []byte {
	if s.write.sequence == math.MaxUint64 {
		panic(fmt.Sprintf("record: sequence number %d must not be used", s.write.sequence))
	}
	outer, nonceLen, after := uint8(typeData), 0, 1
	if s.is(is12) {
		outer, nonceLen, after = content, s.nonceLen(), 0
	}
	payload := nonceLen + len(plain) + after + tagLen
	dst = slices.Grow(dst, headerLen+payload)
	at := len(dst)
	dst = append(dst, outer, 3, 3, byte(payload>>8), byte(payload))
	if nonceLen > 0 {
		dst = binary.BigEndian.AppendUint64(dst, s.write.sequence)
	}
	text := len(dst)
	k.setNonce(s, &s.write, dst[at+headerLen:text])
	dst = append(dst, plain...)
	extra := dst[at : at+headerLen]
	if s.is(is12) {
		extra = k.setExtra(s.write.sequence, content, len(plain))
	} else {
		dst = append(dst, content)
	}
	sealed := k.writing(id, s).Seal(dst[text:text], k.nonce[:], dst[text:], extra)
	s.write.sequence++
	return dst[:text+len(sealed)]
}

// nonceLen is how many bytes of the nonce a record of TLS 1.2 carries.
func (s *State) nonceLen() int {
	if suiteOf(s.suite).explicit() {
		return 8
	}
	return 0
}

// setNonce makes the nonce: the record's own part behind the salt, RFC 5288, or else the sequence number over the iv, RFC
// 8446, 5.3 and RFC 7905.
func (k *Ciphers) setNonce(s *State, d *direction, explicit []byte) {
	k.nonce = d.iv
	if len(explicit) > 0 {
		copy(k.nonce[4:], explicit)
		return
	}
	low := k.nonce[4:]
	binary.BigEndian.PutUint64(low, binary.BigEndian.Uint64(low)^d.sequence)
}

// setExtra makes what TLS 1.2 authenticates beside the text.
func (k *Ciphers) setExtra(sequence uint64, content uint8, length int) []byte {
	binary.BigEndian.PutUint64(k.extra[:], sequence)
	k.extra[8], k.extra[9], k.extra[10] = content, 3, 3
	binary.BigEndian.PutUint16(k.extra[11:], uint16(length))
	return k.extra[:]
}
