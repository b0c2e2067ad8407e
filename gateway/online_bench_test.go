package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// BenchmarkPresence is a connect and its disconnect with presence and without: the CPU of gateway, embedded NATS and device together. The
// difference is what presence costs.
func BenchmarkPresence(b *testing.B) {
	for _, on := range []bool{false, true} {
		b.Run(map[bool]string{false: "off", true: "on"}[on], func(b *testing.B) {
			cfg := Default()
			cfg.Listeners, cfg.Admin, cfg.NATS.Listen = []string{"mqtt://127.0.0.1:0"}, "", ""
			cfg.Data, cfg.Drain.Rate, cfg.Drain.Time, cfg.Presence.Records = b.TempDir(), 0, time.Second, on
			g, err := New(cfg, zerolog.Nop())
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- g.Run(ctx) }()
			defer func() {
				cancel()
				if err := <-ended; err != nil {
					b.Error(err)
				}
			}()
			for on && !g.presence.Counters().Active {
				time.Sleep(time.Millisecond)
			}
			before := cpuTime()
			b.ResetTimer()
			comeAndGo(b, g.Addrs().Listeners[0].Addr.String())
			for on && g.presence.Counters().Waiting > 0 {
				time.Sleep(time.Millisecond)
			}
			b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
			if on {
				b.ReportMetric(float64(g.presence.Counters().Written)/float64(b.N), "writes/op")
			}
		})
	}
}

// comeAndGo has b.N devices connect and disconnect, 32 at a time.
func comeAndGo(b *testing.B, addr string) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = c.Write(mqtt.AppendConnect(nil, mqtt.V311, &mqtt.ConnectOut{ClientID: fmt.Appendf(nil, "device-%d", i), CleanStart: true}))
				_, err = io.ReadFull(c, make([]byte, 4))
				_ = c.Close()
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
