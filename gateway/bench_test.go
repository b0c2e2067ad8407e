package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// bench is a gateway with raw MQTT connections, for benchmarks of the whole way: socket, codec, session, route, NATS, socket.
type bench struct {
	b    *testing.B
	addr string
}

func startBench(b *testing.B, mods ...func(c *Config)) *bench {
	b.Helper()
	cfg := Default()
	cfg.Listeners, cfg.Admin, cfg.NATS.Listen = []string{"mqtt://127.0.0.1:0"}, "", ""
	cfg.Data, cfg.Drain.Rate, cfg.Drain.Time = b.TempDir(), 0, time.Second
	for _, mod := range mods {
		mod(&cfg)
	}
	g, err := New(cfg, zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return &bench{b, g.Addrs().Listeners[0].Addr.String()}
}

// connect opens a connection and, with a filter, subscribes.
func (r *bench) connect(id, filter string, qos byte) net.Conn {
	r.b.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.b.Fatal(err)
	}
	r.b.Cleanup(func() { c.Close() })
	out := mqtt.AppendConnect(nil, mqtt.V311, &mqtt.ConnectOut{ClientID: []byte(id), CleanStart: true})
	want := 4
	if filter != "" {
		out = mqtt.AppendSubscribe(out, mqtt.V311, 1, []mqtt.Filter{{Topic: []byte(filter), QoS: qos}}, 0)
		want += 5
	}
	if _, err := c.Write(out); err != nil {
		r.b.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, want)); err != nil {
		r.b.Fatal(err)
	}
	return c
}

// burst is how many messages a publisher writes at once, and burstsAhead how many bursts it may be ahead of the slowest
// subscriber: nobody is slow enough to lose QoS 0.
const (
	burst       = 100
	burstsAhead = 20
)

// BenchmarkQoS0 is one publisher to n subscribers of its topic, 64-byte payloads; an operation is one message in, n out.
func BenchmarkQoS0(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) {
			r := startBench(b)
			pub := r.connect("pub", "", 0)
			packet := mqtt.AppendPublish(nil, mqtt.V311, &mqtt.PublishOut{Topic: []byte("bench/topic/1"), Payload: make([]byte, 64)})
			bursts := b.N/burst + 1
			got := make(chan struct{}, n*burstsAhead)
			for i := range n {
				sub := r.connect(fmt.Sprint("sub", i), "bench/topic/1", 0)
				go func() {
					buf := make([]byte, burst*len(packet))
					for range bursts {
						if _, err := io.ReadFull(sub, buf); err != nil {
							return
						}
						got <- struct{}{}
					}
				}()
			}
			out := bytes.Repeat(packet, burst)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range bursts + burstsAhead {
				if i < bursts {
					if _, err := pub.Write(out); err != nil {
						b.Fatal(err)
					}
				}
				if i >= burstsAhead {
					for range n {
						<-got
					}
				}
			}
		})
	}
}
