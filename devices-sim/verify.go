package main

import "sync"

// ledger is what arrived at the far end: by device and sequence number, with the time it took. Safe from any goroutine.
type ledger struct {
	mu         sync.Mutex
	run        uint32
	tracks     []track  // by device
	worker     []uint16 // by device
	perWorker  []int64  // unique, by the worker of the device
	received   uint64   // messages of this run, duplicates included
	unique     uint64
	duplicates uint64
	late       uint64 // after a later one of the same device
	damaged    uint64 // not ours, or not what was sent
	lastAt     int64  // when the last one of them arrived
	latency    *histogram
	interval   *histogram // latency of the second at hand
	calm       *calmTally // in a run with a storm
	problems   map[string]uint64
}

// newLedger makes the ledger of a fleet without subscribers.
func newLedger(run uint32, plans []plan) *ledger {
	devices := plans[0].Devices
	l := &ledger{
		run: run, tracks: make([]track, devices), worker: make([]uint16, devices), perWorker: make([]int64, len(plans)),
		latency: newHistogram(), interval: newCoarse(), problems: map[string]uint64{},
	}
	for w, p := range plans {
		for i := range p.Pubs {
			l.worker[p.First+i] = uint16(w)
		}
	}
	return l
}

// note takes one message as it arrived at now.
func (l *ledger) note(payload []byte, now int64) {
	s, ok := parseStamp(payload)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !ok || int(s.device) >= len(l.tracks):
		l.damaged++
		return
	case s.run != l.run:
		return // left over by another run
	}
	l.received++
	t := &l.tracks[s.device]
	before := t.unique
	v := t.note(s.sequence)
	switch v {
	case isDuplicate:
		l.duplicates++
	case isLate:
		l.late++
	}
	if l.calm != nil {
		l.calm.note(v, t.unique > before, s.sentAt, now)
	}
	if t.unique == before {
		return
	}
	l.unique++
	l.lastAt = now
	l.perWorker[l.worker[s.device]]++
	l.latency.record(now - s.sentAt)
	l.interval.record(now - s.sentAt)
}

// expectStorm has the messages that are due before a storm counted apart.
func (l *ledger) expectStorm(at int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calm = &calmTally{until: at, latency: newHistogram()}
}

// problem notes what the witness' own connection had to say.
func (l *ledger) problem(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problems[text]++
}

// seen is how many different messages have arrived.
func (l *ledger) seen() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unique
}

// seenOf is how many different messages of a worker's devices have arrived.
func (l *ledger) seenOf(worker int) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.perWorker[worker]
}

// second returns how many messages have arrived, and the latencies since the last call.
func (l *ledger) second() (unique uint64, latency *histogram) {
	l.mu.Lock()
	defer l.mu.Unlock()
	latency, l.interval = l.interval, newCoarse()
	return l.unique, latency
}

// loss compares what arrived with what a worker's devices sent: lost counts messages that were sent and did not arrive,
// broken those of them that the server had acknowledged. worst is the device that lost most.
func (l *ledger) loss(p *partial) (lost, broken uint64, worst int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	worst = -1
	var most uint64
	for i := range p.Sent {
		arrived := l.tracks[p.First+i].unique
		if n := uint64(p.Sent[i]); n > arrived {
			lost += n - arrived
			if n-arrived > most {
				most, worst = n-arrived, p.First+i
			}
		}
		if n := uint64(p.Acked[i]); n > arrived {
			broken += n - arrived
		}
	}
	return lost, broken, worst
}

// witness is the connection at the far end: it notes telemetry in a ledger, and sends commands.
type witness interface {
	// send publishes a command on a device's topic; payload is borrowed.
	send(topic string, payload []byte) error
	// flush sees to it that what was sent goes out now.
	flush()
	close()
}
