package main

import (
	"fmt"
	"slices"
	"strings"
)

// role is how a device behaves once it is connected.
type role uint8

const (
	good    role = iota
	slow         // subscribes to everybody's telemetry and never reads it
	silent       // keeps the connection and says nothing more, as when a cable is pulled
	garbage      // sends random bytes, before or after its CONNECT
)

// scenario is a way to use a fleet.
type scenario struct {
	name, text string
	// bad is the role of the devices that misbehave; badShare of the fleet, at least one, when the user names no share.
	bad      role
	badShare float64
	// storm drops all connections at once, a third into the run, and lets them return at once.
	storm bool
}

// scenarios is the list that --scenario takes.
var scenarios = []scenario{
	{name: "steady", text: "every device stays connected and sends at its rate"},
	{name: "reconnect-storm", text: "all connections drop at once, a third into the run, and return at once", storm: true},
	{name: "slow-reader", text: "a share of the devices subscribe to everything and never read", bad: slow, badShare: 0.01},
	{name: "half-open", text: "a share of the devices fall silent, without a goodbye", bad: silent, badShare: 0.1},
	{name: "garbage", text: "a share of the devices send random bytes, again and again", bad: garbage, badShare: 0.05},
}

func findScenario(name string) (*scenario, error) {
	for i := range scenarios {
		if scenarios[i].name == name {
			return &scenarios[i], nil
		}
	}
	return nil, fmt.Errorf("--scenario %q: want one of %s", name, strings.Join(scenarioNames(), ", "))
}

func scenarioNames() []string {
	names := make([]string, 0, len(scenarios))
	for s := range slices.Values(scenarios) {
		names = append(names, s.name)
	}
	return names
}

// roleOf deals the bad role evenly over the fleet: the last device of each run of 1/share.
func (s *scenario) roleOf(device uint32, devices int, share float64) role {
	if s.bad == good {
		return good
	}
	if share <= 0 {
		share = s.badShare
	}
	each := max(1, min(int(1/share), devices))
	if int(device)%each == each-1 {
		return s.bad
	}
	return good
}
