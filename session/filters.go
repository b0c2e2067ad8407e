package session

import (
	"bytes"
	"strings"
)

const sharePrefix = "$share/"

// shareOf is the group of a `$share/group/filter`, and the filter proper; ok is false for a malformed one
// [MQTT-4.8.2-1] [MQTT-4.8.2-2]. Without the prefix, share is empty and filter is full.
func shareOf(full []byte) (share, filter []byte, ok bool) {
	if !bytes.HasPrefix(full, []byte(sharePrefix)) {
		return nil, full, len(full) > 0
	}
	rest := full[len(sharePrefix):]
	cut := bytes.IndexByte(rest, '/')
	if cut <= 0 || cut == len(rest)-1 || bytes.ContainsAny(rest[:cut], "+#") {
		return nil, nil, false
	}
	return rest[:cut], rest[cut+1:], true
}

// wildcard says whether filter stands for more than one topic. Wildcards take whole levels, as the codec has checked,
// so one character tells.
func wildcard(filter string) bool {
	return strings.IndexByte(filter, '+') >= 0 || strings.IndexByte(filter, '#') >= 0
}

// covers says whether filter matches topic [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.2-1].
func covers(filter, topic string) bool {
	if topic != "" && topic[0] == '$' && filter != "" && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		want, restFilter, moreFilter := level(filter)
		if want == "#" {
			return true
		}
		have, restTopic, moreTopic := level(topic)
		switch {
		case want != "+" && want != have:
			return false
		case !moreTopic:
			return !moreFilter || restFilter == "#"
		case !moreFilter:
			return false
		}
		filter, topic = restFilter, restTopic
	}
}

// level splits the first level off rest; more is false when it was the last.
func level(rest string) (first, after string, more bool) {
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[:i], rest[i+1:], true
	}
	return rest, "", false
}
