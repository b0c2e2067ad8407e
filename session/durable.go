package session

// Durable says that the session is kept in a record (Connect.Durable).
func (s *Session) Durable() bool { return false }

// Gone says that the session ended.
func (s *Session) Gone() bool { return s.state == gone }

// Cursor is where a replay of a stream begins: everything up to it is done with, or under way in memory. 0 when nothing is known of the
// stream; the caller then says with SeenUpTo where the session begins.
func (s *Session) Cursor(stream uint16) uint64 { return 0 }

// Floor is below the lowest message of a stream that the device did not acknowledge; it is the cursor when it owes nothing.
func (s *Session) Floor(stream uint16) uint64 { return 0 }

// SeenUpTo says that everything of a stream up to seq was offered to the session and taken: of a current session when the tail is at seq,
// of one that is behind when a replay got there (ReplayLog's upTo).
func (s *Session) SeenUpTo(stream uint16, seq uint64) {}

// Behind says that the session takes messages of streams from a replay only: it was away, or its queue was full.
func (s *Session) Behind() bool { return false }

// CaughtUp says that a replay reached the tail, whose next message is the first that the session has not been offered: from now on the
// tail feeds it.
func (s *Session) CaughtUp() {}

// Hungry says that a replay should go on: the session is behind, and its queue is less than half full.
func (s *Session) Hungry() bool { return false }

// Changed says that a message of a stream was taken or acknowledged since the last AppendRecord, so that a checkpoint is worth its
// while.
func (s *Session) Changed() bool { return false }

// Revision is the caller's: of the record as it was stored last. 0 unless the session is durable.
func (s *Session) Revision() uint64 { return 0 }

// SetRevision notes it.
func (s *Session) SetRevision(revision uint64) {}

// EachRefill calls f for every restored QoS 2 message to the device whose bytes are missing, in order, until it says false. Each is to be
// read from its stream, whatever the filters are by now, and handed in with Refill; until then nothing is sent to the device that
// follows it. f must not step the session.
func (s *Session) EachRefill(f func(stream uint16, seq uint64) bool) {}
