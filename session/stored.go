package session

import "math/bits"

// stored is a table's own copy of a message, shared by all sessions that keep it. Header and buffer are recycled
// together through the table's store, by size class, so that steady traffic allocates nothing. References are
// plain counts: a table has one goroutine. They end at Out.Reset only, because Out may refer to the copy.
type stored struct {
	msg   Message
	buf   []byte
	store *store
	gen   uint32 // counts the lives of this struct; Message.keptGen tells which one is meant
	refs  int32
}

const (
	classMin      = 6         // smallest buffer: 64 bytes
	classes       = 11        // largest recycled buffer: 64 KiB
	classSpareMax = 256 << 10 // bytes of unused buffers kept per class
	listsSpareMax = 256       // unused idLists kept
)

// store is the free memory of a table, and the count of what is in use.
type store struct {
	spare [classes][]*stored
	lists []*idList
	bytes int // buffers in use
}

// class is the size class that holds n bytes; classes and more are not recycled.
func class(n int) int {
	if n <= 1<<classMin {
		return 0
	}
	return bits.Len(uint(n-1)) - classMin
}

// keep is the table's copy of m, with one more reference. The copy is made once per dispatch.
func (st *store) keep(m *Message) *stored {
	if k := m.kept; k != nil && k.gen == m.keptGen {
		checkKept(m, k)
		k.refs++
		return k
	}
	k := st.take(m.size())
	buf := append(append(append(k.buf[:0], m.Topic...), m.Props...), m.Payload...)
	t, p := len(m.Topic), len(m.Topic)+len(m.Props)
	k.buf = buf
	k.msg = Message{Topic: buf[:t:t], Payload: buf[p:], QoS: m.QoS, Retain: m.Retain, ExpiresAtSec: m.ExpiresAtSec,
		LastValue: m.LastValue, GroupKey: m.GroupKey, Stream: m.Stream, Seq: m.Seq, Request: m.Request}
	if p > t {
		k.msg.Props = buf[t:p:p]
	}
	k.refs = 1
	m.kept, m.keptGen = k, k.gen
	return k
}

// take is an unused stored whose buffer holds n bytes.
func (st *store) take(n int) *stored {
	c := class(n)
	var k *stored
	switch {
	case c >= classes:
		k = &stored{store: st, buf: make([]byte, 0, n), gen: 1}
	case len(st.spare[c]) > 0:
		last := len(st.spare[c]) - 1
		k = st.spare[c][last]
		st.spare[c][last] = nil
		st.spare[c] = st.spare[c][:last]
	default:
		k = &stored{store: st, buf: make([]byte, 0, 1<<(c+classMin)), gen: 1}
	}
	st.bytes += cap(k.buf)
	return k
}

// release ends one reference; the last one recycles the copy.
func (k *stored) release() {
	k.refs--
	if k.refs > 0 {
		return
	}
	st, size := k.store, cap(k.buf)
	st.bytes -= size
	k.gen++
	k.msg = Message{}
	checkWipe(k.buf)
	c := class(size)
	if c < classes && len(st.spare[c])*size < classSpareMax {
		st.spare[c] = append(st.spare[c], k)
	}
}

// idList is a kept copy of subscription identifiers.
type idList struct {
	ids   []uint32
	store *store
}

// keepIDs copies ids; nil for none, which is the usual case.
func (st *store) keepIDs(ids []uint32) *idList {
	if len(ids) == 0 {
		return nil
	}
	var l *idList
	if n := len(st.lists); n > 0 {
		l = st.lists[n-1]
		st.lists[n-1] = nil
		st.lists = st.lists[:n-1]
	} else {
		l = &idList{store: st}
	}
	l.ids = append(l.ids[:0], ids...)
	return l
}

// release gives l back.
func (l *idList) release() {
	if len(l.store.lists) < listsSpareMax && cap(l.ids) <= 64 {
		l.store.lists = append(l.store.lists, l)
	}
}

// slice is the identifiers; a nil list has none.
func (l *idList) slice() []uint32 {
	if l == nil {
		return nil
	}
	return l.ids
}
