package bus

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const replayStorm = benchStorm

// BenchmarkReplayStorm measures 15,000 devices that read what came while they were away: ten messages of QoS 1 for each, among 150,000, of which a tenth are
// QoS 2 of as many clients as the name says. Each has the filter "devices/<id>/#", four subjects. An iteration is all of them.
func BenchmarkReplayStorm(b *testing.B) {
	for _, clients := range []int{0, 100, 15000} {
		b.Run(fmt.Sprintf("%d QoS 2 clients", clients), func(b *testing.B) {
			bus := openForBench(b, false, nil)
			fillLog(b, bus, clients)
			began, used := time.Now(), cpu()
			b.ResetTimer()
			got := 0
			for range b.N {
				var wait sync.WaitGroup
				for i := range replayStorm {
					wait.Add(1)
					f := [][]byte{fmt.Appendf(nil, "devices/d%d/#", i)}
					bus.ReplayLog(ReplayRead{Filters: f}, func(run []Inbound, _ uint64, err error) {
						if err != nil {
							b.Error(err)
						}
						got += len(run)
						wait.Done()
					})
				}
				wait.Wait()
			}
			if got != 10*replayStorm*b.N {
				b.Fatal(got)
			}
			b.ReportMetric(float64((cpu()-used).Microseconds())/float64(b.N*replayStorm), "µs-CPU/device")
			b.ReportMetric(time.Since(began).Seconds()/float64(b.N), "s/storm")
		})
	}
}

// fillLog stores ten messages for each device of a storm; one of ten is QoS 2 of one of the clients.
func fillLog(b *testing.B, bus *Bus, clients int) {
	nc, err := nats.Connect(bus.ClientURL())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1000))
	if err == nil {
		_, err = js.CreateStream(context.Background(), jetstream.StreamConfig{
			Name: streamLog, Subjects: []string{logSubject + ">", log2Subject + ">", relSubject + "*"}, AllowDirect: true,
		})
	}
	for i := 0; i < 10*replayStorm && err == nil; i++ {
		device := fmt.Sprintf("devices.d%d.cmd", i%replayStorm)
		subject := logSubject + device
		if i/replayStorm == 5 && clients > 0 {
			subject = fmt.Sprintf("%sc%d.%s", log2Subject, i%clients, device)
		}
		_, err = js.PublishMsgAsync(&nats.Msg{Subject: subject, Header: nats.Header{headerTG: {"1 c=backend"}}, Data: make([]byte, 64)}, jetstream.WithStallWait(time.Minute))
	}
	if err != nil {
		b.Fatal(err)
	}
	<-js.PublishAsyncComplete()
}
