package gateway

import (
	"sync"

	"github.com/tidegate/tidegate/epoll"
)

// inboxNotesMax bounds what other goroutines may leave for a shard. Beyond it put refuses and the producer keeps its
// note (batches) or tries again (rare notes).
const inboxNotesMax = 4096

// note is one thing another goroutine tells a shard. A small value: it is copied.
type note struct {
	batch  *batch         // messages of another shard or from NATS
	tail   tailMark       // of batch, when it is what the tail of a stream brings
	stored *storeBatch    // what became of messages that were to be stored
	do     func(s *shard) // anything rare: a connection moving in, a scrape, a drain step
}

// inbox is the one door into a shard. put is safe from any goroutine, drain is the owner's.
type inbox struct {
	mu      sync.Mutex
	notes   []note
	spare   []note
	waiting []func() // producers that were refused, to be told once there is room
}

// put leaves a note; false means full, and room, if given, is called once when there is room again.
func (x *inbox) put(l *epoll.Loop, n note, room func()) bool {
	x.mu.Lock()
	if len(x.notes) >= inboxNotesMax {
		if room != nil {
			x.waiting = append(x.waiting, room)
		}
		x.mu.Unlock()
		return false
	}
	x.notes = append(x.notes, n)
	x.mu.Unlock()
	l.Wake()
	return true
}

// drain runs f on every note that was there when it began, and then tells those who were refused.
func (x *inbox) drain(f func(n *note)) {
	x.mu.Lock()
	notes, waiting := x.notes, x.waiting
	x.notes, x.spare, x.waiting = x.spare[:0], nil, nil
	x.mu.Unlock()
	for i := range notes {
		f(&notes[i])
		notes[i] = note{}
	}
	x.mu.Lock()
	x.spare = notes[:0]
	x.mu.Unlock()
	for _, room := range waiting {
		room()
	}
}

// do runs f on the shard's loop; false: its inbox is full.
func (s *shard) do(f func(s *shard)) bool {
	return s.inbox.put(s.loop, note{do: f}, nil)
}

// doSoon runs f on the shard's loop, after its inbox has room if it must.
func (s *shard) doSoon(f func(s *shard)) {
	s.inbox.put(s.loop, note{do: f}, func() { s.doSoon(f) })
}
