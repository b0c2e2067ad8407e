package bus

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// storeTick is a StoreBatch of 64-byte payloads, as a shard makes one; it counts itself back in.
type storeTick struct {
	messages []StoreMessage
	free     chan *storeTick
	bad      int
}

func (b *storeTick) Len() int                     { return len(b.messages) }
func (b *storeTick) Bytes() int                   { return len(b.messages) * 128 }
func (b *storeTick) Store(i int, m *StoreMessage) { *m = b.messages[i] }
func (b *storeTick) Done()                        { b.free <- b }

func (b *storeTick) Stored(_ int, c StoreCode) {
	if c != StoreOK {
		b.bad++
	}
}

// newStoreTicks returns ticks with some messages in all, for a stream.
func newStoreTicks(messages, each int, stream uint16) chan *storeTick {
	n := max(messages/each, 1)
	free := make(chan *storeTick, n)
	for k := range n {
		b := &storeTick{free: free, messages: make([]StoreMessage, each)}
		for i := range b.messages {
			id := "pump-" + strconv.Itoa(k*each+i)
			m := Message{Topic: []byte("devices/" + id + "/telemetry"), ClientID: []byte(id), Payload: make([]byte, 64), QoS: 1}
			b.messages[i] = StoreMessage{Message: m, Stream: stream}
		}
		free <- b
	}
	return free
}

func openDurable(b *testing.B, d Durable, streams ...jetstream.StreamConfig) *Bus {
	var once sync.Once
	ready := make(chan struct{})
	for _, s := range streams {
		d.Streams = append(d.Streams, s.Name)
	}
	bus, err := Open(context.Background(), Options{
		Embedded: true, DataDir: b.TempDir(), ListenAddr: "127.0.0.1:0", Durable: &d, OnReady: func() { once.Do(func() { close(ready) }) },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = bus.Close(context.Background()) })
	nc, err := nats.Connect(bus.ClientURL())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range streams {
		if _, err := js.CreateStream(b.Context(), s); err != nil {
			b.Fatal(err)
		}
	}
	<-ready
	return bus
}

// runStorer stores b.N messages, with all ticks under way or a pause after each, and reports CPU and rate.
func runStorer(b *testing.B, bus *Bus, free chan *storeTick, pause time.Duration) {
	s := bus.NewStorer(nil)
	b.ReportAllocs()
	b.ResetTimer()
	used, sent := cpu(), 0
	for sent < b.N {
		tick := <-free
		if !s.Offer(tick) {
			b.Fatal("refused")
		}
		sent += tick.Len()
		time.Sleep(pause)
	}
	for range cap(free) {
		if tick := <-free; tick.bad > 0 {
			b.Fatal("not stored")
		}
	}
	c := bus.Counters()
	b.ReportMetric(float64((cpu()-used).Nanoseconds())/float64(sent), "cpu-ns/op")
	b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(c.Stored)/float64(max(c.StoreGroups, 1)), "group")
}

// BenchmarkStorer measures the way of a message from Offer to Stored, client and embedded server together: 64-byte payloads on file storage, 2,048 messages
// under way (what 128 publishers with a window of 16 have), in ticks of 1, 16 and 256 messages. "paced" is one tick a millisecond. "singles" is the same into a stream that acknowledges each
// message; "nats.go" is PublishMsgAsync of nats.go to the same.
func BenchmarkStorer(b *testing.B) {
	const underWay = 2048
	for _, each := range []int{1, 16, 256} {
		b.Run("batches/"+strconv.Itoa(each), func(b *testing.B) {
			runStorer(b, openDurable(b, Durable{}), newStoreTicks(underWay, each, 0), 0)
		})
	}
	for _, each := range []int{1, 16, 64} {
		b.Run("batches paced/"+strconv.Itoa(each), func(b *testing.B) {
			runStorer(b, openDurable(b, Durable{}), newStoreTicks(underWay, each, 0), time.Millisecond)
		})
	}
	singles := jetstream.StreamConfig{Name: "UP", Subjects: []string{"devices.>"}}
	b.Run("singles/16", func(b *testing.B) {
		runStorer(b, openDurable(b, Durable{}, singles), newStoreTicks(underWay, 16, 1), 0)
	})
	b.Run("nats.go", func(b *testing.B) {
		bus := openDurable(b, Durable{}, singles)
		nc, err := nats.Connect("", nats.InProcessServer(bus.server.server))
		if err != nil {
			b.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(underWay))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.ResetTimer()
		used := cpu()
		for i := range b.N {
			m := nats.NewMsg("devices.pump-" + strconv.Itoa(i%2048) + ".telemetry")
			m.Header["TG"], m.Data = []string{"1 c=pump-" + strconv.Itoa(i%2048)}, make([]byte, 64)
			if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
				b.Fatal(err)
			}
		}
		<-js.PublishAsyncComplete()
		b.ReportMetric(float64((cpu()-used).Nanoseconds())/float64(b.N), "cpu-ns/op")
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
}

// BenchmarkStoreSync measures what each setting of Durable.Sync costs: flat out, and the time to the acknowledgement of one message at a time.
func BenchmarkStoreSync(b *testing.B) {
	for _, sync := range []string{"page-cache", "interval", "always"} {
		b.Run(sync+"/flood", func(b *testing.B) { runStorer(b, openDurable(b, Durable{Sync: sync}), newStoreTicks(2048, 16, 0), 0) })
		b.Run(sync+"/one", func(b *testing.B) { runStorer(b, openDurable(b, Durable{Sync: sync}), newStoreTicks(1, 1, 0), 0) })
	}
}

// BenchmarkDuplicateMemory measures what the server remembers of each message id, in bytes of its heap: QoS 2 has one with the embedded server.
func BenchmarkDuplicateMemory(b *testing.B) {
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	grown := func(qos uint8) int64 {
		const messages = 200_000
		bus := openDurable(b, Durable{})
		s, free := bus.NewStorer(nil), newStoreTicks(2048, 256, 0)
		for range cap(free) {
			tick := <-free
			for i := range tick.messages {
				tick.messages[i].QoS = qos
			}
			free <- tick
		}
		before := heap()
		for n := 0; n < messages; n += 256 {
			s.Offer(<-free)
		}
		for range cap(free) {
			free <- <-free
		}
		for bus.Counters().Stored < messages {
			time.Sleep(time.Millisecond)
		}
		return (heap() - before) / messages
	}
	for b.Loop() {
		without, with := grown(1), grown(2)
		b.ReportMetric(float64(with-without), "B/id")
	}
}
