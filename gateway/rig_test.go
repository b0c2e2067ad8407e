package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// rig is a whole gateway with its embedded NATS on ports of its own.
type rig struct {
	t    *testing.T
	gw   *Gateway
	mqtt string // ADDR:PORT
	ws   string // ADDR:PORT
	any  string // ADDR:PORT
	stop func() error
}

// start runs a gateway until the test ends; mods change its configuration first.
func start(t *testing.T, mods ...func(c *Config)) *rig {
	t.Helper()
	return startLogging(t, zerolog.NewTestWriter(t), mods...)
}

// startLogging is start with a log of its own.
func startLogging(t *testing.T, log io.Writer, mods ...func(c *Config)) *rig {
	t.Helper()
	cfg := Default()
	cfg.Loops = 2
	cfg.Listeners = []string{"mqtt://127.0.0.1:0", "ws://127.0.0.1:0", "any://127.0.0.1:0"}
	cfg.Admin = "127.0.0.1:0"
	cfg.NATS.Listen = "127.0.0.1:0"
	cfg.Bans.DuplicateWait = 0 // tests take over from themselves
	cfg.Data = t.TempDir()
	cfg.Drain.Rate = 0
	cfg.Diagnostics = true
	cfg.Overload.LagMax = 0                               // the machine may be so busy with other tests that loops are late
	cfg.Bans.Shared = false                               // one stream less for each of hundreds of gateways; see shareBans
	if d := os.Getenv("TIDEGATE_TEST_DURABLE"); d != "" { // the whole suite with another default
		cfg.Durable.Default = d
	}
	for _, mod := range mods {
		mod(&cfg)
	}
	g, err := New(cfg, zerolog.New(log).Level(zerolog.WarnLevel))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	r := &rig{t: t, gw: g}
	for i, at := range []*string{&r.mqtt, &r.ws, &r.any} {
		if i < len(g.Addrs().Listeners) {
			*at = g.Addrs().Listeners[i].Addr.String()
		}
	}
	var stopped bool
	r.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			t.Fatal("the gateway does not stop")
			return nil
		}
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	r.eventually("the loops run", func() bool { _, ok := g.snapshots(); return ok })
	return r
}

// unrecorded has nothing kept in NATS, for tests that look at everything that reaches it.
func unrecorded(c *Config) { c.Presence.Records, c.Durable.Default = false, "memory" }

// memoryOnly is for tests of queues and their limits, of costs, and of clients that do not wait for answers: what is acknowledged waits in memory.
func memoryOnly(c *Config) { c.Durable.Default = "memory" }

// durable tells that this run keeps QoS 1 and 2, and sessions, in NATS.
func (r *rig) durable() bool { return r.gw.cfg.Durable.Default != "memory" }

// waits waits until n messages wait in queues for devices that are away. In the log they do since they were acknowledged.
func (r *rig) waits(n int) {
	r.t.Helper()
	if !r.durable() {
		r.eventually(fmt.Sprint(n, " messages wait"), func() bool { return r.sum().queued == n })
	}
}

// waitsInMemory is waits when there are also messages that no stream has.
func (r *rig) waitsInMemory(unstored, others int) {
	r.t.Helper()
	if !r.durable() {
		unstored += others
	}
	r.eventually(fmt.Sprint(unstored, " messages wait"), func() bool { return r.sum().queued == unstored })
}

// stored is a header TG of what a device said, as this rig's backends have it: marked if QoS 1 and 2 go into the log.
func (r *rig) stored(tg string) string {
	at := strings.IndexByte(tg, ' ')
	if tg[0] == '0' || !r.durable() {
		return tg
	}
	return tg[:at] + "d" + tg[at:]
}

// nats is a backend: an ordinary NATS client.
func (r *rig) nats() *nats.Conn {
	r.t.Helper()
	nc, err := nats.Connect(r.gw.Addrs().NATS)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	return nc
}

// dial opens a raw TCP connection.
func (r *rig) dial(addr string) net.Conn {
	r.t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// sum is the counters of all shards together.
func (r *rig) sum() snapshot {
	r.t.Helper()
	all, ok := r.gw.snapshots()
	if !ok {
		r.t.Fatal("a loop does not answer")
	}
	var sum snapshot
	for i := range all {
		sum.add(&all[i])
	}
	sum.retainedFull += r.gw.retained.unkept()
	return sum
}

// eventually waits until f holds; it asks the real state, so that it need not guess how long things take.
func (r *rig) eventually(what string, f func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for !f() {
		if time.Now().After(deadline) {
			r.t.Fatalf("never happened: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// homeOf is the index of the shard that owns a client id.
func (r *rig) homeOf(clientID string) int { return r.gw.home([]byte(clientID)).index }

// retainedTopics is how many topics have a retained message.
func (r *rig) retainedTopics() int {
	n, _ := r.gw.retained.size()
	return n
}
