package main

import "encoding/binary"

// stamp is what every message carries, so that whoever receives it can tell loss, order and latency without knowing
// anything else.
//
//	0      4        8               16                     24
//	| run  | device | sequence      | intended send, ns    | fill …
type stamp struct {
	run      uint32 // tells this run from messages left over by another
	device   uint32
	sequence uint64 // from 1; the position in the device's schedule
	sentAt   int64  // when the schedule wanted it sent, nanoseconds since 1970
}

// stampBytes is the smallest payload.
const stampBytes = 24

// append appends a payload of size bytes. The fill depends on the sequence, so that a mix-up of payloads shows.
func (s stamp) append(dst []byte, size int) []byte {
	dst = binary.BigEndian.AppendUint32(dst, s.run)
	dst = binary.BigEndian.AppendUint32(dst, s.device)
	dst = binary.BigEndian.AppendUint64(dst, s.sequence)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.sentAt))
	for i := stampBytes; i < size; i++ {
		dst = append(dst, byte(s.sequence)+byte(i))
	}
	return dst
}

// parseStamp reads a payload; ok is false when it is none of ours or damaged.
func parseStamp(p []byte) (s stamp, ok bool) {
	if len(p) < stampBytes {
		return stamp{}, false
	}
	s = stamp{
		run:      binary.BigEndian.Uint32(p),
		device:   binary.BigEndian.Uint32(p[4:]),
		sequence: binary.BigEndian.Uint64(p[8:]),
		sentAt:   int64(binary.BigEndian.Uint64(p[16:])),
	}
	for i, b := range p[stampBytes:] {
		if b != byte(s.sequence)+byte(i+stampBytes) {
			return stamp{}, false
		}
	}
	return s, true
}
