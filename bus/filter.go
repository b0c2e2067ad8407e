package bus

import "bytes"

// AppendFilterSubjects returns the subjects whose union is a valid topic filter: one, or two when the filter ends in "/#", which also
// matches its parent level [MQTT-4.7.1-2]. The two never match the same subject, so one filter gets one copy of a message.
// "#" alone is ">", and "/#" has no parent, because the empty topic does not exist.
//
// A leading wildcard also matches reserved subjects ("$SYS.x") at NATS; they are dropped on arrival [MQTT-4.7.2-1].
func AppendFilterSubjects(filter []byte) []string {
	parent, deep := filter, false
	if n := len(filter) - 1; n >= 0 && filter[n] == '#' && (n == 0 || filter[n-1] == '/') {
		parent, deep = filter[:max(n-1, 0)], true
		if n == 0 {
			return []string{">"}
		}
	}
	subject := appendFilter(make([]byte, 0, len(filter)+16), parent)
	switch {
	case !deep:
		return []string{string(subject)}
	case len(parent) == 0:
		return []string{string(subject) + ".>"}
	}
	return []string{string(subject) + ".>", string(subject)}
}

// appendFilter is AppendSubject with "+" levels as "*".
func appendFilter(dst, filter []byte) []byte {
	for {
		n := bytes.IndexByte(filter, '/')
		level := filter
		if n >= 0 {
			level = filter[:n]
		}
		if len(level) == 1 && level[0] == '+' {
			dst = append(dst, '*')
		} else {
			dst = appendToken(dst, level)
		}
		if n < 0 {
			return dst
		}
		dst = append(dst, '.')
		filter = filter[n+1:]
	}
}

// Reserved tells whether a topic name or subject belongs to NATS: it begins with "$" (JetStream, system, key-value) or "_INBOX" (answers to requests),
// or its first level is "_R_" or "_GR_" (answers between accounts and clusters), or to gateways among themselves: "_TG". Such topics are never published
// for a device, nor delivered to one.
func Reserved(topic []byte) bool {
	if len(topic) == 0 {
		return false
	}
	switch topic[0] {
	case '$':
		return true
	case '_':
		return bytes.HasPrefix(topic, inboxPrefix) || isFirstLevel(topic, "_R_") || isFirstLevel(topic, "_GR_") ||
			isFirstLevel(topic, ourLevel)
	}
	return false
}

// ourLevel is the first level of what gateways tell each other.
const ourLevel = "_TG"

var inboxPrefix = []byte("_INBOX")

func isFirstLevel(topic []byte, level string) bool {
	if len(topic) < len(level) || string(topic[:len(level)]) != level {
		return false
	}
	return len(topic) == len(level) || topic[len(level)] == '/' || topic[len(level)] == '.'
}
