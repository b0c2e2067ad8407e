package bus

// Message is one device message to publish. Its slices are borrowed from the Batch that fills it, until Batch.Done.
type Message struct {
	Topic, Payload []byte
	Subject        []byte // published to as it is, instead of Topic's; the caller answers for it. Empty: Topic counts
	ClientID       []byte // who published; empty: left out of the header
	User           []byte // put into the header with Options.HeaderUser; empty: left out
	Skip           bool   // there is no message at this place; nothing else counts
	QoS            uint8  // 0, 1, 2; decides what happens when the connection breaks
	Retain         bool
	Stored         bool   // the log or a stream has it: the header says so to other gateways, which have it from there
	Reply          []byte // NATS reply subject; empty: none
	Fields         Fields
}

// Fields are the MQTT 5 properties that travel with a message; the zero value has none.
type Fields struct {
	HasFormat       bool
	Format          byte   // payload format indicator, 0 or 1
	ContentType     []byte // nil: absent; it may be empty
	ResponseTopic   []byte // a topic name; empty: absent. On NATS it is a subject
	CorrelationData []byte // any bytes; nil: absent
	HasExpiry       bool
	ExpirySec       uint32         // message expiry interval, seconds
	Users           []UserProperty // in order
}

// UserProperty is one MQTT 5 user property.
type UserProperty struct{ Name, Value []byte }

// none tells whether no field is present.
func (f *Fields) none() bool {
	return !f.HasFormat && !f.HasExpiry && f.ContentType == nil && len(f.ResponseTopic) == 0 &&
		f.CorrelationData == nil && len(f.Users) == 0
}

// Batch is the messages of one tick of one shard. A Publisher that took one owns it until Done.
type Batch interface {
	Len() int
	// Bytes is the memory the batch holds; it counts against Options.PendingBytesMax.
	Bytes() int
	// Message fills m with message i. It is called on a bus goroutine, again after a broken connection, with increasing i.
	Message(i int, m *Message)
	// Done is called once, on a bus goroutine: the NATS server has processed the batch, or Close gave it up.
	Done()
}

// Inbound is one message from NATS for one interest, or one of a stream. Everything in it is borrowed until the callback that got it returns.
type Inbound struct {
	Interest uint32 // the id given to Subscribe
	Topic    []byte // a valid topic name, never reserved
	Payload  []byte
	Reply    string // NATS subject for an answer, or "", also when it is JetStream's answer that is waited for
	Ask      string // with a Reply: what the gateway itself is to answer (AskOutcome), or ""

	// FromDevice tells that another gateway published this for a device: its header TG was there. Anyone on NATS can write that header, so
	// it tells QoS, retain and the client id for information, and proves nothing.
	FromDevice bool
	ClientID   []byte
	QoS        uint8
	Retain     bool
	Stored     bool // this is the copy for services of a message that the log or a stream has

	// Of a message that a stream has; Seq is 0 for one of core NATS.
	Stream    uint16 // 0: the log, n: Durable.Streams[n-1]
	PacketID  uint16 // of the QoS 2 PUBLISH of a persistent session; else 0
	StoredSec uint32 // when the stream stored it, in Unix seconds: Fields.ExpirySec counts from there
	Seq       uint64 // its sequence in the stream

	HasFields bool // at least one of Fields is present
	Fields    Fields
}
