package bus

import (
	"errors"
	"time"
)

// Durable says what JetStream keeps for devices.
type Durable struct {
	// Replicas of the streams and buckets we make: 1 to 5. 0: 1 with the embedded server; else 3, or 1 while NATS has fewer servers.
	Replicas int
	// LogAge and LogBytes limit the log; what is older or beyond is removed, the oldest first. 0: no limit.
	LogAge   time.Duration
	LogBytes int64
	// Streams are the user's own streams that messages may be stored in: Message.Stream n is Streams[n-1]. They must exist.
	Streams []string
	// Sync is when the embedded server syncs what is stored to disk: "page-cache" (or ""), "interval" or "always"; the streams
	// themselves survive a loss of power in each. An external NATS decides itself.
	Sync string
	// SyncInterval is the time between two syncs with "interval"; 0: one second.
	SyncInterval time.Duration
}

// Errors of Ready; compare with errors.Is.
var (
	ErrNoJetStream = errors.New("bus: the NATS server has no JetStream; nothing can be stored there")
	ErrNotDurable  = errors.New("bus: opened without JetStream")
)

// Ready tells whether the log, the buckets and the user's streams are there; else why not, and how to mend it. The Bus makes what
// is missing and tries again until it can. With NATS away it keeps the last answer; Status tells that. Safe from any goroutine, never blocks.
func (b *Bus) Ready() (bool, error) { return false, ErrNotDurable }
