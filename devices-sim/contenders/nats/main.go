// Command nats is a nats-server without JetStream: what the WebSocket contenders publish to.
package main

import (
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tidegate/tidegate/devices-sim/contenders/contract"
)

func main() {
	s, err := server.NewServer(&server.Options{
		Host: contract.Host, Port: contract.Port("BENCH_PORT"),
		NoLog: true, NoSigs: true,
	})
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
