package main

import "time"

// sample is one second of a run. Rates are a second's, latencies those of the messages that arrived in it; what was not
// measured is 0.
type sample struct {
	At         float64 `json:"t_sec"` // since the first dial
	Stage      string  `json:"stage"`
	Live       int64   `json:"live"`
	Connects   float64 `json:"connects_per_sec"`
	Sent       float64 `json:"sent_per_sec"`
	Acked      float64 `json:"acked_per_sec"`
	Received   float64 `json:"received_per_sec"`
	Commands   float64 `json:"commands_per_sec"`
	Closes     uint64  `json:"unexpected_closes"` // so far
	Failures   uint64  `json:"connect_failures"`  // so far
	LatencyP50 float64 `json:"latency_p50_ms"`
	LatencyP99 float64 `json:"latency_p99_ms"`
	LatencyMax float64 `json:"latency_max_ms"`
	AckP50     float64 `json:"ack_p50_ms"`
	AckP99     float64 `json:"ack_p99_ms"`
	Generator  float64 `json:"generator_cpu_percent"`

	Servers []serverSample `json:"servers,omitempty"` // in the order of the result's servers
}

// serverSample is a watched process in that second.
type serverSample struct {
	CPU float64 `json:"cpu_percent"`
	RSS int64   `json:"rss"`
}

// reading is what the next sample's rates are counted from.
type reading struct {
	at        int64
	count     counters
	arrived   uint64
	generator time.Duration
	servers   []time.Duration
}

// takeSample closes a second: it is kept for the reports and shown.
func (r *runner) takeSample() {
	now, c, last := r.now(), r.sum(), &r.lastReading
	elapsed := seconds(last.at, now)
	rate := func(new, old uint64) float64 { return float64(new-min(old, new)) / elapsed }
	st := over
	for _, rep := range r.latest {
		st = min(st, rep.Stage)
	}
	next := reading{at: now, count: c, arrived: c.Arrived, generator: r.generatorUsage().CPU}
	latency := r.latencyNow
	if r.ledger != nil {
		next.arrived, latency = r.ledger.second()
	}
	s := sample{
		At: seconds(r.startedAt, now), Stage: st.String(), Live: c.Live,
		Connects: rate(c.Connects, last.count.Connects), Sent: rate(c.Sent, last.count.Sent), Acked: rate(c.Acked, last.count.Acked),
		Received: rate(next.arrived, last.arrived), Commands: rate(c.Commands, last.count.Commands),
		Closes: c.Unexpected, Failures: c.ConnectFailures,
		Generator: 100 * (next.generator - last.generator).Seconds() / elapsed,
	}
	if q := latency.quantiles(); q != nil {
		s.LatencyP50, s.LatencyP99, s.LatencyMax = q.P50, q.P99, q.Max
	}
	if q := r.ackNow.quantiles(); q != nil {
		s.AckP50, s.AckP99 = q.P50, q.P99
	}
	for i, w := range r.servers {
		u, err := processUsage(w.pid)
		if err != nil {
			u.CPU = last.servers[i] // gone, which the next reading of its cost tells
		}
		s.Servers = append(s.Servers, serverSample{100 * (u.CPU - last.servers[i]).Seconds() / elapsed, u.RSS})
		next.servers = append(next.servers, u.CPU)
	}
	r.lastReading = next
	r.samples = append(r.samples, s)
	r.view.show(&s, r.o.Devices)
	if r.sampled != nil {
		r.sampled(&s, latency)
	}
	r.latencyNow.reset()
	r.ackNow.reset()
}

// firstReading is where the first second's rates begin.
func (r *runner) firstReading() {
	r.latencyNow, r.ackNow = newCoarse(), newCoarse()
	r.lastReading = reading{at: r.now(), generator: r.generatorUsage().CPU}
	for _, w := range r.servers {
		r.lastReading.servers = append(r.lastReading.servers, w.idle.CPU)
	}
}

// generatorUsage is what all our own processes have used, as last heard.
func (r *runner) generatorUsage() usage {
	u := selfUsage()
	for _, rep := range r.latest {
		u.CPU += rep.Resources.CPU
		u.RSS += rep.Resources.RSS
	}
	return u
}
