package main

// arrivals is what the subscribers of one worker have received: by publisher, so that loss closes device by device, and
// by subscriber, so that order and repetition do. Owned by one loop.
type arrivals struct {
	o        *options
	received []uint32 // by publisher: copies that arrived, each once
	tracks   []track  // pairs: by subscriber; all: by subscriber and publisher
	seen     []bits   // share: by publisher, the numbers that came to any subscriber
	highs    []uint32 // share: by subscriber and publisher, the highest number
}

// newArrivals prepares for a worker's subscribers.
func newArrivals(o *options, subscribers int) *arrivals {
	a := &arrivals{o: o, received: make([]uint32, o.Publishers)}
	switch o.Route {
	case routePairs:
		a.tracks = make([]track, subscribers)
	case routeAll:
		a.tracks = make([]track, subscribers*o.Publishers)
	case routeShare:
		a.seen = make([]bits, o.Publishers)
		a.highs = make([]uint32, subscribers*o.Publishers)
	}
	return a
}

// note takes a message of a publisher for a worker's subscriber. counted tells whether it arrived for the first time.
func (a *arrivals) note(subscriber int, s *stamp) (v verdict, counted bool) {
	switch a.o.Route {
	case routePairs:
		v, counted = a.track(subscriber, s.sequence)
	case routeAll:
		v, counted = a.track(subscriber*a.o.Publishers+int(s.device), s.sequence)
	case routeShare:
		// Which subscriber gets a message is the server's choice, so only the order at each one means something.
		high := &a.highs[subscriber*a.o.Publishers+int(s.device)]
		switch {
		case !a.seen[s.device].set(s.sequence):
			return isDuplicate, false
		case uint32(s.sequence) < *high:
			v = isLate
		default:
			*high = uint32(s.sequence)
		}
		counted = true
	}
	if counted {
		a.received[s.device]++
	}
	return v, counted
}

func (a *arrivals) track(at int, sequence uint64) (v verdict, counted bool) {
	t := &a.tracks[at]
	before := t.unique
	v = t.note(sequence)
	return v, t.unique > before
}

// bits is a set of sequence numbers: a bit each up to the highest.
type bits []uint64

// bitsMax is the highest sequence number a set takes: 128 MiB of it.
const bitsMax = 1 << 30

// set adds n and tells whether it is new. A number beyond bitsMax is none of ours.
func (b *bits) set(n uint64) bool {
	at, bit := n/64, uint64(1)<<(n%64)
	if n > bitsMax {
		return false
	}
	for uint64(len(*b)) <= at {
		*b = append(*b, 0)
	}
	if (*b)[at]&bit != 0 {
		return false
	}
	(*b)[at] |= bit
	return true
}

// arrived takes a message that came to a subscriber.
func (f *fleet) arrived(i uint32, d *device, payload []byte) {
	if d.role != good {
		return
	}
	s, ok := parseStamp(payload)
	switch {
	case ok && s.run != f.p.Run:
		f.count.Foreign++
		return
	case !ok || int(s.device) >= f.p.Publishers,
		f.p.Route == routePairs && s.device != f.p.source(f.p.number(i)):
		f.count.Damaged++
		return
	}
	v, counted := f.arrivals.note(int(i)-f.p.Pubs, &s)
	switch v {
	case isDuplicate:
		f.count.Twice++
	case isLate:
		f.count.Late++
	}
	if !counted {
		return
	}
	f.count.Arrived++
	f.progressAt, f.lastAt = f.now, f.now
	f.hist.Latency.record(f.now - s.sentAt)
	f.hist.latencyNow.record(f.now - s.sentAt)
}
