package gateway

import (
	"slices"
	"time"
)

// followMax is how many filters a tail is asked for; beyond it, it brings the whole stream.
const followMax = 16

// following is what the tails bring. Owned by the registry goroutine.
type following struct {
	gw      *Gateway
	filters []string
	asked   bool
	retry   <-chan time.Time // when to try again; nil: it worked
}

// followRetry is between two attempts to follow a stream.
const followRetry = time.Second

// plainFilters are the filters of all interests but those of groups, at most followMax; more stand for everything.
func (x *interests) plainFilters() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var all []string
	for _, e := range x.byID {
		if e.group != "" {
			continue
		}
		if len(all) == followMax {
			return []string{"#"}
		}
		all = append(all, e.filter)
	}
	slices.Sort(all)
	return all
}

// update has the tails bring what the devices here want, before these are told that their subscriptions stand. While NATS does
// not answer it is not waited for: the tails take it up when it does.
func (f *following) update(x *interests) {
	if f.gw == nil || f.gw.durable.off() {
		return
	}
	now := x.plainFilters()
	if f.asked && slices.Equal(now, f.filters) {
		return
	}
	f.asked, f.filters = true, now
	f.retry = nil
	filters := make([][]byte, len(now))
	for i, s := range now {
		filters[i] = []byte(s)
	}
	for stream := range f.gw.durable.logAt {
		if stream == int(inLog) && !f.gw.durable.logs() {
			continue
		}
		after, err := f.gw.bus.Follow(uint16(stream), filters)
		if err != nil {
			f.gw.log.Debug().Err(err).Int("stream", stream).Msg("a stream cannot be followed yet")
			f.asked, f.retry = false, time.After(followRetry)
			continue
		}
		f.gw.durable.reached(uint16(stream), after)
		f.gw.durable.follows(uint16(stream), after)
	}
}
