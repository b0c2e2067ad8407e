package bus

import (
	"sync"
)

// State is whether NATS is reachable.
type State uint8

const (
	Connecting   State = iota // not yet connected
	Connected                 // both connections stand
	Disconnected              // lost; the Bus goes on trying
	Closed
)

// String names the state in lower case.
func (s State) String() string {
	return [...]string{"connecting", "connected", "disconnected", "closed"}[s]
}

// Status is what is known of the connection to NATS.
type Status struct {
	State           State
	Reconnects      uint64 // times it became Connected again; > 0 with Connected means reconnected
	URL             string // of the server, without password; "" when not connected
	Err             error  // why not connected, or the last loss; nil at first
	MaxPayloadBytes int    // the server's limit for payload and headers; 0 before the first connection
}

// Connected tells whether messages flow.
func (s Status) Connected() bool { return s.State == Connected }

// statusKeeper computes the Status and tells changes, one after the other. Safe from any goroutine.
type statusKeeper struct {
	telling sync.Mutex // held while OnStatus runs
	mu      sync.Mutex
	status  Status
	was     bool // was Connected once
}

// Status returns the state of the connection. Safe from any goroutine, never blocks.
func (b *Bus) Status() Status {
	b.state.mu.Lock()
	defer b.state.mu.Unlock()
	return b.state.status
}

// update computes the status anew and tells it when the state changed.
func (k *statusKeeper) update(b *Bus) {
	k.telling.Lock()
	defer k.telling.Unlock()
	k.mu.Lock()
	old := k.status
	s := &k.status
	up, other := b.uplink.now.Load(), b.echo.now.Load()
	s.Err = b.uplink.lastErr()
	if s.Err == nil {
		s.Err = b.echo.lastErr()
	}
	if up != nil {
		s.MaxPayloadBytes = up.maxPayload
	}
	switch {
	case up != nil && other != nil:
		if s.State != Connected && k.was {
			s.Reconnects++
		}
		s.State, s.URL, k.was = Connected, up.url, true
	case k.was:
		s.State, s.URL = Disconnected, ""
	}
	now := *s
	k.mu.Unlock()
	if now.State != old.State || now.Reconnects != old.Reconnects {
		b.options.OnStatus(now)
	}
}

func (k *statusKeeper) close(b *Bus) {
	k.telling.Lock()
	defer k.telling.Unlock()
	k.mu.Lock()
	k.status.State, k.status.URL = Closed, ""
	now := k.status
	k.mu.Unlock()
	b.options.OnStatus(now)
}
