package bus

import (
	"bytes"
	"cmp"
	"strconv"
)

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
	if !b.streamKnown(r.Stream) {
		panic("bus: there is no stream " + strconv.Itoa(int(r.Stream)))
	}
	subjects, filters := streamSubjects(r.Stream, r.Filters), [][]byte(nil)
	if len(subjects) > replaySubjectsMax {
		subjects = []string{""} // one read of everything, sorted out here
		for _, f := range r.Filters {
			filters = append(filters, bytes.Clone(f))
		}
	}
	a := b.archive
	var natural []string
	for _, f := range r.Filters {
		natural = append(natural, AppendFilterSubjects(f)...)
	}
	l := &logRead{
		natural: natural,
		stream:  b.streamName(r.Stream), subjects: subjects, after: r.After,
		count: cmp.Or(max(r.Count, 0), runMax), bytes: cmp.Or(max(r.Bytes, 0), replayBytesDefault),
	}
	l.done = func(msgs []stored, upTo uint64, _ bool, err error) {
		d := &a.reads.decoder
		d.reset()
		for i := range msgs {
			if d.addStored(r.Stream, &msgs[i], &b.count) && filters != nil && !anyMatches(filters, d.run[len(d.run)-1].Topic) {
				d.run = d.run[:len(d.run)-1]
			}
		}
		b.count.replayed.Add(uint64(len(d.run)))
		done(d.run, upTo, err)
	}
	if !a.order(func() { a.reads.start(l) }) {
		done(nil, 0, ErrClosed)
	}
}

const (
	// replaySubjectsMax is how many subjects a replay asks for one by one; beyond it the whole stream is read.
	replaySubjectsMax  = 32
	replayBytesDefault = 1 << 20
)

// LogEnd tells the last sequence that a stream has at a time after the call; 0: it never had a message. Many calls travel as one request.
// done runs once, on a bus goroutine; errors are those of ReplayLog. Safe from any goroutine, never blocks.
func (b *Bus) LogEnd(stream uint16, done func(last uint64, err error)) {
	a, name := b.archive, b.streamName(stream)
	if !a.order(func() { a.info(name, func(s streamInfo, err error) { done(s.last, err) }) }) {
		done(0, ErrClosed)
	}
}
