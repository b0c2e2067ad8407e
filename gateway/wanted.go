package gateway

import (
	"bytes"
	"hash/maphash"
	"math/bits"
	"strings"
	"sync/atomic"
)

// wanted is what a shard lets the others know of its filters, so that they need not copy to it, or wake it for, what
// nobody there hears. It may say yes wrongly (that costs a wake), never no: a filter is entered before its SUBACK goes out.
//
// An exact filter is a bit by hash; one with wildcards is a bit by hash of its literal levels before the first of them,
// and a bit for how many these are. Changed by the shard that owns it, read by all.
type wanted struct {
	bits   [wantedBits / 32]atomic.Uint32
	depths atomic.Uint32 // bit k: a wildcard filter with k literal levels, the last bit: so many or more
	owners [wantedBits]uint16
	deep   [32]int // filters by depth; the owner's
}

const wantedBits = 1 << 16

// add enters a filter, remove takes one out. Owner only.
func (w *wanted) add(filter string) {
	at, depth := wantedPlace(filter)
	if w.owners[at] < 1<<16-1 { // one that is full stays so
		w.owners[at]++
	}
	w.bits[at/32].Or(1 << (at % 32))
	if depth >= 0 {
		w.deep[depth]++
		w.depths.Or(1 << depth)
	}
}

func (w *wanted) remove(filter string) {
	at, depth := wantedPlace(filter)
	if n := w.owners[at]; n > 0 && n < 1<<16-1 {
		if w.owners[at]--; n == 1 {
			w.bits[at/32].And(^uint32(1 << (at % 32)))
		}
	}
	if depth >= 0 {
		if w.deep[depth]--; w.deep[depth] == 0 {
			w.depths.And(^uint32(1 << depth))
		}
	}
}

// may tells whether some filter may match topic. Any goroutine.
func (w *wanted) may(topic []byte) bool {
	if w.has(maphash.Bytes(homeSeed, topic)) {
		return true
	}
	for depths := w.depths.Load(); depths != 0; depths &= depths - 1 {
		depth := bits.TrailingZeros32(depths)
		prefix, ok := levels(topic, depth)
		if ok && w.has(prefixHash(maphash.Bytes(homeSeed, prefix), depth)) {
			return true
		}
	}
	return false
}

func (w *wanted) has(hash uint64) bool {
	at := hash % wantedBits
	return w.bits[at/32].Load()&(1<<(at%32)) != 0
}

// levels is the first n levels of a topic; false: it has fewer.
func levels(topic []byte, n int) (prefix []byte, ok bool) {
	if n == 0 {
		return nil, true
	}
	at := -1
	for range n {
		next := bytes.IndexByte(topic[at+1:], '/')
		if next < 0 {
			return topic, bytes.Count(topic, []byte{'/'}) == n-1
		}
		at += 1 + next
	}
	return topic[:at], true
}

// prefixHash keeps literal levels apart from exact filters, and "" of no level from "" of one.
func prefixHash(hash uint64, depth int) uint64 {
	return bits.RotateLeft64(hash, 17) + uint64(depth) + 1
}

// wantedPlace is the bit of a filter, and how many literal levels come before its first wildcard, -1 if it has none.
func wantedPlace(filter string) (at uint64, depth int) {
	wild := strings.IndexAny(filter, "+#")
	if wild < 0 {
		return maphash.String(homeSeed, filter) % wantedBits, -1
	}
	prefix := filter[:wild]
	depth = strings.Count(prefix, "/")
	if depth > 31 {
		depth = 31
		for strings.Count(prefix, "/") > depth {
			prefix = prefix[:strings.LastIndexByte(prefix[:len(prefix)-1], '/')+1]
		}
	}
	return prefixHash(maphash.String(homeSeed, strings.TrimSuffix(prefix, "/")), depth) % wantedBits, depth
}
