package gateway

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// The guard watches what the process as a whole can run out of: memory, and the time of its loops. All other limits are of somebody; this one is of
// everybody together, and what it does is no judgement on who it meets. First nobody new is let in, each told when to come again. If that is not enough, who is
// here has to leave: a few each second, the newest and those who lose least first, and nobody whose going would lose a message.

// OverloadCfg says when the gateway has too much to do.
type OverloadCfg struct {
	MemoryBytesMax int           `yaml:"memory_bytes_max" doc:"memory in use from which new devices are refused, and connected ones sent away from a twentieth more; 0 for nine tenths of Go's memory limit, or four fifths of the machine's memory where there is none; -1 for no bound"`
	LagMax         time.Duration `yaml:"lag_max" doc:"how late a loop may be until new devices are refused, and at three times that connected ones sent away; 0 for no bound"`
}

func (c *Config) validateOverload(v *validator) {
	if n := c.Overload.MemoryBytesMax; n < -1 || n > 1<<50 {
		v.add("overload.memory_bytes_max", fmt.Sprintf("%d is not between -1 and 2^50", n), "0, as it is by default")
	}
	if d := c.Overload.LagMax; d != 0 && (d < 100*time.Millisecond || d > time.Hour) {
		v.add("overload.lag_max", fmt.Sprintf("%v is not between 100ms and an hour", d), "5s, or 0 for no bound")
	}
}

const (
	// guardStep is how often it is looked.
	guardStep = 250 * time.Millisecond
	// shedTime is how often some are sent away, while it lasts.
	shedTime = time.Second
)

// overloads are what there can be too much of, by meter.
var overloads = [...]struct {
	label   string
	verdict verdict // on who comes
	reason  reason  // for who has to go
}{
	{"memory", turnedMemory, reasonMemory},
	{"lag", turnedLag, reasonLag},
}

// guard is the watch. Its meters are owned by the goroutine of run, the rest is safe from any.
type guard struct {
	gw       *Gateway
	meters   [len(overloads)]meter
	memory   memoryUse
	probes   []lagProbe // by shard
	lastStep time.Time
	lastShed time.Time
	rounds   atomic.Int32 // of shedding, that loops are still at

	verdict atomic.Uint32                // on who comes now
	stage   [len(overloads)]atomic.Int32 // for metrics
	value   [len(overloads)]atomic.Int64
	max     [len(overloads)]atomic.Int64 // 0: no bound
}

// newGuard returns nil when nothing is bounded.
func newGuard(g *Gateway) *guard {
	x := &guard{gw: g, probes: make([]lagProbe, len(g.shards))}
	x.max[0].Store(memoryMax(g.cfg.Overload.MemoryBytesMax))
	x.max[1].Store(int64(g.cfg.Overload.LagMax))
	if x.max[0].Load() == 0 && x.max[1].Load() == 0 {
		return nil
	}
	for i, s := range g.shards {
		x.probes[i].init(s)
	}
	return x
}

// turns is the verdict on who comes now.
func (x *guard) turns() verdict {
	if x == nil {
		return welcome
	}
	return verdict(x.verdict.Load())
}

// check is for readiness; false: there is no guard.
func (x *guard) check() (c check, ok bool) {
	if x == nil {
		return c, false
	}
	c = check{"load", x.turns() == welcome, fmt.Sprintf("%d of %d bytes in use, loops are %v late", x.value[0].Load(), x.max[0].Load(), time.Duration(x.value[1].Load()))}
	return c, true
}

// run watches until ctx ends.
func (x *guard) run(ctx context.Context) {
	if x == nil {
		return
	}
	step := time.NewTicker(guardStep)
	defer step.Stop()
	x.lastStep = time.Now()
	for {
		select {
		case <-step.C:
			if !x.gw.draining.Load() {
				x.look(time.Now())
			}
		case <-ctx.Done():
			return
		}
	}
}

// look measures, and acts on it.
func (x *guard) look(now time.Time) {
	late := max(0, now.Sub(x.lastStep)-guardStep) // the machine was busy, or stopped: no fault of the loops
	x.lastStep = now
	if most := x.max[0].Load(); most > 0 {
		x.turn(0, x.memory.bytes(now, most), most, most+most/20, most-most/20, now)
	}
	if most := x.max[1].Load(); most > 0 {
		x.turn(1, int64(max(0, x.lag(now)-late)), most, 3*most, most/2, now)
	}
	x.verdict.Store(uint32(welcome))
	for i := range overloads {
		if x.meters[i].stage != stageCalm {
			x.verdict.Store(uint32(overloads[i].verdict))
			break
		}
	}
	for i := range overloads {
		if x.meters[i].stage == stageShedding && now.Sub(x.lastShed) >= shedTime && x.rounds.Load() == 0 {
			x.lastShed = now
			x.shed(overloads[i].reason)
		}
	}
}

// turn has a meter take a value; what that changes is said once.
func (x *guard) turn(i int, value, refuse, shed, rest int64, now time.Time) {
	m := &x.meters[i]
	before := m.stage
	m.take(value, refuse, shed, rest, now)
	x.value[i].Store(value)
	x.stage[i].Store(int32(m.stage))
	if m.stage == before {
		return
	}
	event := x.gw.log.Warn()
	if m.stage == stageCalm {
		event = x.gw.log.Info()
	}
	event.Str("of", overloads[i].label).Stringer("stage", m.stage).Stringer("before", before).Int64("value", value).Int64("max", refuse).Msg("overload: " + m.stage.says())
}

// lag is how late the latest of the loops is.
func (x *guard) lag(now time.Time) (most time.Duration) {
	for i := range x.probes {
		most = max(most, x.probes[i].lag(now))
	}
	return most
}

// lagProbe asks a loop again and again, one question at a time. lag is for the goroutine of the guard.
type lagProbe struct {
	shard  *shard
	answer func(*shard)
	asked  time.Time    // the question under way
	inbox  bool         // it is in the inbox
	took   atomic.Int64 // nanoseconds to the last answer
	open   atomic.Bool  // there is a question
}

func (p *lagProbe) init(s *shard) {
	p.shard = s
	p.answer = func(*shard) {
		p.took.Store(int64(time.Since(p.asked))) // not changed while open
		p.open.Store(false)
	}
}

// lag is how long the last answer took, or how long it is waited for.
func (p *lagProbe) lag(now time.Time) time.Duration {
	took := time.Duration(p.took.Load())
	if p.open.Load() {
		took = max(took, now.Sub(p.asked))
		if !p.inbox { // it was full
			p.inbox = p.shard.do(p.answer)
		}
		return took
	}
	p.asked = now
	p.open.Store(true)
	p.inbox = p.shard.do(p.answer)
	return took
}
