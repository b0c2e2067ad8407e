package record

import (
	"crypto/cipher"
	"encoding/binary"
	"math"
)

// Kind is what Open has found in a record.
type Kind uint8

const (
	// Data: plain is what the peer says.
	Data Kind = iota + 1
	// CloseNotify: the peer will send nothing more.
	CloseNotify
	// Handled: the record was for us. If Owes tells so now, Seal has something to send.
	Handled
)

const (
	typeChangeCipherSpec = 20
	typeAlert            = 21
	typeHandshake        = 22
	typeData             = 23

	headerLen = 5
	tagLen    = 16
	plainMax  = 1 << 14

	// PayloadMax is the most that may follow the 5 bytes of a record's header; TLS 1.3 allows 2^14+256 only, which Open
	// tells.
	PayloadMax   = plainMax + 2048
	payloadMax13 = plainMax + 256

	// nothingsMax is how many records without data may come on end; the next one ends the connection with
	// unexpected_message. Two KeyUpdates and an alert are the most that an honest peer has reason for; OpenSSL sends two
	// tickets besides.
	nothingsMax = 16

	// records13Max and records12Max: see the package's text.
	records13Max = 1 << 24
	records12Max = 1 << 32
)

// Whole returns the length of the first record in p, header included, or 0 while it is not whole. It fails (with an
// *Error) as soon as p can't become a record: another kind or version, or a payload above PayloadMax.
func Whole(p []byte) (n int, err error) {
	if len(p) > 0 && (p[0] < typeChangeCipherSpec || p[0] > typeData) {
		return 0, errNoRecord
	}
	if len(p) > 1 && p[1] != 3 {
		return 0, errNoRecord
	}
	if len(p) < headerLen {
		return 0, nil
	}
	payload := int(binary.BigEndian.Uint16(p[3:]))
	if payload > PayloadMax {
		return 0, errTooLong
	}
	if len(p) < headerLen+payload {
		return 0, nil
	}
	return headerLen + payload, nil
}

// Open decrypts one whole record where it lies. plain is a part of it, and there only if kind is Data. An error (always
// an *Error) ends the connection; plain and kind are zero then. id is the connection's number in k.
func (s *State) Open(k *Ciphers, id uint32, record []byte) (plain []byte, kind Kind, err error) {
	switch n, err := Whole(record); {
	case err != nil:
		return nil, 0, err
	case n != len(record) || n == 0:
		return nil, 0, errCut
	}
	if err := s.spent(); err != nil {
		return nil, 0, err
	}
	if !s.is(is12) && record[0] != typeData || record[0] == typeChangeCipherSpec {
		return nil, 0, errContent
	}
	if record[1] != 3 || record[2] != 3 {
		return nil, 0, errVersion
	}
	if !s.is(is12) && len(record) > headerLen+payloadMax13 {
		return nil, 0, errTooLong
	}
	plain, err = s.decrypt(k.reading(id, s), k, record)
	if err != nil {
		return nil, 0, err
	}
	s.read.sequence++
	content := record[0]
	if !s.is(is12) {
		if plain, content, err = inner(plain); err != nil {
			return nil, 0, err
		}
	}
	if len(plain) > plainMax {
		return nil, 0, errTooLong
	}
	switch kind, err = s.take(content, plain); {
	case err != nil:
		return nil, 0, err
	case kind != Data:
		return nil, kind, nil
	}
	return plain, Data, nil
}

// spent tells when the keys may not be used any longer and can't be replaced.
func (s *State) spent() error {
	limit := uint64(math.MaxUint64)
	if s.is(is12) {
		limit = records12Max
	}
	if s.read.sequence >= limit || s.write.sequence >= limit {
		return errSpent
	}
	return nil
}

// decrypt opens a record at the sequence number that is next. TLS 1.3 authenticates the header as it is, RFC 8446, 5.2;
// TLS 1.2 the sequence number and the plaintext's length besides, RFC 5246, 6.2.3.3.
func (s *State) decrypt(aead cipher.AEAD, k *Ciphers, record []byte) ([]byte, error) {
	header, text := record[:headerLen], record[headerLen:]
	extra := header
	if s.is(is12) {
		nonceLen := s.nonceLen()
		if len(text) < nonceLen+tagLen {
			return nil, errForged
		}
		k.setNonce(s, &s.read, text[:nonceLen])
		text = text[nonceLen:]
		extra = k.setExtra(s.read.sequence, record[0], len(text)-tagLen)
	} else {
		k.setNonce(s, &s.read, nil)
	}
	plain, err := aead.Open(text[:0], k.nonce[:], text, extra)
	if err != nil {
		return nil, errForged
	}
	return plain, nil
}

// inner takes padding and content type off, RFC 8446, 5.4.
func inner(p []byte) (plain []byte, content uint8, err error) {
	if len(p) > plainMax+1 {
		return nil, 0, errTooLong
	}
	last := len(p) - 1
	for last >= 0 && p[last] == 0 {
		last--
	}
	if last < 0 {
		return nil, 0, errNoContent
	}
	return p[:last], p[last], nil
}

// take acts on what a record has turned out to contain.
func (s *State) take(content uint8, plain []byte) (Kind, error) {
	if s.skip > 0 && content != typeHandshake {
		return 0, errContent
	}
	if content == typeData && len(plain) > 0 {
		s.nothings = 0
		return Data, nil
	}
	if s.nothings++; s.nothings > nothingsMax {
		return 0, errNothing
	}
	switch {
	case content == typeData:
		return Handled, nil
	case content == typeAlert:
		return s.onAlert(plain)
	case content != typeHandshake:
		return 0, errContent
	case len(plain) == 0:
		return 0, errNoContent
	case s.is(is12):
		return 0, renegotiation(plain)
	}
	return Handled, s.onHandshake(plain)
}

// onAlert: in TLS 1.3 all but two alerts end the connection, whatever level they claim, RFC 8446, 6; in TLS 1.2 warnings are allowed.
func (s *State) onAlert(p []byte) (Kind, error) {
	const warning, fatal = 1, 2
	if len(p) != 2 || p[0] != warning && p[0] != fatal {
		return 0, errAlert
	}
	alert := Alert(p[1])
	switch {
	case alert == AlertCloseNotify:
		return CloseNotify, nil
	case p[0] == warning && (s.is(is12) || alert == AlertUserCanceled):
		return Handled, nil
	}
	return 0, &Error{Alert: alert, Received: true}
}

// renegotiation is refused: a device that wants other keys connects again.
func renegotiation(p []byte) error {
	const helloRequest, clientHello = 0, 1
	if p[0] == helloRequest || p[0] == clientHello {
		return errRenegotiat
	}
	return errHandshake
}

// onHandshake goes over the messages of TLS 1.3 that come after a handshake. The body of a ticket may be spread over
// records; it is skipped, whoever sends it.
func (s *State) onHandshake(p []byte) error {
	const newSessionTicket, keyUpdate = 4, 24
	for {
		skip := min(uint32(len(p)), s.skip)
		s.skip -= skip
		if p = p[skip:]; len(p) == 0 {
			return nil
		}
		if len(p) < 4 {
			return errMessage
		}
		length := binary.BigEndian.Uint32(p) & 0xffffff
		switch p[0] {
		case newSessionTicket:
			if length > plainMax*4 {
				return errMessage
			}
			s.skip = length
			p = p[4:]
		case keyUpdate:
			if length != 1 || len(p) < 5 {
				return errMessage
			}
			// Nothing may follow it under the old key. RFC 8446, 5.1
			if len(p) > 5 {
				return errHandshake
			}
			return s.onKeyUpdate(p[4])
		default:
			return errHandshake
		}
	}
}

func (s *State) onKeyUpdate(request uint8) error {
	const notRequested, requested = 0, 1
	switch request {
	case notRequested:
	case requested:
		s.flags |= owes
	default:
		return errKeyUpdate
	}
	s.read.update(suiteOf(s.suite))
	return nil
}
