//go:build fault

package fault

import (
	"fmt"
	"testing"
	"time"
)

// TestKillAfterAcks: a device with a persistent session is away, 500 messages for it are acknowledged, and the gateway (with
// its NATS inside) is killed within the same millisecond. Started again on the same data it has 500 of 500 for the device.
func TestKillAfterAcks(t *testing.T) {
	needs(t, 3*time.Minute)
	for _, qos := range []byte{1, 2} {
		t.Run(fmt.Sprintf("QoS %d", qos), func(t *testing.T) { killAfterAcks(t, qos, 500) })
	}
}

func killAfterAcks(t *testing.T, qos byte, messages int) {
	g, _ := startLonely(t)
	f := newFleet(t, []*gate{g}, 1, 0, 0)
	sub, pub := f.subscribers[0], f.publishers[0]
	sub.leave()
	enough := make(chan struct{})
	acked := 0
	pub.mu.Lock()
	pub.told = func(m *sending, reason byte) {
		f.promises.answered(m, reason)
		if acked++; acked == messages {
			close(enough)
		}
	}
	pub.mu.Unlock()
	for sent := 0; sent < messages; {
		if f.publish(pub, qos) {
			sent++
			continue
		}
		pub.push()
		time.Sleep(time.Millisecond)
	}
	pub.push()
	select {
	case <-enough:
	case <-time.After(time.Minute):
		t.Fatalf("%d of %d acknowledged", messages-pub.waiting(), messages)
	}
	g.kill()
	pub.leave()
	if n := f.devices.got[1] + f.devices.got[2]; n > 0 {
		t.Fatalf("the device that is away got %d", n)
	}
	g.start()
	sub.start()
	pub.start() // it has PUBRELs to send
	f.settle(30 * time.Second)
	verdict(t, f.promises, &f.counts, f.devices)
	t.Logf("%d of %d", f.devices.got[qos], messages)
}
