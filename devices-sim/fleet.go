package main

import (
	"cmp"
	"math/rand/v2"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// stage is where a worker's run stands. The parent moves it from holding to sending and from drained to leaving, so that
// all workers begin together and nothing is taken down before the last message was counted.
//
//	connecting -> holding -> sending -> draining -> drained -> leaving -> over
type stage uint8

const (
	connecting stage = iota
	holding
	sending
	draining
	drained
	leaving
	over
)

const (
	readySlackSec     = 30  // beyond the connect schedule, until a fleet that is not complete goes on without the rest
	drainSec          = 10  // how long acknowledgements may take after the last message
	leaveSec          = 5   // how long goodbyes may take
	connectTimeoutSec = 20  // from dial to subscribed
	dialsPerTick      = 200 // so that a storm of dials does not keep the loop from reading
	second            = int64(1e9)
	reportEvery       = second / 4
)

// fleet is the devices of one worker, on one loop. Owned by that loop, but for orders.
type fleet struct {
	p        *plan
	scenario *scenario
	loop     *epoll.Loop
	clock    clock
	now      int64 // of the callback at hand
	zero     int64 // of the loop's clock, on this one
	wokeAt   int64 // the last OnWake

	devices  []device
	owners   epoll.Chunks[uint32] // by slot: index of the device
	goodOnes int64                // how many devices are good
	arrivals *arrivals            // what subscribers received; nil without any
	copies   []uint32             // by publisher of the whole fleet: how many should receive its messages; nil without any
	up, down pattern
	connects schedule
	sends    schedule
	retries  retryQueue
	open     int64 // messages due and not yet sent (QoS 0) or acknowledged (QoS 1, 2)

	flat         bool  // flat-out traffic runs
	flatAt       int64 // when it begins
	turn         uint32
	windowCopies int64 // the window of all publishers together, copies counted
	writtenOff   int64 // copies that are not waited for any more
	farEnd       int64 // messages that the witness has received, as the parent says
	progressAt   int64 // when something arrived last
	lastAt       int64 // likewise, at a subscriber of ours

	stage      stage
	untilAt    int64 // when the stage ends whatever happened
	stormAt    int64
	calmUntil  int64     // the same, also after it
	calm       *calmPart // what was before the storm; nil until then
	liveAt     int64     // when a device became live last
	commandAt  int64     // when a command came last
	stormNanos int64     // from the drop until all were back; negative: minus the time of the drop, not all are back
	reportAt   int64
	interval   int64 // for which durations are reported
	intervalAt int64 // when those of the one at hand are to be
	busyFrom   usage // when the traffic began
	cost       cost

	count counters
	hist  histograms
	rng   *rand.Rand

	pkt    mqtt.Packet
	out    mqtt.PublishOut
	packet []byte // scratch: an MQTT packet before it is put into a frame
	id     []byte // scratch: client id
	topic  []byte // scratch
	body   []byte // scratch: payload

	orders  orders
	reports chan<- report
}

// histograms are a worker's durations.
type histograms struct {
	Connect *histogram // dial to subscribed
	Ack     *histogram // intended send to PUBACK or PUBCOMP
	Lag     *histogram // intended send to when its turn came: how late the generator itself is
	Command *histogram // intended send by the verifier to receipt
	Silence *histogram // a silent device's last byte to its close by the server
	Latency *histogram // intended send to receipt by a subscriber of the fleet

	ackNow, latencyNow *histogram // Ack and Latency of the second at hand
}

func newHistograms() histograms {
	return histograms{
		Connect: newHistogram(), Ack: newHistogram(), Lag: newHistogram(), Command: newHistogram(), Silence: newHistogram(),
		Latency: newHistogram(), ackNow: newCoarse(), latencyNow: newCoarse(),
	}
}

// newFleet prepares a worker's devices; nothing is dialled before the loop runs. reports gets what the parent is to
// know.
func newFleet(p *plan, now clock, reports chan<- report) (*fleet, error) {
	sc, err := findScenario(p.Scenario)
	if err != nil {
		return nil, err
	}
	f := &fleet{p: p, scenario: sc, clock: now, now: now(), zero: now() - epoll.Now(), count: newCounters(), hist: newHistograms(), reports: reports}
	if f.up, err = parsePattern(p.Telemetry); err != nil {
		return nil, err
	}
	if p.Subscribe != "" {
		if f.down, err = parsePattern(p.Subscribe); err != nil {
			return nil, err
		}
	}
	f.rng = rand.New(rand.NewPCG(p.Seed, uint64(p.Worker)))
	f.devices = make([]device, p.Count)
	for i := range f.devices {
		d := &f.devices[i]
		if !p.Gather {
			d.target = uint8(f.number(uint32(i)) % uint32(len(p.Targets)))
		}
		d.role = p.roleOf(sc, f.number(uint32(i)))
		if d.role == good {
			f.goodOnes++
		} else {
			d.target = mqttTarget(p.Targets, d.target)
		}
	}
	if p.Subscribers > 0 {
		f.arrivals, f.copies = newArrivals(&p.options, p.Others), p.copies(sc)
	}
	f.windowCopies = f.windowOf()
	f.connects = p.connects(f.now)
	f.interval = cmp.Or(int64(p.Interval), second)
	f.reportAt, f.intervalAt = f.now+reportEvery, f.now+f.interval
	f.stormAt, f.calmUntil = never, never
	f.untilAt = f.connects.at(f.connects.end) + readySlackSec*second
	f.loop, err = epoll.New(epoll.Options{}, f, f)
	return f, err
}

// mqttTarget is where a bad device goes: plain TCP where there is one, because that is where bytes are its own.
func mqttTarget(targets []target, otherwise uint8) uint8 {
	for i := range targets {
		if targets[i].Kind == kindMQTT {
			return uint8(i)
		}
	}
	return otherwise
}

// run works until the run is over or the parent is gone.
func (f *fleet) run() error {
	f.loop.WakeAt(1) // at once
	return f.loop.Run()
}

// number is the device's number in the whole fleet.
func (f *fleet) number(i uint32) uint32 { return f.p.number(i) }

// receives tells whether a device of this worker is a subscriber.
func (f *fleet) receives(i uint32) bool { return f.p.Subscribers > 0 && int(i) >= f.p.Pubs }

// OnWake does what has become due; the timetable or an order has called.
func (f *fleet) OnWake() {
	f.now = f.clock()
	f.wokeAt = f.now
	f.obey()
	f.dialDue()
	f.sendDue()
	f.beginFlatOut()
	if f.now >= f.reportAt {
		f.reportAt += reportEvery * max(1, (f.now-f.reportAt)/reportEvery)
		f.report()
	}
}

// OnTickEnd moves the stage on: what ends one may be a byte or a close, or the time. What the tick has changed may be
// due earlier than what the loop was to wake for.
func (f *fleet) OnTickEnd() {
	f.step()
	f.fill()
	f.loop.WakeAt(max(f.nextAt(), f.wokeAt+int64(eventRest)) - f.zero)
}

// nextAt is when there is something to do without a byte coming in.
func (f *fleet) nextAt() int64 {
	at := min(f.reportAt, f.untilAt, f.stormAt)
	if f.stage < leaving {
		at = min(at, f.connects.nextAt(), f.retries.nextAt())
	}
	if f.stage == sending {
		at = min(at, f.sends.nextAt())
		if f.p.FlatOut && !f.flat {
			at = min(at, f.flatAt)
		}
		if f.flat && f.p.QoS == 0 {
			at = min(at, f.progressAt+stallNanos)
		}
	}
	return at
}

// dialDue dials the devices whose turn has come: the first connections by their timetable, then the returning ones.
func (f *fleet) dialDue() {
	if f.stage >= leaving {
		return
	}
	for range dialsPerTick {
		if i, ok := f.retries.take(f.now); ok {
			f.dial(i, f.now)
		} else if k, ok := f.connects.take(f.now); ok {
			f.dial(uint32(k), f.connects.at(k))
		} else {
			return
		}
	}
}

// sendDue gives devices the messages whose time has come.
func (f *fleet) sendDue() {
	if f.stage != sending {
		return
	}
	for {
		k, ok := f.sends.take(f.now)
		if !ok {
			return
		}
		i := uint32(k % uint64(f.p.Pubs))
		if d := &f.devices[i]; d.role == good {
			d.due++
			f.open++
			f.hist.Lag.record(f.now - f.sends.at(k))
			f.push(i, d, f.loop.Conn(d.conn))
		}
	}
}

// step moves the stage on when it is complete or its time is up.
func (f *fleet) step() {
	switch f.stage {
	case connecting:
		if f.count.Live >= f.goodOnes || f.now >= f.untilAt {
			f.enter(holding, never)
		}
	case sending:
		if f.now >= f.stormAt {
			f.storm()
		}
		if f.now >= f.untilAt {
			f.sendDue() // what became due since the last OnWake
			f.drain()
		}
	case draining:
		if f.open == 0 || f.now >= f.untilAt {
			f.closeBooks()
			f.enter(drained, never)
		}
	case leaving:
		if f.stillOpen() == 0 || f.now >= f.untilAt {
			f.finish()
		}
	}
}

// enter begins a stage and tells the parent.
func (f *fleet) enter(s stage, untilAt int64) {
	f.stage, f.untilAt = s, untilAt
	f.report()
}

// startTraffic starts the traffic at the time that all workers were given.
func (f *fleet) startTraffic(startAt int64) {
	f.sends, f.flatAt = f.p.sends(startAt), startAt
	f.busyFrom, f.cost.begunAt = selfUsage(), f.now
	f.enter(sending, never)
	if f.p.Duration > 0 {
		f.untilAt = startAt + int64(f.p.Duration)
		if f.sends.rate > 0 && f.sends.end > 0 {
			f.untilAt = max(f.untilAt, f.sends.at(f.sends.end))
		}
	}
	if after, ok := f.p.stormAfter(); ok {
		f.calmUntil = startAt + int64(after)
		f.stormAt = f.calmUntil
	}
}

// storm drops every connection at once, and has what comes after told apart.
func (f *fleet) storm() {
	f.calm = f.calmSoFar()
	f.stormNanos, f.stormAt = -f.now, never
	f.cut()
}

// cut drops every connection at once; each device returns as soon as it is told of its close. What the tick has given to a
// connection counts as sent, so it goes out before.
func (f *fleet) cut() {
	for i := range f.devices {
		d := &f.devices[i]
		if c := f.loop.Conn(d.conn); c != nil && d.phase == live && d.role == good {
			d.returning = true
			if c.Unsent() > 0 {
				c.Finish(1)
			} else {
				c.Close()
			}
		}
	}
}

// closeBooks counts what stayed open, and lets slow devices read at last, to see whether the server had ended them.
func (f *fleet) closeBooks() {
	f.cost = f.costSoFar()
	for i := range f.devices {
		d := &f.devices[i]
		f.count.Unsent += uint64(d.due - d.next)
		f.count.Unacked += uint64(len(d.flights))
		if c := f.loop.Conn(d.conn); c != nil && d.role == slow {
			c.ResumeRead()
		}
	}
}

// drain ends the traffic before its time.
func (f *fleet) drain() {
	if f.stage < draining {
		f.sends.end, f.connects.end = min(f.sends.end, f.sends.next), f.connects.next
		f.flat = false
		f.enter(draining, f.now+drainSec*second)
	}
}

// leave says goodbye for every device.
func (f *fleet) leave() {
	for i := range f.devices {
		d := &f.devices[i]
		if c := f.loop.Conn(d.conn); c != nil && !c.Closing() {
			if d.role != good && d.phase >= live {
				f.count.BadOpen++
			}
			f.goodbye(c, d)
		}
	}
	f.enter(leaving, f.now+leaveSec*second)
}

// stillOpen is how many connections are left.
func (f *fleet) stillOpen() int { return f.loop.Stats().Conns }
