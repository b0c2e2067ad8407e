package session

// index is a hash table of nodes that carry their own chain link, grown by linear hashing (Litwin 1980): each insert
// that finds the table full splits one bucket, each removal that finds it half empty joins a few, so that no event of a
// device pays for moving a million entries. Its cost is 8 bytes a node, beside the link in the node; a Go map of
// strings costs about 38.
type index[T any] struct {
	segments [][]*T
	n        int
	base     uint64 // power of two: buckets of the finished rounds
	split    uint64 // buckets already split in this round; buckets in use = base + split
	hash     func(*T) uint64
	link     func(*T) **T
}

const (
	segmentBits = 8
	segmentLen  = 1 << segmentBits
)

func newIndex[T any](hash func(*T) uint64, link func(*T) **T) index[T] {
	x := index[T]{hash: hash, link: link, base: segmentLen}
	x.segments = append(x.segments, make([]*T, segmentLen))
	return x
}

// bucket is the head of the chain that holds every node with hash h.
func (x *index[T]) bucket(h uint64) **T {
	b := h & (x.base - 1)
	if b < x.split {
		b = h & (2*x.base - 1)
	}
	return x.slot(b)
}

func (x *index[T]) slot(b uint64) **T {
	return &x.segments[b>>segmentBits][b&(segmentLen-1)]
}

// add inserts node, which is in no chain.
func (x *index[T]) add(h uint64, node *T) {
	head := x.bucket(h)
	*x.link(node) = *head
	*head = node
	x.n++
	if uint64(x.n) > x.base+x.split {
		x.grow()
	}
}

// remove takes node out of its chain.
func (x *index[T]) remove(h uint64, node *T) {
	x.replace(h, node, *x.link(node))
	*x.link(node) = nil
	x.n--
	// A removal may join several, so that buckets follow nodes down; few, so that no removal is dear.
	for range 4 {
		if buckets := x.base + x.split; buckets == segmentLen || uint64(x.n) >= buckets/2 {
			return
		}
		x.shrink()
	}
}

// replace lets the chain go on with next where it came to node.
func (x *index[T]) replace(h uint64, node, next *T) {
	p := x.bucket(h)
	for *p != node {
		p = x.link(*p)
	}
	*p = next
}

func (x *index[T]) grow() {
	to := x.base + x.split
	if to>>segmentBits == uint64(len(x.segments)) {
		x.segments = append(x.segments, make([]*T, segmentLen))
	}
	from, other := x.slot(x.split), x.slot(to)
	node := *from
	*from = nil
	for node != nil {
		next := *x.link(node)
		home := from
		if x.hash(node)&x.base != 0 {
			home = other
		}
		*x.link(node) = *home
		*home = node
		node = next
	}
	if x.split++; x.split == x.base {
		x.base, x.split = 2*x.base, 0
	}
}

func (x *index[T]) shrink() {
	if x.split == 0 {
		x.base, x.split = x.base/2, x.base/2
	}
	x.split--
	last := x.base + x.split
	from, to := x.slot(last), x.slot(x.split)
	for *to != nil {
		to = x.link(*to)
	}
	*to, *from = *from, nil
	if last&(segmentLen-1) == 0 {
		x.segments[len(x.segments)-1] = nil
		x.segments = x.segments[:len(x.segments)-1]
	}
}

// each calls f for every node until it says false. f neither adds nor removes.
func (x *index[T]) each(f func(*T) bool) {
	for b := uint64(0); b < x.base+x.split; b++ {
		for node := *x.slot(b); node != nil; node = *x.link(node) {
			if !f(node) {
				return
			}
		}
	}
}
