package bus

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// ReceivedQoS2 tells the packet ids of a client whose QoS 2 messages were stored after a sequence of the log and are not released, in the order in
// which they were stored, and the sequence up to which that is known. done runs once, on a bus goroutine, with ids to keep; errors are those of
// ReplayLog, and ErrSubjectTooLong. It costs one small question to the leader when nothing of the client was stored since, wherever that is; otherwise
// the more the further the end of the log is, but for many clients at once hardly more than for one. Safe from any goroutine, never blocks.
func (b *Bus) ReceivedQoS2(client []byte, after uint64, done func(ids []uint16, upTo uint64, err error)) {
	a := b.archive
	key := string(AppendClientKey(nil, client))
	if len(log2Subject)+len(key) > SubjectBytesMax {
		if !a.order(func() { done(nil, 0, ErrSubjectTooLong) }) {
			done(nil, 0, ErrClosed)
		}
		return
	}
	q := &received2{archive: a, subjects: []string{log2Subject + key + ".>", relSubject + key}, done: done}
	if !a.order(func() { q.read(after) }) {
		done(nil, 0, ErrClosed)
	}
}

// received2 is one such question: the whole past of a client, a read at a time.
type received2 struct {
	archive  *archive
	subjects []string
	ids      []uint16 // stored and not released so far
	ends     uint64   // of the first read, 0: the leader tells where what is stored ends
	done     func(ids []uint16, upTo uint64, err error)
}

func (q *received2) read(after uint64) {
	l := &logRead{
		stream: streamLog, subjects: q.subjects, after: after, count: runMax, bytes: replayBytesDefault,
		probe: q.subjects[0], ends: q.ends,
	}
	l.done = func(msgs []stored, upTo uint64, cut bool, err error) {
		if err != nil {
			q.done(nil, 0, err)
			return
		}
		for i := range msgs {
			q.take(&msgs[i])
		}
		if cut {
			q.ends = math.MaxUint64 // there may be more by now
			q.read(upTo)
			return
		}
		q.done(q.ids, upTo, nil)
	}
	q.archive.reads.start(l)
}

// take notes one event of a packet id.
func (q *received2) take(s *stored) {
	stores, idOf := strings.HasPrefix(s.subject, log2Subject), released
	if stores {
		idOf = received
	}
	id := idOf(s)
	if id == 0 {
		return // not of a gateway: anybody on NATS may write there
	}
	at := slices.Index(q.ids, id)
	switch {
	case stores && at < 0:
		q.ids = append(q.ids, id)
	case !stores && at >= 0:
		q.ids = slices.Delete(q.ids, at, at+1)
	}
}

// received is the packet id of a stored message, or 0.
func received(s *stored) uint16 {
	var in Inbound
	if v, ok := one(s.header, headerTG); ok {
		new(decoder).tg(&in, v)
	}
	return in.PacketID
}

// released is the packet id in a marker, or 0.
func released(s *stored) uint16 {
	id, _ := strconv.ParseUint(string(s.data), 10, 16)
	return uint16(id)
}
