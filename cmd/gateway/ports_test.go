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
	err := checkPorts(&cfg)
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
	if err := checkPorts(&cfg); err != nil {
		t.Errorf("external NATS needs no port here: %v", err)
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
	if err := checkPorts(&cfg); err == nil || !strings.Contains(err.Error(), "taken by listeners[0]") {
		t.Errorf("got %v", err)
	}
}
