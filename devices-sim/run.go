package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// runner is the parent: it starts the workers, moves them through the stages together, watches the servers, and makes
// one result of theirs. Owned by the goroutine that calls run.
type runner struct {
	o            options
	commandsRate float64
	stored       bool // commands go into the gateway's log
	verifyURL    string
	spawn        func() (*worker, error)
	now          clock
	view         *view
	servers      []*watched
	settleNanos  int64         // settleMax
	afterStorm   time.Duration // 0, or the traffic ends so long after all devices are back from a storm
	profile      string
	command      []string // the command line, secrets blotted out

	workers []*worker
	latest  []report // by worker
	reports chan from
	drained bool // an interrupt was passed on

	every       time.Duration                       // between samples; 0: a second
	tick        *time.Ticker                        // of the samples
	samples     []sample                            // one each time
	sampled     func(s *sample, latency *histogram) // is told of each, and of the latencies in it; nil: nobody
	lastReading reading
	ackNow      *histogram // of the second at hand
	latencyNow  *histogram

	ledger    *ledger
	witness   witness
	commander *commander
	commands  chan error // the commander's end

	startedAt int64    // the first dial
	readyAt   int64    // when all were connected
	begunAt   int64    // the first message
	endedAt   int64    // when nothing was under way any more
	self      [2]usage // this process, when the traffic began and when it was over
	selfCalm  usage    // and when the storm began
	readyLive int64
}

// from is a report with its worker; err is a worker's end before its result.
type from struct {
	worker int
	report report
	err    error
}

// settleMax is how long the far end may take after the last acknowledgement, without anything new arriving.
const settleMax = 3 * second

// run makes a run of r.o and returns its result. ctx ends it before its time, in order.
func (r *runner) run(ctx context.Context) (*result, error) {
	r.tick = time.NewTicker(cmp.Or(r.every, time.Second))
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
	r.readyAt, r.readyLive = r.now(), r.sum().Live
	r.sample(func(w *watched) *usage { return &w.ready })
	if err := r.traffic(ctx); err != nil {
		return nil, err
	}
	r.sample(func(w *watched) *usage { return &w.ended })
	r.endedAt = r.now()
	r.self[1] = selfUsage()
	if err := r.settle(); err != nil {
		return nil, err
	}
	r.sample(func(w *watched) *usage { return &w.settled })
	if err := r.tell(order{Leave: true}); err != nil {
		return nil, err
	}
	// From here on an interrupt changes nothing: the end takes seconds.
	if err := r.await(context.Background(), over); err != nil {
		return nil, err
	}
	return r.result(), nil
}

// prepare opens the far end.
func (r *runner) prepare() (err error) {
	r.startedAt = r.now()
	r.reports = make(chan from, 64)
	r.firstReading()
	if r.verifyURL == "" {
		return nil
	}
	r.ledger = newLedger(r.o.Run, r.o.plans())
	up, err := parsePattern(r.o.Telemetry)
	if err != nil {
		return err
	}
	topics := []string{up.filter()}
	if slices.ContainsFunc(r.o.Targets, func(t target) bool { return t.Kind == kindPlain }) {
		plain, _ := parsePattern(plainUp) // a constant, tested
		topics = append(topics, plain.filter())
	}
	if r.witness, err = newWitness(r.verifyURL, topics, &r.o, r.ledger, r.now, r.stored); err != nil {
		return err
	}
	r.commander, err = newCommander(&r.o, r.witness, r.now)
	return err
}

// launch starts the workers and gives each its plan.
func (r *runner) launch() error {
	for i, p := range r.o.plans() {
		w, err := r.spawn()
		if err != nil {
			return fmt.Errorf("start worker %d: %w", i, err)
		}
		r.workers = append(r.workers, w)
		r.latest = append(r.latest, report{Count: newCounters()})
		go r.listen(i, w)
		if err := json.NewEncoder(w.orders).Encode(&p); err != nil {
			return r.blame(i, err)
		}
	}
	return nil
}

// blame finds the reason why an order could not be given: most often the worker has ended, and says why.
func (r *runner) blame(i int, err error) error {
	ended := r.until(context.Background(), r.now()+second, func() bool { return false })
	return cmp.Or(ended, fmt.Errorf("worker %d: %w", i, err))
}

// listen passes a worker's reports on until it has ended.
func (r *runner) listen(i int, w *worker) {
	dec := json.NewDecoder(w.reports)
	for {
		var rep report
		err := dec.Decode(&rep)
		if err == nil {
			r.reports <- from{worker: i, report: rep}
			if rep.Result == nil {
				continue
			}
		}
		_ = w.orders.Close() // tells a worker that its result has arrived
		if errors.Is(err, io.EOF) {
			err = errors.New("ended before its result")
		}
		if err = errors.Join(err, w.wait()); err != nil {
			r.reports <- from{worker: i, err: err}
		}
		return
	}
}

// tell gives every worker an order.
func (r *runner) tell(o order) error {
	for i, w := range r.workers {
		if err := json.NewEncoder(w.orders).Encode(&o); err != nil {
			return r.blame(i, err)
		}
	}
	return nil
}

// await works until every worker has reached a stage.
func (r *runner) await(ctx context.Context, s stage) error {
	return r.until(ctx, never, func() bool { return r.reached(s) })
}

// reached tells whether every worker has reached a stage.
func (r *runner) reached(s stage) bool {
	return !slices.ContainsFunc(r.latest, func(rep report) bool { return rep.Stage < s })
}

// until takes reports and shows them once a second until done or the time has come.
func (r *runner) until(ctx context.Context, deadline int64, done func() bool) error {
	wait := time.Duration(min(deadline-r.now(), int64(time.Hour)*24*365))
	late := time.NewTimer(wait)
	defer late.Stop()
	for !done() {
		interrupted := ctx.Done()
		if r.drained {
			interrupted = nil
		}
		select {
		case m := <-r.reports:
			if m.err != nil {
				return fmt.Errorf("worker %d: %w", m.worker, m.err)
			}
			r.latest[m.worker] = m.report
			r.ackNow.merge(m.report.Ack)
			r.latencyNow.merge(m.report.Latency)
		case <-r.tick.C:
			r.takeSample()
		case <-late.C:
			return nil
		case <-interrupted:
			r.drained = true
			if err := r.tell(order{Drain: true}); err != nil {
				return err
			}
		}
	}
	return nil
}

// traffic runs the timed part.
func (r *runner) traffic(ctx context.Context) error {
	r.begunAt = r.now() + int64(50*time.Millisecond) // all workers have the order by then
	r.sample(func(w *watched) *usage { return &w.begun })
	r.self[0] = selfUsage()
	if after, ok := r.o.stormAfter(); ok && r.ledger != nil {
		r.ledger.expectStorm(r.begunAt + int64(after))
	}
	if err := r.tell(order{Start: r.begunAt}); err != nil {
		return err
	}
	commanding, stop := context.WithCancel(ctx)
	defer stop()
	if r.commander != nil && r.commandsRate > 0 {
		r.commands = make(chan error, 1)
		go func() { r.commands <- r.commander.run(commanding, r.begunAt, r.commandsRate) }()
	}
	if r.ledger != nil && r.o.FlatOut && r.o.QoS == 0 {
		go r.credit(commanding)
	}
	if err := r.calm(ctx); err != nil {
		return err
	}
	if err := r.await(ctx, drained); err != nil {
		return err
	}
	stop()
	if r.commands != nil {
		if err := <-r.commands; err != nil {
			r.ledger.problem("commands: " + err.Error())
		}
	}
	return nil
}

// credit tells the workers how much of what they sent the witness has received: their window, flat out at QoS 0.
func (r *runner) credit(ctx context.Context) {
	told := make([]int64, len(r.workers))
	for ctx.Err() == nil {
		for i, w := range r.workers {
			seen := r.ledger.seenOf(i)
			if seen == told[i] {
				continue
			}
			told[i] = seen
			if err := json.NewEncoder(w.orders).Encode(&order{Seen: seen}); err != nil {
				return // the worker has ended, which its reader tells
			}
		}
		nap(creditEvery)
	}
}

// creditEvery is how often: a window should hold several times what arrives meanwhile.
const creditEvery = 500 * time.Microsecond

// settle waits for what is still on its way to the far end, or back.
func (r *runner) settle() error {
	if r.ledger == nil && r.o.Subscribers == 0 {
		return nil
	}
	for last := uint64(0); ; {
		arrived, expected := r.arrived()
		if arrived >= expected || (arrived == last && last > 0) {
			return nil
		}
		last = max(arrived, 1)
		err := r.until(context.Background(), r.now()+r.settleNanos, func() bool {
			arrived, expected := r.arrived()
			return arrived >= expected
		})
		if err != nil {
			return err
		}
	}
}

// arrived is how many messages of all kinds have arrived where they should, and how many are to.
func (r *runner) arrived() (arrived, expected uint64) {
	c := r.sum()
	arrived, expected = c.Arrived, c.Expected
	if r.ledger != nil {
		commands := r.commander.sent.Load()
		arrived += r.ledger.seen() + min(c.Commands, commands) // a server may send devices their own messages back
		expected += c.Sent + commands
	}
	return arrived, expected
}

// sum adds up what the workers last said.
func (r *runner) sum() counters {
	c := newCounters()
	for i := range r.latest {
		c.add(&r.latest[i].Count)
	}
	return c
}

// sample reads every server process that is watched.
func (r *runner) sample(field func(*watched) *usage) {
	for _, w := range r.servers {
		if err := w.sample(field(w)); err != nil {
			r.view.note(err.Error())
		}
	}
}

// shut ends what is still running.
func (r *runner) shut() {
	for _, w := range r.workers {
		_ = w.orders.Close() // already closed when all went well
	}
	if r.witness != nil {
		r.witness.close()
	}
}
