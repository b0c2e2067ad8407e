package record

import "strconv"

// Alert is the number of a TLS alert, RFC 8446, 6.
type Alert uint8

// The alerts that are sent, or looked for, here.
const (
	AlertCloseNotify       Alert = 0
	AlertUnexpectedMessage Alert = 10
	AlertBadRecordMAC      Alert = 20
	AlertRecordOverflow    Alert = 22
	AlertIllegalParameter  Alert = 47
	AlertDecodeError       Alert = 50
	AlertProtocolVersion   Alert = 70
	AlertInternalError     Alert = 80
	AlertUserCanceled      Alert = 90
	AlertNoRenegotiation   Alert = 100
)

var alertNames = map[Alert]string{
	AlertCloseNotify: "close_notify", AlertUnexpectedMessage: "unexpected_message", AlertBadRecordMAC: "bad_record_mac",
	AlertRecordOverflow: "record_overflow", 40: "handshake_failure", 42: "bad_certificate", 43: "unsupported_certificate",
	44: "certificate_revoked", 45: "certificate_expired", 46: "certificate_unknown", AlertIllegalParameter: "illegal_parameter",
	48: "unknown_ca", 49: "access_denied", AlertDecodeError: "decode_error", 51: "decrypt_error",
	AlertProtocolVersion: "protocol_version", 71: "insufficient_security", AlertInternalError: "internal_error",
	AlertUserCanceled: "user_canceled", AlertNoRenegotiation: "no_renegotiation", 109: "missing_extension",
	112: "unrecognized_name", 116: "certificate_required", 120: "no_application_protocol",
}

func (a Alert) String() string {
	if name, ok := alertNames[a]; ok {
		return name
	}
	return "alert " + strconv.Itoa(int(a))
}

// Error says why a connection can't go on.
type Error struct {
	// Alert is what to send with AppendAlert before closing; or what the peer has sent, if Received. Then nothing is to
	// be answered.
	Alert    Alert
	Received bool
	what     string
}

func (e *Error) Error() string {
	if e.Received {
		return "tls: the peer ended the connection: " + e.Alert.String()
	}
	return "tls: " + e.what + " (" + e.Alert.String() + ")"
}

// All that is wrong with a peer's records. They are made once: an attacker must not be able to make us allocate.
var (
	errNoRecord   = &Error{Alert: AlertUnexpectedMessage, what: "not a TLS record"}
	errVersion    = &Error{Alert: AlertProtocolVersion, what: "a record of another version"}
	errTooLong    = &Error{Alert: AlertRecordOverflow, what: "a record too long"}
	errCut        = &Error{Alert: AlertDecodeError, what: "a record that is not whole"}
	errForged     = &Error{Alert: AlertBadRecordMAC, what: "a record that was changed under way"}
	errNoContent  = &Error{Alert: AlertUnexpectedMessage, what: "a record without content"}
	errContent    = &Error{Alert: AlertUnexpectedMessage, what: "a record of a kind that has no place after the handshake"}
	errHandshake  = &Error{Alert: AlertUnexpectedMessage, what: "a handshake message that has no place after the handshake"}
	errRenegotiat = &Error{Alert: AlertNoRenegotiation, what: "renegotiation"}
	errMessage    = &Error{Alert: AlertDecodeError, what: "a broken handshake message"}
	errKeyUpdate  = &Error{Alert: AlertIllegalParameter, what: "a KeyUpdate that asks for something unknown"}
	errAlert      = &Error{Alert: AlertDecodeError, what: "a broken alert"}
	errNothing    = &Error{Alert: AlertUnexpectedMessage, what: "too many records without data"}
	errSpent      = &Error{Alert: AlertCloseNotify, what: "the keys were used for as many records as they may be"}
)
