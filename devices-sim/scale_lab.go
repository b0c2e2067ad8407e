package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// lab is nats-servers with JetStream on file, and a client: where the unit costs of NATS are measured. Owned by one goroutine.
type lab struct {
	rack  *rack
	nodes int
	nc    *nats.Conn
	js    jetstream.JetStream
}

// newLab starts a server, or a cluster of three.
func newLab(ctx context.Context, y *yard, nodes int) (l *lab, err error) {
	l = &lab{nodes: nodes}
	if l.rack, err = newRack(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = l.rack.stop()
		}
	}()
	urls, err := l.startNodes(ctx, y)
	if err != nil {
		return nil, err
	}
	if l.nc, err = nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1)); err != nil {
		return nil, err
	}
	l.js, err = jetstream.New(l.nc, jetstream.WithPublishAsyncMaxPending(4096), jetstream.WithPublishAsyncTimeout(time.Minute))
	return l, err
}

func (l *lab) startNodes(ctx context.Context, y *yard) (urls []string, err error) {
	ports := make([]int, 2*l.nodes)
	var routes []string
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return nil, err
		}
		if i >= l.nodes {
			routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
		}
	}
	for i := range l.nodes {
		cmd := y.server(&natsHelper, address{port: ports[i]})
		cmd.Env = append(cmd.Env, "BENCH_JETSTREAM="+filepath.Join(l.rack.dir, fmt.Sprint("store-", i)))
		if l.nodes > 1 {
			cmd.Env = append(cmd.Env, fmt.Sprint("BENCH_CLUSTER_PORT=", ports[l.nodes+i]), "BENCH_ROUTES="+strings.Join(routes, ","))
		}
		if err := l.rack.start(ctx, fmt.Sprint("nats-", i), cmd); err != nil {
			return nil, err
		}
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
	}
	return urls, nil
}

func (l *lab) stop() error {
	l.nc.Close()
	return l.rack.stop()
}

// usage is that of all servers.
func (l *lab) usage() (sum usage, err error) {
	for _, s := range l.rack.servers {
		u, err := processUsage(s.cmd.Process.Pid)
		if err != nil {
			return usage{}, err
		}
		sum.CPU, sum.RSS = sum.CPU+u.CPU, sum.RSS+u.RSS
	}
	return sum, nil
}

// labSettle is how long the servers are left alone before their memory is read: caches of a stream's blocks go after 10 s.
const labSettle = 14 * time.Second

// memory is the resident memory of all servers when they have settled: the least of some looks.
func (l *lab) memory(ctx context.Context) (least int64, err error) {
	wait(ctx, labSettle)
	for range 8 {
		u, err := l.usage()
		if err != nil {
			return 0, err
		}
		if least == 0 || u.RSS < least {
			least = u.RSS
		}
		wait(ctx, time.Second/2)
	}
	return least, ctx.Err()
}

// disk is the bytes of all files of the servers.
func (l *lab) disk() (sum int64, err error) {
	err = filepath.Walk(l.rack.dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}

// stream makes a stream with as many replicas as there are servers. A cluster may need some seconds until it can.
func (l *lab) stream(ctx context.Context, cfg jetstream.StreamConfig) error {
	cfg.Replicas, cfg.AllowDirect = l.nodes, true
	for deadline := time.Now().Add(serverReadyMax); ; wait(ctx, time.Second/2) {
		one, stop := context.WithTimeout(ctx, 10*time.Second)
		_, err := l.js.CreateStream(one, cfg)
		stop()
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
	}
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// spent is what something cost the servers.
type spent struct {
	n   uint64
	cpu time.Duration
	dur time.Duration
}

func (s spent) rate() float64   { return float64(s.n) / s.dur.Seconds() }
func (s spent) micros() float64 { return s.cpu.Seconds() * 1e6 / float64(s.n) }

// time runs f, which returns how many times it has done what it does.
func (l *lab) time(f func() (uint64, error)) (s spent, err error) {
	before, err := l.usage()
	if err != nil {
		return s, err
	}
	begun := time.Now()
	if s.n, err = f(); err != nil {
		return s, err
	}
	s.dur = time.Since(begun)
	after, err := l.usage()
	s.cpu = after.CPU - before.CPU
	if err == nil && s.n == 0 {
		err = errors.New("nothing was done")
	}
	return s, err
}

// publishAsync publishes n messages with JetStream's acknowledgements, thousands under way, and waits for all of them.
func (l *lab) publishAsync(ctx context.Context, n int, msg func(i int) *nats.Msg) error {
	var refused atomic.Pointer[error]
	for i := range n {
		f, err := l.js.PublishMsgAsync(msg(i), jetstream.WithStallWait(serverReadyMax))
		if err != nil {
			return err
		}
		if i%1000 == 999 || i == n-1 {
			select {
			case <-f.Ok():
			case err := <-f.Err():
				refused.CompareAndSwap(nil, &err)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	select {
	case <-l.js.PublishAsyncComplete():
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := refused.Load(); err != nil {
		return *err
	}
	return nil
}

// batcher publishes in fast batches (ADR-50), as the gateway does: one batch under way, one acknowledgement for it.
type batcher struct {
	nc    *nats.Conn
	inbox string
	name  string // no other batcher has it
	acks  *nats.Subscription
	id    uint64
}

func newBatcher(nc *nats.Conn) (b *batcher, err error) {
	b = &batcher{nc: nc, inbox: nats.NewInbox()}
	b.name = b.inbox[strings.LastIndexByte(b.inbox, '.')+1:]
	b.acks, err = nc.SubscribeSync(b.inbox + ".>")
	return b, err
}

// Steps of a fast batch, as its reply subjects number them.
const (
	batchStart  = 0
	batchAppend = 1
	batchCommit = 2
)

// publish stores n messages and returns when they are.
func (b *batcher) publish(n int, msg func(i int) *nats.Msg) error {
	b.id++
	for i := range n {
		step := batchAppend
		switch i {
		case n - 1:
			step = batchCommit
		case 0:
			step = batchStart
		}
		m := msg(i)
		m.Reply = fmt.Sprintf("%s.%s-%d.%d.fail.%d.%d.$FI", b.inbox, b.name, b.id, n, i+1, step)
		if err := b.nc.PublishMsg(m); err != nil {
			return err
		}
	}
	for {
		m, err := b.acks.NextMsg(serverReadyMax)
		if err != nil {
			return err
		}
		var ack struct {
			Stream string
			Error  *struct{ Description string }
		}
		if err := json.Unmarshal(m.Data, &ack); err != nil {
			return fmt.Errorf("an answer to a batch: %w", err)
		}
		if ack.Error != nil {
			return errors.New(ack.Error.Description)
		}
		if ack.Stream != "" {
			return nil
		}
	}
}

// inBatches lets several batchers publish for a while, each on a connection of its own, and returns how many messages they stored.
func (l *lab) inBatches(d time.Duration, batchers, size int, msg func(i int) *nats.Msg) (uint64, error) {
	var stored atomic.Uint64
	var all sync.WaitGroup
	errs := make([]error, batchers)
	end := time.Now().Add(d)
	for k := range batchers {
		nc, err := nats.Connect(strings.Join(l.nc.Servers(), ","))
		if err != nil {
			return 0, err
		}
		defer nc.Close()
		b, err := newBatcher(nc)
		if err != nil {
			return 0, err
		}
		all.Go(func() {
			for at := k << 20; time.Now().Before(end) && errs[k] == nil; at += size {
				if errs[k] = b.publish(size, func(i int) *nats.Msg { return msg(at + i) }); errs[k] == nil {
					stored.Add(uint64(size))
				}
			}
		})
	}
	all.Wait()
	return stored.Load(), errors.Join(errs...)
}
