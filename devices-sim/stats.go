package main

import (
	"maps"
	"slices"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// counters are what a worker counts; the parent adds them up. Plain numbers, owned by one loop.
type counters struct {
	Live            int64  // devices connected and subscribed now
	LiveMax         int64  // the most at any time
	Connects        uint64 // times a device became live
	ConnectFailures uint64 // attempts that ended before
	Sent            uint64 // telemetry messages, resent ones not counted again
	SentCalm        uint64 // those of them that were due before the storm; without one all
	Acked           uint64 // PUBACK or PUBCOMP received, each message once
	Refused         uint64 // PUBACK or PUBREC with a failure
	Resent          uint64 // after a reconnect, not having been acknowledged
	Skipped         uint64 // QoS 0 messages due while the device was away
	Expected        uint64 // copies of what was sent that subscribers should receive
	Arrived         uint64 // copies that subscribers received, each once
	Twice           uint64 // and again
	Late            uint64 // after a later one of the same publisher
	Damaged         uint64 // not what was sent
	Stalls          uint64 // times that flat-out traffic had to write off what did not arrive
	Unsent          uint64 // due, but never sent for want of a connection, window or socket buffer
	Unacked         uint64 // sent with QoS 1 or 2, not acknowledged at the end
	Commands        uint64 // messages received, each once
	CommandTwice    uint64
	CommandLate     uint64
	Foreign         uint64 // messages received that are not of this run
	SessionsLost    uint64 // times the server did not know a device any more whose session it had to keep
	Pings           uint64
	Unexpected      uint64 // connections of good devices that ended without us
	BadClosed       uint64 // bad devices' connections that the server ended
	BadOpen         uint64 // bad devices still connected at the end

	Closes   map[string]uint64 // the unexpected ones, by reason
	Failures map[string]uint64 // ConnectFailures, by reason
}

func newCounters() counters {
	return counters{Closes: map[string]uint64{}, Failures: map[string]uint64{}}
}

// add adds another worker's counters.
func (c *counters) add(o *counters) {
	c.Live += o.Live
	c.LiveMax += o.LiveMax
	c.Connects += o.Connects
	c.ConnectFailures += o.ConnectFailures
	c.Sent += o.Sent
	c.SentCalm += o.SentCalm
	c.Acked += o.Acked
	c.Refused += o.Refused
	c.Resent += o.Resent
	c.Skipped += o.Skipped
	c.Expected += o.Expected
	c.Arrived += o.Arrived
	c.Twice += o.Twice
	c.Late += o.Late
	c.Damaged += o.Damaged
	c.Stalls += o.Stalls
	c.Unsent += o.Unsent
	c.Unacked += o.Unacked
	c.Commands += o.Commands
	c.CommandTwice += o.CommandTwice
	c.CommandLate += o.CommandLate
	c.Foreign += o.Foreign
	c.SessionsLost += o.SessionsLost
	c.Pings += o.Pings
	c.Unexpected += o.Unexpected
	c.BadClosed += o.BadClosed
	c.BadOpen += o.BadOpen
	addReasons(c.Closes, o.Closes)
	addReasons(c.Failures, o.Failures)
}

func addReasons(dst, src map[string]uint64) {
	for reason, n := range src {
		dst[reason] += n
	}
}

// clone is a copy that another goroutine may keep.
func (c *counters) clone() counters {
	d := *c
	d.Closes, d.Failures = maps.Clone(c.Closes), maps.Clone(c.Failures)
	return d
}

// histogram is an HDR histogram of durations in microseconds, up to a minute, to three digits. Owned by one goroutine;
// it travels between processes in its compressed form.
type histogram struct{ h *hdr.Histogram }

const histogramMaxMicros = 60_000_000

func newHistogram() *histogram { return &histogram{hdr.New(1, histogramMaxMicros, 3)} }

// newCoarse makes a histogram to two digits: an eighth of the memory, for what is made anew every second.
func newCoarse() *histogram { return &histogram{hdr.New(1, histogramMaxMicros, 2)} }

func (h *histogram) reset() { h.h.Reset() }

// record takes a duration in nanoseconds; beyond the range it counts as the nearest end.
func (h *histogram) record(nanos int64) {
	// The value is in range, the only thing RecordValue could refuse.
	_ = h.h.RecordValue(min(max(nanos/1000, 1), histogramMaxMicros))
}

func (h *histogram) merge(o *histogram) {
	if o != nil {
		h.h.Merge(o.h)
	}
}

// MarshalText writes the histogram in the HDR project's compressed form, base64.
func (h *histogram) MarshalText() ([]byte, error) {
	return h.h.Encode(hdr.V2CompressedEncodingCookieBase)
}

// UnmarshalText reads what MarshalText wrote.
func (h *histogram) UnmarshalText(p []byte) (err error) {
	h.h, err = hdr.Decode(p)
	return err
}

// quantiles are the figures of a histogram, in milliseconds.
type quantiles struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p99_9_ms"`
	Max   float64 `json:"max_ms"`
}

// quantiles returns nil when nothing was recorded.
func (h *histogram) quantiles() *quantiles {
	if h == nil || h.h.TotalCount() == 0 {
		return nil
	}
	ms := func(p float64) float64 { return float64(h.h.ValueAtQuantile(p)) / 1000 }
	return &quantiles{
		Count: h.h.TotalCount(), P50: ms(50), P90: ms(90), P99: ms(99), P999: ms(99.9), Max: float64(h.h.Max()) / 1000,
	}
}

// point is one point of a latency curve: that part of all messages, in percent, took no longer.
type point struct {
	Percentile float64 `json:"percentile"`
	MS         float64 `json:"ms"`
}

// curves are whole distributions, for charts.
type curves struct {
	Latency []point `json:"latency,omitempty"`
	Ack     []point `json:"ack,omitempty"`
	Connect []point `json:"connect,omitempty"`
}

// curve returns the distribution with ever finer steps toward the slowest: halves of what remains, each in five.
func (h *histogram) curve() (list []point) {
	if h == nil || h.h.TotalCount() == 0 {
		return nil
	}
	for _, b := range h.h.CumulativeDistributionWithTicks(5) {
		list = append(list, point{b.Quantile, float64(b.ValueAt) / 1000})
	}
	return list
}

// byCount returns the reasons of a map, most frequent first.
func byCount(reasons map[string]uint64) []string {
	names := slices.Sorted(maps.Keys(reasons))
	slices.SortStableFunc(names, func(a, b string) int {
		switch {
		case reasons[a] > reasons[b]:
			return -1
		case reasons[a] < reasons[b]:
			return 1
		}
		return 0
	})
	return names
}
