package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// scene is one comeback as it happens. Owned by one goroutine.
type scene struct {
	*comeback
	lab      *lab
	gateways *rack
	runner   *runner

	diedAt        int64
	before, after written
	spent         [2]usage // gateways and NATS, from the death until all was there
	live          bool     // all were again
	complete      bool     // and had what they are owed
}

// written is how much a fleet has had written in NATS: the last sequence of the buckets of sessions and presence. 0 where there is none.
type written struct{ sessions, presence uint64 }

func (s *scene) written(ctx context.Context) (w written) {
	last := func(stream string) uint64 {
		one, stop := context.WithTimeout(ctx, storeTimeout)
		defer stop()
		found, err := s.lab.js.Stream(one, stream)
		if err != nil {
			return 0 // there is no such bucket
		}
		return found.CachedInfo().State.LastSeq
	}
	return written{last("KV_TG_sessions"), last("KV_TG_presence")}
}

// play is the run.
func (s *scene) play(ctx context.Context) (*result, error) {
	r := s.runner
	r.tick = time.NewTicker(time.Second)
	defer r.tick.Stop()
	defer r.shut()
	if err := r.prepare(); err != nil {
		return nil, err
	}
	if err := r.launch(); err != nil {
		return nil, err
	}
	if err := r.await(ctx, holding); err != nil {
		return nil, err
	}
	r.readyAt, r.readyLive, r.begunAt, r.self[0] = r.now(), r.sum().Live, r.now(), selfUsage()
	if err := r.tell(order{Start: r.begunAt}); err != nil {
		return nil, err
	}
	quiet := time.Second // what the connects have left to be written
	if err := r.until(ctx, r.now()+int64(quiet), func() bool { return false }); err != nil {
		return nil, err
	}
	if err := s.fallAndReturn(ctx); err != nil {
		return nil, err
	}
	if err := r.tell(order{Drain: true}); err != nil {
		return nil, err
	}
	r.endedAt, r.self[1] = r.now(), selfUsage()
	if err := r.await(ctx, drained); err != nil {
		return nil, err
	}
	if err := r.tell(order{Leave: true}); err != nil {
		return nil, err
	}
	if err := r.await(context.Background(), over); err != nil {
		return nil, err
	}
	return r.result(), nil
}

// fallAndReturn ends the gateway, or all connections, sends what the devices are owed, and waits until they have it.
func (s *scene) fallAndReturn(ctx context.Context) (err error) {
	r := s.runner
	s.before = s.written(ctx)
	s.diedAt = r.now()
	if s.cut {
		err = r.tell(order{Cut: true})
	} else {
		err = s.gateways.kill(0)
	}
	if err != nil {
		return err
	}
	begun, err := s.usage()
	if err != nil {
		return err
	}
	owed := uint64(s.devices * s.messages)
	r.commander.most = owed
	sent := make(chan error, 1)
	go func() { sent <- r.commander.run(ctx, s.diedAt, s.rate) }()
	done := func() bool {
		c := r.sum()
		s.live = c.Live >= int64(s.devices) && c.Connects >= 2*uint64(s.devices)
		s.complete = s.live && c.Commands >= owed
		return s.complete || ctx.Err() != nil
	}
	if err := r.until(context.Background(), s.diedAt+int64(comebackWait), done); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	ended, err := s.usage()
	for i := range s.spent {
		s.spent[i].CPU = ended[i].CPU - begun[i].CPU
	}
	s.after = s.written(ctx)
	return errors.Join(err, <-sent)
}

// usage is that of the gateways that are left, and of NATS.
func (s *scene) usage() (u [2]usage, err error) {
	for _, g := range s.gateways.servers {
		one, err := processUsage(g.cmd.Process.Pid)
		if err != nil {
			return u, err
		}
		u[0].CPU += one.CPU
	}
	u[1], err = s.lab.usage()
	return u, err
}

// musts is what has to hold.
func (s *scene) musts(res *result) []must {
	var liveAt, gotAt int64
	for i := range s.runner.latest {
		liveAt, gotAt = max(liveAt, s.runner.latest[i].LiveAt), max(gotAt, s.runner.latest[i].CommandAt)
	}
	c, owed := s.runner.sum(), uint64(s.devices*s.messages)
	back := c.Connects - min(c.Connects, uint64(res.Connects.Live)) // and who came twice
	bound := fmt.Sprintf("≤ %v", comebackMax)
	whole := func(name string, done bool, at int64) must {
		if !done {
			return must{Name: name, Bound: bound, Measured: fmt.Sprintf("not within %v", comebackWait), Met: new(false)}
		}
		sec := seconds(s.diedAt, at)
		return held(name, bound, sec, sec <= comebackMax.Seconds(), fmt.Sprintf("%.1f s, %v of it away", sec, s.away))
	}
	each := func(v float64) float64 { return v / float64(s.devices) }
	per := func(name string, n uint64) must {
		return told(name, each(float64(n)), fmt.Sprintf("%.2f (%s in all)", each(float64(n)), grouped(n)))
	}
	micros := func(name string, u usage) must {
		v := each(u.CPU.Seconds() * 1e6)
		return told(name, v, fmt.Sprintf("%.0f µs (%.1f s in all)", v, u.CPU.Seconds()))
	}
	return []must{
		held("devices that came back", grouped(uint64(s.devices)), float64(back), back >= uint64(s.devices), grouped(back)),
		whole("all live again", s.live, liveAt),
		whole("all have what they are owed", s.complete, gotAt),
		none("messages lost", owed-min(owed, c.Commands), grouped(owed-min(owed, c.Commands))+" of "+grouped(owed)),
		none("messages out of order", c.CommandLate, grouped(c.CommandLate)),
		none("sessions lost", c.SessionsLost, grouped(c.SessionsLost)),
		told("messages twice", float64(c.CommandTwice), grouped(c.CommandTwice)),
		micros("CPU of the gateways, by device", s.spent[0]),
		micros("CPU of NATS, by device", s.spent[1]),
		per("session records written, by device", s.after.sessions-s.before.sessions),
		per("presence records written, by device", s.after.presence-s.before.presence),
	}
}

// failures is what went wrong beside the musts; that connections ended is what the command is about.
func (s *scene) failures(res *result) (list []string) {
	for problem, n := range s.runner.ledger.problems {
		list = append(list, fmt.Sprintf("verifier: %s (%d times)", problem, n))
	}
	if live := res.Connects.Live; live < int64(s.devices) {
		list = append(list, fmt.Sprintf("only %d devices were connected before", live))
	}
	return list
}
