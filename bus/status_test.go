package bus_test

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

func TestStatusIsTold(t *testing.T) {
	s := bustest.Start(t)
	states := make(chan bus.Status, 100)
	b := open(t, s, func(o *bus.Options) { o.OnStatus = func(st bus.Status) { states <- st } })
	next := func(want bus.State, reconnects uint64) {
		t.Helper()
		select {
		case st := <-states:
			if st.State != want || st.Reconnects != reconnects {
				t.Fatalf("%+v, want %v", st, want)
			}
		case <-time.After(patience):
			t.Fatalf("never %v", want)
		}
	}
	next(bus.Connected, 0)
	if b.ClientURL() != s.URL() {
		t.Fatalf("URL %q", b.ClientURL())
	}
	s.Shut()
	next(bus.Disconnected, 0)
	s.Reopen()
	next(bus.Connected, 1)
	_ = b.Close(t.Context())
	for st := range states {
		if st.State == bus.Closed {
			break
		}
	}
}
