package ws

import "bytes"

// The extension of RFC 7692 and its parameters (§7.1).
const (
	deflateName      = "permessage-deflate"
	serverNoContext  = "server_no_context_takeover"
	clientNoContext  = "client_no_context_takeover"
	serverWindowBits = "server_max_window_bits"
	clientWindowBits = "client_max_window_bits"

	// deflateAnswer: both sides begin each message with an empty window, so that no connection needs one of its own.
	deflateAnswer = deflateName + "; " + serverNoContext + "; " + clientNoContext
)

// negotiate reads the Sec-WebSocket-Extensions lines of a request and returns the answer to the first offer of
// permessage-deflate that can be kept, or "" when there is none. An offer with an unknown, doubled or wrong parameter is
// declined (RFC 7692 §7.1) and the next one looked at; ok is false for a list that breaks the grammar, upon which the
// handshake fails (RFC 6455 §9.1).
func negotiate(fields []byte) (answer string, ok bool) {
	for rest := fields; ; {
		line, after, more := bytes.Cut(rest, []byte("\r\n"))
		if !more || len(line) == 0 {
			return answer, true
		}
		if name, value, _ := splitField(line); isField(name, "Sec-WebSocket-Extensions") {
			one, ok := negotiateList(value)
			if !ok {
				return "", false
			}
			if answer == "" { // a field in several lines is one list
				answer = one
			}
		}
		rest = after
	}
}

// negotiateList reads one line:
//
//	list      = [ extension ] *( "," [ extension ] )
//	extension = token *( ";" token [ "=" ( token | quoted-string ) ] )
func negotiateList(value []byte) (answer string, ok bool) {
	s := scanner{value}
	for {
		if s.take(',') {
			continue // RFC 9110 §5.6.1: empty elements of a list are ignored
		}
		if len(s.rest) == 0 {
			return answer, true
		}
		name := s.token()
		offer := deflateOffer{declined: string(name) != deflateName}
		ok := len(name) > 0
		for ok && s.take(';') {
			ok = s.param(&offer)
		}
		if !ok || (len(s.rest) > 0 && s.rest[0] != ',') {
			return "", false
		}
		if answer == "" && !offer.declined {
			answer = offer.answer()
		}
	}
}

// deflateOffer is one offer of permessage-deflate.
type deflateOffer struct {
	seen     [4]bool // parameters, in the order of take
	declined bool
}

// take judges one parameter; value is nil without one.
func (o *deflateOffer) take(name, value []byte) {
	var i int
	var good bool
	switch string(name) {
	case serverNoContext:
		i, good = 0, value == nil
	case clientNoContext:
		i, good = 1, value == nil
	case serverWindowBits:
		// Our window is the 32 KiB of compress/flate, which can't be told to look less far back. §7.1.2.1
		i, good = 2, string(value) == "15"
	case clientWindowBits:
		// With or without a value it is a hint, and may be left unanswered: we read any window. §7.1.2.2
		i, good = 3, value == nil || isWindowBits(value)
	default:
		o.declined = true
		return
	}
	o.declined = o.declined || !good || !once(&o.seen[i])
}

// answer accepts the offer. A bound on our window is only kept if it is repeated. §7.1.2.1
func (o *deflateOffer) answer() string {
	if o.seen[2] {
		return deflateAnswer + "; " + serverWindowBits + "=15"
	}
	return deflateAnswer
}

// isWindowBits reports whether v is a number from 8 to 15 without leading zeros.
func isWindowBits(v []byte) bool {
	switch len(v) {
	case 1:
		return v[0] == '8' || v[0] == '9'
	case 2:
		return v[0] == '1' && '0' <= v[1] && v[1] <= '5'
	}
	return false
}

// scanner takes a header value apart; white space around what it takes is skipped.
type scanner struct{ rest []byte }

func (s *scanner) space() { s.rest = bytes.TrimLeft(s.rest, " \t") }

// take takes the byte c if it is next.
func (s *scanner) take(c byte) bool {
	s.space()
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	s.space()
	return true
}

// token takes what is next of a token; it may be empty.
func (s *scanner) token() []byte {
	n := 0
	for n < len(s.rest) && isToken(s.rest[n]) {
		n++
	}
	t := s.rest[:n]
	s.rest = s.rest[n:]
	s.space()
	return t
}

// param takes one parameter and has the offer judge it; false: it breaks the grammar.
func (s *scanner) param(o *deflateOffer) bool {
	name := s.token()
	if len(name) == 0 {
		return false
	}
	var value []byte
	if s.take('=') {
		if value = s.value(); len(value) == 0 {
			return false
		}
	}
	o.take(name, value)
	return true
}

// value takes a token, or a quoted string with one inside; nil for anything else.
func (s *scanner) value() []byte {
	if len(s.rest) == 0 || s.rest[0] != '"' {
		return s.token()
	}
	var v []byte
	for i := 1; i < len(s.rest); i++ {
		c := s.rest[i]
		if c == '"' {
			s.rest = s.rest[i+1:]
			s.space()
			return v
		}
		if c == '\\' { // RFC 9110 §5.6.4: it stands for the byte behind it
			if i++; i == len(s.rest) {
				return nil
			}
			c = s.rest[i]
		}
		if !isToken(c) {
			return nil
		}
		v = append(v, c)
	}
	return nil
}
