package bus

// StoreBatch is the messages of one tick of one shard that JetStream must have before they are acknowledged. A Storer that took one owns it
// until Done. Its methods are called on bus goroutines, one at a time.
type StoreBatch interface {
	Len() int
	// Bytes is the memory the batch holds; it counts against Options.PendingBytesMax.
	Bytes() int
	// Store fills m with message i; m comes zeroed. It is called again when a message goes again.
	Store(i int, m *StoreMessage)
	// Stored tells what became of message i: in order of i, once each, before Done.
	Stored(i int, c StoreCode)
	// Done is called once, after the last Stored.
	Done()
}

// StoreMessage is one message to be stored. Its slices are borrowed from the StoreBatch that fills it, until StoreBatch.Done.
//
// In the log it has the subject $TG.log.<subject of the topic>, or $TG.log2.<client key>.<subject of the topic> with a PacketID; in a user's
// stream it has the subject of its topic.
type StoreMessage struct {
	Message
	Stream   uint16 // 0: the log; n: Durable.Streams[n-1]
	PacketID uint16 // of a QoS 2 message of a persistent session, else 0; only with the log
	// Release stores, instead of a message, the marker $TG.rel.<client key> that ClientID has released PacketID; nothing else counts.
	Release bool
}

// StoreCode is what became of one message.
type StoreCode uint8

const (
	StoreOK      StoreCode = iota // the stream has it
	StoreFull                     // a limit of the stream, the account or the server is reached
	StoreRefused                  // this message can never be stored: too large, or a subject or stream that does not take it
	StoreGivenUp                  // the Bus closed before the stream was known to have it; perhaps it does
)

// Storer takes the messages of one shard and sees them into JetStream, in order. Offer is for one goroutine; the rest is safe from any.
// While NATS is away, has no leader or does not answer, everything is held and goes again; nothing is ever told stored that is not.
type Storer struct {
	bus  *Bus
	room func()
}

// NewStorer returns the Storer of one shard. room is called on a bus goroutine, once for each run of refused Offers, when half of
// PendingBytesMax is free again. Only with Options.Durable.
func (b *Bus) NewStorer(room func()) *Storer { return &Storer{bus: b, room: room} }

// Offer takes a batch, or returns false because the Storer is full (Counters.StoreOfferRefused) or the Bus is closed; then the batch stays
// the caller's. It never waits for NATS. A batch larger than PendingBytesMax is taken when the Storer is empty.
func (s *Storer) Offer(batch StoreBatch) bool { return false }

// Pending returns how many batches are not yet done and the memory they hold.
func (s *Storer) Pending() (batches, bytes int) { return 0, 0 }
