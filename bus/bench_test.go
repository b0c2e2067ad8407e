package bus

import (
	"context"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// tick is a batch of 64-byte payloads, as a shard makes one; it counts itself back in.
type tick struct {
	messages [64]Message
	free     chan *tick
}

func (b *tick) Len() int                  { return len(b.messages) }
func (b *tick) Bytes() int                { return len(b.messages) * 128 }
func (b *tick) Message(i int, m *Message) { *m = b.messages[i] }
func (b *tick) Done()                     { b.free <- b }

func newTicks(n int) chan *tick {
	free := make(chan *tick, n)
	for range n {
		b := &tick{free: free}
		for i := range b.messages {
			id := "pump-" + strconv.Itoa(i)
			b.messages[i] = Message{
				Topic: []byte("devices/" + id + "/telemetry"), ClientID: []byte(id), Payload: make([]byte, 64), QoS: 1,
			}
		}
		free <- b
	}
	return free
}

func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func openForBench(b *testing.B, overTCP bool, receive func([]Inbound)) *Bus {
	bus, err := Open(context.Background(), Options{
		Embedded: true, DataDir: b.TempDir(), ListenAddr: "127.0.0.1:0", overTCP: overTCP, Receive: receive,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = bus.Close(context.Background()) })
	return bus
}

// BenchmarkPublisher measures the way of a message from Offer to its confirmation, client and embedded server together: 64-byte payloads, header TG,
// nobody subscribed; as fast as it goes, and at the pace of one batch of 64 every 2 ms.
func BenchmarkPublisher(b *testing.B) {
	for _, c := range []struct {
		name    string
		overTCP bool
		pause   time.Duration
	}{
		{"pipe", false, 0}, {"loopback", true, 0}, {"pipe paced", false, 2 * time.Millisecond}, {"loopback paced", true, 2 * time.Millisecond},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := openForBench(b, c.overTCP, nil).NewPublisher(nil)
			free := newTicks(512) // enough for the time a group gathers
			b.ReportAllocs()
			b.ResetTimer()
			used, sent := cpu(), 0
			for ; sent < b.N; sent += 64 {
				if !p.Offer(<-free) {
					b.Fatal("refused")
				}
				time.Sleep(c.pause)
			}
			for range cap(free) {
				<-free
			}
			b.ReportMetric(float64((cpu()-used).Nanoseconds())/float64(sent), "cpu-ns/op")
			b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// BenchmarkEncode is the part of it that builds the message and its headers, without the server.
func BenchmarkEncode(b *testing.B) {
	e := newEncoder(&Bus{})
	m := newTicks(1)
	message := &(<-m).messages[7]
	b.ReportAllocs()
	for b.Loop() {
		e.encode(message, 0)
	}
}

// BenchmarkReceive measures publish by another connection, server, and Receive together.
func BenchmarkReceive(b *testing.B) {
	var got atomic.Int64
	bus := openForBench(b, true, func(ms []Inbound) { got.Add(int64(len(ms))) })
	if err := bus.Subscribe(1, []string{"down.>"}, ""); err != nil {
		b.Fatal(err)
	}
	if err := bus.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	nc, err := nats.Connect(bus.ClientURL())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	payload := make([]byte, 64)
	b.ReportAllocs()
	b.ResetTimer()
	used := cpu()
	for i := range b.N {
		for int64(i)-got.Load() > 4096 {
			time.Sleep(50 * time.Microsecond)
		}
		if err := nc.Publish("down.pump-7.cmd", payload); err != nil {
			b.Fatal(err)
		}
	}
	for got.Load() < int64(b.N) {
		time.Sleep(50 * time.Microsecond)
	}
	b.ReportMetric(float64((cpu()-used).Nanoseconds())/float64(b.N), "cpu-ns/op")
}
