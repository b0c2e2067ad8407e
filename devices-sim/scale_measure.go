package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// measurement is something that unit costs come from.
type measurement struct {
	name, text string
	nodes      int // nats-servers of its own; 0: none
	run        func(ctx context.Context, s *scaling, l *lab) (map[string]float64, error)
}

// measurements is the list that --measure takes. Sizes and times are such that the collector of the servers has run many times, and that all
// of it is done in ten minutes.
var measurements = []measurement{
	{"log", "a log of one replica on file: fast batches, two publishers with 500 messages in each, then 32 with two", 1, measureLog},
	{"log3", "the same log with three replicas, all servers on this machine", 3, measureLog3},
	{"subjects", "a log in which every message has a subject of its own", 1, measureSubjects},
	{"records", "a bucket of one replica on file, a record of 200 bytes for each of 200,000 devices", 1, measureRecords},
	{"records3", "the same bucket with three replicas, all servers on this machine", 3, measureRecords3},
	{"reads", "reading records, a hundred in one request, and the log by the subject of one device", 1, measureReads},
	{"tail", "gateways that follow the log: four that want all of it, and eight that want what is not in it", 1, measureTail},
	{"subscriptions", "200,000 subscriptions of one connection", 1, measureSubscriptions},
	{"gossip", "a small message on plain NATS to ten subscribers", 1, measureGossip},
	{"claims", "what a connect tells the other gateways", 1, measureClaims},
	{"gateway", "scenarios idle and uplink-50k of the bench, and the latter at 1,000 a second", 0, measureGateway},
	{"durable", "scenario durable-uplink-20k of the bench, and the same at 1,000 a second", 0, measureDurable},
	{"return", "devices-sim return", 0, measureReturn},
	{"offline", "devices-sim offline", 0, measureOffline},
}

const (
	labFor     = 6 * time.Second
	labPayload = 64
	labRecord  = 200
	labRecords = 200_000
	labBatch   = 500
)

var logConfig = jetstream.StreamConfig{Name: "LOG", Subjects: []string{"$TG.log.>"}, AllowBatchPublish: true}

// logMessage is as the gateway writes them: telemetry of one of 10,000 devices.
func logMessage(i int) *nats.Msg {
	m := nats.NewMsg(fmt.Sprintf("$TG.log.devices.sim-%06d.telemetry", i%10_000))
	m.Header["TG"] = []string{fmt.Sprintf("1 sim-%06d", i%10_000)}
	m.Data = make([]byte, labPayload)
	return m
}

func measureLog(ctx context.Context, _ *scaling, l *lab) (map[string]float64, error) {
	c, err := l.measureLog(ctx)
	if err != nil {
		return nil, err
	}
	size, err := l.disk()
	if err != nil {
		return nil, err
	}
	small, err := l.inSmallBatches()
	return map[string]float64{
		"log_rate": c.rate(), "log_cpu": c.micros(), "log_disk": float64(size) / float64(c.n), "log_small_rate": small.rate(), "log_small_cpu": small.micros(),
	}, err
}

func measureLog3(ctx context.Context, _ *scaling, l *lab) (map[string]float64, error) {
	c, err := l.measureLog(ctx)
	if err != nil {
		return nil, err
	}
	small, err := l.inSmallBatches()
	return map[string]float64{"log3_rate": c.rate(), "log3_cpu": c.micros(), "log3_small_rate": small.rate(), "log3_small_cpu": small.micros()}, err
}

// inSmallBatches is a log that many gateways write to, each of which has little to say at a time.
func (l *lab) inSmallBatches() (spent, error) {
	return l.time(func() (uint64, error) { return l.inBatches(labFor, 32, 2, logMessage) })
}

func (l *lab) measureLog(ctx context.Context) (spent, error) {
	if err := l.stream(ctx, logConfig); err != nil {
		return spent{}, err
	}
	return l.time(func() (uint64, error) { return l.inBatches(labFor, 2, labBatch, logMessage) })
}

// measureSubjects compares a log with a subject for each message with one of the same messages on few subjects.
func measureSubjects(ctx context.Context, _ *scaling, l *lab) (map[string]float64, error) {
	if err := l.stream(ctx, logConfig); err != nil {
		return nil, err
	}
	fill := func(subject func(i int) string) (int64, error) {
		err := l.publishAsync(ctx, labRecords, func(i int) *nats.Msg { return &nats.Msg{Subject: subject(i), Data: make([]byte, labPayload)} })
		if err != nil {
			return 0, err
		}
		return l.memory(ctx)
	}
	few, err := fill(func(i int) string { return fmt.Sprint("$TG.log.devices.few.telemetry", i%100) })
	if err != nil {
		return nil, err
	}
	many, err := fill(func(i int) string { return fmt.Sprintf("$TG.log.devices.sim-%06d.telemetry", i) })
	return map[string]float64{"subject_memory": float64(many-few) / labRecords}, err
}

var recordsConfig = jetstream.StreamConfig{
	Name: "KV_RECORDS", Subjects: []string{"$KV.RECORDS.>"}, MaxMsgsPerSubject: 1, AllowRollup: true, DenyDelete: true, Discard: jetstream.DiscardNew,
}

func recordOf(i int) *nats.Msg {
	return &nats.Msg{Subject: fmt.Sprintf("$KV.RECORDS.sim-%06d", i), Data: make([]byte, labRecord)}
}

// putRecords writes a record of each device.
func (l *lab) putRecords(ctx context.Context) (spent, error) {
	return l.time(func() (uint64, error) { return labRecords, l.publishAsync(ctx, labRecords, recordOf) })
}

func measureRecords(ctx context.Context, _ *scaling, l *lab) (map[string]float64, error) {
	if err := l.stream(ctx, recordsConfig); err != nil {
		return nil, err
	}
	err := l.publishAsync(ctx, 2000, func(i int) *nats.Msg { return recordOf(900_000 + i) })
	if err != nil {
		return nil, err
	}
	empty, err := l.memory(ctx)
	if err != nil {
		return nil, err
	}
	c, err := l.putRecords(ctx)
	if err != nil {
		return nil, err
	}
	full, err := l.memory(ctx)
	if err != nil {
		return nil, err
	}
	size, err := l.disk()
	return map[string]float64{
		"record_put_rate": c.rate(), "record_put_cpu": c.micros(), "record_memory": float64(full-empty) / labRecords, "record_disk": float64(size) / labRecords,
	}, err
}

func measureRecords3(ctx context.Context, _ *scaling, l *lab) (map[string]float64, error) {
	if err := l.stream(ctx, recordsConfig); err != nil {
		return nil, err
	}
	c, err := l.putRecords(ctx)
	return map[string]float64{"record3_put_rate": c.rate(), "record3_put_cpu": c.micros()}, err
}

// measureReads reads what a device needs that returns: its record, and what the log holds for it.
func measureReads(ctx context.Context, _ *scaling, l *lab) (map[string]float64, error) {
	if err := l.stream(ctx, recordsConfig); err != nil {
		return nil, err
	}
	if err := l.stream(ctx, logConfig); err != nil {
		return nil, err
	}
	if _, err := l.putRecords(ctx); err != nil {
		return nil, err
	}
	command := func(i int) string { return fmt.Sprintf("$TG.log.devices.sim-%06d.cmd", i) }
	err := l.publishAsync(ctx, labRecords, func(i int) *nats.Msg { return &nats.Msg{Subject: command(i), Data: make([]byte, labPayload)} })
	if err != nil {
		return nil, err
	}
	const each = 100
	gets, err := l.time(func() (uint64, error) {
		return l.requests(ctx, "$JS.API.DIRECT.GET.KV_RECORDS", func(i int) any {
			subjects := make([]string, each)
			for k := range subjects {
				subjects[k] = fmt.Sprintf("$KV.RECORDS.sim-%06d", (i*each+k)*7919%labRecords)
			}
			return map[string]any{"multi_last": subjects}
		})
	})
	if err != nil {
		return nil, err
	}
	replays, err := l.time(func() (uint64, error) {
		return l.requests(ctx, "$JS.API.DIRECT.GET.LOG", func(i int) any {
			return map[string]any{"seq": 1, "next_by_subj": command(i * 7919 % labRecords), "batch": 10}
		})
	})
	return map[string]float64{"record_get_rate": gets.rate(), "record_get_cpu": gets.micros(), "replay_rate": replays.rate(), "replay_cpu": replays.micros()}, err
}

// requests makes batched direct gets, eight under way, and returns how many messages came.
func (l *lab) requests(ctx context.Context, to string, body func(i int) any) (uint64, error) {
	const open = 8
	var got atomic.Uint64
	ended := make(chan struct{}, 4*open)
	inbox := nats.NewInbox()
	sub, err := l.nc.Subscribe(inbox+".*", func(m *nats.Msg) {
		switch {
		case m.Header.Get("Status") != "": // the end of a batch
			ended <- struct{}{}
		default:
			got.Add(1)
		}
	})
	if err != nil {
		return 0, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	end, underWay := time.Now().Add(labFor), 0
	for i := 0; time.Now().Before(end) || underWay > 0; {
		if underWay < open && time.Now().Before(end) {
			p, err := json.Marshal(body(i))
			if err != nil {
				return 0, err
			}
			if err := l.nc.PublishRequest(to, fmt.Sprint(inbox, ".", i), p); err != nil {
				return 0, err
			}
			i, underWay = i+1, underWay+1
			continue
		}
		select {
		case <-ended:
			underWay--
		case <-time.After(serverReadyMax):
			return 0, fmt.Errorf("%s: no answer", to)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return got.Load(), nil
}

// measureTail lets four gateways follow the log from its beginning.
func measureTail(ctx context.Context, _ *scaling, l *lab) (map[string]float64, error) {
	const gateways = 4
	if _, err := l.measureLog(ctx); err != nil {
		return nil, err
	}
	s, err := l.js.Stream(ctx, logConfig.Name)
	if err != nil {
		return nil, err
	}
	all := s.CachedInfo().State.Msgs
	if info, err := s.Info(ctx); err == nil {
		all = info.State.Msgs
	}
	all = min(all, 500_000)
	c, err := l.time(func() (uint64, error) {
		var got atomic.Uint64
		done := make(chan struct{}, gateways)
		for range gateways {
			nc, err := nats.Connect(strings.Join(l.nc.Servers(), ","))
			if err != nil {
				return 0, err
			}
			defer nc.Close()
			js, err := jetstream.New(nc)
			if err != nil {
				return 0, err
			}
			follow, err := js.OrderedConsumer(ctx, logConfig.Name, jetstream.OrderedConsumerConfig{})
			if err != nil {
				return 0, err
			}
			var mine uint64
			running, err := follow.Consume(func(jetstream.Msg) {
				if got.Add(1); mine < all {
					if mine++; mine == all {
						done <- struct{}{}
					}
				}
			})
			if err != nil {
				return 0, err
			}
			defer running.Stop()
		}
		for range gateways {
			select {
			case <-done:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		return got.Load(), nil
	})
	if err != nil {
		return nil, err
	}
	skip, err := l.measureSkipping(ctx)
	return map[string]float64{"tail_rate": c.rate(), "tail_cpu": c.micros(), "tail_skip_cpu": skip}, err
}

// measureSkipping is what a message costs for each follower whose filter it does not match: what the log takes in costs more with eight of them.
func (l *lab) measureSkipping(ctx context.Context) (micros float64, err error) {
	const gateways = 8
	without, err := l.inSmallBatches()
	if err != nil {
		return 0, err
	}
	for range gateways {
		follow, err := l.js.OrderedConsumer(ctx, logConfig.Name, jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{"$TG.log.devices.*.cmd"}, DeliverPolicy: jetstream.DeliverNewPolicy,
		})
		if err != nil {
			return 0, err
		}
		running, err := follow.Consume(func(jetstream.Msg) {})
		if err != nil {
			return 0, err
		}
		defer running.Stop()
	}
	with, err := l.inSmallBatches()
	return max(0, with.micros()-without.micros()) / gateways, err
}

func measureSubscriptions(ctx context.Context, _ *scaling, l *lab) (map[string]float64, error) {
	before, err := l.memory(ctx)
	if err != nil {
		return nil, err
	}
	messages := make(chan *nats.Msg)
	c, err := l.time(func() (uint64, error) {
		for i := range labRecords {
			if _, err := l.nc.ChanSubscribe(fmt.Sprintf("devices.sim-%06d.cmd", i), messages); err != nil {
				return 0, err
			}
		}
		return labRecords, l.nc.FlushTimeout(serverReadyMax)
	})
	if err != nil {
		return nil, err
	}
	after, err := l.memory(ctx)
	return map[string]float64{"subscription_memory": float64(after-before) / labRecords, "subscription_cpu": c.micros()}, err
}

// measureGossip is what NATS pays for each copy of a message to many gateways.
func measureGossip(ctx context.Context, _ *scaling, l *lab) (map[string]float64, error) {
	const gateways, each = 10, 20_000
	var got atomic.Uint64
	for range gateways {
		nc, err := nats.Connect(strings.Join(l.nc.Servers(), ","))
		if err != nil {
			return nil, err
		}
		defer nc.Close()
		if _, err := nc.Subscribe("_TG.test", func(*nats.Msg) { got.Add(1) }); err != nil {
			return nil, err
		}
		if err := nc.Flush(); err != nil {
			return nil, err
		}
	}
	c, err := l.time(func() (uint64, error) {
		payload := make([]byte, 1000) // claims of some milliseconds
		for range each {
			if err := l.nc.Publish("_TG.test", payload); err != nil {
				return 0, err
			}
		}
		for last := uint64(0); got.Load() < gateways*each; last = got.Load() {
			if wait(ctx, time.Second/20); ctx.Err() != nil || (got.Load() == last && last > 0) {
				return last, ctx.Err()
			}
		}
		return got.Load(), nil
	})
	return map[string]float64{"core_copy_cpu": c.micros()}, err
}
