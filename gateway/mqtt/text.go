package mqtt

import (
	"bytes"
	"unicode/utf8"
)

// validString tells whether s is UTF-8 as MQTT wants it: well-formed, without surrogates [MQTT-1.5.4-1] and without
// U+0000 [MQTT-1.5.4-2]. Other control characters, non-characters and a byte order mark [MQTT-1.5.4-3] are allowed.
// 3.1.1 says the same in [MQTT-1.5.3-1] to [MQTT-1.5.3-3].
func validString(s []byte) bool {
	return bytes.IndexByte(s, 0) < 0 && utf8.Valid(s)
}

// plain marks the bytes that may stand in a topic name without further questions: ASCII but U+0000, + and #.
var plain = func() (t [256]bool) {
	for c := 1; c < utf8.RuneSelf; c++ {
		t[c] = c != '+' && c != '#'
	}
	return t
}()

// ValidTopic tells whether name may stand in a PUBLISH: not empty [MQTT-4.7.3-1], UTF-8 without U+0000
// [MQTT-4.7.3-2], no wildcards [MQTT-3.3.2-2], at most 65,535 bytes [MQTT-4.7.3-3].
func ValidTopic(name []byte) bool {
	return len(name) > 0 && len(name) <= stringBytesMax && topicFault(name) == Success
}

// topicFault checks the characters of a topic name; an empty one has no fault.
func topicFault(name []byte) Reason {
	for _, c := range name {
		if !plain[c] {
			return topicFaultSlow(name)
		}
	}
	return Success
}

func topicFaultSlow(name []byte) Reason {
	if !validString(name) {
		return MalformedPacket
	}
	if bytes.IndexByte(name, '+') >= 0 || bytes.IndexByte(name, '#') >= 0 {
		return TopicNameInvalid
	}
	return Success
}

// ValidFilter tells whether filter may stand in a SUBSCRIBE: not empty, UTF-8 without U+0000, at most 65,535 bytes,
// + alone in its level [MQTT-4.7.1-2], # alone in the last level [MQTT-4.7.1-1], and, when it begins with $share/,
// a share name without wildcards and a filter behind it [MQTT-4.8.2-1] [MQTT-4.8.2-2].
func ValidFilter(filter []byte) bool {
	return len(filter) <= stringBytesMax && validString(filter) && validLevels(filter)
}

// validLevels checks a filter whose characters are known to be good. It walks the bytes once, however many levels
// there are.
func validLevels(filter []byte) bool {
	if shared(filter) {
		name, rest, found := bytes.Cut(filter[len(sharePrefix):], []byte{'/'})
		if !found || len(name) == 0 || bytes.ContainsAny(name, "+#") {
			return false
		}
		filter = rest
	}
	last := len(filter) - 1
	for i, c := range filter {
		switch {
		case c != '+' && c != '#':
		case i > 0 && filter[i-1] != '/':
			return false
		case i < last && (c == '#' || filter[i+1] != '/'):
			return false
		}
	}
	return len(filter) > 0
}

const sharePrefix = "$share/"

// shared tells a shared subscription's filter from a common one (§4.8.2).
func shared(filter []byte) bool {
	return len(filter) >= len(sharePrefix) && string(filter[:len(sharePrefix)]) == sharePrefix
}
