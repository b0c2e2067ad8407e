package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// A worker is a process of its own, because a process has 20,000 descriptors: the same executable, started with the
// hidden command "worker". The parent writes its plan and then orders to its stdin, and reads reports from its stdout;
// both are JSON values one after the other. A worker ends when its stdin does, so none outlives the parent.

// order is what the parent says to a worker.
type order struct {
	Start int64 `json:",omitempty"` // begin the traffic at this time (nanoseconds since 1970)
	Cut   bool  `json:",omitempty"` // drop all connections now
	Drain bool  `json:",omitempty"` // end the traffic now
	Leave bool  `json:",omitempty"` // say goodbye, send the result, end
	Seen  int64 `json:",omitempty"` // flat out at QoS 0: how many of the worker's messages the witness has received
}

// report is what a worker says: at each change of stage, and four times a second.
type report struct {
	Stage     stage
	Count     counters
	Ack       *histogram `json:",omitempty"` // of the second before, in one report a second
	Latency   *histogram `json:",omitempty"` // likewise
	Resources usage
	// StormNanos is from the drop of all connections until all were back; negative: not all are back.
	StormNanos int64    `json:",omitempty"`
	LiveAt     int64    `json:",omitempty"` // when a device became live last
	CommandAt  int64    `json:",omitempty"` // when a command came last
	Result     *partial `json:",omitempty"` // the last report
}

// partial is one worker's result.
type partial struct {
	First    int      // publisher
	Sent     []uint32 // by publisher: messages sent, each once
	Acked    []uint32 // by publisher: messages acknowledged; these must arrive
	Received []uint32 // by publisher of the whole fleet: copies that this worker's subscribers received
	Hist     histograms
	Cost     cost
	Calm     *calmPart `json:",omitempty"` // what was before the storm
	LastAt   int64     // when the last message arrived at a subscriber
}

// cost is what a worker itself used while the traffic ran.
type cost struct {
	CPU     time.Duration
	Nanos   int64
	begunAt int64
}

// costSoFar is what the traffic has cost until now.
func (f *fleet) costSoFar() cost {
	return cost{CPU: selfUsage().CPU - f.busyFrom.CPU, Nanos: f.now - f.cost.begunAt, begunAt: f.cost.begunAt}
}

// orders is the door for what the parent says: from the goroutine that reads it to the loop. Safe from any goroutine.
type orders struct {
	mu   sync.Mutex
	list []order
}

func (o *orders) put(ord order) {
	o.mu.Lock()
	o.list = append(o.list, ord)
	o.mu.Unlock()
}

func (o *orders) take() []order {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := o.list
	o.list = nil
	return list
}

// obey does what the parent has said.
func (f *fleet) obey() {
	for _, o := range f.orders.take() {
		switch {
		case o.Start != 0 && f.stage == holding:
			f.startTraffic(o.Start)
		case o.Seen != 0:
			f.farEnd, f.progressAt = o.Seen, f.now
		case o.Cut && f.stage == sending:
			f.cut()
		case o.Drain:
			f.drain()
		case o.Leave:
			f.leave()
		}
	}
}

// report tells the parent how far the fleet is. The channel is read by a goroutine that does nothing else; if even the
// pipe behind it is full, the parent has stopped, and there is nothing better to do than to wait.
func (f *fleet) report() {
	if f.stage == over {
		return
	}
	rep := report{Stage: f.stage, Count: f.count.clone(), Resources: selfUsage(), StormNanos: f.stormNanos, LiveAt: f.liveAt, CommandAt: f.commandAt}
	if f.now >= f.intervalAt {
		f.intervalAt += f.interval * max(1, (f.now-f.intervalAt)/f.interval)
		rep.Ack, f.hist.ackNow = handOver(f.hist.ackNow)
		rep.Latency, f.hist.latencyNow = handOver(f.hist.latencyNow)
	}
	f.reports <- rep
}

// handOver returns a histogram that has something in it, and an empty one to go on with.
func handOver(h *histogram) (full, empty *histogram) {
	if h.h.TotalCount() == 0 {
		return nil, h
	}
	return h, newCoarse()
}

// finish sends the result and ends the loop.
func (f *fleet) finish() {
	p := &partial{First: f.p.First, Hist: f.hist, Cost: f.cost, Calm: f.calm, LastAt: f.lastAt}
	if f.arrivals != nil {
		p.Received = f.arrivals.received
	}
	for i := range f.p.Pubs {
		p.Sent = append(p.Sent, f.devices[i].sent)
		p.Acked = append(p.Acked, f.devices[i].acked)
	}
	f.stage = over
	f.reports <- report{Stage: over, Count: f.count.clone(), Resources: selfUsage(), StormNanos: f.stormNanos, LiveAt: f.liveAt, CommandAt: f.commandAt, Result: p}
	close(f.reports)
	f.loop.Stop()
}

// runWorker is a worker's whole life: plan and orders from in, reports to out.
func runWorker(in io.Reader, out io.Writer) error {
	dec := json.NewDecoder(in)
	var p plan
	if err := dec.Decode(&p); err != nil {
		return err
	}
	reports := make(chan report, 64)
	f, err := newFleet(&p, monotonic(), reports)
	if err != nil {
		return err
	}
	written := make(chan error, 1)
	go func() {
		enc := json.NewEncoder(out)
		var err error
		for r := range reports {
			err = errors.Join(err, enc.Encode(&r))
		}
		written <- err
	}()
	go func() {
		for {
			var o order
			if err := dec.Decode(&o); err != nil {
				f.loop.Stop() // the parent is gone, or has all it wants
				return
			}
			f.orders.put(o)
			f.loop.Wake()
		}
	}()
	if err := f.run(); err != nil {
		return err
	}
	if f.stage != over {
		return errors.New("the parent ended before the run did")
	}
	return <-written
}

// worker is the parent's end of a worker.
type worker struct {
	orders  io.WriteCloser
	reports io.Reader
	wait    func() error // returns when the worker has ended
}

// spawn starts a worker process.
func spawn() (*worker, error) {
	cmd := exec.Command("/proc/self/exe", "worker")
	cmd.Stderr = os.Stderr
	// Interrupts are the parent's business: it ends the run in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &worker{orders: in, reports: out, wait: cmd.Wait}, nil
}

// rootCause is the words of the system's error in err, without the addresses that make each one different.
func rootCause(err error) string {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// usage is what a process has used.
type usage struct {
	CPU time.Duration
	RSS int64 // bytes resident now
}
