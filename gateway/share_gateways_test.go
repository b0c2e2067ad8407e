package gateway

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestSharedAcrossGateways: devices on two gateways and a NATS service are one group: each of 1,200 messages, of devices and of backends, goes to one of
// them, all get some, and when one gateway goes the others have the rest.
func TestSharedAcrossGateways(t *testing.T) {
	t.Parallel()
	const messages = 1200
	s := bustest.Start(t)
	a, b := two(t, s)
	nc := s.Conn(t)
	var members []*client
	for i, r := range []*rig{a, a, b, b} {
		c := r.connect([]mqtt.Version{mqtt.V5, mqtt.V311}[i%2], fmt.Sprint("member", i))
		c.subscribe(byte(i%2), "$share/g/s/#")
		members = append(members, c)
	}
	counts := make([]atomic.Int64, len(members)+1)
	type delivery struct {
		member  int
		payload string
	}
	got := make(chan delivery, 2*messages)
	for i, c := range members {
		go func() {
			for {
				p, err := c.next()
				if err != nil {
					return
				}
				if p.Type != mqtt.TypePublish {
					continue
				}
				if p.QoS == 1 {
					if c.tryWrite(mqtt.AppendPuback(nil, c.v, p.PacketID, mqtt.Success)) != nil {
						return
					}
				}
				counts[i].Add(1)
				got <- delivery{i, p.payload}
			}
		}()
	}
	if _, err := nc.QueueSubscribe("s.>", "g", func(m *nats.Msg) {
		counts[len(members)].Add(1)
		got <- delivery{len(members), string(m.Data)}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	pubs := []*client{a.connect(mqtt.V5, "pub-a"), b.connect(mqtt.V311, "pub-b")}
	seen := map[string]int{}
	send := func(round string, n int) {
		t.Helper()
		for i := range n {
			text := fmt.Sprint(round, i)
			if i%3 < 2 {
				pubs[i%3].publish(1, "s/x", text)
			} else if err := nc.Publish("s.x", []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		for missing := n; missing > 0; missing-- {
			var d delivery
			select {
			case d = <-got:
			case <-time.After(patience):
				t.Fatalf("%d of the messages are missing", missing)
			}
			if seen[d.payload]++; seen[d.payload] > 1 {
				t.Errorf("%q came twice", d.payload)
			}
		}
	}
	send("all ", messages)
	for i := range counts {
		// NATS chooses among two gateways and the service, and a gateway between its two members.
		if n := counts[i].Swap(0); n < messages/12 {
			t.Errorf("member %d got %d", i, n)
		}
	}
	pubs[1] = a.connect(mqtt.V311, "pub-b")
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	send("rest ", messages/10)
	for i := range counts {
		if n := counts[i].Load(); (n > 0) != (i < 2 || i == len(members)) {
			t.Errorf("member %d got %d of the rest", i, n)
		}
	}
	for payload, n := range seen {
		if n != 1 {
			t.Errorf("%q came %d times", payload, n)
		}
	}
	if len(seen) != messages+messages/10 {
		t.Errorf("%d messages came", len(seen))
	}
}
