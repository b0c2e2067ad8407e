package main

import (
	"fmt"
	"math"
	"strings"
)

// What is assumed where nothing can be measured here. Everything else of the tables is a unit cost times a number of devices.
const (
	scaleGatewayDevices = 100_000    // devices of one gateway
	scaleLoad           = 0.5        // of what a stream was measured to take, so that a peak finds room
	scaleStormSec       = 60         // in which a whole fleet returns
	scaleSubjectsMax    = 1_000_000  // subjects of one stream; from there on nats-server itself speaks of high cardinality
	scaleServerMicros   = 16 * 1e6   // CPU that one nats-server has in a second: 16 cores
	scaleClaimsRate     = 1000 / 2.0 // messages of claims a second that a busy gateway sends at most: one each 2 ms
	scaleClaimBeatSec   = 5          // and an idle one
	scalePresenceWrites = 1          // of a device that is back before its gateway is given up for dead
	scaleDay            = 24 * 60 * 60
)

var scaleFleets = []float64{100_000, 10_000_000, 100_000_000}

// scaleProfile is what the devices of a fleet do.
type scaleProfile struct {
	name, text string
	everySec   float64 // between two messages of a device
	stored     float64 // part of them that is QoS 1 on a durable topic
	commands   float64 // a day to each device, stored
}

var scaleProfiles = []scaleProfile{
	{"meter", "a message every 15 minutes, all QoS 1; a command a day", 900, 1, 1},
	{"telemetry", "a message a minute, 5 % of them QoS 1; a command an hour", 60, 0.05, 24},
	{"stored", "a message a minute, all QoS 1; a command an hour", 60, 1, 24},
	{"vehicle", "a message every 10 seconds, 10 % of them QoS 1; six commands an hour", 10, 0.1, 144},
}

// load is what a fleet of a profile does in a second, and what it takes.
type load struct {
	devices, gateways          float64
	messages, stored, commands float64 // a second
	logs, logs3                float64 // partitions
	gatewayCores, natsCores    float64
	diskDay                    float64 // bytes, one replica
	tail, tailAll              float64 // messages a second that the log hands to gateways: of commands only, and if they follow all of it
	tailCores, tailAllCores    float64 // of NATS, for that
	perGateway                 float64 // of tail, a second
}

func loadOf(c costs, devices float64, p *scaleProfile) (l load) {
	l.devices, l.gateways = devices, gatewaysOf(devices)
	l.messages, l.commands = devices/p.everySec, devices*p.commands/scaleDay
	l.stored = l.messages * p.stored
	log := l.stored + l.commands
	l.logs, l.logs3 = partitions(log, c["log_small_rate"]), partitions(log, c["log3_small_rate"])
	l.gatewayCores = l.gateways * (coresAt((l.messages-l.stored)/l.gateways, c["uplink_cpu_1k"], c["uplink_cpu"], 50_000) +
		coresAt(l.stored/l.gateways, c["durable_cpu_1k"], c["durable_cpu"], 20_000))
	l.perGateway = l.commands
	l.tail, l.tailAll = l.commands*l.gateways, log*l.gateways
	l.natsCores = log * c["log3_small_cpu"] / 1e6
	l.tailAllCores = l.tailAll * c["tail_cpu"] / 1e6
	l.tailCores = (l.tail*c["tail_cpu"] + l.stored*l.gateways*c["tail_skip_cpu"]) / 1e6
	l.diskDay = log * scaleDay * c["log_disk"]
	return l
}

// coresAt is what one gateway takes for so many messages a second. A message costs less the more there are, because more of them travel together:
// on a straight line, in logarithms, through the costs of one at 1,000 a second and at a higher rate; outside of these as at the nearer one.
func coresAt(rate, at1000, atHigh, high float64) float64 {
	part := max(0, min(1, math.Log(rate/1000)/math.Log(high/1000)))
	return rate * at1000 * math.Pow(atHigh/at1000, part) / 1e6
}

func gatewaysOf(devices float64) float64 { return max(2, math.Ceil(devices/scaleGatewayDevices)) }

// partitions is how many streams a rate needs.
func partitions(rate, one float64) float64 { return max(1, math.Ceil(rate/(one*scaleLoad))) }

// storm is a whole fleet that returns within scaleStormSec.
type storm struct {
	rate, puts, reads        float64 // a second
	buckets                  float64 // partitions, R3
	oneBucketSec             float64 // how long it lasts if there is only one of them
	natsCores, gatewayCores  float64
	claimBytes, claimsCopies float64 // a second, all gateways together
	gossipCores              float64
}

func stormOf(c costs, devices float64) (s storm) {
	g := gatewaysOf(devices)
	s.rate = devices / scaleStormSec
	s.puts, s.reads = s.rate*(c["return_writes"]+scalePresenceWrites), s.rate
	s.buckets = partitions(s.rate*c["return_writes"], c["record3_put_rate"])
	s.oneBucketSec = devices * c["return_writes"] / c["record3_put_rate"]
	// The return was measured with one replica.
	s.natsCores = (s.rate*c["return_nats_cpu"] + s.puts*(c["record3_put_cpu"]-c["record_put_cpu"])) / 1e6
	s.gatewayCores = s.rate * c["return_gateway_cpu"] / 1e6
	s.claimBytes = s.rate * c["claim_bytes"] * (g - 1)
	s.claimsCopies = g * min(s.rate/g, scaleClaimsRate) * (g - 1)
	s.gossipCores = s.claimsCopies * c["core_copy_cpu"] / 1e6
	return s
}

// scaleTable is one of the tables of docs/scaling.md.
type scaleTable struct{ name, text string }

func scaleTables(sheet *costSheet, c costs) []scaleTable {
	return []scaleTable{
		{"costs", costsTable(sheet, c)}, {"profiles", profilesTable()}, {"memory", memoryTable(c)}, {"messages", messagesTable(c)}, {"tail", tailTable(c)}, {"storm", stormTable(c)},
		{"limits", limitsTable(c)},
	}
}

// costsTable is the unit costs, with the command that measures each.
func costsTable(sheet *costSheet, c costs) string {
	t := newMarkdown("| What | Value | Measured by |", "|---|--:|---|")
	for _, u := range unitCosts {
		t.row(u.text, signed(c[u.name])+" "+u.unit, "`scale --measure "+u.measurement+"`")
	}
	text := t.String()
	machines := map[string]bool{}
	for _, g := range sheet.Groups {
		e := &g.Environment
		on := fmt.Sprintf("%d cores (%s), Linux %s, %s", e.Cores, e.Processor, e.Kernel, e.Go)
		if !machines[on] {
			machines[on] = true
			text += "\nMeasured on " + on + ", servers and clients together.\n"
		}
	}
	return text
}

func profilesTable() string {
	t := newMarkdown("| Profile | A device |", "|---|---|")
	for _, p := range scaleProfiles {
		t.row(p.name, p.text)
	}
	return t.String()
}

// memoryTable is what a fleet takes that does nothing.
func memoryTable(c costs) string {
	t := newMarkdown("| Devices | Gateways | their memory | Records: memory of each nats-server | files | Buckets of at most a million subjects | One subscription a device instead of shapes |",
		"|--:|--:|--:|--:|--:|--:|--:|")
	for _, d := range scaleFleets {
		// A session's record and one of presence.
		t.row(grouped(uint64(d)), rounded(gatewaysOf(d)), size(d*c["device_memory"]), size(d*(c["offline_nats_memory"]+c["record_memory"])), size(2*d*c["record_disk"]),
			rounded(math.Ceil(d/scaleSubjectsMax))+" + "+rounded(math.Ceil(d/scaleSubjectsMax)), size(d*c["subscription_memory"]))
	}
	return t.String()
}

func messagesTable(c costs) string {
	t := newMarkdown("| Devices | Profile | Messages/s | stored/s | Commands/s | Logs, R1 | R3 | Cores of gateways | of NATS, R3 | Log of a day, one replica |",
		"|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, d := range scaleFleets {
		for i := range scaleProfiles {
			p := &scaleProfiles[i]
			l := loadOf(c, d, p)
			t.row(grouped(uint64(d)), p.name, rounded(l.messages), rounded(l.stored), rounded(l.commands), rounded(l.logs), rounded(l.logs3), signed(l.gatewayCores),
				signed(l.natsCores), size(l.diskDay))
		}
	}
	return t.String()
}

func tailTable(c costs) string {
	t := newMarkdown("| Devices | Profile | Gateways | Whole log: copies/s | cores of NATS | Commands only: messages/s at each gateway | copies/s | cores of NATS |",
		"|--:|---|--:|--:|--:|--:|--:|--:|")
	for _, d := range scaleFleets {
		for i := range scaleProfiles {
			p := &scaleProfiles[i]
			l := loadOf(c, d, p)
			t.row(grouped(uint64(d)), p.name, rounded(l.gateways), rounded(l.tailAll), signed(l.tailAllCores), rounded(l.perGateway), rounded(l.tail), signed(l.tailCores))
		}
	}
	return t.String()
}

func stormTable(c costs) string {
	t := newMarkdown("| Devices | Connects/s | Records read/s | Records written/s | Buckets of sessions, R3 | with one it lasts | Cores of NATS | of gateways | Claims, bytes/s in all | their copies/s | Cores of NATS for them |",
		"|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, d := range scaleFleets {
		s := stormOf(c, d)
		t.row(grouped(uint64(d)), rounded(s.rate), rounded(s.reads), rounded(s.puts), rounded(s.buckets), rounded(s.oneBucketSec)+" s", signed(s.natsCores), signed(s.gatewayCores),
			size(s.claimBytes), rounded(s.claimsCopies), signed(s.gossipCores))
	}
	return t.String()
}

// limitsTable tells by how much each part is too small when there is one of it: what is far above 1 breaks first.
func limitsTable(c costs) string {
	t := newMarkdown("| Of one of it | "+strings.Join(fleetNames(), " | ")+" |", "|---|"+strings.Repeat("--:|", len(scaleFleets)))
	telemetry := &scaleProfiles[1]
	for _, r := range []struct {
		what string
		of   func(d float64) float64
	}{
		{"a log, R3, `telemetry`", func(d float64) float64 {
			l := loadOf(c, d, telemetry)
			return (l.stored + l.commands) / c["log3_small_rate"]
		}},
		{"a log, R3, `stored`", func(d float64) float64 {
			l := loadOf(c, d, &scaleProfiles[2])
			return (l.stored + l.commands) / c["log3_small_rate"]
		}},
		{"NATS for gateways that follow the whole log, `telemetry`", func(d float64) float64 { return loadOf(c, d, telemetry).tailAllCores * 1e6 / scaleServerMicros }},
		{"NATS for gateways that follow the whole log, `stored`", func(d float64) float64 { return loadOf(c, d, &scaleProfiles[2]).tailAllCores * 1e6 / scaleServerMicros }},
		{"NATS for gateways that follow commands only, `stored`", func(d float64) float64 { return loadOf(c, d, &scaleProfiles[2]).tailCores * 1e6 / scaleServerMicros }},
		{"a bucket of sessions, subjects", func(d float64) float64 { return d / scaleSubjectsMax }},
		{"a bucket of sessions, R3, in a storm", func(d float64) float64 { return stormOf(c, d).oneBucketSec / scaleStormSec }},
		{"NATS in a storm: records and replays", func(d float64) float64 { return stormOf(c, d).natsCores * 1e6 / scaleServerMicros }},
		{"NATS in a storm: claims", func(d float64) float64 { return stormOf(c, d).gossipCores * 1e6 / scaleServerMicros }},
		{"NATS between storms: gateways that say they are there", func(d float64) float64 {
			g := gatewaysOf(d)
			return g * (g - 1) / scaleClaimBeatSec * c["core_copy_cpu"] / scaleServerMicros
		}},
	} {
		cells := []string{r.what}
		for _, d := range scaleFleets {
			cells = append(cells, share(r.of(d)))
		}
		t.row(cells...)
	}
	return t.String()
}

func fleetNames() (names []string) {
	for _, d := range scaleFleets {
		names = append(names, grouped(uint64(d)))
	}
	return names
}

// markdown is a table that is being written.
type markdown struct{ b strings.Builder }

func newMarkdown(head, line string) *markdown {
	t := &markdown{}
	fmt.Fprintf(&t.b, "%s\n%s\n", head, line)
	return t
}

func (t *markdown) row(cells ...string) { fmt.Fprintf(&t.b, "| %s |\n", strings.Join(cells, " | ")) }
func (t *markdown) String() string      { return t.b.String() }

// rounded is a number in words, to two digits where there are more than three.
func rounded(v float64) string {
	if v < 1000 {
		return fmt.Sprint(math.Round(v))
	}
	unit := math.Pow(10, math.Floor(math.Log10(v))-1)
	return grouped(uint64(math.Round(v/unit) * unit))
}

// size is bytes in words, to two digits.
func size(v float64) string {
	for _, u := range []string{"B", "kB", "MB", "GB", "TB"} {
		switch {
		case v < 9.95:
			return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + u
		case v < 999.5:
			return fmt.Sprintf("%.0f %s", v, u)
		}
		v /= 1000
	}
	return fmt.Sprintf("%.0f PB", v)
}

// share is how many of something are needed; bold from 1 on.
func share(v float64) string {
	text := fmt.Sprintf("%.2g", v)
	switch {
	case v < 0.01:
		return "< 0.01"
	case v >= 100:
		text = rounded(v)
	}
	if v >= 1 {
		return "**" + text + "**"
	}
	return text
}
