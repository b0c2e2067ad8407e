package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// devicesPerWorker is how many devices one process holds: below the 20,000 descriptors a process usually has.
const devicesPerWorker = 18000

// options are what a run is asked to do. They travel to the workers as they are.
type options struct {
	Targets      []target
	Scenario     string
	Devices      int // publishers and subscribers together
	Publishers   int // devices that send; in a fleet without subscribers any others only keep their connection
	Subscribers  int // devices that receive what the others send
	Route        route
	Workers      int     // processes; at least one for each devicesPerWorker
	Rate         float64 // telemetry messages a second, of the whole fleet; with stages the highest
	Stages       []leg   `json:",omitempty"` // instead of one rate for the whole duration
	FlatOut      bool    // no timetable: as fast as the window allows
	QoS          byte    // of telemetry and of the command subscription
	PayloadBytes int
	Duration     time.Duration // of the traffic; 0: until interrupted
	StormAfter   time.Duration `json:",omitempty"` // into the traffic, with a scenario that has a storm; 0: a third of it
	ConnectRate  float64       // connections a second, of the whole fleet
	KeepAliveSec uint16
	Version      mqtt.Version
	Telemetry    string        // topic pattern
	Subscribe    string        // topic pattern; "" for none
	Persistent   bool          // sessions outlive connections
	ExpirySec    uint32        // MQTT 5: by how long
	Away         time.Duration `json:",omitempty"` // how long a device stays away that has lost its connection
	Roam         bool          `json:",omitempty"` // it then goes to another target
	Gather       bool          `json:",omitempty"` // all devices begin at the first target
	Window       uint16        // unacknowledged messages a device may have; flat out at QoS 0: not yet received
	Prefix       string        // of client ids
	Seed         uint64        // of all chance
	Run          uint32        // marks the payloads of this run
	BadShare     float64
	Interval     time.Duration `json:",omitempty"` // of the durations that workers tell of; 0: a second
	Username     string
	Password     string
}

// Topics of plain WebSocket devices: the gateway's defaults.
const (
	plainUp   = "devices/{id}/up"
	plainDown = "devices/{id}/down"
)

// validate tells everything that is wrong at once.
func (o *options) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case o.Devices < 1:
		bad("--devices %d: want at least 1", o.Devices)
	case o.Publishers < 1:
		bad("--publishers %d: want at least 1, beside %d subscribers of %d devices", o.Publishers, o.Subscribers, o.Devices)
	case o.Subscribers == 0 && o.Publishers > o.Devices:
		bad("--publishers %d of --devices %d: want no more than all", o.Publishers, o.Devices)
	case o.Devices > 120*devicesPerWorker:
		bad("--devices %d: more than one machine's source addresses and descriptors allow", o.Devices)
	}
	if len(o.Targets) == 0 {
		bad("--target: want at least one")
	}
	if o.QoS > 2 {
		bad("--qos %d: want 0, 1 or 2", o.QoS)
	}
	if o.PayloadBytes < stampBytes || o.PayloadBytes > 1<<20 {
		bad("--payload %d: want %d bytes (sequence number and time) to 1 MiB", o.PayloadBytes, stampBytes)
	}
	if o.Rate < 0 || o.ConnectRate <= 0 {
		bad("--rate %v, --connect-rate %v: want no less than 0, more than 0", o.Rate, o.ConnectRate)
	}
	if o.Duration < 0 {
		bad("--duration %v: want no less than 0", o.Duration)
	}
	if o.Window < 1 || o.Window > trackWindow {
		bad("--window %d: want 1 to %d, what a verifier can tell apart", o.Window, trackWindow)
	}
	if o.Away < 0 {
		bad("--away %v: want no less than 0", o.Away)
	}
	if o.BadShare < 0 || o.BadShare > 1 {
		bad("--bad-share %v: want 0 to 1", o.BadShare)
	}
	if _, err := findScenario(o.Scenario); err != nil {
		errs = append(errs, err)
	}
	for _, topic := range []string{o.Telemetry, o.Subscribe} {
		if topic == "" {
			continue
		}
		if _, err := parsePattern(topic); err != nil {
			errs = append(errs, err)
		}
	}
	if o.Workers < 0 {
		bad("--workers %d: want no less than 0", o.Workers)
	}
	if o.FlatOut && len(o.Stages) > 0 {
		bad("--flat-out has no rate, so it has no --stages")
	}
	if len(errs) == 0 && o.Subscribers != 0 {
		o.validateTopology(bad)
	}
	return errors.Join(errs...)
}

// parseVersion reads --protocol.
func parseVersion(s string) (mqtt.Version, error) {
	switch s {
	case "3.1":
		return mqtt.V31, nil
	case "3.1.1", "4":
		return mqtt.V311, nil
	case "5", "5.0":
		return mqtt.V5, nil
	}
	return 0, fmt.Errorf("--protocol %q: want 3.1, 3.1.1 or 5", s)
}

// messages is how many telemetry messages the schedule of the whole fleet holds; endless without a duration.
func (o *options) messages() uint64 {
	if o.Duration == 0 {
		return endless
	}
	if len(o.Stages) > 0 {
		_, count := total(o.Stages)
		return uint64(count)
	}
	return uint64(o.Rate * o.Duration.Seconds())
}

// stormAfter is when into the traffic all connections are to drop; ok is false in a run without a storm.
func (o *options) stormAfter() (d time.Duration, ok bool) {
	sc, err := findScenario(o.Scenario)
	switch {
	case err != nil || !sc.storm || o.Duration == 0:
		return 0, false
	case o.StormAfter > 0:
		return o.StormAfter, true
	}
	return o.Duration / 3, true
}

// endless is more events than any run has.
const endless = uint64(1) << 62

// plan is one worker's part.
type plan struct {
	options
	Worker             int
	First, Pubs        int     // publishers First … First+Pubs-1
	FirstOther, Others int     // devices that do not send, subscribers or quiet ones, counted from the first of them
	Count              int     // of devices: publishers, then the others
	Phase              float64 // of this worker's turn among all, 0 … 1
}

// plans divides a run: as many workers as asked for and needed, devices spread evenly.
func (o *options) plans() []plan {
	n := max(o.Workers, (o.Devices+devicesPerWorker-1)/devicesPerWorker)
	n = min(n, o.Devices)
	list, others := make([]plan, n), o.Devices-o.Publishers
	for w := range list {
		p := plan{options: *o, Worker: w, First: o.Publishers * w / n, FirstOther: others * w / n, Phase: float64(w) / float64(n)}
		p.Pubs, p.Others = o.Publishers*(w+1)/n-p.First, others*(w+1)/n-p.FirstOther
		p.Count = p.Pubs + p.Others
		list[w] = p
	}
	return list
}

// share is the worker's part of a rate of messages of the whole fleet.
func (p *plan) share(rate float64) float64 {
	return rate * float64(p.Pubs) / float64(p.Publishers)
}

// sends is the worker's timetable for telemetry from start on. Workers take turns: their events lie between each other's.
// Each publisher is due once in each round of Pubs events, so event k belongs to publisher k mod Pubs and has sequence
// number k/Pubs + 1.
func (p *plan) sends(start int64) schedule {
	s := schedule{start: start, rate: p.share(p.Rate), end: endless}
	if p.FlatOut || p.Pubs == 0 {
		return schedule{start: start}
	}
	if p.Duration > 0 {
		all, devices := p.messages(), uint64(p.Publishers)
		s.end = all*uint64(p.First+p.Pubs)/devices - all*uint64(p.First)/devices
	}
	if len(p.Stages) > 0 {
		s.table = newTimetable(p.Stages, p.share(1), p.Phase)
		return s
	}
	if s.rate > 0 {
		s.start += int64(float64(time.Second) / p.Rate * float64(p.Worker))
	}
	return s
}

// connects is the worker's timetable for the first connections.
func (p *plan) connects(start int64) schedule {
	return schedule{start: start, rate: p.ConnectRate * float64(p.Count) / float64(p.Devices), end: uint64(p.Count)}
}
