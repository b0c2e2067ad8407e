package bus

// Follow has Options.ReceiveLog called from now on with every message of a stream (0: the log, n: Durable.Streams[n-1]) that is later than
// sequence after and matches one of the topic filters, in the order of the stream, each once; it may get others too. nil filters: with
// nothing, and the consumer ends. Calling it again changes the filters and loses nothing of those that were there before and
// still are. It waits for NATS only the first time, 10 seconds at most, and then fails with ErrDisconnected or ErrTimeout; not for event loops.
// A stream is followed by one caller at a time.
func (b *Bus) Follow(stream uint16, filters [][]byte) (after uint64, err error) {
	return 0, ErrDisconnected
}
