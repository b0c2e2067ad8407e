package bus

import "sync/atomic"

// logSeen is the highest sequence of the log that anybody here has heard of: of a message that was stored, brought by the tail, or told by the leader. So
// the log had that many when it was heard, and what is offered to a Storer later comes behind it.
type logSeen struct{ seq atomic.Uint64 }

func (l *logSeen) raise(stream uint16, seq uint64) {
	if stream != 0 {
		return
	}
	for old := l.seq.Load(); seq > old && !l.seq.CompareAndSwap(old, seq); old = l.seq.Load() {
	}
}

// LogSeen tells a sequence that the log has reached, as far as this process has heard; 0: it has heard of none. It never decreases. Safe from
// any goroutine, never blocks.
func (b *Bus) LogSeen() uint64 { return b.seen.seq.Load() }
