package bus

import "sync/atomic"

// Counters are totals since Open. Each counts messages unless it says otherwise.
type Counters struct {
	Published       uint64 // handed to NATS, repetitions included
	PublishedBytes  uint64 // payload bytes of these
	Confirmed       uint64 // processed by the NATS server, as far as a PONG tells
	Republished     uint64 // QoS 1 and 2 handed again after a broken connection; these may be duplicates
	UnconfirmedQoS0 uint64 // QoS 0 handed to a connection that broke; perhaps lost, not repeated
	OfferRefused    uint64 // batches refused because the publisher was full
	Unheard         uint64 // not handed to the embedded NATS: nobody was there
	GivenUp         uint64 // not confirmed when Close ran out of time, or never handed to NATS

	DropPayload  uint64 // payload and headers exceed the server's max_payload
	DropHeader   uint64 // headers exceed HeaderBytesMax
	DropSubject  uint64 // subject exceeds SubjectBytesMax
	DropReserved uint64 // reserved topics that were offered
	DropPoison   uint64 // the server closed the connection because of this message, twice
	DropInvalid  uint64 // nats.go refused the message: empty subject, headers not supported by the server

	Received      uint64 // handed to Receive
	ReceivedBytes uint64 // payload bytes of these
	SlowDrops     uint64 // arrived while Receive lagged by more than the queue holds
	InReserved    uint64 // arrived on a reserved subject through a leading wildcard
	InUnmappable  uint64 // arrived on a subject that no topic maps to
	InBadFields   uint64 // TG-* fields left out because they do not parse
	OutBadFields  uint64 // response topics left out because they are reserved or no topic names
	PeerDrops     uint64 // messages of other gateways that arrived while Hear's callback lagged

	LogReceived    uint64 // handed to ReceiveLog
	LogSkipped     uint64 // sequences that a stream's limits removed before Follow came to them
	LogRestarts    uint64 // consumers that Follow made anew, because of a fault or other filters
	Replayed       uint64 // handed to the callbacks of ReplayLog
	RecordsFenced  uint64 // saves of sessions that came too late: ErrFenced
	DropsForgotten uint64 // clients that DropSessionIfThere had no room for

	Connects         uint64 // connections made, both kinds
	Disconnects      uint64 // connections lost, both kinds
	PermissionDenied uint64 // publishes and subscribes the server's permissions forbade

	Stored            uint64 // told stored by a Storer
	StoredBytes       uint64 // payload bytes of these
	StoreGroups       uint64 // rounds of a Storer that stored something: Stored / StoreGroups is the size of a group
	StoreRetries      uint64 // messages that go again, each time counted: no answer, no leader, a broken connection
	StoreDuplicates   uint64 // messages that a stream had already, as far as it says so
	StoreRefused      uint64 // messages that can never be stored
	StoreFull         uint64 // messages refused because of a limit of the stream, the account or the server
	StoreGivenUp      uint64 // not known to be stored when Close ran out of time
	StoreOfferRefused uint64 // batches refused because the Storer was full
	StorePending      uint64 // messages that wait for their store now (not a total)

	Requests           uint64 // requests sent
	RequestTimeouts    uint64
	RequestNoResponder uint64
	RequestsRefused    uint64 // ErrTooMany
}

// counters are the live values of Counters. Safe from any goroutine.
type counters struct {
	published, publishedBytes, confirmed, republished, unconfirmed0, offerRefused, givenUp, unheard atomic.Uint64
	dropPayload, dropHeader, dropSubject, dropReserved, dropPoison, dropInvalid                     atomic.Uint64
	received, receivedBytes, slowDrops, inReserved, inUnmappable, inBadFields, outBadFields         atomic.Uint64
	peerDrops                                                                                       atomic.Uint64
	logReceived, logSkipped, logRestarts, replayed, recordsFenced, dropsForgotten                   atomic.Uint64
	connects, disconnects, permissionDenied                                                         atomic.Uint64
	stored, storedBytes, storeGroups, storeRetries, storeDuplicates, storeRefused                   atomic.Uint64
	storeFull, storeGivenUp, storeOfferRefused                                                      atomic.Uint64
	storePending                                                                                    atomic.Int64
	requests, requestTimeouts, requestNoResponder, requestsRefused                                  atomic.Uint64
}

// Counters returns the totals since Open. Safe from any goroutine, never blocks.
func (b *Bus) Counters() Counters {
	c := &b.count
	return Counters{
		Published: c.published.Load(), PublishedBytes: c.publishedBytes.Load(), Confirmed: c.confirmed.Load(),
		Republished: c.republished.Load(), UnconfirmedQoS0: c.unconfirmed0.Load(),
		OfferRefused: c.offerRefused.Load(), Unheard: c.unheard.Load(), GivenUp: c.givenUp.Load(),
		DropPayload: c.dropPayload.Load(), DropHeader: c.dropHeader.Load(), DropSubject: c.dropSubject.Load(),
		DropReserved: c.dropReserved.Load(), DropPoison: c.dropPoison.Load(), DropInvalid: c.dropInvalid.Load(),
		Received: c.received.Load(), ReceivedBytes: c.receivedBytes.Load(), SlowDrops: c.slowDrops.Load(),
		InReserved: c.inReserved.Load(), InUnmappable: c.inUnmappable.Load(),
		InBadFields: c.inBadFields.Load(), OutBadFields: c.outBadFields.Load(), PeerDrops: c.peerDrops.Load(),
		LogReceived: c.logReceived.Load(), LogSkipped: c.logSkipped.Load(), LogRestarts: c.logRestarts.Load(), Replayed: c.replayed.Load(),
		RecordsFenced: c.recordsFenced.Load(), DropsForgotten: c.dropsForgotten.Load(),
		Connects: c.connects.Load(), Disconnects: c.disconnects.Load(), PermissionDenied: c.permissionDenied.Load(),
		Stored: c.stored.Load(), StoredBytes: c.storedBytes.Load(), StoreGroups: c.storeGroups.Load(), StoreRetries: c.storeRetries.Load(),
		StoreDuplicates: c.storeDuplicates.Load(), StoreRefused: c.storeRefused.Load(), StoreFull: c.storeFull.Load(),
		StoreGivenUp: c.storeGivenUp.Load(), StoreOfferRefused: c.storeOfferRefused.Load(), StorePending: uint64(max(c.storePending.Load(), 0)),
		Requests: c.requests.Load(), RequestTimeouts: c.requestTimeouts.Load(),
		RequestNoResponder: c.requestNoResponder.Load(), RequestsRefused: c.requestsRefused.Load(),
	}
}
