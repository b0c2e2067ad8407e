//go:build fault

package fault

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestNothingHappens is the harness without a fault: each message once, everywhere, and no connection ends.
func TestNothingHappens(t *testing.T) {
	x := startTopology(t, 3)
	nc, js := backend(t, x.urls())
	natural := newLedger("natural")
	if _, err := nc.Subscribe("fault.>", func(m *nats.Msg) { natural.saw(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	f := newFleet(t, x.gates, 60, 1000, 200)
	f.pace()
	f.progress(5000, time.Minute)
	f.settle(30 * time.Second)
	verdict(t, f.promises, &f.counts, natural, readStream(t, js, logStream), f.devices)
	if f.counts.closedByLiving.Load()+f.counts.givenUp.Load() > 0 {
		t.Error("connections ended")
	}
	for _, l := range []*ledger{natural, f.devices} {
		if l.again[1] > 0 {
			t.Errorf("%s: duplicates without a fault", l.name)
		}
	}
}
