package main

import (
	"net"
	"strings"
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

// TestCheckPortsShared: who shares is let in beside others who share, and beside nobody else.
func TestCheckPortsShared(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	alone := gateway.Default()
	alone.Listeners, alone.Admin, alone.NATS.Listen = []string{"mqtt://" + addr}, "", ""
	sharing := alone
	sharing.SharePort, sharing.NATS.URL = true, "nats://127.0.0.1:4222"

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

func TestCheckPortsFindsOneAddressTwice(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	cfg := gateway.Default()
	cfg.Listeners = []string{"mqtt://" + addr}
	cfg.Admin = addr
	cfg.NATS.Listen = ""
	if _, err := checkPorts(&cfg); err == nil || !strings.Contains(err.Error(), "taken by listeners[0]") {
		t.Errorf("got %v", err)
	}
}
