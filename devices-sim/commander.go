package main

import (
	"context"
	"sync/atomic"
	"time"
)

// commander sends commands to the fleet through the witness, on an open-loop timetable of its own: command k goes to
// device k mod devices. One goroutine; sent is safe from any.
type commander struct {
	o    *options
	sc   *scenario
	to   witness
	now  clock
	most uint64 // commands in all; 0: as many as the time allows
	sent atomic.Uint64
	down pattern
}

// commandLook is the longest sleep, and so how late the end is noticed.
const commandLook = 5 * time.Millisecond

func newCommander(o *options, to witness, now clock) (*commander, error) {
	sc, err := findScenario(o.Scenario)
	if err != nil {
		return nil, err
	}
	c := &commander{o: o, sc: sc, to: to, now: now}
	if o.Subscribe != "" {
		c.down, err = parsePattern(o.Subscribe)
	}
	return c, err
}

// run sends until the traffic is over or ctx is done. Commands that were due meanwhile are sent, late, with the time at
// which they were due.
func (c *commander) run(ctx context.Context, startAt int64, rate float64) error {
	s := schedule{start: startAt, rate: rate, end: endless}
	if c.o.Duration > 0 {
		s.end = uint64(rate * c.o.Duration.Seconds())
	}
	if c.most > 0 {
		s.end = min(s.end, c.most)
	}
	for !s.done() && ctx.Err() == nil {
		for k, ok := s.take(c.now()); ok; k, ok = s.take(c.now()) {
			if err := c.command(k, s.at(k)); err != nil {
				return err
			}
		}
		c.to.flush()
		nap(min(max(time.Duration(s.nextAt()-c.now()), eventRest), commandLook))
	}
	return nil
}

// command sends command k, unless its device is a bad one or takes none.
func (c *commander) command(k uint64, at int64) error {
	device := uint32(k % uint64(c.o.Devices))
	topic := c.topic(device)
	if topic == "" || c.o.roleOf(c.sc, device) != good {
		return nil
	}
	stamp := stamp{run: c.o.Run, device: device, sequence: k/uint64(c.o.Devices) + 1, sentAt: at}
	if err := c.to.send(topic, stamp.append(nil, c.o.PayloadBytes)); err != nil {
		return err
	}
	c.sent.Add(1)
	return nil
}

// topic is where a device listens, or "".
func (c *commander) topic(device uint32) string {
	id := appendID(nil, c.o.Prefix, device)
	p := c.down
	if c.o.Targets[int(device)%len(c.o.Targets)].Kind == kindPlain {
		p, _ = parsePattern(plainDown) // a constant, tested
	} else if c.o.Subscribe == "" {
		return ""
	}
	return string(p.append(nil, id))
}
