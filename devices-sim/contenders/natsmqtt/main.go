// Command natsmqtt is nats-server with its own MQTT listener, JetStream in a temporary directory.
package main

import (
	"errors"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tidegate/tidegate/devices-sim/contenders/contract"
)

func main() {
	store, err := os.MkdirTemp("", "natsmqtt")
	if err != nil {
		contract.Fail(err)
	}
	err = serve(store)
	_ = os.RemoveAll(store)
	if err != nil {
		contract.Fail(err)
	}
}

func serve(store string) error {
	s, err := server.NewServer(options(store))
	if err != nil {
		return err
	}
	s.Start()
	if s.ReadyForConnections(20 * time.Second) {
		contract.ServeUntilTerm()
	} else {
		err = errors.New("nats-server did not start")
	}
	s.Shutdown()
	s.WaitForShutdown()
	return err
}

func options(store string) *server.Options {
	o := &server.Options{
		ServerName: "natsmqtt", // the MQTT listener insists on a name
		Host:       contract.Host,
		DontListen: true,
		NoLog:      true, NoSigs: true,
		JetStream: true, StoreDir: store,
		MQTT: server.MQTTOpts{
			Host: contract.Host, Port: contract.Port("BENCH_PORT"),
			// Memory for the consumer of every QoS 1 subscription: a file each is the first thing the manual says to avoid.
			ConsumerMemoryStorage: true,
			MaxAckPending:         8192,
			// A CONNECT waits for stored writes; a storm of them needs more than the 5 s of the default.
			JSAPITimeout: 60 * time.Second,
		},
	}
	if os.Getenv("BENCH_NATS_PORT") != "" { // backends of the uplink scenarios
		o.DontListen, o.Port = false, contract.Port("BENCH_NATS_PORT")
	}
	return o
}
