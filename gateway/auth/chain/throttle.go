package chain

import (
	"cmp"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/tidegate/tidegate/gateway/auth"
)

// Throttle slows down who guesses passwords. After addressFree wrong ones an address is refused for a second, and after each further one
// for twice as long, up to addressPauseMax. For a name it is the same after nameFree, but for namePauseMax at most, and an address from which the
// right password came lately is not refused for the name: whoever guesses at a user keeps nobody out for longer than that. A right password has
// the address and the name begin anew. A device that says neither a user name nor a client id has no name: it goes by its address alone, so that nobody
// keeps out all the others that have none. What is refused is not asked, and does not count. Safe from any goroutine.
type Throttle struct {
	seed maphash.Seed

	mu        sync.Mutex
	wrong     map[suspect]tally
	right     map[suspect]time.Time // name at an address
	byAddress uint64
	byName    uint64
}

const (
	addressFree     = 20
	addressPauseMax = time.Minute
	nameFree        = 10
	namePauseMax    = 5 * time.Second
	// forgetTime is how long a wrong password counts, and a right one.
	forgetTime = 10 * time.Minute
	// suspectsMax is how many addresses and names are remembered: some 10 MB. Beyond it any of them is forgotten.
	suspectsMax = 100_000
)

// suspect is an address, a name, or both.
type suspect struct {
	addr netip.Addr
	name uint64
}

type tally struct {
	wrong int
	last  time.Time
	until time.Time
}

// NewThrottle is one that knows nobody.
func NewThrottle() *Throttle {
	return &Throttle{seed: maphash.MakeSeed(), wrong: map[suspect]tally{}, right: map[suspect]time.Time{}}
}

// suspects are the address and the name of a request; named: it has one. Who has an IPv6 address has the 64 bits below its network as well.
func (t *Throttle) suspects(r *auth.Request) (address, name, both suspect, named bool) {
	addr := r.Addr.Addr().Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			addr = p.Addr()
		}
	}
	text := cmp.Or(r.Username, r.ClientID)
	n := maphash.String(t.seed, text)
	return suspect{addr: addr}, suspect{name: n}, suspect{addr, n}, text != ""
}

// Lets tells whether a password may be tried; a device without one guesses nothing.
func (t *Throttle) Lets(r *auth.Request, now time.Time) bool {
	if !r.HasPassword {
		return true
	}
	address, name, both, named := t.suspects(r)
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.wrong[address].until) {
		t.byAddress++
		return false
	}
	if named && now.Before(t.wrong[name].until) && now.Sub(t.right[both]) > forgetTime {
		t.byName++
		return false
	}
	return true
}

// Guessed notes a wrong password.
func (t *Throttle) Guessed(r *auth.Request, now time.Time) {
	address, name, _, named := t.suspects(r)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(address, now, addressFree, addressPauseMax)
	if named {
		t.add(name, now, nameFree, namePauseMax)
	}
}

func (t *Throttle) add(s suspect, now time.Time, free int, longest time.Duration) {
	w := t.wrong[s]
	if now.Sub(w.last) > forgetTime {
		w = tally{}
	}
	if w.wrong, w.last = w.wrong+1, now; w.wrong >= free {
		w.until = now.Add(min(longest, time.Second<<min(w.wrong-free, 16)))
	}
	makeRoom(t.wrong)
	t.wrong[s] = w
}

// Knew notes a right password.
func (t *Throttle) Knew(r *auth.Request, now time.Time) {
	address, name, both, named := t.suspects(r)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.wrong, address)
	if !named {
		return
	}
	delete(t.wrong, name)
	makeRoom(t.right)
	t.right[both] = now
}

// Throttled is how many passwords were not tried, because of the address and because of the name.
func (t *Throttle) Throttled() (byAddress, byName uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byAddress, t.byName
}

func makeRoom[V any](m map[suspect]V) {
	if len(m) < suspectsMax {
		return
	}
	for s := range m {
		delete(m, s)
		return
	}
}
