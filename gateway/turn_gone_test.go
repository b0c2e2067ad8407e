package gateway

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestGoneWhileOpening: a device whose connection ends before its CONNECT is answered leaves no record behind that nobody has: one of a new session
// goes, and one that another gateway had written ends with its expiry, as if the device had been away all the time.
func TestGoneWhileOpening(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	a, b := twoDurable(t, s)
	short := func(o *mqtt.ConnectOut) { o.CleanStart, o.SessionExpirySec = false, 3 }
	const each = 20
	for i := range each {
		a.connect(mqtt.V5, fmt.Sprint("known-", i), short).disconnect()
	}
	for i := range each {
		for _, id := range []string{fmt.Sprint("known-", i), fmt.Sprint("new-", i)} {
			c := b.open(mqtt.V5, b.mqtt)
			c.write(c.connectPacket(id, short))
			c.reset()
		}
	}
	js, err := s.Conn(t).JetStream()
	if err != nil {
		t.Fatal(err)
	}
	b.eventually("no record is left", func() bool {
		info, err := js.StreamInfo("KV_TG_sessions")
		return err == nil && info.State.Msgs == 0
	})
}
