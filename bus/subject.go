package bus

import (
	"bytes"
	"unicode/utf8"
)

// Topic names and subjects are a bijection, computed level by level:
//
//	subject = token *( "." token )            one token for each level of the topic
//	token   = "/"                             the empty level
//	        | "/2a" | "/3e"                   a level that is exactly "*" or ">"
//	        | 1*( plain | "//" | "/" hex hex )
//	plain   = any byte but "." "/" space, control characters (00-1f, 7f)
//	"//"    = "."
//	hex hex = space or a control character, two lower-case digits
//
// Without the escapes "/" hex hex this is the mapping of NATS's own MQTT (nats-server, mqttToNATSSubjectConversion). Why the escape cannot
// collide with it: there a slash inside a token always comes as the pair "//" (a token that is one single slash is the
// empty level), so reading a token from its left, a slash followed by a digit or letter is never produced. Both forms are
// prefix codes over the same first byte, told apart by the second, so every token reads in exactly one way.
//
// "*" and ">" are escaped only when they are a whole level: only then are they NATS wildcards, and "foo*" must stay what NATS's
// MQTT makes of it. The cost is one pass over the topic; a table lookup a byte.

const (
	// TopicBytesMax is the longest topic name MQTT can carry; a longer one does not map back. [MQTT-4.7.3-3]
	TopicBytesMax = 65535
	// SubjectBytesMax is the longest subject, reply included, that we send. NATS closes a connection whose control line exceeds 4,096 bytes by
	// default; the rest is for the verb, the sizes and a queue name. A message with a longer subject is dropped and counted.
	SubjectBytesMax = 3840
)

// Classes of bytes within a level.
const (
	plain    = iota
	wildcard // "+" and "#": never in a topic name [MQTT-3.3.2-2]
	period
	slash
	escaped // space and control characters
)

var classes = func() (t [256]uint8) {
	for c := range 0x21 {
		t[c] = escaped
	}
	t[0x7f] = escaped
	t['+'], t['#'] = wildcard, wildcard
	t['.'], t['/'] = period, slash
	return t
}()

// AppendSubject appends the subject of a topic name. It is injective on all topic names and never yields a raw "*" or ">" token, a
// space or a control character. The empty topic, which MQTT does not have, gives "/".
func AppendSubject(dst, topic []byte) []byte {
	for {
		n := bytes.IndexByte(topic, '/')
		if n < 0 {
			return appendToken(dst, topic)
		}
		dst = append(appendToken(dst, topic[:n]), '.')
		topic = topic[n+1:]
	}
}

func appendToken(dst, level []byte) []byte {
	switch {
	case len(level) == 0:
		return append(dst, '/')
	case isWild(level):
		return appendEscape(dst, level[0])
	}
	from := 0
	for i, c := range level {
		switch classes[c] {
		case plain, wildcard:
			continue
		case period:
			dst = append(append(dst, level[from:i]...), "//"...)
		default:
			dst = appendEscape(append(dst, level[from:i]...), c)
		}
		from = i + 1
	}
	return append(dst, level[from:]...)
}

// isWild tells whether a level or token is exactly a NATS wildcard.
func isWild(level []byte) bool {
	return len(level) == 1 && (level[0] == '*' || level[0] == '>')
}

func appendEscape(dst []byte, c byte) []byte {
	const digits = "0123456789abcdef"
	return append(dst, '/', digits[c>>4], digits[c&15])
}

// AppendTopic appends the topic name of a subject, the inverse of AppendSubject. false: no valid topic name maps to this subject, and
// dst comes back as it was.
func AppendTopic(dst, subject []byte) ([]byte, bool) {
	out := dst
	for {
		token, more, deeper := bytes.Cut(subject, []byte{'.'})
		var ok bool
		if out, ok = appendLevel(out, token); !ok {
			return dst, false
		}
		if !deeper {
			break
		}
		out = append(out, '/')
		subject = more
	}
	topic := out[len(dst):]
	if len(topic) == 0 || len(topic) > TopicBytesMax || !utf8.Valid(topic) {
		return dst, false
	}
	return out, true
}

func appendLevel(dst, token []byte) ([]byte, bool) {
	switch {
	case len(token) == 0 || isWild(token):
		return dst, false
	case len(token) == 1 && token[0] == '/':
		return dst, true
	case string(token) == "/2a":
		return append(dst, '*'), true
	case string(token) == "/3e":
		return append(dst, '>'), true
	}
	for i := 0; i < len(token); i++ {
		c := token[i]
		switch classes[c] {
		case plain:
			dst = append(dst, c)
			continue
		case slash:
		default:
			return dst, false
		}
		if i+1 < len(token) && token[i+1] == '/' {
			dst = append(dst, '.')
			i++
			continue
		}
		if i+2 >= len(token) {
			return dst, false
		}
		v, ok := unescape(token[i+1], token[i+2])
		if !ok {
			return dst, false
		}
		dst = append(dst, v)
		i += 2
	}
	return dst, true
}

// unescape reads the two digits of an escape. Only what AppendSubject escapes is accepted, in lower case, so that every topic has
// one subject. NUL is never in a topic. [MQTT-4.7.3-2]
func unescape(high, low byte) (byte, bool) {
	h, l := nibble(high), nibble(low)
	if h > 15 || l > 15 {
		return 0, false
	}
	v := h<<4 | l
	return v, v != 0 && classes[v] == escaped
}

// nibble is the value of a lower-case hexadecimal digit, or 255.
func nibble(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// Representable tells whether a topic name or filter needs no escape of ours, so that NATS's own MQTT would give it the same
// subject. With mapping.strict the others are refused.
func Representable(topic []byte) bool {
	for {
		n := bytes.IndexByte(topic, '/')
		level := topic
		if n >= 0 {
			level = topic[:n]
		}
		if isWild(level) {
			return false
		}
		for _, c := range level {
			if classes[c] == escaped {
				return false
			}
		}
		if n < 0 {
			return true
		}
		topic = topic[n+1:]
	}
}
