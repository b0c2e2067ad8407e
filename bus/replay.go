package bus

// ReplayRead asks for a part of a stream's past. ReplayLog copies what it needs.
type ReplayRead struct {
	Stream  uint16 // 0: the log, n: Durable.Streams[n-1]
	After   uint64 // sequence
	Filters [][]byte
	Count   int // at most so many messages; 0: 256
	Bytes   int // about so many bytes, but one message at least; 0: 1 MiB
}

// ReplayLog reads what a stream stored after a sequence and what matches one of the topic filters (no $share). done runs once, on a bus goroutine:
// run (borrowed) is in the order of the stream, each message once, and every match with After < sequence <= upTo is in it. When run is not cut by
// Count or Bytes, upTo is the last sequence that the stream had at a time after the call. upTo grows with every read, so that calls with After = upTo
// come to the end; run may be empty before that. While NATS does not answer, the read is tried again for 10 seconds, then it fails with
// ErrDisconnected or ErrTimeout. Reads beyond 64 wait for their turn, in order. Safe from any goroutine, never blocks.
func (b *Bus) ReplayLog(r ReplayRead, done func(run []Inbound, upTo uint64, err error)) {
	done(nil, 0, ErrDisconnected)
}

// LogEnd tells the last sequence that a stream has at a time after the call; 0: it never had a message. Many calls travel as one request.
// done runs once, on a bus goroutine; errors are those of ReplayLog. Safe from any goroutine, never blocks.
func (b *Bus) LogEnd(stream uint16, done func(last uint64, err error)) {
	done(0, ErrDisconnected)
}

// ReceivedQoS2 tells the packet ids of a client whose QoS 2 messages were stored after a sequence of the log and are not released, in the order in
// which they were stored, and the sequence up to which that is known. done runs once, on a bus goroutine, with ids to keep; errors are those of
// ReplayLog. Safe from any goroutine, never blocks.
func (b *Bus) ReceivedQoS2(client []byte, after uint64, done func(ids []uint16, upTo uint64, err error)) {
	done(nil, 0, ErrDisconnected)
}
