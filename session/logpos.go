package session

// What a device publishes with QoS 2 is in the log behind the place that the log had reached when it came. The record says from which place on
// that may be so: the lower it is, the more of the log has to be read when the session goes on elsewhere.

// LogIsAt says that the log has reached seq: whatever the device publishes from now on is stored behind it. The caller says so before each
// Publish of QoS 2, and before AppendRecord, with what it has heard of the log.
func (s *Session) LogIsAt(seq uint64) {
	if d := s.durable(); d != nil {
		d.logAt = max(d.logAt, seq)
	}
}

// LogPos is the RecordInfo.LogPos that a record written now would have: nothing that the device published and did not release is at or
// before it.
func (s *Session) LogPos() uint64 {
	d := s.durable()
	if d == nil {
		return 0
	}
	pos := d.logAt
	for i := 0; s.flow != nil && i < s.flow.recs.len(); i++ {
		pos = min(pos, s.flow.recs.at(i).what)
	}
	return pos
}
