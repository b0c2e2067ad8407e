package session

// Kept is what there is of a session outside of the table.
type Kept struct {
	Record []byte // as AppendRecord wrote it; empty: there is none
	// WallSec is the time now, in seconds since 1970.
	WallSec uint32
	// Received are the packet ids of the QoS 2 messages that the device published and did not release, as the log has them since
	// RecordInfo.LogPos. They count when the record is not clean.
	Received []uint16
}

// RecordInfo is what a record says at a glance. Its bytes are borrowed from the record.
type RecordInfo struct {
	// Clean says that the session was away when the record was written, and nothing of it under way to a store: the record is all there
	// is. Otherwise its gateway died, or still has it.
	Clean bool
	// LogPos is the position in the log after which ReceivedQoS2 has to look when the record is not clean.
	LogPos uint64
	// EndsAtSec is when the session ends, in seconds since 1970; 0: it does not, or was live.
	EndsAtSec uint32
	// Will is the will; Message.ExpiresAtSec is not set. Valid with HasWill.
	Will    Will
	HasWill bool
	// WillAtSec is when the will is due, in seconds since 1970; 0: the session was live.
	WillAtSec uint32
}

// ReadRecord reads a record. A record of another version, or a damaged one, is an error.
func ReadRecord(record []byte) (RecordInfo, error) { return RecordInfo{}, nil }

// AppendRecord appends the session's record and gives it a token for Event Saved. Of several snapshots the last one counts: each is
// either stored, and Saved follows, or another one is. nowSec and wallSec (since 1970) are the same moment: a record has no other
// clock. The session is durable.
func (s *Session) AppendRecord(dst []byte, nowSec, wallSec uint32) (record []byte, token uint32) {
	return dst, 0
}

// Restore is Open of a session from its record. What the table has of it is forgotten (Forget), since a record that somebody else wrote
// is newer; a live connection is reported in out.Evict. The session comes back behind; the caller replays it, and before that hands in
// what EachRefill asks for. Without a record it is Open. err: the record cannot be read, nothing was done.
func (t *Table) Restore(nowSec uint32, c *Connect, kept Kept, owner uint64, out *Out) (s *Session, present bool, err error) {
	s, present = t.Open(nowSec, c, owner, out)
	return s, present, nil
}

// Forget takes a session out of the table because its record goes on elsewhere, or is all that is needed of it: no will is published,
// nothing is counted as dropped, its filters are reported as lost. Its late events find it gone.
func (t *Table) Forget(s *Session, out *Out) {}
