package session

// ring is a first-in first-out list that grows on demand, by doubling from four. Elements may leave from the middle. head counts
// what left at the front, so that head+i names the i-th element for as long as nothing leaves from the middle and it is not empty.
type ring[T any] struct {
	buf  []T // length 0 or a power of two
	head uint32
	n    uint32
}

const (
	ringMin      = 4
	ringSpareMax = 256 // longest buffer that an emptied ring keeps
)

func (r *ring[T]) len() int { return int(r.n) }

// at is the i-th oldest element. The pointer is valid until the ring changes.
func (r *ring[T]) at(i int) *T {
	return &r.buf[(r.head+uint32(i))&uint32(len(r.buf)-1)]
}

// push appends v.
func (r *ring[T]) push(v T) {
	if int(r.n) == len(r.buf) {
		r.grow()
	}
	r.buf[(r.head+r.n)&uint32(len(r.buf)-1)] = v
	r.n++
}

func (r *ring[T]) grow() {
	bigger := make([]T, max(ringMin, 2*len(r.buf)))
	for i := range r.n {
		bigger[(r.head+i)&uint32(len(bigger)-1)] = *r.at(int(i))
	}
	r.buf = bigger
}

// pop removes the oldest element.
func (r *ring[T]) pop() T {
	first := r.at(0)
	v := *first
	var zero T
	*first = zero
	r.head++
	r.n--
	return v
}

// remove takes out the i-th oldest element; the shorter side moves up.
func (r *ring[T]) remove(i int) T {
	v := *r.at(i)
	if i < int(r.n)/2 {
		for ; i > 0; i-- {
			*r.at(i) = *r.at(i - 1)
		}
		r.pop()
		return v
	}
	last := int(r.n) - 1
	for ; i < last; i++ {
		*r.at(i) = *r.at(i + 1)
	}
	var zero T
	*r.at(last) = zero
	r.n--
	return v
}

// filter keeps the elements that want says, in order.
func (r *ring[T]) filter(want func(*T) bool) {
	kept := 0
	for i := range r.len() {
		v := r.at(i)
		if !want(v) {
			continue
		}
		if i != kept {
			*r.at(kept) = *v
		}
		kept++
	}
	var zero T
	for i := kept; i < r.len(); i++ {
		*r.at(i) = zero
	}
	r.n = uint32(kept)
}

// trim forgets a buffer too long to be kept by an empty ring.
func (r *ring[T]) trim() {
	if r.n == 0 && len(r.buf) > ringSpareMax {
		*r = ring[T]{}
	}
}

// clear empties the ring; it keeps its buffer.
func (r *ring[T]) clear() {
	clear(r.buf)
	r.head, r.n = 0, 0
}
