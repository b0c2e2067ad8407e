// Command mochi is the broker of mochi-mqtt on its own TCP listener.
package main

import (
	"log/slog"
	"math"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"github.com/tidegate/tidegate/devices-sim/contenders/contract"
)

func main() {
	limits := mqtt.NewDefaultServerCapabilities()
	limits.ReceiveMaximum = math.MaxUint16
	limits.MaximumInflight = math.MaxUint16
	// MaximumClientWritesPending stays 8,192: more would cost every idle connection memory, less would drop sooner.
	s := mqtt.New(&mqtt.Options{
		Capabilities:             limits,
		ClientNetReadBufferSize:  2048, // the defaults, named because the README says to choose them
		ClientNetWriteBufferSize: 2048,
		SysTopicResendInterval:   60,
		Logger:                   slog.New(slog.DiscardHandler),
	})
	if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
		contract.Fail(err)
	}
	if err := s.AddListener(listeners.NewTCP(listeners.Config{ID: "tcp", Address: contract.Address()})); err != nil {
		contract.Fail(err)
	}
	if err := s.Serve(); err != nil {
		contract.Fail(err)
	}
	contract.ServeUntilTerm()
	_ = s.Close()
}
