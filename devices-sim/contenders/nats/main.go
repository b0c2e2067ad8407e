// Command nats is a nats-server: what the WebSocket contenders publish to, and with JetStream what several gateways share and
// what NATS itself costs is measured with.
package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tidegate/tidegate/devices-sim/contenders/contract"
)

func main() {
	o := &server.Options{
		Host: contract.Host, Port: contract.Port("BENCH_PORT"),
		NoLog: true, NoSigs: true,
	}
	if store := os.Getenv("BENCH_JETSTREAM"); store != "" {
		o.JetStream, o.StoreDir = true, store
		o.MaxPayload = 1 << 20
	}
	if os.Getenv("BENCH_CLUSTER_PORT") != "" {
		port := contract.Port("BENCH_CLUSTER_PORT")
		o.ServerName = fmt.Sprint("nats-", port) // a cluster with JetStream insists on names
		o.Cluster = server.ClusterOpts{Name: "bench", Host: contract.Host, Port: port}
		o.RoutesStr = os.Getenv("BENCH_ROUTES")
		o.Routes = server.RoutesFromStr(o.RoutesStr)
	}
	s, err := server.NewServer(o)
	if err != nil {
		contract.Fail(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		contract.Fail(errors.New("nats-server did not start"))
	}
	contract.ServeUntilTerm()
	s.Shutdown()
	s.WaitForShutdown()
}
