package main

import (
	"fmt"
	"runtime"
	"strings"
)

// What has to hold.
const (
	machinePercentMax = 70 // CPU of the gateways
	headlineP99MS     = 5
	nodeShare         = 4 // a connection costs at most Node's, divided by this
	recoverySecMax    = 30
)

// musts are the result of a headline, row by row.
func (h *headline) musts(res *result, node nodeMemory) (list []must) {
	live := uint64(res.Connects.Live)
	list = append(list, held("live devices", grouped(uint64(h.devices)), float64(live), live >= uint64(h.devices),
		fmt.Sprintf("%s, connected in %.1f s (%s/s)", grouped(live), res.Connects.Seconds, decimal(float64(live)/max(res.Connects.Seconds, 0.001)))))
	if res.Calm == nil {
		return append(list, held("time before the storm", h.duration.String(), 0, false, "the run ended before it, and nothing more was measured"))
	}
	list = append(list, h.calmMusts(res)...)
	list = append(list, h.cpuMusts(res)...)
	list = append(list, latencyMusts(res.Calm.Latency)...)
	list = append(list, h.memoryMusts(res, node)...)
	return append(list, h.stormMusts(res.Storm)...)
}

// calmMusts are about the messages that were due before the storm.
func (h *headline) calmMusts(res *result) []must {
	c := res.Calm
	rate := float64(*c.Received) / c.Seconds
	arrived := held("messages received on NATS", decimal(h.rate)+"/s", rate, rate >= h.rate*0.999, fmt.Sprintf("%s/s, %s in all", decimal(rate), grouped(*c.Received)))
	arrived.Note = fmt.Sprintf("of %d B at QoS %d; plain WebSocket devices, a third of all, have no QoS", benchPayload, h.qos)
	pings := told("keep-alive", float64(c.Pings), grouped(c.Pings)+" PINGREQs")
	pings.Note = fmt.Sprintf("%v; %s devices never send", h.keepAlive, grouped(uint64(h.quiet)))
	return []must{
		told("time before the storm", c.Seconds, fmt.Sprintf("%g s", c.Seconds)),
		arrived,
		none("lost", *c.Lost, fmt.Sprintf("%s of %s", grouped(*c.Lost), grouped(c.Sent))),
		none("received twice", *c.Duplicates, grouped(*c.Duplicates)),
		none("out of order at a device", *c.OutOfOrder, grouped(*c.OutOfOrder)),
		none("unexpected closes", c.Closes, grouped(c.Closes)),
		pings,
	}
}

// cpuMusts are about the machine, before the storm.
func (h *headline) cpuMusts(res *result) []must {
	cores := runtime.NumCPU()
	machine := func(cpuSec float64) (percent float64, text string) {
		percent = 100 * cpuSec / (res.Calm.Seconds * float64(cores))
		return percent, fmt.Sprintf("%s %% of the machine (%.2f of %d cores)", decimal(percent), percent/100*float64(cores), cores)
	}
	var sum float64
	for _, s := range res.Servers[:h.gateways] {
		sum += s.CalmCPUSec
	}
	gateways, gatewaysText := machine(sum)
	nats, natsText := machine(res.Servers[h.gateways].CalmCPUSec)
	generator, generatorText := machine(res.Calm.GeneratorCPUSec)
	return []must{
		held(fmt.Sprintf("CPU of the gateways (%d)", h.gateways), fmt.Sprintf("< %d %%", machinePercentMax), gateways, gateways < machinePercentMax, gatewaysText),
		told("CPU of NATS", nats, natsText),
		told("CPU of the fleet and the subscriber", generator, generatorText),
	}
}

func latencyMusts(q *quantiles) []must {
	bound := fmt.Sprintf("<= %d ms", headlineP99MS)
	if q == nil {
		return []must{notMeasured("latency p99", bound, "nothing arrived")}
	}
	ms := func(v float64) string { return decimal(v) + " ms" }
	return []must{
		told("latency p50, from when it was due", q.P50, ms(q.P50)),
		held("latency p99", bound, q.P99, q.P99 <= headlineP99MS, ms(q.P99)),
		told("latency p99.9", q.P999, ms(q.P999)),
		told("latency max", q.Max, ms(q.Max)),
	}
}

// memoryMusts compare the gateways, when the storm began, with themselves before the first device.
func (h *headline) memoryMusts(res *result, node nodeMemory) []must {
	var connected, calm, idle int64
	for _, s := range res.Servers[:h.gateways] {
		connected, calm, idle = connected+s.RSSReady, calm+s.CalmRSS, idle+s.RSSIdle
	}
	live := float64(max(1, res.Connects.Live))
	each := float64(calm-idle) / live
	name, text := "memory of a connection", fmt.Sprintf("%.0f B (%.0f B before the first message)", each, float64(connected-idle)/live)
	if node.why != "" {
		return []must{
			told(name, each, text),
			notMeasured("memory of a connection in Node.js", fmt.Sprintf(">= %d x", nodeShare), node.why),
		}
	}
	return []must{
		held(name, fmt.Sprintf("<= 1/%d of Node's", nodeShare), each, each <= node.bytes/nodeShare, fmt.Sprintf("%s, 1/%s of Node's", text, decimal(node.bytes/max(each, 1)))),
		told("memory of a connection in Node.js", node.bytes, fmt.Sprintf("%.0f B, idle", node.bytes)),
	}
}

func (h *headline) stormMusts(s *stormResult) []must {
	bound := fmt.Sprintf("<= %d s", recoverySecMax)
	back := held("storm: all devices back", bound, 0, false, fmt.Sprintf("not all were back after %v", stormMax))
	if s.RecoverySec > 0 {
		back = held("storm: all devices back", bound, s.RecoverySec, s.RecoverySec <= recoverySecMax,
			fmt.Sprintf("%.2f s (%s connects/s)", s.RecoverySec, decimal(s.PerSecond)))
	}
	lost := none("storm: lost", *s.Lost, fmt.Sprintf("%s of %s", grouped(*s.Lost), grouped(s.Sent)))
	lost.Note = fmt.Sprintf("%s unacknowledged ones of QoS 1 or 2 sent again, %s received twice; %s of QoS 0 not sent, because their device was away",
		grouped(s.Resent), grouped(*s.Duplicates), grouped(s.Skipped))
	failures, reasons := uint64(0), []string(nil)
	for _, reason := range byCount(s.Failures) {
		failures += s.Failures[reason]
		reasons = append(reasons, fmt.Sprintf("%s %s", grouped(s.Failures[reason]), reason))
	}
	failed := told("storm: attempts that failed", float64(failures), grouped(failures))
	failed.Note = strings.Join(reasons, "; ")
	return []must{back, none("storm: unexpected closes", s.Closes, grouped(s.Closes)), lost, failed}
}
