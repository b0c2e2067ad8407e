package main

import (
	"fmt"
	"slices"
)

// A fleet without subscribers is devices that send to a far end, and perhaps quiet ones that do not. A fleet with subscribers is its own far end: devices
// 0 … Publishers-1 send, the others receive, and the route says who receives what.
//
//	pairs    subscriber j hears publisher j mod Publishers
//	all      every subscriber hears every publisher
//	share    every message is for one of the subscribers ($share)
type route uint8

const (
	routePairs route = iota
	routeAll
	routeShare
)

var routeNames = []string{"pairs", "all", "share"}

func (r route) String() string { return routeNames[r] }

func parseRoute(s string) (route, error) {
	at := slices.Index(routeNames, s)
	if at < 0 {
		return 0, fmt.Errorf("--route %q: want pairs, all or share", s)
	}
	return route(at), nil
}

// sourcesMax is how many pairs of subscriber and publisher one process follows: 24 bytes each.
const sourcesMax = 4_000_000

// sharePrefix makes a filter a shared one; the group is the fleet.
const sharePrefix = "$share/devices-sim/"

// validateTopology tells what is wrong with a fleet that has subscribers.
func (o *options) validateTopology(bad func(format string, args ...any)) {
	if o.Publishers < 1 || o.Devices != o.Publishers+o.Subscribers {
		bad("--publishers %d, --subscribers %d: want at least 1 publisher", o.Publishers, o.Subscribers)
		return
	}
	if slices.ContainsFunc(o.Targets, func(t target) bool { return t.Kind == kindPlain }) {
		bad("--subscribers: plain WebSocket devices subscribe to nothing; give MQTT targets only")
	}
	many := len(o.plans()) > 1
	if sources := o.Subscribers * o.Publishers; o.Route != routePairs && sources/len(o.plans()) > sourcesMax {
		bad("--route %s: %d pairs of publisher and subscriber, more than %d in one process", o.Route, sources, sourcesMax)
	}
	if many && (o.Route == routeShare || (o.FlatOut && o.QoS == 0)) {
		bad("--route share, and --flat-out at QoS 0, count in one process: want at most %d devices and --workers 1", devicesPerWorker)
	}
	if sc, err := findScenario(o.Scenario); err == nil && sc.bad != good && o.badGroup(sc) < 2 {
		bad("--scenario %s: want at least 2 devices of the kind that misbehaves", o.Scenario)
	}
}

// receives tells whether a device is a subscriber of its fleet.
func (o *options) receives(device uint32) bool { return int(device) >= o.Publishers }

// badGroup is how many devices the bad ones are dealt from: in a fleet with subscribers slow ones are subscribers and all
// others publishers.
func (o *options) badGroup(sc *scenario) int {
	switch {
	case o.Subscribers == 0:
		return o.Devices
	case sc.bad == slow:
		return o.Subscribers
	}
	return o.Publishers
}

// roleOf is how a device behaves.
func (o *options) roleOf(sc *scenario, device uint32) role {
	if o.Subscribers == 0 {
		return sc.roleOf(device, o.Devices, o.BadShare)
	}
	if o.receives(device) != (sc.bad == slow) {
		return good
	}
	if o.receives(device) {
		device -= uint32(o.Publishers)
	}
	return sc.roleOf(device, o.badGroup(sc), o.BadShare)
}

// goodOnes is how many devices behave well.
func (o *options) goodOnes(sc *scenario) (n int64) {
	for i := range o.Devices {
		if o.roleOf(sc, uint32(i)) == good {
			n++
		}
	}
	return n
}

// copies is how many good subscribers get each publisher's messages; nil in a fleet without subscribers.
func (o *options) copies(sc *scenario) []uint32 {
	if o.Subscribers == 0 {
		return nil
	}
	list, listeners := make([]uint32, o.Publishers), uint32(0)
	for j := range o.Subscribers {
		if o.roleOf(sc, uint32(o.Publishers+j)) == good {
			listeners++
			if o.Route == routePairs {
				list[j%o.Publishers]++
			}
		}
	}
	for i := range list {
		switch o.Route {
		case routeAll:
			list[i] = listeners
		case routeShare:
			list[i] = min(1, listeners)
		}
	}
	return list
}

// number is the number in the whole fleet of a worker's device: its publishers come first.
func (p *plan) number(i uint32) uint32 {
	if int(i) < p.Pubs {
		return uint32(p.First) + i
	}
	return uint32(p.Publishers+p.FirstOther) + i - uint32(p.Pubs)
}

// source is the one publisher that a subscriber hears in pairs.
func (o *options) source(subscriber uint32) uint32 {
	return (subscriber - uint32(o.Publishers)) % uint32(o.Publishers)
}

// appendHeard appends the filter of a subscriber: one topic where it hears one publisher.
func (f *fleet) appendHeard(dst []byte, subscriber uint32) []byte {
	switch {
	case f.p.Route == routeShare:
		return append(append(dst, sharePrefix...), f.up.filter()...)
	case f.p.Route == routeAll && f.p.Publishers > 1:
		return append(dst, f.up.filter()...)
	}
	f.id = appendID(f.id[:0], f.p.Prefix, f.p.source(subscriber))
	return f.up.append(dst, f.id)
}
