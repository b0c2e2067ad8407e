package bus

import (
	"bytes"
	"strings"
)

// Streams and subjects of what gateways keep in JetStream.
//
//	$TG.log.<subject of the topic>              a message in the log
//	$TG.log2.<client key>.<subject of the topic>  a QoS 2 message of a persistent session
//	$TG.rel.<client key>                        its release; the payload is the packet id in decimal
//	$KV.TG_sessions.<client key>                the record of a session
const (
	sessionStream = bucketStream + bucketSessions
	sessionPrefix = "$KV." + bucketSessions + "."

	apiPrefix    = "$JS.API."
	directPrefix = "$JS.API.DIRECT.GET."
)

// streamName is the name of a stream by its number.
func (b *Bus) streamName(n uint16) string {
	if n == 0 {
		return streamLog
	}
	return b.userStreams()[n-1]
}

// userStreams are the user's own streams.
func (b *Bus) userStreams() []string {
	if b.options.Durable == nil {
		return nil
	}
	return b.options.Durable.Streams
}

// streamKnown tells whether there is a stream of this number.
func (b *Bus) streamKnown(n uint16) bool { return int(n) <= len(b.userStreams()) }

// plainSubject is the subject of the topic of a message that a stream has; false for a marker.
func plainSubject(stream uint16, subject string) (string, bool) {
	if stream != 0 {
		return subject, true
	}
	if s, ok := strings.CutPrefix(subject, logSubject); ok {
		return s, true
	}
	s, ok := strings.CutPrefix(subject, log2Subject)
	if !ok {
		return "", false
	}
	_, s, ok = strings.Cut(s, ".")
	return s, ok
}

// ofClient tells whether a subject of the log is one that ReceivedQoS2 asks for. No natural subject is.
func ofClient(subject string) bool {
	return strings.HasPrefix(subject, log2Subject) || strings.HasPrefix(subject, relSubject)
}

// streamSubjects returns the subjects under which a stream has what matches one of the topic filters. None covers another.
func streamSubjects(stream uint16, filters [][]byte) []string {
	var all []string
	for _, f := range filters {
		for _, s := range AppendFilterSubjects(f) {
			if stream != 0 {
				all = append(all, s)
				continue
			}
			all = append(all, logSubject+s, log2Subject+"*."+s)
		}
	}
	return prune(all)
}

// prune leaves out every subject that another covers.
func prune(all []string) []string {
	var kept []string
next:
	for i, s := range all {
		for j, other := range all {
			if i != j && subjectCovers(other, s) && (other != s || j < i) {
				continue next
			}
		}
		kept = append(kept, s)
	}
	return kept
}

// subjectCovers tells whether a matches every subject that b, with wildcards itself, matches.
func subjectCovers(a, b string) bool {
	for {
		x, moreA, deeperA := strings.Cut(a, ".")
		y, moreB, deeperB := strings.Cut(b, ".")
		switch {
		case x == ">":
			return true
		case y == ">", x != "*" && x != y:
			return false
		case !deeperA || !deeperB:
			return deeperA == deeperB
		}
		a, b = moreA, moreB
	}
}

// filterMatches tells whether a topic filter matches a topic. [MQTT-4.7.1-1] [MQTT-4.7.1-2]
func filterMatches(filter, topic []byte) bool {
	for {
		f, moreF, deeperF := bytes.Cut(filter, []byte{'/'})
		if len(f) == 1 && f[0] == '#' {
			return true
		}
		t, moreT, deeperT := bytes.Cut(topic, []byte{'/'})
		switch {
		case (len(f) != 1 || f[0] != '+') && !bytes.Equal(f, t):
			return false
		case deeperF && !deeperT: // "a/#" matches "a", too
			return len(moreF) == 1 && moreF[0] == '#'
		case !deeperF || !deeperT:
			return deeperF == deeperT
		}
		filter, topic = moreF, moreT
	}
}

// anyMatches tells whether one of the filters matches a topic.
func anyMatches(filters [][]byte, topic []byte) bool {
	for _, f := range filters {
		if filterMatches(f, topic) {
			return true
		}
	}
	return false
}
