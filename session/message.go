package session

// Message is an application message. Its bytes are borrowed unless a Table keeps it. A Message that was dispatched
// is not changed afterwards; the next message starts from a fresh value, because kept belongs to these bytes.
type Message struct {
	Topic   []byte
	Payload []byte
	// Props are the MQTT 5 properties to pass on unaltered, in wire form, opaque here.
	Props []byte
	// ExpiresAtSec is when the message is no longer worth sending, 0 never. Step drops it then and counts DropExpired.
	ExpiresAtSec uint32
	QoS          uint8
	Retain       bool
	// LastValue says that of its topic only the newest message is of interest: while it waits in a queue, a newer one takes its
	// place, at the end, counted as DropSuperseded.
	LastValue bool
	// Recheck says of a will that whether it may be published is to be looked at once more when it is; for the caller.
	Recheck bool
	// User is the publisher's user name, for the caller; kept for wills only.
	User []byte
	// From is the publisher when it is of this table (No Local, wills), else nil.
	From *Session
	// Seq is the message's place in a JetStream stream, 0: it did not come from one. A durable session goes by it (doc.go).
	Seq uint64
	// Stream is which stream: 0 the log, n the caller's n-th other one. Valid with Seq.
	Stream uint16

	kept    *stored // the table's own copy while this message is dispatched: one copy per fan-out
	keptGen uint32  // the life of kept that is meant
	// GroupKey is what a strategy of shared groups goes by that hashes: messages of one key are for one member. The caller's.
	GroupKey uint32
	// Request is the caller's name of the question that this message is to a device, 0 none: Out.Settled tells how the device
	// acknowledged it.
	Request uint32
}

// size is what the message counts for in queue limits, in bytes.
func (m *Message) size() int { return len(m.Topic) + len(m.Props) + len(m.Payload) }

// expired says that nowSec is not before the end of the message's life.
func (m *Message) expired(nowSec uint32) bool {
	return m.ExpiresAtSec != 0 && nowSec >= m.ExpiresAtSec
}

// version5 is Connect.Version of MQTT 5.
const version5 = 5

// Will is the message published when a device goes without a word.
type Will struct {
	Message Message
	// DelaySec is how long after the end of the connection it is published; the end of the session comes first.
	DelaySec uint32
	// ExpirySec is the message expiry, counted from publication. Valid with HasExpiry.
	ExpirySec uint32
	HasExpiry bool
}

// addSec adds a duration to a time; sums beyond the clock stay at its end.
func addSec(nowSec, sec uint32) uint32 {
	if sum := nowSec + sec; sum >= nowSec {
		return sum
	}
	return Never
}
