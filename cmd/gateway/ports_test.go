package main

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/tidegate/tidegate/gateway"
)

func TestCheckPortsNamesEveryBusyAddress(t *testing.T) {
	busy := func() string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		return ln.Addr().String()
	}
	cfg := gateway.Default()
	device, nats := busy(), busy()
	cfg.Listeners = []string{"mqtt://127.0.0.1:0", "ws://" + device}
	cfg.Admin = ""
	cfg.NATS.Listen = nats
	_, err := checkPorts(&cfg)
	if err == nil {
		t.Fatal("two addresses are taken")
	}
	for _, part := range []string{
		"listeners[1]: " + device + " is in use", "--listen ws://ADDR:PORT", "nats.listen: " + nats + " is in use", "--nats nats://" + nats,
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("no %q in\n%v", part, err)
		}
	}
	cfg.NATS.URL = "nats://" + nats
	cfg.Listeners = []string{"mqtt://127.0.0.1:0"}
	if _, err := checkPorts(&cfg); err != nil {
		t.Errorf("external NATS needs no port here: %v", err)
	}
}

// freeAddr is an address of this machine on which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return free.Addr().String()
}

// aloneAndSharing are two gateways on one address, without share_port and with it.
func aloneAndSharing(addr string) (alone, sharing gateway.Config) {
	alone = gateway.Default()
	alone.Listeners, alone.Admin, alone.NATS.Listen = []string{"mqtt://" + addr}, "", ""
	sharing = alone
	sharing.SharePort, sharing.NATS.URL = true, "nats://127.0.0.1:4222"
	return alone, sharing
}

// TestCheckPortsShared: who shares is let in beside others who share, and beside nobody else.
func TestCheckPortsShared(t *testing.T) {
	addr := freeAddr(t)
	alone, sharing := aloneAndSharing(addr)
	release, err := checkPorts(&alone)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := checkPorts(&sharing); err == nil || !strings.Contains(err.Error(), "a gateway without --share-port listens on "+addr) {
		t.Errorf("beside one that does not share: %v", err)
	}
	release()
	for range 2 {
		if _, err := checkPorts(&sharing); err != nil {
			t.Errorf("beside one that shares: %v", err)
		}
	}
	other, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := checkPorts(&sharing); err == nil || !strings.Contains(err.Error(), "only gateways of one user that all have --share-port") {
		t.Errorf("beside another program: %v", err)
	}
	if _, err := checkPorts(&alone); err == nil || !strings.Contains(err.Error(), "several gateways can share it as one: --share-port") {
		t.Errorf("without: %v", err)
	}
}

// TestCheckPortsMarkLasts: a supervisor that starts a sharing gateway again and again is told the same each time, more
// often than the longest backlog of a socket (net.core.somaxconn) has room for attempts.
func TestCheckPortsMarkLasts(t *testing.T) {
	const attempts = 4096 + 100
	alone, sharing := aloneAndSharing(freeAddr(t))
	release, err := checkPorts(&alone)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for i := range attempts {
		if _, err := checkPorts(&sharing); err == nil {
			t.Fatalf("let in at attempt %d", i+1)
		}
	}
}

// TestCheckPortsSharedTogether: gateways that share and start at the same time do not take each other for one that does not.
func TestCheckPortsSharedTogether(t *testing.T) {
	_, sharing := aloneAndSharing(freeAddr(t))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				if _, err := checkPorts(&sharing); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// TestCheckPortsAloneTwice: of two gateways that do not share the second is refused also while the first has looked at its
// ports and does not listen yet.
func TestCheckPortsAloneTwice(t *testing.T) {
	addr := freeAddr(t)
	alone, _ := aloneAndSharing(addr)
	release, err := checkPorts(&alone)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := checkPorts(&alone); err == nil || !strings.Contains(err.Error(), "listeners[0]: "+addr+" is in use") ||
		!strings.Contains(err.Error(), "--listen mqtt://ADDR:PORT; several gateways can share it") {
		t.Errorf("the second: %v", err)
	}
	release()
	if release, err = checkPorts(&alone); err != nil {
		t.Fatalf("after the first: %v", err)
	}
	release()
}

// TestCheckPortsOverlap: an address overlaps itself and, on the same port, the address that stands for all.
func TestCheckPortsOverlap(t *testing.T) {
	_, number, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		alone, sharing string
		refused        bool
	}{
		{"127.0.0.1", "0.0.0.0", true},
		{"127.0.0.5", "0.0.0.0", true},
		{"127.0.0.1", "[::]", true},
		{"0.0.0.0", "127.0.0.1", true},
		{"[::]", "127.0.0.1", true},
		{"127.0.0.1", "127.0.0.2", false},
	} {
		alone, _ := aloneAndSharing(c.alone + ":" + number)
		_, sharing := aloneAndSharing(c.sharing + ":" + number)
		release, err := checkPorts(&alone)
		if err != nil {
			t.Fatal(err)
		}
		_, err = checkPorts(&sharing)
		release()
		if c.refused && (err == nil || !strings.Contains(err.Error(), "a gateway without --share-port listens on "+c.alone+":"+number)) ||
			!c.refused && err != nil {
			t.Errorf("%s beside %s: %v", c.sharing, c.alone, err)
		}
	}
}

func TestCheckPortsFindsOneAddressTwice(t *testing.T) {
	addr := freeAddr(t)
	cfg := gateway.Default()
	cfg.Listeners = []string{"mqtt://" + addr}
	cfg.Admin = addr
	cfg.NATS.Listen = ""
	if _, err := checkPorts(&cfg); err == nil || !strings.Contains(err.Error(), "taken by listeners[0]") {
		t.Errorf("got %v", err)
	}
}
