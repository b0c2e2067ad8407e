package epoll

// Stats are the counters and gauges of one loop. The loop owns them; Loop.Stats returns a copy.
type Stats struct {
	// Counters since New.
	Accepts          uint64         // connections accepted, refused ones not included
	Refused          uint64         // accepted and reset at once, because Options.Admit said so
	Starved          uint64         // accepted and closed at once, because no descriptor was left
	AcceptErrors     uint64         // accept4 failed, other than for an empty backlog
	AcceptPauses     uint64         // times the listeners paused: descriptors or memory ran out, or too many were refused
	Dials            uint64         // dials begun
	Adopts           uint64         // connections that came from another loop
	Detaches         uint64         // connections that left for another loop
	Closes           [causes]uint64 // OnClose calls by Cause
	Reads            uint64         // recv calls on connections
	ReadBytes        uint64
	Writes           uint64 // send calls on connections
	WriteBytes       uint64
	WouldBlock       uint64                 // batches that the socket refused in whole or in part
	TailCopyBytes    uint64                 // bytes copied to keep or to offer tails
	StaleEvents      uint64                 // kernel events for connections already ended or gone
	Handshakes       uint64                 // TLS handshakes that succeeded
	HandshakeFails   [handshakeFails]uint64 // those that did not, by HandshakeFail; a deadline of the owner or an end of the peer is none
	BadRecords       uint64                 // connections ended with CauseBadRecord
	Ticks            uint64
	BusyNanos        int64 // time spent in ticks, waiting not included
	LongestTickNanos int64

	// Gauges.
	Conns      int // connections, ending ones included
	TailBytes  int // memory held by tails
	BatchBytes int // memory held by batches
	FreeBytes  int // memory in the free lists for tails and batches
}

// Stats returns a copy of the loop's counters. Loop goroutine only.
func (l *Loop) Stats() Stats {
	s := l.stats
	s.Writes += l.flights.Load()
	s.WriteBytes += l.flightBytes.Load()
	s.Conns = l.live
	s.TailBytes = l.bufs.held[kindTail]
	s.BatchBytes = l.bufs.held[kindBatch]
	s.FreeBytes = l.bufs.freeBytes
	return s
}
