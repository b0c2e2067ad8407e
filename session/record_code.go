package session

import (
	"encoding/binary"
	"errors"
	"slices"
)

// record is what a session's record says. Numbers are written as varints, byte strings behind their length:
//
//	version   1
//	flags     recordAway, recordClean, recordHasWill
//	wallSec   when it was written
//	expirySec, and with recordAway endsAtSec (0: never)
//	logPos
//	streams   count, each: number, cursor, count of again, the first one, and how far each other is from the one before
//	filters   count, each: options, topic, [subscription identifier], [count of since, each: stream, seq]; the newest first
//	received  count, each: packet id; QoS 2 from the device, not released
//	sent      count, each: packet id, seq, [stream, options]; QoS 2 to the device, in order; seq 0: PUBREL is due
//	will      topic, props, payload, user, options, delay, [expiry], with recordAway dueAtSec
//
// There is one way to write each record, so that what was read and is written again is the same.
type record struct {
	flags     uint8
	wallSec   uint32
	expirySec uint32
	endsAtSec uint32
	logPos    uint64
	streams   []recordStream
	again     []uint64 // of all streams
	filters   []recordFilter
	since     []place // of all filters
	received  []uint16
	sent      []recordSent
	will      recordWill
}

type recordStream struct {
	stream uint16
	cursor uint64 // everything up to here is done with, but for again, and what sent has
	again  int    // how many of record.again: unacknowledged with QoS 1
}

type recordFilter struct {
	topic   string // as sent
	options uint8
	id      uint32
	since   int // how many of record.since
}

type recordSent struct {
	id uint16
	place
}

type recordWill struct {
	topic, props, payload, user []byte
	options                     uint8
	delaySec, expirySec         uint32
	dueAtSec                    uint32
}

const recordVersion = 1

const (
	recordAway  = 1 << iota // the session had no connection
	recordClean             // and nothing of it was on its way to a store
	recordHasWill
)

// Options of filters.
const (
	filterQoS     = 3 // two bits
	filterNoLocal = 1 << 2
	filterAsPub   = 1 << 3
	filterHandle  = 4 // shift; two bits
	filterID      = 1 << 6
	filterSince   = 1 << 7
)

// Options of the will.
const (
	willQoS     = 3
	willRetain  = 1 << 2
	willExpiry  = 1 << 3
	willRecheck = 1 << 4
)

var (
	errRecordVersion = errors.New("session record: unknown version; it was written by a newer gateway")
	errRecordDamaged = errors.New("session record: damaged; drop it from the bucket, and the device begins a new session")
)

// reset empties r, which keeps its memory.
func (r *record) reset() {
	clear(r.filters)
	*r = record{streams: r.streams[:0], again: r.again[:0], filters: r.filters[:0], since: r.since[:0], received: r.received[:0], sent: r.sent[:0]}
}

// append writes r.
func (r *record) append(dst []byte) []byte {
	dst = append(dst, recordVersion, r.flags)
	dst = appendNumber(dst, uint64(r.wallSec))
	dst = appendNumber(dst, uint64(r.expirySec))
	if r.flags&recordAway != 0 {
		dst = appendNumber(dst, uint64(r.endsAtSec))
	}
	dst = appendNumber(dst, r.logPos)
	dst = r.appendStreams(dst)
	dst = r.appendFilters(dst)
	dst = appendNumber(dst, uint64(len(r.received)))
	for _, id := range r.received {
		dst = appendNumber(dst, uint64(id))
	}
	dst = appendNumber(dst, uint64(len(r.sent)))
	for _, e := range r.sent {
		dst = appendNumber(appendNumber(dst, uint64(e.id)), e.seq)
		if e.seq != 0 {
			dst = appendNumber(dst, uint64(e.stream))
		}
	}
	if r.flags&recordHasWill != 0 {
		dst = r.appendWill(dst)
	}
	return dst
}

func (r *record) appendStreams(dst []byte) []byte {
	dst = appendNumber(dst, uint64(len(r.streams)))
	again := r.again
	for _, p := range r.streams {
		dst = appendNumber(appendNumber(dst, uint64(p.stream)), p.cursor)
		dst = appendNumber(dst, uint64(p.again))
		before := uint64(0)
		for _, seq := range again[:p.again] {
			dst = appendNumber(dst, seq-before)
			before = seq
		}
		again = again[p.again:]
	}
	return dst
}

func (r *record) appendFilters(dst []byte) []byte {
	dst = appendNumber(dst, uint64(len(r.filters)))
	since := r.since
	for i := range r.filters {
		f := &r.filters[i]
		dst = append(appendNumber(append(dst, f.options), uint64(len(f.topic))), f.topic...)
		if f.options&filterID != 0 {
			dst = appendNumber(dst, uint64(f.id))
		}
		if f.options&filterSince == 0 {
			continue
		}
		dst = appendNumber(dst, uint64(f.since))
		for _, p := range since[:f.since] {
			dst = appendNumber(appendNumber(dst, uint64(p.stream)), p.seq)
		}
		since = since[f.since:]
	}
	return dst
}

func (r *record) appendWill(dst []byte) []byte {
	w := &r.will
	for _, part := range [...][]byte{w.topic, w.props, w.payload, w.user} {
		dst = append(appendNumber(dst, uint64(len(part))), part...)
	}
	dst = appendNumber(append(dst, w.options), uint64(w.delaySec))
	if w.options&willExpiry != 0 {
		dst = appendNumber(dst, uint64(w.expirySec))
	}
	if r.flags&recordAway != 0 {
		dst = appendNumber(dst, uint64(w.dueAtSec))
	}
	return dst
}

func appendNumber(dst []byte, n uint64) []byte { return binary.AppendUvarint(dst, n) }

// parse reads b into r, which borrows its bytes. Memory is bounded by the length of b.
func (r *record) parse(b []byte) error {
	r.reset()
	if len(b) > 0 && b[0] != recordVersion {
		return errRecordVersion
	}
	p := recordReader{b: b}
	p.byte()
	r.flags = p.byte()
	if r.flags >= recordHasWill<<1 || r.flags&recordClean != 0 && r.flags&recordAway == 0 {
		p.bad = true
	}
	r.wallSec, r.expirySec = p.uint32(), p.uint32()
	if r.flags&recordAway != 0 {
		r.endsAtSec = p.uint32()
	}
	r.logPos = p.number()
	r.parseStreams(&p)
	r.parseFilters(&p)
	for range p.count(1) {
		r.received = append(r.received, p.id())
	}
	for range p.count(2) {
		e := recordSent{id: p.id(), place: place{seq: p.number()}}
		if e.seq != 0 {
			e.stream = p.uint16()
		}
		r.sent = append(r.sent, e)
	}
	if r.flags&recordHasWill != 0 {
		r.parseWill(&p)
	}
	sent := make([]uint16, 0, len(r.sent))
	for _, e := range r.sent {
		sent = append(sent, e.id)
	}
	if p.bad || len(p.b) > 0 || repeats(r.received) || repeats(sent) {
		return errRecordDamaged
	}
	return nil
}

// repeats says whether a packet id is there twice.
func repeats(ids []uint16) bool {
	sorted := slices.Sorted(slices.Values(ids))
	return len(slices.Compact(sorted)) != len(ids)
}

func (r *record) parseStreams(p *recordReader) {
	for i := range p.count(3) {
		at := recordStream{stream: p.uint16(), cursor: p.number(), again: p.count(1)}
		if i > 0 && r.streams[i-1].stream >= at.stream {
			p.bad = true
		}
		seq := uint64(0)
		for range at.again {
			n := p.number()
			seq += n
			if n == 0 || seq < n || seq > at.cursor {
				p.bad = true
			}
			r.again = append(r.again, seq)
		}
		r.streams = append(r.streams, at)
		if p.bad {
			return
		}
	}
}

func (r *record) parseFilters(p *recordReader) {
	for range p.count(3) {
		f := recordFilter{options: p.byte(), topic: borrowed(p.bytes())}
		_, _, ok := shareOf([]byte(f.topic))
		if !ok || f.options&filterQoS > 2 || f.options>>filterHandle&3 > 2 {
			p.bad = true
		}
		if f.options&filterID != 0 {
			if f.id = p.uint32(); f.id == 0 {
				p.bad = true
			}
		}
		if f.options&filterSince != 0 {
			if f.since = p.count(2); f.since == 0 {
				p.bad = true
			}
			for range f.since {
				r.since = append(r.since, place{p.uint16(), p.number()})
			}
		}
		r.filters = append(r.filters, f)
		if p.bad {
			return
		}
	}
}

func (r *record) parseWill(p *recordReader) {
	w := &r.will
	w.topic, w.props, w.payload, w.user = p.bytes(), p.bytes(), p.bytes(), p.bytes()
	w.options = p.byte()
	w.delaySec = p.uint32()
	if w.options >= willRecheck<<1 || w.options&willQoS > 2 {
		p.bad = true
	}
	if w.options&willExpiry != 0 {
		w.expirySec = p.uint32()
	}
	if r.flags&recordAway != 0 {
		w.dueAtSec = p.uint32()
	}
}

// recordReader takes a record apart. Once it is bad, everything it reads is zero.
type recordReader struct {
	b   []byte
	bad bool
}

func (p *recordReader) byte() uint8 {
	if p.bad || len(p.b) == 0 {
		p.bad = true
		return 0
	}
	b := p.b[0]
	p.b = p.b[1:]
	return b
}

// number is a varint in its shortest form.
func (p *recordReader) number() uint64 {
	n, size := binary.Uvarint(p.b)
	if p.bad || size <= 0 || size > 1 && p.b[size-1] == 0 {
		p.bad = true
		return 0
	}
	p.b = p.b[size:]
	return n
}

// within is n, or what is bad.
func (p *recordReader) within(n, limit uint64) uint64 {
	if n > limit {
		p.bad = true
		return 0
	}
	return n
}

func (p *recordReader) uint32() uint32 { return uint32(p.within(p.number(), 1<<32-1)) }
func (p *recordReader) uint16() uint16 { return uint16(p.within(p.number(), 1<<16-1)) }

// id is a packet id, which is not 0.
func (p *recordReader) id() uint16 {
	id := p.uint16()
	if id == 0 {
		p.bad = true
	}
	return id
}

// count is how many things of at least size bytes follow; a packet id more than there are is no such number.
func (p *recordReader) count(size int) int {
	n := p.number()
	return int(p.within(n, uint64(min(len(p.b)/size, 65535))))
}

func (p *recordReader) bytes() []byte {
	length := p.number()
	n := int(p.within(length, uint64(len(p.b))))
	if p.bad {
		return nil
	}
	b := p.b[:n:n]
	p.b = p.b[n:]
	return b
}
