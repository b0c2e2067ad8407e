//go:build fault

package fault

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestStoreFull: the embedded NATS has 64 MB of disk, and devices publish until its streams may have no more of them. Publishers are
// told so, their connections stay, and when an operator purges the log everything goes on by itself.
func TestStoreFull(t *testing.T) {
	needs(t, 3*time.Minute)
	g := smallDisk(t, "GATEWAY_DURABLE_LOG_BYTES=0")
	f := newFleet(t, []*gate{g}, 20, 500, 100, func(d *device) { d.padding = 16 << 10 })
	f.pace()
	eventually(t, time.Minute, "a message is refused", f.refuses)
	time.Sleep(3 * time.Second)
	f.settle(30 * time.Second)
	_, js := backend(t, "nats://"+natsListenOf(g))
	f.check(js)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := waitStream(t, js, logStream).Purge(ctx); err != nil {
		t.Fatal(err)
	}
	f.pace()
	f.progressStored(500, 30*time.Second)
	f.settle(30 * time.Second)
	verdict(t, f.promises, &f.counts, f.devices)
	f.unharmed(2 * time.Second)
}

// TestDiskFull: something else fills the 64 MB to the last byte, and takes it away again. Publishers are told so, their connections
// stay, and when there is room everything goes on by itself.
func TestDiskFull(t *testing.T) {
	long(t)
	needs(t, 3*time.Minute)
	g := smallDisk(t, "GATEWAY_DURABLE_LOG_BYTES=33554432")
	f := newFleet(t, []*gate{g}, 20, 500, 100)
	f.pace()
	f.progress(500, 30*time.Second)
	ballast := fmt.Sprintf("/proc/%d/root%s/data/ballast", g.cmd.Process.Pid, g.dir)
	fill(t, ballast)
	if !within(30*time.Second, f.refuses) {
		t.Error("30 s without room on the disk, and no publisher is told")
	}
	time.Sleep(3 * time.Second)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	f.progressStored(500, 30*time.Second)
	f.settle(30 * time.Second)
	_, js := backend(t, "nats://"+natsListenOf(g))
	f.check(js)
	f.unharmed(2 * time.Second)
}

// smallDisk starts a gateway with the embedded NATS, whose data are on 64 MB. The mount is in a namespace of the process, and
// ends with it, however that ends.
func smallDisk(t *testing.T, env ...string) *gate {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounts a tmpfs, which only root may")
	}
	g := newGate(t, "gateway", "127.0.0.1", append([]string{fmt.Sprintf("GATEWAY_NATS_LISTEN=127.0.0.1:%d", freePort(t))}, env...)...)
	g.path, g.args = "sh", []string{"-c", `mkdir -p data && mount -t tmpfs -o size=64m tmpfs data && exec "$0"`, gatewayBinary}
	g.attr.Unshareflags = syscall.CLONE_NEWNS
	g.start()
	eventually(t, time.Minute, "the gateway serves", func() bool { return g.metrics() != "" })
	return g
}

// refuses tells whether a publisher was told that a message of its was not taken.
func (f *fleet) refuses() bool {
	f.promises.mu.Lock()
	defer f.promises.mu.Unlock()
	return f.promises.refused[1]+f.promises.refused[2] > 0
}

// fill writes a file until the disk is full, and stays at it: the last byte is ours.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, block := range []int{1 << 20, 4 << 10} {
		for p := make([]byte, block); err == nil; {
			_, err = file.Write(p)
		}
		err = nil
	}
}

func natsListenOf(g *gate) string {
	const name = "GATEWAY_NATS_LISTEN="
	for _, pair := range g.env {
		if len(pair) > len(name) && pair[:len(name)] == name {
			return pair[len(name):]
		}
	}
	return ""
}

// progressStored waits until n more messages are acknowledged with success.
func (f *fleet) progressStored(n int, atMost time.Duration) {
	f.t.Helper()
	stored := func() int {
		f.promises.mu.Lock()
		defer f.promises.mu.Unlock()
		return f.promises.acknowledged[1] + f.promises.acknowledged[2]
	}
	from := stored()
	eventually(f.t, atMost, fmt.Sprintf("%d messages stored since %d", n, from), func() bool { return stored() >= from+n })
}

// TestStreamFull: a route leads into a user's own stream, which takes 200 messages and then no more. Publishers are told 0x97;
// other topics do not notice; when there is room the stream is used again.
func TestStreamFull(t *testing.T) {
	needs(t, 2*time.Minute)
	const room = 200
	nodes := startNATS(t, "127.0.0.1", 1)
	_, js := backend(t, nodes[0].url)
	stream, err := js.CreateStream(context.Background(), jetstream.StreamConfig{
		Name: "ORDERS", Subjects: []string{"orders.>"}, MaxMsgs: room, Discard: jetstream.DiscardNew, AllowDirect: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	g := newGate(t, "gateway", "127.0.0.1", "GATEWAY_NATS_URL="+nodes[0].url, "GATEWAY_DURABLE_ROUTES=orders/#=stream ORDERS")
	g.start()
	eventually(t, time.Minute, "the gateway is ready", g.ready)
	f := newFleet(t, []*gate{g}, 2, 0, 0)
	orders, other := f.publishers[0], f.publishers[1]
	orders.topics = [3]string{"", "orders/q1", "orders/q2"}

	told := func() (stored, refused int) {
		f.promises.mu.Lock()
		defer f.promises.mu.Unlock()
		return f.promises.acknowledged[1] + f.promises.acknowledged[2], f.promises.refused[1] + f.promises.refused[2]
	}
	burst(t, f, orders, 1, room+50)
	burst(t, f, orders, 2, 50)
	if stored, refused := told(); stored != room || refused != 100 || f.promises.reasons[quotaIsOut] != 100 {
		t.Errorf("%d stored and %d refused of %d, room for %d; reasons %s", stored, refused, room+100, room, reasonsText(f.promises.reasons))
	}
	burst(t, f, other, 1, 100)
	burst(t, f, other, 2, 100)
	if stored, _ := told(); stored != room+200 {
		t.Errorf("the log suffers from another stream: %d stored", stored)
	}
	kept := readStream(t, js, "ORDERS")
	if err := stream.Purge(context.Background()); err != nil {
		t.Fatal(err)
	}
	burst(t, f, orders, 1, 100)
	burst(t, f, orders, 2, 100)
	if stored, refused := told(); stored != room+400 || refused != 100 {
		t.Errorf("after there was room again %d stored and %d refused", stored, refused)
	}
	if kept.got[1] != room || kept.again[1] > 0 || kept.disorder > 0 {
		t.Errorf("the stream had %v messages, %v twice, %d in disorder", kept.got, kept.again, kept.disorder)
	}
	f.unharmed(2 * time.Second)
}

// burst publishes as fast as the window allows, and waits for the answers.
func burst(t *testing.T, f *fleet, p *publisher, qos byte, messages int) {
	t.Helper()
	sent := 0
	eventually(t, 30*time.Second, fmt.Sprintf("%d messages are answered", messages), func() bool {
		for sent < messages && f.publish(p, qos) {
			sent++
		}
		p.push()
		return sent == messages && p.waiting() == 0
	})
}
