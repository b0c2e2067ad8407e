package bus

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// benchRecords is how many sessions the benchmarks keep, benchRecordBytes how large each record is.
const (
	benchRecords     = 200_000
	benchRecordBytes = 200
	benchStorm       = 15_000
)

// openRecords opens a Bus with an embedded server that has the bucket of sessions, on file storage.
func openRecords(b *testing.B) (*Bus, jetstream.JetStream) {
	bus := openForBench(b, false, nil)
	nc, err := nats.Connect(bus.ClientURL())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err == nil {
		_, err = js.CreateStream(context.Background(), jetstream.StreamConfig{
			Name: sessionStream, Subjects: []string{sessionPrefix + ">"}, AllowDirect: true, AllowMsgTTL: true, MaxMsgsPerSubject: 1,
			AllowRollup: true, Discard: jetstream.DiscardNew,
		})
	}
	if err != nil {
		b.Fatal(err)
	}
	return bus, js
}

// saveMany writes n records, a thousand under way at a time.
func saveMany(b *testing.B, bus *Bus, from, n int) {
	room := make(chan struct{}, 1000)
	value := make([]byte, benchRecordBytes)
	for i := range n {
		room <- struct{}{}
		bus.SaveSession(recordID(from+i), value, 0, 7*24*3600, func(_ uint64, err error) {
			if err != nil {
				b.Error(err)
			}
			<-room
		})
	}
	for range cap(room) {
		room <- struct{}{}
	}
}

func recordID(i int) []byte { return fmt.Appendf(nil, "device-%07d", i) }

// BenchmarkSessionRecords measures what 200,000 sessions that are away cost NATS: heap and resident memory of the process with the embedded server,
// records of 200 bytes that expire, file storage. An iteration is all of them.
func BenchmarkSessionRecords(b *testing.B) {
	bus, js := openRecords(b)
	saveMany(b, bus, benchRecords, 1000) // so that what NATS needs once is there
	heap, rss := memory()
	for range b.N {
		began, used := time.Now(), cpu()
		saveMany(b, bus, 0, benchRecords)
		b.ReportMetric(float64((cpu()-used).Microseconds())/benchRecords, "µs-CPU/save")
		b.ReportMetric(benchRecords/time.Since(began).Seconds(), "saves/s")
		heapNow, rssNow := memory()
		b.ReportMetric((heapNow-heap)/benchRecords, "heap-B/session")
		b.ReportMetric((rssNow-rss)/benchRecords, "rss-B/session")
		b.StopTimer()
		stream, err := js.Stream(context.Background(), sessionStream)
		if err != nil {
			b.Fatal(err)
		}
		if s := stream.CachedInfo().State; s.Msgs != benchRecords+1000 || s.Consumers != 0 {
			b.Fatalf("%+v", s)
		}
		if err := stream.Purge(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// memory is the heap in use and the resident memory after a collection, in bytes.
func memory() (heap, rss float64) {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	text, _ := os.ReadFile("/proc/self/statm")
	pages, _ := strconv.Atoi(strings.Fields(string(text))[1])
	return float64(m.HeapInuse), float64(pages * os.Getpagesize())
}

// BenchmarkReconnectStorm measures 15,000 devices that come back at once: a load and a save of the record of each, among 200,000; by direct gets of many
// records, as it is, and by a question to the leader for each. An iteration is all of them.
func BenchmarkReconnectStorm(b *testing.B) {
	bus, _ := openRecords(b)
	saveMany(b, bus, 0, benchRecords)
	for _, leader := range []bool{false, true} {
		b.Run(map[bool]string{false: "direct", true: "leader"}[leader], func(b *testing.B) {
			took, used := time.Duration(0), time.Duration(0)
			for n := range b.N {
				if leader {
					doubtMany(bus, n)
				}
				began, before := time.Now(), cpu()
				storm(b, bus, n)
				took += time.Since(began)
				used += cpu() - before
			}
			b.ReportMetric(float64(used.Microseconds())/float64(b.N*benchStorm), "µs-CPU/pair")
			b.ReportMetric(took.Seconds()/float64(b.N), "s/storm")
		})
	}
}

func stormID(i, n int) []byte { return recordID((i*13 + n) % benchRecords) }

// doubtMany has the leader answer the loads of storm n.
func doubtMany(bus *Bus, n int) {
	done := make(chan struct{})
	bus.archive.order(func() {
		for i := range benchStorm {
			bus.archive.records.doubt(sessionPrefix + string(stormID(i, n)))
		}
		close(done)
	})
	<-done
}

func storm(b *testing.B, bus *Bus, n int) {
	value := make([]byte, benchRecordBytes)
	var wait sync.WaitGroup
	for i := range benchStorm {
		wait.Add(1)
		id := stormID(i, n)
		bus.LoadSession(id, func(r SessionRecord, err error) {
			if err != nil || r.Revision == 0 {
				b.Error(r, err)
			}
			bus.SaveSession(id, value, r.Revision, 7*24*3600, func(_ uint64, err error) {
				if err != nil {
					b.Error(err)
				}
				wait.Done()
			})
		})
	}
	wait.Wait()
}
