package session

import "hash/maphash"

// A session's filters are a list, which costs no device more than a pointer. To look through it for each filter of a packet costs a full session and
// a full packet 1,000 times 256 visits, 0.6 ms and with a cold cache 2 (BenchmarkSubscribeFull); so such a packet has the list entered in a table
// first, once.

// lookup finds the subscriptions of one session by their filters, for as long as one packet is carried out. Owned by the session table.
type lookup struct {
	seed  maphash.Seed
	slots []*Subscription // open addressing, a power of two, at most half full; none: the list is looked through
}

// lookupFrom is from how many visits on it is worth its making.
const lookupFrom = 4096

// begin makes the table if so many filters are worth it; room is for those that are added.
func (l *lookup) begin(s *Session, filters int) {
	if filters*int(s.subCount) < lookupFrom {
		return
	}
	size := 64
	for size < 2*(int(s.subCount)+filters) {
		size *= 2
	}
	if cap(l.slots) < size {
		l.slots = make([]*Subscription, size)
	}
	l.slots = l.slots[:size]
	for sub := s.subs; sub != nil; sub = sub.next {
		l.add(sub)
	}
}

// end forgets it.
func (l *lookup) end() {
	clear(l.slots)
	l.slots = l.slots[:0]
}

func (l *lookup) made() bool { return len(l.slots) > 0 }

func (l *lookup) add(sub *Subscription) {
	mask := uint64(len(l.slots) - 1)
	at := maphash.String(l.seed, sub.Filter) & mask
	for l.slots[at] != nil {
		at = (at + 1) & mask
	}
	l.slots[at] = sub
}

// get is the subscription with this filter; nil: there is none. One that was lost since begin is still found.
func (l *lookup) get(share, filter []byte) *Subscription {
	mask := uint64(len(l.slots) - 1)
	for at := maphash.Bytes(l.seed, filter) & mask; l.slots[at] != nil; at = (at + 1) & mask {
		if sub := l.slots[at]; sub.Filter == string(filter) && sub.Share == string(share) {
			return sub
		}
	}
	return nil
}
