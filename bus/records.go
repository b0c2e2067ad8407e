package bus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrFenced is the answer to a write that came too late: somebody else wrote the record, or removed it, or it expired.
var ErrFenced = errors.New("bus: the session's record is no longer the one that was read")

// SessionRecord is what is kept of a session while no gateway has to know it. One of 200 bytes costs NATS some 200 bytes of memory and no consumer
// (BenchmarkSessionRecords: 200,000 of them, 215 bytes of resident memory each); a load and a save of it cost 30 µs of CPU, client and
// server together (BenchmarkReconnectStorm).
type SessionRecord struct {
	Value    []byte // begins with the generation, 8 bytes big-endian; empty: there is none
	Revision uint64 // what SaveSession and DropSession compare; 0: there never was one, or it left nothing behind
}

// LoadSession reads the record of a client id. Many loads of a millisecond travel as one request. In a cluster the answer may be a moment old; then SaveSession
// says ErrFenced, and the next load of this client after that is answered by the leader, so it is newer than what lost. done runs once, on
// a bus goroutine, with a Value to keep. While NATS does not answer, the load is tried again for 10 seconds, then it fails with
// ErrDisconnected or ErrTimeout; a client id that makes too long a subject gets ErrSubjectTooLong. Safe from any goroutine, never blocks.
func (b *Bus) LoadSession(client []byte, done func(r SessionRecord, err error)) {
	subject, err := sessionSubject(client)
	b.archive.orderRecord(err, func(err error) { done(SessionRecord{}, err) }, func(r *records) { r.load(subject, done) })
}

// SaveSession writes the record of a client id if its revision still is the given one (0: there is none); else done gets ErrFenced. ttlSec > 0: the
// record goes away after so many seconds without another save. client and value are copied. While NATS does not answer, the save is
// tried again until Close (ErrClosed), and it never gets ErrFenced because of its own first try. Several saves of one client may not
// be under way at once. done runs once, on a bus goroutine. Safe from any goroutine, never blocks.
func (b *Bus) SaveSession(client, value []byte, revision uint64, ttlSec uint32, done func(revision uint64, err error)) {
	subject, err := sessionSubject(client)
	s := &save{subject: subject, value: bytes.Clone(value), revision: revision, done: done}
	b.archive.orderRecord(err, func(err error) { done(0, err) }, func(r *records) { r.save(s, ttlSec) })
}

// DropSession removes exactly the record of that revision, and never a newer one; nothing stays. A record that is gone already is no error. It is tried
// again until Close. done may be nil; it runs once, on a bus goroutine. Safe from any goroutine, never blocks.
func (b *Bus) DropSession(client []byte, revision uint64, done func(err error)) {
	if done == nil {
		done = func(error) {}
	}
	subject, err := sessionSubject(client)
	b.archive.orderRecord(err, done, func(r *records) { r.drop(subject, revision, done) })
}

// DropSessionIfThere removes the record of a client id if its generation is below before, for a client that connected and wants nothing kept. It
// happens within about 100 ms, many clients in one request; beyond DropsMax waiting clients the oldest are forgotten and
// counted (Counters.DropsForgotten). Safe from any goroutine, never blocks.
func (b *Bus) DropSessionIfThere(client []byte, before uint64) {
	subject, err := sessionSubject(client)
	b.archive.orderRecord(err, func(error) {}, func(r *records) { r.dropIfThere(subject, before) })
}

// sessionSubject is where the record of a client is.
func sessionSubject(client []byte) (string, error) {
	s := AppendClientKey([]byte(sessionPrefix), client)
	if len(s) > SubjectBytesMax {
		return "", ErrSubjectTooLong
	}
	return string(s), nil
}

// orderRecord has f run on the archive's goroutine, or fail if err says so already.
func (a *archive) orderRecord(err error, fail func(error), f func(*records)) {
	ok := a.order(func() {
		if err != nil {
			fail(err)
			return
		}
		f(&a.records)
	})
	if !ok {
		fail(ErrClosed)
	}
}

// records reads and writes the records of sessions. Owned by the archive's goroutine.
type records struct {
	archive *archive
	loads   *loads              // those that gather; nil: none
	doubted map[string]struct{} // subjects whose last save was fenced: the leader answers their next load
	drops   []dropWish          // in order
	waking  bool                // a timer will send drops
	looking int                 // questions about drops under way
}

const (
	// loadGatherTime is how long loads gather, loadsMax how many travel in one request.
	loadGatherTime = time.Millisecond
	loadsMax       = 512
	// doubtedMax is how many subjects are remembered; beyond it all are forgotten, and a load that is a moment old is fenced once more.
	doubtedMax = 16384
)

// flush sends what gathers. At the end of the Bus it fails.
func (r *records) flush() {
	r.sendLoads()
	r.drops = nil
}

// recordOf is the record in a stored message. A removal that a tool left has a revision and no value.
func recordOf(s *stored) SessionRecord {
	if _, removed := one(s.header, "KV-Operation"); removed {
		return SessionRecord{Revision: s.seq}
	}
	return SessionRecord{Value: s.data, Revision: s.seq}
}

// generation is the first field of a record, or 0.
func (r *SessionRecord) generation() uint64 {
	if len(r.Value) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(r.Value)
}

// last asks the leader of the bucket, and nobody else, for the record of a subject. patience as in question.
func (r *records) last(subject string, patience time.Duration, done func(SessionRecord, error)) {
	r.archive.ask(&question{
		subject: apiPrefix + "STREAM.MSG.GET." + sessionStream, payload: getRequest{LastFor: subject}.encode(), patience: patience,
		fail: func(err error) { done(SessionRecord{}, err) },
		answer: func(m *nats.Msg) sequel {
			s, e, v := readGot(m)
			switch {
			case v == again:
				return again
			case e == nil:
				done(recordOf(&s), nil)
			case e.ErrCode == errNoMessage:
				done(SessionRecord{}, nil)
			default:
				done(SessionRecord{}, e)
			}
			return finished
		},
	})
}
