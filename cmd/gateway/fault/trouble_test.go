//go:build fault

package fault

import (
	"bufio"
	"net"
	"testing"
	"time"
)

// TestNATSDown: all of NATS is killed, stays away, and comes back with what its disks hold.
func TestNATSDown(t *testing.T) {
	away := time.Duration(size(t, "FAULT_DOWN_SECONDS", 30, 5)) * time.Second
	needs(t, 3*time.Minute+away)
	x := startTopology(t, 3)
	_, js := backend(t, x.urls())
	f := newFleet(t, x.gates, 60, 1000, 200)
	f.pace()
	f.progress(1000, 30*time.Second)
	for _, n := range x.nodes {
		n.kill()
	}
	time.Sleep(away)
	f.sameAsBefore(time.Second)
	for _, n := range x.nodes {
		n.start()
	}
	back := time.Now()
	f.progress(1000, time.Minute)
	t.Logf("acknowledgements again %v after NATS was started", time.Since(back).Round(100*time.Millisecond))
	x.settled()
	f.settle(time.Minute)
	f.check(js)
	f.unharmed(2 * time.Second)
}

// sameAsBefore fails when devices are told anything meanwhile.
func (f *fleet) sameAsBefore(d time.Duration) {
	f.t.Helper()
	from := f.counts.acks.Load()
	time.Sleep(d)
	if n := f.counts.acks.Load() - from; n > 0 {
		f.t.Errorf("%d acknowledgements of what nobody can have stored", n)
	}
}

// TestNATSSlow: NATS is there a part of the time only.
func TestNATSSlow(t *testing.T) {
	long(t)
	needs(t, 3*time.Minute)
	r := chance(t)
	x := startTopology(t, 3)
	_, js := backend(t, x.urls())
	f := newFleet(t, x.gates, 60, 1000, 200)
	f.pace()
	f.progress(1000, 30*time.Second)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		for _, n := range x.nodes {
			n.freeze()
		}
		time.Sleep(time.Duration(200+r.IntN(600)) * time.Millisecond)
		for _, n := range x.nodes {
			n.thaw()
		}
		time.Sleep(time.Duration(100+r.IntN(300)) * time.Millisecond)
	}
	f.progress(2000, time.Minute)
	f.settle(time.Minute)
	f.check(js)
	f.unharmed(2 * time.Second)
}

// TestNoQuorum: of three NATS nodes one is left. It can store nothing, so PUBACKs wait; QoS 0 goes on between devices.
func TestNoQuorum(t *testing.T) {
	away := time.Duration(size(t, "FAULT_DOWN_SECONDS", 20, 5)) * time.Second
	needs(t, 3*time.Minute+away)
	x := startTopology(t, 3)
	_, js := backend(t, x.urls())
	f := newFleet(t, x.gates, 60, 1000, 200)
	listener := newDevice("zero-listener", &f.counts, func() *gate { return x.gates[0] })
	listener.filters = []filter{{"zero/#", 0}}
	heard := make(chan struct{}, 1<<10)
	listener.took = func(string, byte, []byte) {
		select {
		case heard <- struct{}{}:
		default:
		}
	}
	listener.start()
	t.Cleanup(listener.leave)
	eventually(t, 10*time.Second, "the listener is subscribed", listener.live.Load)
	talker := dialRaw(t, x.gates[0], "zero-talker")
	f.pace()
	f.progress(1000, 30*time.Second)
	for _, n := range x.nodes[:2] {
		n.kill()
	}
	time.Sleep(away)
	f.sameAsBefore(time.Second)
	for len(heard) > 0 {
		<-heard
	}
	if _, err := talker.Write(appendPublishZero(nil, "zero/a", "x")); err != nil {
		t.Error(err)
	}
	select {
	case <-heard:
	case <-time.After(5 * time.Second):
		t.Error("QoS 0 between devices waits for a quorum")
	}
	for _, n := range x.nodes[:2] {
		n.start()
	}
	f.progress(1000, time.Minute)
	x.settled()
	f.settle(time.Minute)
	f.check(js)
	f.unharmed(2 * time.Second)
}

// dialRaw is a connection that has been through CONNECT, and does nothing by itself.
func dialRaw(t *testing.T, g *gate, id string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", g.addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.Write(appendConnect(nil, id, 0, 0)); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if first, body, err := readPacket(bufio.NewReaderSize(conn, 16), nil); err != nil || first != pConnack || len(body) < 2 || body[1] != 0 {
		t.Fatalf("CONNACK of %s: %#x % x, %v", id, first, body, err)
	}
	return conn
}

func appendPublishZero(dst []byte, topic, payload string) []byte {
	return appendPacket(dst, pPublish, append(append(appendText(nil, topic), 0), payload...))
}
