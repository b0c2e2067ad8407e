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

// level splits the first level off rest; more is false when it was the last.
func level(rest string) (first, after string, more bool) {
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[:i], rest[i+1:], true
	}
	return rest, "", false
}
