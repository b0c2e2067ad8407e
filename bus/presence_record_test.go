package bus

import (
	"testing"
)

// TestJudge: what comes of a record and the states that are to follow it.
func TestJudge(t *testing.T) {
	const mine, other = "a.1-2", "b.7-1"
	none := presenceRecord{}
	on := func(generation uint64, process string) presenceRecord {
		return presenceRecord{Online: true, VersionNumber: generation, State: 1, Process: process}
	}
	off := func(generation uint64, process, reason string) presenceRecord {
		return presenceRecord{VersionNumber: generation, State: 2, Process: process, Reason: reason}
	}
	comes := func(generation uint64) PresenceState { return PresenceState{Generation: generation, Online: true} }
	goes := func(generation uint64, reason string) PresenceState {
		return PresenceState{Generation: generation, Reason: reason}
	}
	died := PresenceState{lost: other}
	for _, c := range []struct {
		what       string
		was        presenceRecord
		states     []PresenceState
		event      string // "": nothing is written
		generation uint64
		state      uint32
		done       int
	}{
		{"the first connect", none, []PresenceState{comes(5)}, eventConnected, 5, 1, 1},
		{"the end", on(5, mine), []PresenceState{goes(5, "normal")}, eventDisconnected, 5, 2, 1},
		{"the next connect", off(5, mine, "normal"), []PresenceState{comes(6)}, eventConnected, 6, 1, 1},
		{"a takeover", on(5, other), []PresenceState{comes(6)}, eventConnected, 6, 1, 1},
		{"a takeover on one gateway", on(5, mine), []PresenceState{goes(5, ReasonTakenOver), comes(6)}, eventConnected, 6, 1, 2},
		{"gone and back at once", on(5, mine), []PresenceState{goes(5, "normal"), comes(6)}, eventDisconnected, 5, 2, 1},
		{"an end whose beginning is not told", off(5, mine, "normal"), []PresenceState{goes(6, "normal")}, eventConnected, 6, 1, 0},
		{"an older connect", on(6, other), []PresenceState{comes(5)}, "", 0, 0, 1},
		{"an older end", on(6, other), []PresenceState{goes(5, ReasonTakenOver)}, "", 0, 0, 1},
		{"an older end and a newer connect", on(6, other), []PresenceState{goes(5, ReasonTakenOver), comes(7)}, eventConnected, 7, 1, 2},
		{"again", on(5, mine), []PresenceState{comes(5)}, "", 0, 0, 1},
		{"again, under a new lease", on(5, "a.1-1"), []PresenceState{comes(5)}, eventRenewed, 5, 2, 1},
		{"the end again", off(5, mine, "normal"), []PresenceState{goes(5, "normal")}, "", 0, 0, 1},
		{"a gateway died", on(5, other), []PresenceState{died}, eventDisconnected, 5, 2, 1},
		{"a gateway died, but the device is elsewhere", on(5, mine), []PresenceState{died}, "", 0, 0, 1},
		{"a gateway died, and the device had left", off(5, other, "normal"), []PresenceState{died}, "", 0, 0, 1},
		{"a gateway died, and the device comes here", on(5, other), []PresenceState{died, comes(6)}, eventDisconnected, 5, 2, 1},
		{"back after all", off(5, "a.1-1", ReasonGatewayLost), []PresenceState{comes(5)}, eventConnected, 5, 3, 1},
		{"left while it counted as lost", off(5, mine, ReasonGatewayLost), []PresenceState{goes(5, "normal")}, eventRenewed, 5, 3, 1},
	} {
		got, write, done := judge(&c.was, c.states, "a", mine)
		if write != (c.event != "") || done != c.done || write && (got.EventType != c.event || got.VersionNumber != c.generation || got.State != c.state) {
			t.Errorf("%s: write %v, %d done, %s of %d, state %d", c.what, write, done, got.EventType, got.VersionNumber, got.State)
		}
	}
}
