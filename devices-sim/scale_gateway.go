package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// measureClaims listens to what two gateways tell each other while devices connect, and disconnect.
func measureClaims(ctx context.Context, s *scaling, l *lab) (f map[string]float64, err error) {
	const devices = 5000
	if err := s.buildGateway(ctx); err != nil {
		return nil, err
	}
	servers, err := newRack()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, servers.stop()) }()
	url := l.nc.Servers()[0]
	var targets []target
	for i := range 2 {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("gateway-%d", i+1)
		if err := servers.start(ctx, name, s.yard.clusterGateway(name, port, url)); err != nil {
			return nil, err
		}
		more, err := address{port: port}.targets()
		if err != nil {
			return nil, err
		}
		targets = append(targets, more...)
	}
	var told atomic.Uint64
	if _, err := l.nc.Subscribe("_TG.gateways", func(m *nats.Msg) { told.Add(uint64(len(m.Data))) }); err != nil {
		return nil, err
	}
	if err := l.nc.FlushTimeout(storeTimeout); err != nil {
		return nil, err
	}
	wait(ctx, 6*time.Second) // they have met, and said their first words
	before := told.Load()
	o := options{
		Targets: targets, Scenario: "steady", Devices: devices, Publishers: devices, PayloadBytes: stampBytes, Duration: time.Second,
		ConnectRate: benchConnectRate, KeepAliveSec: benchKeepAlive, Version: mqtt.V311, Telemetry: "devices/{id}/telemetry", Window: 1, Prefix: "sim-", Seed: 1,
	}
	r := &runner{o: o, spawn: s.spawn, now: s.now, view: newView(io.Discard), settleNanos: settleMax, command: s.command}
	if _, err := r.run(ctx); err != nil {
		return nil, err
	}
	return map[string]float64{"claim_bytes": float64(told.Load()-before) / devices}, nil
}

func (s *scaling) buildGateway(ctx context.Context) error {
	_, err := s.yard.make(ctx, &contenders[0])
	return err
}

func measureGateway(ctx context.Context, s *scaling, _ *lab) (map[string]float64, error) {
	return s.bench(ctx,
		costOf{"idle", 0, "rss_per_connection", "device_memory"}, costOf{"idle", 0, "cpu_us_per_connect", "connect_cpu"},
		costOf{"uplink-50k", 0, "cpu_us_per_message", "uplink_cpu"}, costOf{"uplink-50k", 1000, "cpu_us_per_message", "uplink_cpu_1k"})
}

func measureDurable(ctx context.Context, s *scaling, _ *lab) (map[string]float64, error) {
	return s.bench(ctx,
		costOf{"durable-uplink-20k", 0, "cpu_us_per_message", "durable_cpu"}, costOf{"durable-uplink-20k", 1000, "cpu_us_per_message", "durable_cpu_1k"})
}

// measureReturn takes what the return of a device costs from one of 15,000, with the messages that it was owed.
func measureReturn(ctx context.Context, s *scaling, _ *lab) (map[string]float64, error) {
	if err := s.buildGateway(ctx); err != nil {
		return nil, err
	}
	k := &comeback{
		gateways: 3, devices: 15_000, messages: 1, rate: 10_000, away: 2 * time.Second, yard: s.yard, spawn: s.spawn, now: s.now, command: s.command, progress: s.progress,
	}
	scene, _, err := k.measure(ctx)
	if err != nil {
		return nil, err
	}
	if !scene.complete {
		return nil, errors.New("not all devices came back to what they were owed")
	}
	each := func(v float64) float64 { return v / float64(k.devices) }
	return map[string]float64{
		"return_gateway_cpu": each(scene.spent[0].CPU.Seconds() * 1e6), "return_nats_cpu": each(scene.spent[1].CPU.Seconds() * 1e6),
		"return_writes": each(float64(scene.after.sessions - scene.before.sessions)),
	}, nil
}

// measureOffline takes what a session costs whose device is away.
func measureOffline(ctx context.Context, s *scaling, _ *lab) (map[string]float64, error) {
	if err := s.buildGateway(ctx); err != nil {
		return nil, err
	}
	a := &absence{sessions: labRecords, wave: 15_000, yard: s.yard, spawn: s.spawn, now: s.now, command: s.command, progress: s.progress}
	few, many, err := a.measure(ctx)
	return map[string]float64{"offline_nats_memory": a.each(few.nats, many.nats), "offline_gateway_memory": a.each(few.gateway, many.gateway)}, err
}

// costOf is a unit cost that is a figure of a scenario of the bench.
type costOf struct {
	scenario     string
	rate         float64 // instead of the scenario's; 0: that
	figure, cost string
}

// bench takes unit costs of the gateway from figures of scenarios: the median of three runs.
func (s *scaling) bench(ctx context.Context, wanted ...costOf) (map[string]float64, error) {
	if err := s.buildGateway(ctx); err != nil {
		return nil, err
	}
	b := &bench{duration: benchDuration, yard: s.yard, spawn: s.spawn, now: s.now, command: s.command, progress: s.progress, repeat: 3}
	f := map[string]float64{}
	var row benchRow
	for i, w := range wanted {
		if i == 0 || w.scenario != wanted[i-1].scenario || w.rate != wanted[i-1].rate {
			row = benchRow{}
			picked, err := pick("scenario", benchScenarios, func(sc *benchScenario) string { return sc.name }, []string{w.scenario})
			if err != nil {
				return nil, err
			}
			sc := *picked[0]
			sc.rate = cmp.Or(w.rate, sc.rate)
			for turn := range b.repeat {
				t := b.trial(ctx, &sc, &contenders[0], turn)
				if t.Error != "" {
					return nil, errors.New(t.Error)
				}
				row.Runs = append(row.Runs, t)
			}
			row.summarize()
		}
		f[w.cost] = row.Summary[w.figure].Median
	}
	return f, nil
}
