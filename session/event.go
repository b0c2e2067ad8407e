package session

// Kind names what happened.
type Kind uint8

const (
	Publish     Kind = iota + 1 // the device published Msg (PacketID, QoS, Dup, Token)
	Accepted                    // the message with PacketID and Token was taken over (Reason): PUBACK or PUBREC is due
	Puback                      // from the device (PacketID, Reason)
	Pubrec                      // from the device (PacketID, Reason)
	Pubrel                      // from the device (PacketID, Reason)
	Pubcomp                     // from the device (PacketID, Reason)
	Subscribe                   // from the device (PacketID, Filters, SubID)
	Unsubscribe                 // from the device (PacketID, Filters)
	Deliver                     // Msg is due to this session (QoS, Retain, SubIDs, Congested)
	Resume                      // CONNACK is written: what is in flight is sent again, then the queue (Congested)
	Drained                     // the connection can take more: go on with the queue (Congested)
	Lost                        // the connection ended (Owner, Mark, KeepWill, SetExpiry, ExpirySec)
	TooLarge                    // the SendPublish with PacketID exceeds the device's maximum packet size, or with Reason 0x87 may not be sent to it: it counts as done
	Saved                       // the record that AppendRecord wrote with Token is stored: what waited for it goes on (Congested)
	Released                    // the marker that Out.Releases asked for is stored (PacketID): PUBCOMP is due
	Refill                      // Msg is the restored message at Stream and Seq (Retain, SubIDs, Congested); nil: it is no more (EachRefill)
)

// kinds is one more than the last Kind.
const kinds = Refill + 1

var kindNames = [kinds]string{"none", "publish", "accepted", "puback", "pubrec", "pubrel", "pubcomp", "subscribe",
	"unsubscribe", "deliver", "resume", "drained", "lost", "toolarge", "saved", "released", "refill"}

// String is the kind in lower case, as session scripts write it.
func (k Kind) String() string {
	if k >= kinds {
		return "unknown"
	}
	return kindNames[k]
}

// Event is one thing that happened to a session. Everything in it is borrowed until Step returns, except Msg and
// SubIDs, which Out may refer to until it is applied.
type Event struct {
	Kind     Kind
	PacketID uint16
	// Reason is the MQTT 5 reason code of an acknowledgement; of Accepted: what PUBACK or PUBREC shall say.
	Reason uint8
	Dup    bool
	// QoS is the message's own (Publish), or the subscription's (Deliver), which Deliver lowers to the message's.
	QoS uint8
	// Retain is the flag to put into the PUBLISH (Deliver).
	Retain bool
	// Congested says that unsent bytes are over the limit: QoS 0 is dropped (DropCongested), QoS 1 and 2 wait for Drained.
	Congested bool
	// Most is how many messages Drained may send at most; 0: as many as there is room for.
	Most int
	// KeepWill is false after a DISCONNECT that deletes the will [MQTT-3.14.4-3].
	KeepWill bool
	// SetExpiry takes ExpirySec as the new session expiry, from an MQTT 5 DISCONNECT. It is ignored for a session
	// that had none; the caller closes with 0x82 then.
	SetExpiry bool
	ExpirySec uint32
	// Token is the caller's name for a message of quality 1 or 2 (Publish), given back with Accepted, so that a late
	// answer never acknowledges a newer message with the same packet id. 0: Accepted goes by packet id alone.
	Token uint32
	// SubID is the subscription identifier of a SUBSCRIBE, 0 none.
	SubID   uint32
	Msg     *Message
	Filters []Filter
	// Group is the Interest of the shared group as whose member the session gets Msg (Deliver), 0: not as a member of one.
	Group uint32
	// Orphan says that Msg was another member's before (Deliver, see Out.Orphans): it does not supersede a message that waits,
	// which is newer, and a full queue is no reason to disconnect.
	Orphan bool
	// SubIDs are the subscription identifiers to put into the PUBLISH (Deliver).
	SubIDs []uint32
	// Replay says that Msg was read again from its stream, from Session.Cursor on and in order (Deliver): the only way in which a
	// session that is behind takes messages of a stream.
	Replay bool
	// Logged says that the message was stored under its packet id (Accepted of a QoS 2 message of a durable session): its PUBREL is
	// answered when a marker is stored too, see Out.Releases.
	Logged bool
	// Stream and Seq say which restored message Msg is (Refill).
	Stream uint16
	Seq    uint64
	// Owner is the connection that ended (Lost). When the session has another owner by now, nothing happens. 0: any.
	Owner uint64
	// Mark is a number of the caller about the connection that ended (Lost), which Session.Mark gives back while there is no other.
	Mark uint64
}

// Filter is one entry of a SUBSCRIBE or UNSUBSCRIBE.
type Filter struct {
	Topic             []byte // as sent, with $share/group/
	QoS               uint8
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    uint8
	// Refuse, when not 0, is the reason code (0x80 and more) with which the caller refuses this filter.
	Refuse uint8
	// Since is how far each stream was when the device subscribed, by its number: what is older is not delivered through this
	// filter. nil: none is. For a durable session; several filters may have the same slice.
	Since []uint64
}
