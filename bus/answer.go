package bus

import "strings"

// AnswerBytesMax is the longest reply subject that a device may answer on; those of NATS clients have some 40 bytes.
const AnswerBytesMax = 512

// Answerable tells whether a device may answer on the reply subject of a message: one literal subject that belongs neither to
// gateways nor to NATS's own services ("$"). The latter are above all "$JS.ACK…", the reply subject of every message that a
// JetStream consumer delivers: an answer there would acknowledge or reject the message, or ask for the next one, in the name of a backend that
// did not ask the device anything, and each such message would look like a request. Inboxes ("_INBOX…", "_R_…") are what it is about.
func Answerable(reply string) bool {
	if reply == "" || len(reply) > AnswerBytesMax || reply[0] == '$' || isFirstLevel([]byte(reply), ourLevel) {
		return false
	}
	for token := range strings.SplitSeq(reply, ".") {
		if token == "" || token == "*" || token == ">" {
			return false
		}
	}
	return !strings.ContainsFunc(reply, func(r rune) bool { return r <= ' ' || r == 0x7F })
}
