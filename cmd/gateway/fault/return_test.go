//go:build fault

package fault

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// TestReturn: a gateway with thousands of devices that have persistent sessions dies; while they are away each gets a
// message; then all of them come to the other two at once. Within 20 seconds all are live, with their sessions and messages.
func TestReturn(t *testing.T) {
	devices := size(t, "FAULT_DEVICES", 15000, 1500)
	const within20 = 20 * time.Second
	needs(t, 4*time.Minute)
	x := startTopology(t, 3)
	f := newFleet(t, x.gates[1:], 20, 0, 0) // its publishers are at the gateways that live
	f.devices.apart = true
	away, dead := make(chan struct{}), x.gates[0]
	var back atomic.Bool
	var live, got atomic.Int64
	f.addSubscribers(devices, func(i int, d *device) {
		d.choose = func() *gate {
			if dead.kills.Load() == 0 {
				return dead
			}
			<-away
			return x.gates[1+i%2]
		}
		d.filters = []filter{{fmt.Sprintf("return/%d", i), 1}}
		first := true
		d.took = func(_ string, _ byte, payload []byte) {
			f.devices.saw(payload)
			if back.Load() && first {
				first = false
				got.Add(1)
			}
		}
	})
	herd := f.subscribers[1:]
	began := time.Now()
	for i, d := range herd {
		d.start()
		if i%100 == 99 {
			time.Sleep(50 * time.Millisecond) // an arrival of all at once is for later
		}
	}
	t.Cleanup(func() {
		if !back.Swap(true) {
			close(away)
		}
	})
	living := func() (n int) {
		for _, d := range herd {
			if d.live.Load() {
				n++
			}
		}
		return n
	}
	eventually(t, 2*time.Minute, "the devices are connected and subscribed", func() bool { return living() == devices })
	t.Logf("%d devices connected and subscribed in %v", devices, time.Since(began).Round(time.Millisecond))

	dead.kill()
	eventually(t, time.Minute, "all devices noticed", func() bool { return living() == 0 })
	began = time.Now()
	for i := range devices {
		p := f.publishers[i%len(f.publishers)]
		p.topics[1] = fmt.Sprintf("return/%d", i)
		eventually(t, 30*time.Second, "room in a publisher's window", func() bool {
			sent := f.publish(p, 1)
			if !sent || i >= devices-len(f.publishers) {
				p.push()
			}
			return sent
		})
	}
	eventually(t, time.Minute, "a message for each is acknowledged", func() bool { return f.unacked() == 0 })
	t.Logf("%d messages for them acknowledged in %v", devices, time.Since(began).Round(time.Millisecond))

	began = time.Now()
	back.Store(true)
	close(away)
	ok := within(within20, func() bool {
		live.Store(int64(living()))
		return int(live.Load()) == devices && int(got.Load()) == devices
	})
	took := time.Since(began)
	if !ok {
		t.Errorf("after %v %d of %d are live, %d have their message", within20, live.Load(), devices, got.Load())
		within(time.Minute, func() bool { return living() == devices && int(got.Load()) == devices })
		t.Logf("after %v %d are live, %d have their message", time.Since(began).Round(time.Millisecond), living(), got.Load())
	}
	t.Logf("%d devices live again with their messages in %v", devices, took.Round(time.Millisecond))
	f.settle(30 * time.Second)
	verdict(t, f.promises, &f.counts, f.devices)
}

// addSubscribers adds subscribers, from many source addresses; they are not started.
func (f *fleet) addSubscribers(n int, prepare func(i int, d *device)) {
	for i := range n {
		d := newDevice(fmt.Sprintf("return-%d", i), &f.counts, f.choose)
		d.dial, d.every = f.spread(), 20*time.Second
		prepare(i, d)
		f.subscribers = append(f.subscribers, d)
	}
}
