package main

import (
	"fmt"
	"slices"
	"strings"
)

// costSheet is the unit costs that were measured, each group with where and how.
type costSheet struct {
	Groups []costGroup `json:"measured"`
}

// costGroup is the costs of one measurement.
type costGroup struct {
	Measurement string             `json:"measurement"`
	Environment environment        `json:"environment"`
	Values      map[string]float64 `json:"values"`
}

func (s *costSheet) put(g costGroup) {
	if at := slices.IndexFunc(s.Groups, func(o costGroup) bool { return o.Measurement == g.Measurement }); at >= 0 {
		s.Groups[at] = g
		return
	}
	s.Groups = append(s.Groups, g)
}

// costs are values by name.
type costs map[string]float64

// values returns all costs; each has to be there.
func (s *costSheet) values() (costs, error) {
	c := costs{}
	for _, g := range s.Groups {
		for name, v := range g.Values {
			c[name] = v
		}
	}
	var none []string
	for _, u := range unitCosts {
		if _, ok := c[u.name]; !ok {
			none = append(none, u.measurement)
		}
	}
	if none = slices.Compact(none); len(none) > 0 {
		return nil, fmt.Errorf("unit costs that were not measured: devices-sim scale --measure %s", strings.Join(none, ","))
	}
	return c, nil
}

// unitCost is one of them. CPU is that of all nats-servers of the measurement together, the client's left out.
type unitCost struct {
	name, measurement string
	text, unit        string
}

var unitCosts = []unitCost{
	{"log_rate", "log", "messages of 64 bytes into one log, R1 on file", "/s"},
	{"log_cpu", "log", "NATS, for one of them", "µs"},
	{"log_small_rate", "log", "messages into that log when many gateways have two at a time", "/s"},
	{"log_small_cpu", "log", "NATS, for one of them", "µs"},
	{"log_disk", "log", "file, for one of them", "B"},
	{"log3_rate", "log3", "the same into one log, R3, three servers on this machine", "/s"},
	{"log3_cpu", "log3", "NATS, for one of them, all three", "µs"},
	{"log3_small_rate", "log3", "messages into that log when many gateways have two at a time", "/s"},
	{"log3_small_cpu", "log3", "NATS, for one of them, all three", "µs"},
	{"tail_rate", "tail", "messages that NATS hands to gateways which follow the log", "/s"},
	{"tail_cpu", "tail", "NATS, for one of them to one gateway", "µs"},
	{"tail_skip_cpu", "tail", "NATS, for a message that one gateway more does not want", "µs"},
	{"subject_memory", "subjects", "NATS, for a further subject in a log", "B"},
	{"record_put_rate", "records", "records of 200 bytes into one bucket, R1 on file", "/s"},
	{"record_put_cpu", "records", "NATS, for one of them", "µs"},
	{"record_memory", "records", "NATS, for a record that is there", "B"},
	{"record_disk", "records", "file, for a record", "B"},
	{"record3_put_rate", "records3", "the same into one bucket, R3, three servers on this machine", "/s"},
	{"record3_put_cpu", "records3", "NATS, for one of them, all three", "µs"},
	{"record_get_rate", "reads", "records read, 100 in a request", "/s"},
	{"record_get_cpu", "reads", "NATS, for one of them", "µs"},
	{"replay_rate", "reads", "reads of the log for one device, with one message each", "/s"},
	{"replay_cpu", "reads", "NATS, for one of them", "µs"},
	{"subscription_memory", "subscriptions", "NATS, for a subscription", "B"},
	{"subscription_cpu", "subscriptions", "NATS, to take one", "µs"},
	{"core_copy_cpu", "gossip", "NATS, for a plain message of 1,000 bytes to one more subscriber", "µs"},
	{"claim_bytes", "claims", "what the gateways tell each other for a connect", "B"},
	{"device_memory", "gateway", "gateway, for an idle connection", "B"},
	{"connect_cpu", "gateway", "gateway, for a CONNECT", "µs"},
	{"uplink_cpu", "gateway", "gateway with its embedded NATS, for a message of QoS 0 to a backend, at 50,000/s", "µs"},
	{"uplink_cpu_1k", "gateway", "the same at 1,000/s", "µs"},
	{"durable_cpu", "durable", "gateway with its embedded NATS, for a message of QoS 1 into the log, at 20,000/s", "µs"},
	{"durable_cpu_1k", "durable", "the same at 1,000/s", "µs"},
	{"return_gateway_cpu", "return", "gateways, for a device that returns from a dead one to a message that waits", "µs"},
	{"return_nats_cpu", "return", "NATS, R1, for the same, storing that message included", "µs"},
	{"return_writes", "return", "session records written for it", ""},
	{"offline_nats_memory", "offline", "NATS, for a persistent session whose device is away", "B"},
	{"offline_gateway_memory", "offline", "gateway, for such a session that it had", "B"},
}
