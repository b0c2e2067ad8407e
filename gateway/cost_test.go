package gateway

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/rs/zerolog"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestDeviceSize holds the memory of a connection: the device beside its epoll.Conn and its session.
func TestDeviceSize(t *testing.T) {
	if n := unsafe.Sizeof(device{}); n > 112 {
		t.Errorf("a device takes %d bytes, more than 112", n)
	}
	if n := unsafe.Sizeof(deviceMore{}); n > 112 {
		t.Errorf("what only some devices need takes %d bytes, more than 112", n)
	}
}

// TestGoroutines: their number does not depend on how many devices, subscriptions and sessions there are.
func TestGoroutines(t *testing.T) {
	r := start(t)
	add := func(from, to int) {
		for i := from; i < to; i++ {
			c := r.via(transports[i%2], mqtt.V311)
			c.write(c.connectPacket(fmt.Sprint("idle", i)))
			c.expect(mqtt.TypeConnack)
			c.subscribe(0, fmt.Sprintf("devices/idle%d/down", i))
		}
	}
	add(0, 10)
	few := runtime.NumGoroutine()
	add(10, 2000)
	if live := r.sum().sessionsLive; live != 2000 {
		t.Fatalf("%d live devices", live)
	}
	if many := runtime.NumGoroutine(); many > few+5 || many < few-5 {
		t.Errorf("%d goroutines with 2,000 devices, %d with 10", many, few)
	}
	// Compaction by shape: as many NATS subscriptions with 2,000 devices as with one.
	if n := r.gw.interests.count(); n != 1 {
		t.Errorf("%d interests", n)
	}
}

// allocRig is a gateway whose shards have no NATS behind them: what they offer it is taken and released at once, as if it
// were published. So what is counted is everything of ours on the way of a message, and nothing of nats.go.
func allocRig(t *testing.T) *rig {
	t.Helper()
	cfg := Default()
	cfg.Loops, cfg.Listeners, cfg.Admin = 2, []string{"mqtt://127.0.0.1:0"}, ""
	cfg.NATS.Listen, cfg.Data, cfg.Presence.Records = "", t.TempDir(), false
	cfg.Drain.Rate = 0
	cfg.Bans.Shared = false
	cfg.Durable.Default = "memory" // what is measured is the way within the gateway
	g, err := New(cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range g.shards {
		s.uplink.outlets[0].alone = func(*batch) bool { return false }
		s.uplink.outlets[0].offer = func(b *batch) bool {
			b.Done()
			return true
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &rig{t: t, gw: g, mqtt: g.Addrs().Listeners[0].Addr.String()}
}

// stream is a steady stream from one raw connection to another, in bursts that fit every window, written and read in buffers
// that are made once, so that the test itself allocates nothing either.
type stream struct {
	t        *testing.T
	pub, sub *client
	qos      byte
	burst    []byte // PUBLISH packets
	acks     []byte // what the publisher gets for a burst
	in       []byte // what the subscriber gets for a burst
	out      []byte // PUBACKs of the subscriber
}

// burstLen keeps what is in flight, two bursts at most, below the 256 entries that an emptied ring of a session keeps.
const burstLen = 25

func newStream(t *testing.T, pub, sub *client, qos byte) *stream {
	f := &stream{t: t, pub: pub, sub: sub, qos: qos}
	p := mqtt.PublishOut{Topic: []byte("flow/x"), Payload: []byte(strings.Repeat("p", 64)), QoS: qos, PacketID: 1}
	for range burstLen {
		f.burst = mqtt.AppendPublish(f.burst, mqtt.V311, &p)
		p.PacketID++
	}
	f.in = make([]byte, len(f.burst))
	if qos > 0 {
		f.acks, f.out = make([]byte, burstLen*4), make([]byte, 0, burstLen*4)
	}
	return f
}

// run sends n bursts through.
func (f *stream) run(n int) {
	for range n {
		if _, err := f.pub.conn.Write(f.burst); err != nil {
			f.t.Fatal(err)
		}
		if _, err := io.ReadFull(f.sub.conn, f.in); err != nil {
			f.t.Fatal(err)
		}
		if f.qos == 0 {
			continue
		}
		f.out = f.out[:0]
		size := len(f.in) / burstLen
		for i := range burstLen { // the id is behind the fixed header and the topic
			id := f.in[i*size+2+2+len("flow/x"):]
			f.out = append(f.out, byte(mqtt.TypePuback)<<4, 2, id[0], id[1])
		}
		if _, err := f.sub.conn.Write(f.out); err != nil {
			f.t.Fatal(err)
		}
		if _, err := io.ReadFull(f.pub.conn, f.acks); err != nil {
			f.t.Fatal(err)
		}
	}
}

// mallocs is what the whole process allocates during f.
func mallocs(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

// TestNoAllocationPerMessage counts the allocations of the whole process while 20,000 messages go from one device over two
// sockets, codec, session, routing and the uplink's batch to another. The embedded NATS server and the runtime do little
// things of their own by the clock; a hundredth of an allocation per message is left for them.
func TestNoAllocationPerMessage(t *testing.T) {
	if crashOnPanic {
		t.Skip("check builds allocate to check")
	}
	const bursts = 800
	for _, tc := range []struct {
		name     string
		pub, sub int
	}{{"within a shard", 0, 0}, {"across shards", 0, 1}} {
		for qos := range byte(2) {
			t.Run(fmt.Sprintf("%s/QoS %d", tc.name, qos), func(t *testing.T) {
				r := allocRig(t)
				pub := r.connect(mqtt.V311, r.ids("pub", tc.pub, 1)[0])
				sub := r.connect(mqtt.V311, r.ids("sub", tc.sub, 1)[0])
				sub.subscribe(qos, "flow/x")
				f := newStream(t, pub, sub, qos)
				f.run(100) // buffers, batches and rings come to their size
				n := mallocs(func() { f.run(bursts) })
				t.Logf("%d allocations for %d messages", n, bursts*burstLen)
				if n > bursts*burstLen/100 {
					t.Errorf("%d allocations for %d messages", n, bursts*burstLen)
				}
			})
		}
	}
}

// TestAllocationsWithNATS is the same with the embedded NATS behind it: what is more than without is of nats.go and
// nats-server, in this process. The bound keeps it from growing unseen.
func TestAllocationsWithNATS(t *testing.T) {
	if crashOnPanic {
		t.Skip("check builds allocate to check")
	}
	const bursts = 800
	for qos := range byte(2) {
		r := start(t, memoryOnly)
		r.nats() // or NATS would be given nothing
		pub, sub := r.connect(mqtt.V311, r.ids("pub", 0, 1)[0]), r.connect(mqtt.V311, r.ids("sub", 0, 1)[0])
		sub.subscribe(qos, "flow/x")
		f := newStream(t, pub, sub, qos)
		f.run(100)
		n := mallocs(func() { f.run(bursts) })
		per := float64(n) / (bursts * burstLen)
		t.Logf("QoS %d: %.2f allocations per message with NATS", qos, per)
		if per > 8 {
			t.Errorf("QoS %d: %.2f allocations per message with NATS", qos, per)
		}
	}
}
