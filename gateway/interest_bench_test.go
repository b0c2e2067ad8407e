package gateway

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/session"
)

// benchFilters is how many filters devices/{id}/cmd the benchmarks of interests have; docs/scaling.md has their results.
//
//	go test ./gateway -run '^$' -bench Interest -benchtime 1x
const benchFilters = 200_000

func heapMB() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / 1e6
}

// startOutside is a gateway on a NATS server of its own, as few or as many filters of which are asked for as they are.
func startOutside(b *testing.B, interestsMax int) *Gateway {
	b.Helper()
	s := bustest.Start(b)
	cfg := Default()
	cfg.Loops, cfg.Listeners, cfg.Admin = 2, []string{"mqtt://127.0.0.1:0"}, ""
	cfg.NATS.URL, cfg.NATS.InterestsMax, cfg.Drain.Rate = s.URL(), interestsMax, 0
	g, err := New(cfg, zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	for deadline := time.Now().Add(patience); !g.bus.Status().Connected(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("NATS is not there")
		}
	}
	return g
}

// BenchmarkInterestNATS is what a NATS server needs for the subscriptions: a raw connection asks for them, so that nothing else is measured.
func BenchmarkInterestNATS(b *testing.B) {
	for range b.N {
		s := bustest.Start(b)
		at, err := url.Parse(s.URL())
		if err != nil {
			b.Fatal(err)
		}
		conn, err := net.Dial("tcp", at.Host)
		if err != nil {
			b.Fatal(err)
		}
		out, in := bufio.NewWriterSize(conn, 1<<20), bufio.NewReader(conn)
		fmt.Fprint(out, "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n")
		pong := func() {
			fmt.Fprint(out, "PING\r\n")
			if err := out.Flush(); err != nil {
				b.Fatal(err)
			}
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					b.Fatal(err)
				}
				if strings.HasPrefix(line, "PONG") {
					return
				}
			}
		}
		pong()
		before, began := heapMB(), time.Now()
		for i := range benchFilters {
			fmt.Fprintf(out, "SUB devices.device-%06d.cmd %d\r\n", i, i+1)
		}
		pong()
		took := time.Since(began)
		b.ReportMetric((heapMB()-before)*1e6/benchFilters, "B/filter")
		b.ReportMetric(took.Seconds(), "s")
		conn.Close()
		s.Stop()
	}
}

// BenchmarkInterestSubscribe is the same for a whole gateway: its registry, the client of NATS, and the server.
func BenchmarkInterestSubscribe(b *testing.B) {
	for _, most := range []int{1_000_000, 1000, 0} {
		b.Run(fmt.Sprint("interests_max=", most), func(b *testing.B) {
			for range b.N {
				g := startOutside(b, most)
				before, began := heapMB(), time.Now()
				for i := range benchFilters {
					id := fmt.Sprintf("device-%06d", i)
					g.interests.place(0, "devices/"+id+"/cmd", id)
				}
				for !allActive(g.interests) {
					time.Sleep(time.Millisecond)
				}
				took := time.Since(began)
				b.ReportMetric((heapMB()-before)*1e6/benchFilters, "B/filter")
				b.ReportMetric(took.Seconds(), "s")
				b.ReportMetric(float64(g.interests.count()), "subscriptions")
			}
		})
	}
}

func allActive(x *interests) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.byID {
		if !e.active {
			return false
		}
	}
	return true
}

// BenchmarkInterestMessage is what a message that comes for a shape costs the gateway from the bus on, when a device here wants it (it is away, with QoS 0,
// so that nothing is sent), and when none does, as with a fleet on several gateways; by how many devices there are.
func BenchmarkInterestMessage(b *testing.B) {
	for _, devices := range []int{10_000, benchFilters} {
		g := startOutside(b, 0)
		fill(b, g, devices)
		shape, _, _ := g.interests.place(0, "devices/device-000000/cmd", "device-000000")
		for _, wanted := range []bool{true, false} {
			b.Run(fmt.Sprintf("devices=%d/wanted=%v", devices, wanted), func(b *testing.B) {
				run := make([]bus.Inbound, 256)
				from := 0
				if !wanted {
					from = devices
				}
				for i := range run {
					run[i] = bus.Inbound{Interest: shape, Topic: fmt.Appendf(nil, "devices/device-%06d/cmd", from+i), Payload: []byte("0123456789abcdef")}
				}
				b.ResetTimer()
				for i := 0; i < b.N; i += len(run) {
					g.receive(run)
				}
				for _, s := range g.shards {
					done := make(chan struct{})
					s.doSoon(func(*shard) { close(done) })
					<-done
				}
			})
		}
	}
}

// fill gives the gateway sessions that are away, each with a filter of its own.
func fill(b *testing.B, g *Gateway, devices int) {
	b.Helper()
	lists := make([][]string, len(g.shards))
	for i := range devices {
		id := fmt.Sprintf("device-%06d", i)
		home := g.home([]byte(id)).index
		lists[home] = append(lists[home], id)
	}
	for i, s := range g.shards {
		done := make(chan struct{})
		s.doSoon(func(s *shard) {
			var out session.Out
			for n, id := range lists[i] {
				sess, _ := s.table.Open(1, &session.Connect{ClientID: []byte(id), Version: 5, ExpirySec: 3600}, uint64(n+1), &out)
				sess.Step(1, &session.Event{Kind: session.Subscribe, PacketID: 1, Filters: []session.Filter{{Topic: []byte("devices/" + id + "/cmd")}}}, &out)
				sess.Step(1, &session.Event{Kind: session.Lost}, &out)
				s.applyInterests(out.Interests)
				out.Reset()
			}
			close(done)
		})
		<-done
	}
}
