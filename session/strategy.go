package session

import "slices"

// Strategy says which member of a shared group gets a message. With every one of them a member that is away gets it only when none
// is live.
type Strategy uint8

const (
	RoundRobin    Strategy = iota // members in turn; the default
	LeastInflight                 // who has the fewest messages unacknowledged and queued
	HashTopic                     // the same member for a topic, while members stay
	HashClient                    // the same member for a publisher, while members stay
	Sticky                        // the same member until it goes
	// Strategies is how many there are.
	Strategies
)

var strategyNames = [Strategies]string{"round-robin", "least-inflight", "hash-topic", "hash-client", "sticky"}

// String is the strategy as a configuration writes it.
func (y Strategy) String() string {
	if y >= Strategies {
		return "unknown"
	}
	return strategyNames[y]
}

// ParseStrategy reads what String writes.
func ParseStrategy(text string) (y Strategy, ok bool) {
	i := slices.Index(strategyNames[:], text)
	return Strategy(max(i, 0)), i >= 0
}

// Hashes says whether the strategy goes by Message.GroupKey.
func (y Strategy) Hashes() bool { return y == HashTopic || y == HashClient }

// strategyOf is the strategy of a group by its name, which stands between $share/ and the filter.
func (t *Table) strategyOf(share string) Strategy {
	if y, ok := t.limits.GroupStrategies[share]; ok {
		return y
	}
	return t.limits.Strategy
}

// leastLook is how many members LeastInflight compares for one message: in a larger group these are others each time, so that the
// work does not grow with the group.
const leastLook = 64

// Next is the member that gets a message with this GroupKey, as the group's strategy has it: a live one, or one that is away when none is live. nil:
// no members.
func (g *Group) Next(key uint32) *Subscription {
	n := g.live
	if n == 0 {
		n = uint32(len(g.subs))
	}
	if n == 0 {
		return nil
	}
	g.turn++
	switch g.strategy {
	case LeastInflight:
		return g.least(n)
	case HashTopic, HashClient:
		return g.subs[bucket(uint64(key), n)]
	case Sticky:
		// The first keeps its place until it leaves or falls asleep while another is awake: add, awake and asleep see to it.
		return g.subs[0]
	default:
		return g.subs[g.turn%n]
	}
}

// least is who of the first n members has the fewest messages under way; the search begins elsewhere each time, so that
// equals take turns.
func (g *Group) least(n uint32) *Subscription {
	var best *Subscription
	fewest := 0
	for i := range min(n, leastLook) {
		s := g.subs[(g.turn+i)%n]
		under := s.session.Inflight() + s.session.Queued()
		if best == nil || under < fewest {
			best, fewest = s, under
		}
		if fewest == 0 {
			break
		}
	}
	return best
}

// bucket is which of n buckets a key is in, by the jump of Lamping and Veach (2014). When the last bucket goes only its keys move;
// since the last member takes the place of one that leaves, two members' keys move, not all.
func bucket(key uint64, n uint32) uint32 {
	at, next := uint32(0), 0.0
	for next < float64(n) {
		at = uint32(next)
		key = key*2862933555777941757 + 1
		next = float64(at+1) * (float64(1<<31) / float64(key>>33+1))
	}
	return at
}
