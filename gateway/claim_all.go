package gateway

import "time"

// Claiming everything again is what makes up for whatever was not told or not heard, and it is dear: a message of 34 bytes can
// ask for it, and the answer is all client ids. So it is done once in claimBeatTime, and further wishes for it wait. Only a
// gateway that nobody knew yet, and NATS when it is back, are answered at once, and that not without limit, as anybody who can
// write to NATS can pretend to be many gateways. What runs comes to its end first: beginning again from the first
// connection whenever somebody asks would never reach the last.

const (
	// claimStep is how many connections a loop claims again in one tick.
	claimStep = 1000
	// greetMax is how often everything is claimed again at once before claimBeatTime must pass without it.
	greetMax = 16
)

// all has every live client id claimed again: at once if it can be, or when it is due.
func (x *claims) all(atOnce bool) {
	x.mu.Lock()
	x.again = true
	x.atOnce = x.atOnce || atOnce
	x.mu.Unlock()
	x.rouse()
}

// due tells whether everything is to be claimed again now, and if it is to be later, in what time.
func (x *claims) due(now time.Time) (yes bool, wait time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	rest := claimBeatTime - now.Sub(x.allAt)
	switch {
	case !x.again || x.scanning.Load() > 0: // the end of the scan asks again
		return false, 0
	case rest <= 0:
		x.greeted = 0
	case x.atOnce && x.greeted < greetMax:
		x.greeted++
	default:
		return false, rest
	}
	x.again, x.atOnce, x.allAt = false, false, now
	return true, 0
}

// claimAll has the shards claim all they have, bit by bit, behind a word that tells everybody that we are here.
func (x *claims) claimAll() {
	x.mu.Lock()
	x.word = true
	x.mu.Unlock()
	x.scanning.Store(int32(len(x.gw.shards)))
	for _, s := range x.gw.shards {
		s.doSoon(func(s *shard) { s.claimFrom = 1 })
	}
}

// scanned tells that a shard has claimed all it has.
func (x *claims) scanned() {
	if x.scanning.Add(-1) == 0 {
		x.rouse() // somebody may have wished it again meanwhile
	}
}
