package session

// Out collects effects. It is appended to by Open, Step and Tick; the caller applies it and calls Reset. What its
// slices refer to is borrowed until Reset. Owned by the shard of its table; the zero value is ready.
type Out struct {
	// Sends are packets for the session that was stepped, in order.
	Sends []Send
	// Publishes are messages to route: of the device, and wills (From tells whose). One with QoS > 0 from a Publish event is
	// answered by an Accepted event; a will is not.
	Publishes []*Message
	// Interests are filters gained or lost, in order.
	Interests []Interest
	// Replays ask for retained messages, each to come back as Deliver with Retain. They follow the SUBACK in Sends.
	Replays []Replay
	// Orphans are messages that lost their member of a shared group, from Table.TakeOrphans only. Each is to be given to its group
	// again, with Event.Orphan, by this table or another; when nobody is left it is dropped as DropSessionGone.
	Orphans []Orphan
	// Settled are messages with a Request that a device acknowledged.
	Settled []Settled
	// Evict is the owner of the older connection to close with 0x8E, 0 none.
	Evict uint64
	// Close ends the connection of the session that was stepped, with CloseReason, after Sends.
	Close       bool
	CloseReason uint8
	// Save says that the record of the session that was stepped is to be written now: AppendRecord, then Saved. What needs it waits
	// until then: a QoS 2 message to the device, a PUBREL, and, by the caller, SUBACK and UNSUBACK (Session.SavedBy). While a
	// snapshot is being stored it is not said, but at its Saved.
	Save bool
	// Behind says that the session that was stepped fell behind: its queue took no more of a stream. It is to be replayed from
	// Session.Cursor, when Session.Hungry says so.
	Behind bool
	// Full says that the message of a replay was not taken. It is to be offered again, from Session.Cursor on.
	Full bool
	// Releases are packet ids of QoS 2 messages from the device that it released: a marker is to be stored for each, then Released.
	Releases []uint16
	// Records are durable sessions whose record Open, Restore, Tick or a Lost made out of date, without a Save: that of a session which
	// ended (Session.Gone) is to be dropped, another is to be written.
	Records []*Session
	// Drops counts messages dropped, by reason.
	Drops [DropReasons]uint32

	held    []*stored // copies whose references end at Reset, because Sends may refer to them
	heldIDs []*idList
	codes   []uint8 // what Send.Reasons point into
}

// Reset empties o for the next use and gives back what it held.
func (o *Out) Reset() {
	clear(o.Sends)
	clear(o.Publishes)
	clear(o.Interests)
	clear(o.Replays)
	if len(o.Orphans) > 0 {
		clear(o.Orphans)
		o.Orphans = o.Orphans[:0]
	}
	o.Settled = o.Settled[:0]
	o.Sends, o.Publishes = o.Sends[:0], o.Publishes[:0]
	o.Interests, o.Replays = o.Interests[:0], o.Replays[:0]
	if len(o.Releases)+len(o.Records) > 0 {
		clear(o.Records)
		o.Releases, o.Records = o.Releases[:0], o.Records[:0]
	}
	o.Save, o.Behind, o.Full = false, false, false
	o.Evict, o.Close, o.CloseReason = 0, false, 0
	o.Drops = [DropReasons]uint32{}
	for _, k := range o.held {
		k.release()
	}
	for _, l := range o.heldIDs {
		l.release()
	}
	clear(o.held)
	clear(o.heldIDs)
	o.held, o.heldIDs, o.codes = o.held[:0], o.heldIDs[:0], o.codes[:0]
}

// Asks tells that a step of a durable session wants something of its caller beside packets.
func (o *Out) Asks() bool {
	return o.Save || o.Behind || len(o.Releases)+len(o.Records) > 0
}

// close asks for the end of the connection; the first reason stays.
func (o *Out) close(reason uint8) {
	if !o.Close {
		o.Close, o.CloseReason = true, reason
	}
}

// ack appends an acknowledgement.
func (o *Out) ack(kind SendKind, id uint16, reason uint8) {
	o.Sends = append(o.Sends, Send{Kind: kind, PacketID: id, Reason: reason})
}

// SendKind names a packet to the device.
type SendKind uint8

const (
	SendPublish SendKind = iota + 1
	SendPuback
	SendPubrec
	SendPubrel
	SendPubcomp
	SendSuback
	SendUnsuback
)

// sendKinds is one more than the last SendKind.
const sendKinds = SendUnsuback + 1

var sendNames = [sendKinds]string{"none", "publish", "puback", "pubrec", "pubrel", "pubcomp", "suback", "unsuback"}

// String is the packet's name in lower case.
func (k SendKind) String() string {
	if k >= sendKinds {
		return "unknown"
	}
	return sendNames[k]
}

// Send is one packet to the device.
type Send struct {
	Kind     SendKind
	Reason   uint8 // of an acknowledgement
	QoS      uint8
	Dup      bool // sent before, on an earlier connection: SendPublish, SendPubrel
	Retain   bool
	PacketID uint16
	// ExpirySec is what is left of the message expiry [MQTT-3.3.2-6]. Valid with HasExpiry.
	ExpirySec uint32
	HasExpiry bool
	Msg       *Message // SendPublish
	SubIDs    []uint32 // SendPublish
	Reasons   []uint8  // SendSuback, SendUnsuback: one per filter
}

// Interest is a filter that a session gained or lost, told exactly once each; or, for members of shared groups, that
// the member came or went without gaining or losing the filter (LiveChange).
type Interest struct {
	// Sub is valid also when lost: Filter, Share and Interest are read from it.
	Sub    *Subscription
	Gained bool
	// Live says that the session was live when it gained or lost the filter.
	Live bool
	// LiveChange is +1 or -1 when a group's member became live or detached, and 0 for a gain or a loss.
	LiveChange int8
}

// Replay asks for the retained messages that match the filter of a subscription, with its options at the time that each is sent.
type Replay struct {
	Sub    *Subscription
	Filter string
}

// DropReason says why a message was not delivered.
type DropReason uint8

const (
	DropQueueFull    DropReason = iota // QueueCountMax
	DropQueueBytes                     // QueueBytesMax
	DropCongested                      // QoS 0 to a device that does not read
	DropOffline                        // QoS 0 to a device that is away
	DropExpired                        // message expiry
	DropSessionGone                    // the session ended first
	DropTooLarge                       // beyond the device's maximum packet size [MQTT-3.1.2-25]
	DropTableBytes                     // TableBytesMax
	DropSuperseded                     // a newer message of its topic came while it waited (Message.LastValue)
	DropDenied                         // the device may not have it any more (TooLarge with reason 0x87)
	DropAccountBytes                   // Limits.Account
	// DropReasons is how many there are.
	DropReasons
)

var dropNames = [DropReasons]string{"queue_full", "queue_bytes", "congested", "offline", "expired", "session_gone", "too_large",
	"table_bytes", "superseded", "denied", "account_bytes"}

// String is the reason as a metric label.
func (r DropReason) String() string {
	if r >= DropReasons {
		return "unknown"
	}
	return dropNames[r]
}

// Reason codes this package decides on itself [MQTT 5, 2.4].
const (
	reasonNoSubscription = 0x11
	reasonProtocolError  = 0x82
	reasonDenied         = 0x87
	reasonFilterInvalid  = 0x8F
	reasonIDNotFound     = 0x92
	reasonReceiveMax     = 0x93
	reasonTooLarge       = 0x95
	reasonQuota          = 0x97
	reasonFailure        = 0x80 // this and everything above is a failure
)
